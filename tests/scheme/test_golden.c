/* Checkpoints that GPTQModel wrote, against the weights that an independent decoder (and GPTQModel itself) reads in
 * them: tests/golden/make_gptq.py. */
#include <criterion/criterion.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/json.h"
#include "host/ckpt/ckpt.h"
#include "host/scheme/scheme.h"

static const nb_view *find(void *ctx, const char *name) { return nb_ckpt_find(ctx, name); }

static int count_dirs;

/* The hash of the dequantized weight, f32 [n, k]. */
static void check_weight(const char *dir, const char *prefix, const nb_qtensor *q, const json_t *expected) {
    float *w;
    char hash[20];
    cr_assert_eq(nb_calloc(q->n * q->k, sizeof *w, "w", &w, NULL), NB_OK);
    for (size_t i = 0; i < q->n; i++)
        nb_qtensor_row(q, i, w + i * q->k);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)XXH3_64bits(w, q->n * q->k * sizeof *w));
    cr_assert_str_eq(hash, json_string_value(json_object_get(expected, "xxh3_64")), "%s %s", dir, prefix);
    size_t i;
    json_t *sample;
    json_array_foreach(json_object_get(expected, "samples"), i, sample) {
        size_t row = (size_t)json_integer_value(json_array_get(sample, 0));
        size_t col = (size_t)json_integer_value(json_array_get(sample, 1));
        cr_assert_eq((double)w[row * q->k + col], json_number_value(json_array_get(sample, 2)), "%s %s", dir, prefix);
    }
    cr_assert_str_eq(nb_dtype_get(q->scale_type)->name, json_string_value(json_object_get(expected, "scales_dtype")));
    cr_assert_eq(q->groups, (size_t)json_integer_value(json_object_get(expected, "groups")));
    cr_assert_eq(q->bits, (unsigned)json_integer_value(json_object_get(expected, "bits")));
    nb_free(w);
}

static void check_dir(const char *root, const char *name) {
    char *dir, *path;
    json_t *expected, *one;
    const char *prefix;
    nb_ckpt *ckpt;
    nb_scheme_config config;
    nb_err err = {0};
    bool mine;
    cr_assert_eq(nb_path_join(root, name, &dir, NULL), NB_OK);
    cr_assert_eq(nb_path_join(dir, "expected.json", &path, NULL), NB_OK);
    cr_assert_eq(nb_json_read(path, 1 << 20, &expected, &err), NB_OK, "%s", err.text);
    cr_assert_eq(nb_ckpt_open(dir, &ckpt, &err), NB_OK, "%s: %s", name, err.text);
    const json_t *doc = json_object_get(nb_ckpt_config(ckpt), "quantization_config");
    const nb_scheme *gptq = nb_scheme_by_name("gptq");
    cr_assert_eq(gptq->parse(doc, &config, &mine, &err), NB_OK, "%s: %s", name, err.text);
    cr_assert(mine);
    size_t seen = 0;
    json_object_foreach(json_object_get(expected, "quantized"), prefix, one) {
        const json_t *shape = json_object_get(one, "shape");
        size_t n = (size_t)json_integer_value(json_array_get(shape, 0)), k = (size_t)json_integer_value(json_array_get(shape, 1));
        nb_qtensor q;
        cr_assert(gptq->has(find, ckpt, prefix), "%s", prefix);
        nb_status s = gptq->read(&config, find, ckpt, prefix, n, k, &q, &err);
        cr_assert_eq(s, NB_OK, "%s %s: %s %s", name, prefix, err.item, err.text);
        check_weight(name, prefix, &q, one);
        nb_qtensor_free(&q);
        seen++;
    }
    cr_assert_geq(seen, 1);
    count_dirs++;
    nb_ckpt_close(ckpt);
    json_decref(expected);
    nb_free(path);
    nb_free(dir);
}

Test(gptq_golden, weights_are_those_that_gptqmodel_reads) {
    static const char root[] = NB_TEST_DATA "/golden/gptq";
    char **names;
    size_t count;
    cr_assert_eq(nb_dir_list(root, &names, &count, NULL), NB_OK);
    for (size_t i = 0; i < count; i++)
        check_dir(root, names[i]);
    cr_assert_geq(count_dirs, 10);
    nb_names_free(names, count);
}

/* What we write from what we read is what GPTQModel wrote, word for word. */
Test(gptq_golden, packing_again_gives_the_same_words) {
    static const char *const dirs[] = {"w4-sym-g32", "w4-sym-g32-act", "w8-asym-g32-v2", "w3-asym-g64-v2", "w3-sym-g32",
                                       "w2-asym-g32-v2", "w4-asym-g32-v1"};
    const char *prefix = "model.layers.0.mlp.down_proj";
    const nb_scheme *gptq = nb_scheme_by_name("gptq");
    for (size_t d = 0; d < sizeof dirs / sizeof dirs[0]; d++) {
        char dir[1024], name[512];
        nb_ckpt *ckpt;
        nb_scheme_config config;
        nb_qtensor q;
        nb_packed_tensor t[NB_SCHEME_MAX_TENSORS];
        size_t count, clamped;
        bool mine;
        nb_err err = {0};
        snprintf(dir, sizeof dir, NB_TEST_DATA "/golden/gptq/%s", dirs[d]);
        cr_assert_eq(nb_ckpt_open(dir, &ckpt, &err), NB_OK);
        cr_assert_eq(gptq->parse(json_object_get(nb_ckpt_config(ckpt), "quantization_config"), &config, &mine, &err), NB_OK);
        cr_assert_eq(gptq->read(&config, find, ckpt, prefix, 64, 128, &q, &err), NB_OK, "%s", err.text);
        cr_assert_eq(gptq->pack(&config, &q, t, &count, &clamped, &err), NB_OK, "%s: %s", dirs[d], err.text);
        for (size_t i = 0; i < count; i++) {
            snprintf(name, sizeof name, "%s.%s", prefix, t[i].suffix);
            const nb_view *v = nb_ckpt_find(ckpt, name);
            cr_assert(v && v->dtype == t[i].dtype && v->ndim == t[i].ndim && v->bytes == t[i].bytes, "%s", name);
            if (clamped == 0)
                cr_assert_eq(memcmp(v->data, t[i].data, v->bytes), 0, "%s %s", dirs[d], name);
        }
        cr_assert_eq(clamped, 0, "%s", dirs[d]);
        nb_packed_tensors_free(t, count);
        nb_qtensor_free(&q);
        nb_ckpt_close(ckpt);
    }
}

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "host/cli/cli.h"
#include "host/cli/progress.h"
#include "host/model/model.h"

typedef struct inspect_values {
    nb_common common;
    bool tensors;
} inspect_values;

static const nb_opt opts[] = {
    {"tensors", 't', NB_OPT_FLAG, offsetof(inspect_values, tensors), NULL, NULL, 0, 0, "list every tensor"},
};

static const char *const examples[] = {"nibble inspect model.gguf", "nibble inspect SmolLM2-135M-w4 --tensors", NULL};

static int run(int argc, char **argv);
const nb_cmd nb_cmd_inspect = {
    .name = "inspect",
    .about = "show a model's architecture, tensors, sizes and quantization settings",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .examples = examples,
    .run = run,
};

/* What the linears of all blocks take on disk, and how many weights they hold. */
typedef struct matrix_sum {
    uint64_t bytes, weights;
    size_t quantized, dense;
} matrix_sum;

static bool belongs_to(const char *tensor, const char *module) {
    size_t len = strlen(module);
    return !strncmp(tensor, module, len) && tensor[len] == '.' && strcmp(tensor + len, ".bias") != 0;
}

static matrix_sum sum_matrices(const nb_model *model) {
    const nb_hparams *hp = nb_model_hparams(model);
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    matrix_sum s = {0};
    for (size_t i = 0; i < hp->layers * NB_LIN_COUNT; i++) {
        size_t layer = i / NB_LIN_COUNT, n, k;
        nb_lin lin = (nb_lin)(i % NB_LIN_COUNT);
        char name[160];
        nb_lin_shape(hp, lin, &n, &k);
        s.weights += (uint64_t)n * k;
        const nb_view *v = nb_model_linear_view(model, layer, lin);
        if (v) {
            s.dense++;
            s.bytes += v->bytes;
            continue;
        }
        s.quantized++;
        nb_lin_name(hp, layer, lin, name, sizeof name);
        for (size_t t = 0; t < nb_ckpt_count(ckpt); t++)
            if (belongs_to(nb_ckpt_tensor(ckpt, t)->name, name))
                s.bytes += nb_ckpt_tensor(ckpt, t)->bytes;
    }
    return s;
}

typedef struct dtype_sum {
    size_t tensors;
    uint64_t bytes;
} dtype_sum;

static void sum_dtypes(const nb_ckpt *ckpt, dtype_sum *sums) {
    for (size_t i = 0; i < nb_ckpt_count(ckpt); i++) {
        const nb_view *v = nb_ckpt_tensor(ckpt, i);
        sums[v->dtype].tensors++;
        sums[v->dtype].bytes += v->bytes;
    }
}

static void shape_text(const nb_view *v, char *out, size_t cap) {
    size_t len = 0;
    out[0] = 0;
    for (unsigned i = 0; i < v->ndim && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s%zu", i ? " x " : "", v->dims[i]);
}

static json_t *settings_json(const nb_scheme_config *c) {
    return json_pack("{s:s, s:i, s:I, s:b, s:b, s:b}", "format", c->format, "bits", (int)c->bits, "group_size",
                     (json_int_t)c->group_size, "symmetric", (int)c->symmetric, "desc_act", (int)c->desc_act, "ragged",
                     (int)c->ragged);
}

static json_t *tensors_json(const nb_ckpt *ckpt) {
    json_t *list = json_array();
    int bad = !list;
    for (size_t i = 0; i < nb_ckpt_count(ckpt); i++) {
        const nb_view *v = nb_ckpt_tensor(ckpt, i);
        json_t *dims = json_array();
        for (unsigned d = 0; d < v->ndim; d++)
            json_array_append_new(dims, json_integer((json_int_t)v->dims[d]));
        bad |= json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:I}", "name", v->name, "dtype", nb_dtype_get(v->dtype)->name,
                                              "shape", dims, "bytes", (json_int_t)v->bytes));
    }
    if (bad) {
        json_decref(list);
        list = NULL;
    }
    return list;
}

static json_t *to_json(const nb_model *model, bool tensors) {
    const nb_hparams *hp = nb_model_hparams(model);
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    matrix_sum m = sum_matrices(model);
    json_t *o = json_pack("{s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:f}", "schema", 1, "architecture",
                          hp->family->hf, "container", nb_ckpt_kind_of(ckpt) == NB_CKPT_GGUF ? "gguf" : "safetensors", "layers",
                          (json_int_t)hp->layers, "hidden", (json_int_t)hp->hidden, "intermediate", (json_int_t)hp->intermediate,
                          "heads", (json_int_t)hp->heads, "kv_heads", (json_int_t)hp->kv_heads, "vocab", (json_int_t)hp->vocab,
                          "context", (json_int_t)hp->context, "tied", (int)hp->tied, "file_bytes",
                          (json_int_t)nb_ckpt_file_bytes(ckpt), "matrix_bytes", (json_int_t)m.bytes, "matrix_weights",
                          (json_int_t)m.weights, "bits_per_weight", 8.0 * (double)m.bytes / (double)m.weights);
    if (o && nb_model_scheme(model))
        json_object_set_new(o, "quantization", settings_json(nb_model_scheme(model)));
    if (o && tensors && json_object_set_new(o, "tensors", tensors_json(ckpt)) != 0) {
        json_decref(o);
        o = NULL;
    }
    return o;
}

static void print_tensors(const nb_ckpt *ckpt) {
    printf("\n%-52s %-8s %18s %12s\n", "tensor", "type", "shape", "bytes");
    for (size_t i = 0; i < nb_ckpt_count(ckpt); i++) {
        const nb_view *v = nb_ckpt_tensor(ckpt, i);
        char shape[96];
        shape_text(v, shape, sizeof shape);
        printf("%-52s %-8s %18s %12zu\n", v->name, nb_dtype_get(v->dtype)->name, shape, v->bytes);
    }
}

static void print_text(const nb_model *model, bool tensors) {
    const nb_hparams *hp = nb_model_hparams(model);
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    const nb_scheme_config *c = nb_model_scheme(model);
    matrix_sum m = sum_matrices(model);
    dtype_sum sums[NB_DTYPE_COUNT] = {{0}};
    char a[24], b[24];
    printf("%s: %s, %s\n", nb_ckpt_path(ckpt), hp->family->hf, nb_ckpt_kind_of(ckpt) == NB_CKPT_GGUF ? "GGUF" : "safetensors");
    printf("layers %zu, hidden %zu, intermediate %zu, heads %zu / %zu of %zu, vocabulary %zu, context %zu, %s head\n", hp->layers,
           hp->hidden, hp->intermediate, hp->heads, hp->kv_heads, hp->head_dim, hp->vocab, hp->context,
           hp->tied ? "tied" : "own");
    printf("files %s; matrices of the blocks %s, %" PRIu64 " weights, %.3f bits per weight\n",
           nb_bytes_text((double)nb_ckpt_file_bytes(ckpt), a), nb_bytes_text((double)m.bytes, b), m.weights,
           8.0 * (double)m.bytes / (double)m.weights);
    if (c)
        printf("quantized: %s, %u bits, group size %lld, %s%s%s; %zu linears, %zu left alone\n", c->format, c->bits,
               (long long)c->group_size, c->symmetric ? "symmetric" : "asymmetric", c->desc_act ? ", act-order" : "",
               c->ragged ? ", short last groups" : "", m.quantized, m.dense);
    sum_dtypes(ckpt, sums);
    for (int t = 0; t < NB_DTYPE_COUNT; t++)
        if (sums[t].tensors)
            printf("  %-8s %6zu tensors  %s\n", nb_dtype_get((nb_dtype)t)->name, sums[t].tensors,
                   nb_bytes_text((double)sums[t].bytes, a));
    if (tensors)
        print_tensors(ckpt);
}

static int run(int argc, char **argv) {
    inspect_values v = {.common.progress = "auto"};
    const char *path = NULL;
    bool done;
    int code;
    nb_cli_parse(&nb_cmd_inspect, argc, argv, &v, &path, &done, &code);
    if (done)
        return code;
    nb_err err = {0};
    nb_model *model;
    nb_status status = nb_model_open(path, &model, &err);
    if (status != NB_OK)
        return nb_cli_fail(&err);
    if (v.common.json)
        status = nb_cli_json(to_json(model, v.tensors), &err);
    else
        print_text(model, v.tensors);
    if (status == NB_OK)
        status = nb_cli_flush(&err);
    nb_model_close(model);
    return status == NB_OK ? 0 : nb_cli_fail(&err);
}

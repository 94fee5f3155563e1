/* Any config and any tensors. A config that is accepted says the same after emit and parse; a linear that is read holds
 * only codes, groups and scales in range, and packs to tensors that read the same again.
 *
 * Input: n / 8, k / 8, flags (1: shapes as the config wants them, 2: other dtype of scales), shift of one shape; JSON; NUL;
 * bytes that the tensors repeat. */
#include <math.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/json.h"
#include "host/base/size.h"
#include "host/scheme/scheme.h"
#include "tests/fuzz/fuzz.h"

enum { PARTS = 4 };

typedef struct input {
    nb_view views[PARTS];
    const uint8_t *bytes;
    size_t count;
} input;

static const char *const names[PARTS] = {"p.qweight", "p.qzeros", "p.scales", "p.g_idx"};

static const nb_view *find(void *ctx, const char *name) {
    input *in = ctx;
    for (int i = 0; i < PARTS; i++)
        if (in->views[i].data && !strcmp(names[i], name))
            return &in->views[i];
    return NULL;
}

/* A tensor of exactly the bytes that its view states. */
static void make(input *in, int part, nb_dtype dtype, unsigned ndim, size_t rows, size_t cols) {
    nb_view *v = &in->views[part];
    *v = (nb_view){.name = names[part], .dtype = dtype, .ndim = ndim, .dims = {rows, cols}, .path = "fuzz"};
    v->bytes = rows * (ndim == 2 ? cols : 1) * nb_dtype_get(dtype)->block_bytes;
    uint8_t *data = malloc(v->bytes ? v->bytes : 1);
    MUST(data);
    for (size_t i = 0; i < v->bytes; i++)
        data[i] = in->count ? in->bytes[i % in->count] : 0;
    if (part == 3 && in->count % 2) /* groups that are in range, half of the time */
        for (size_t i = 0; i < v->bytes; i++)
            data[i] = i % 4 ? 0 : data[i] & 1;
    v->data = data;
}

static void check_config(const nb_scheme *s, const nb_scheme_config *c) {
    json_t *doc;
    nb_scheme_config back;
    bool mine = false;
    MUST(c->bits == 2 || c->bits == 3 || c->bits == 4 || c->bits == 8);
    MUST(c->group_size == -1 || c->group_size > 0);
    if (c->damp < 0 || !isfinite(c->damp))
        return; /* not written */
    MUST(s->emit(c, &doc, NULL) == NB_OK);
    MUST(s->parse(doc, &back, &mine, NULL) == NB_OK && mine);
    MUST(back.bits == c->bits && back.group_size == c->group_size && back.symmetric == c->symmetric);
    MUST(back.desc_act == c->desc_act && back.ragged == c->ragged && !strcmp(back.format, c->format));
    json_decref(doc);
}

static void check_tensor(const nb_qtensor *q) {
    for (size_t i = 0; i < q->n * q->k; i++)
        MUST(q->codes[i] >> q->bits == 0);
    for (size_t i = 0; i < q->n * q->groups; i++)
        MUST(isfinite(q->scales[i]) && q->zeros[i] >= 0 && q->zeros[i] < (float)(1u << q->bits));
    for (size_t j = 0; q->g_idx && j < q->k; j++)
        MUST(q->g_idx[j] < q->groups);
}

static void check_packed(const nb_scheme *s, const nb_scheme_config *c, const nb_qtensor *q) {
    nb_packed_tensor t[NB_SCHEME_MAX_TENSORS];
    size_t count = 0, clamped = 0;
    nb_qtensor back;
    input again = {0};
    if (s->pack(c, q, t, &count, &clamped, NULL) != NB_OK)
        return; /* scales that are not exact in F16 */
    for (size_t i = 0; i < count; i++)
        again.views[i] = (nb_view){names[i], t[i].dtype, t[i].ndim, {t[i].dims[0], t[i].dims[1]}, t[i].data, t[i].bytes, 0, "p"};
    MUST(s->read(c, find, &again, "p", q->n, q->k, &back, NULL) == NB_OK);
    MUST(memcmp(back.scales, q->scales, q->n * q->groups * sizeof(float)) == 0);
    if (!clamped && !c->symmetric) {
        MUST(memcmp(back.codes, q->codes, q->n * q->k) == 0);
        MUST(memcmp(back.zeros, q->zeros, q->n * q->groups * sizeof(float)) == 0);
    }
    nb_qtensor_free(&back);
    nb_packed_tensors_free(t, count);
}

static void run(const nb_scheme *s, const nb_scheme_config *config, const uint8_t *data, input *in) {
    size_t n = 8 * (size_t)(data[0] % 16), k = 8 * (size_t)(data[1] % 32), shift = data[3] % 5;
    nb_scheme_config c;
    bool skip;
    if (nb_scheme_for_module(config, "p", &c, &skip, NULL) != NB_OK)
        return;
    size_t group = c.group_size < 0 || !k ? nb_max(k, 1) : (size_t)c.group_size, groups = nb_ceil_div(k, group);
    if (!(data[2] & 1))
        groups = data[2] % 7;
    make(in, 0, NB_I32, 2, k * c.bits / 32 + (shift == 1), n);
    make(in, 1, NB_I32, 2, groups + (shift == 2), n * c.bits / 32);
    make(in, 2, data[2] & 2 ? NB_BF16 : NB_F16, 2, groups, n + (shift == 3));
    make(in, 3, NB_I32, 1, k + (shift == 4), 0);
    nb_qtensor q;
    if (s->read(&c, find, in, "p", n, k, &q, NULL) == NB_OK) {
        MUST(q.n == n && q.k == k && shift == 0);
        check_tensor(&q);
        check_packed(s, &c, &q);
        nb_qtensor_free(&q);
    }
    for (int i = 0; i < PARTS; i++)
        free((void *)(uintptr_t)in->views[i].data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size > 4 ? memchr(data + 4, 0, size - 4) : NULL;
    if (!end)
        return 0;
    json_t *doc;
    nb_scheme_config c;
    bool mine = false;
    const nb_scheme *s = nb_scheme_by_name("gptq");
    if (nb_json_parse((const char *)data + 4, (size_t)(end - data - 4), "fuzz", &doc, NULL) != NB_OK)
        return 0;
    if (s->parse(doc, &c, &mine, NULL) == NB_OK && mine) {
        input in = {.bytes = end + 1, .count = size - (size_t)(end + 1 - data)};
        check_config(s, &c);
        run(s, &c, data, &in);
    }
    json_decref(doc);
    return 0;
}

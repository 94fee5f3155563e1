#include "host/backend/packed.h"

#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

static bool zeros_are_bytes(const nb_qtensor *q) {
    for (size_t i = 0; i < q->n * q->groups; i++)
        if (!(q->zeros[i] >= 0.0f && q->zeros[i] <= 255.0f &&
              q->zeros[i] == (float)(int)q->zeros[i]))
            return false;
    return true;
}

static bool zeros_are_middle(const nb_qtensor *q) {
    for (size_t i = 0; i < q->n * q->groups; i++)
        if (q->zeros[i] != (float)(1u << (q->bits - 1)))
            return false;
    return true;
}

static bool groups_are_full_at_most(const nb_qtensor *q) {
    size_t *count;
    if (!q->g_idx)
        return true;
    if (nb_calloc(q->groups, sizeof *count, "groups", &count, NULL) != NB_OK)
        return false;
    bool ok = true;
    for (size_t j = 0; ok && j < q->k; j++)
        ok = q->g_idx[j] < q->groups && ++count[q->g_idx[j]] <= q->group_size;
    nb_free(count);
    return ok;
}

bool nb_packed_supports(const nb_qtensor *q) {
    bool width = q->bits == 2 || q->bits == 3 || q->bits == 4 || q->bits == 8;
    return width && !q->codebook && (q->group_size >= 16 || q->group_size == q->k) &&
           (q->float_zeros || zeros_are_bytes(q)) && groups_are_full_at_most(q);
}

/* Is every scale exact in the tensor's scale type? */
static nb_dtype exact_scale_type(const nb_qtensor *q) {
    for (size_t i = 0; i < q->n * q->groups; i++) {
        float s = q->scales[i], back = s;
        if (q->scale_type == NB_F16)
            back = nb_f16_to_f32(nb_f32_to_f16(s));
        else if (q->scale_type == NB_BF16)
            back = nb_bf16_to_f32(nb_f32_to_bf16(s));
        if (back != s)
            return NB_F32;
    }
    return q->scale_type;
}

/* Is g_idx just j / group? Then no map is needed. */
static bool order_is_stored(const nb_qtensor *q) {
    for (size_t j = 0; q->g_idx && j < q->k; j++)
        if (q->g_idx[j] != j / q->group_size)
            return false;
    return true;
}

typedef struct pack_run {
    const nb_packer *packer;
    const nb_qtensor *q;
    const nb_qweight *w;
    float *offsets; /* [n, groups] or NULL */
    void *packed;
} pack_run;

static void pack_task(void *arg, size_t p, unsigned worker) {
    const pack_run *r = arg;
    const nb_qtensor *q = r->q;
    (void)worker;
    size_t row = p * r->packer->panel, rows = nb_min(r->packer->panel, q->n - row);
    const float *zeros = r->offsets ? r->offsets : q->zeros;
    r->packer->pack(r->w, p, rows, q->codes + row * q->k, q->scales + row * q->groups,
                    zeros + row * q->groups, r->packed);
}

static nb_status make_offsets(const nb_qtensor *q, float **out, nb_err *err) {
    NB_TRY(nb_calloc(q->n * q->groups, sizeof **out, "offsets", out, err));
    for (size_t i = 0; i < q->n * q->groups; i++)
        (*out)[i] = -q->zeros[i] * q->scales[i];
    return NB_OK;
}

/* Packs into host memory. */
static nb_status pack_host(const nb_packed *p, const nb_qtensor *q, void *packed, nb_err *err) {
    pack_run r = {.packer = p->device->backend->packer, .q = q, .w = &p->w, .packed = packed};
    if (!r.packer->begin(&p->w, p->w.act_order ? q->g_idx : NULL, packed))
        return nb_fail(err, NB_E_INPUT, "g_idx names a group beyond %zu, or gives one more than %zu columns",
                       q->groups, q->group_size);
    if (p->w.offsets)
        NB_TRY(make_offsets(q, &r.offsets, err));
    nb_pool_run(p->device->pool, nb_ceil_div(q->n, r.packer->panel), pack_task, &r);
    nb_free(r.offsets);
    return NB_OK;
}

/* Packs on the host, and sends the bytes where the device does not read host memory in place. */
static nb_status pack(nb_stream *stream, nb_packed *p, const nb_qtensor *q, size_t bytes, nb_err *err) {
    nb_device *device = p->device;
    void *host;
    NB_TRY(nb_alloc(device, bytes, &p->w.data, err));
    if (device->unified)
        return pack_host(p, q, nb_host(p->w.data), err);
    NB_TRY(device->backend->alloc_host(device, bytes, &host, err));
    nb_status status = pack_host(p, q, host, err);
    if (status == NB_OK)
        status = nb_upload(stream, p->w.data, host, bytes, err);
    if (status == NB_OK)
        status = nb_sync(stream, err);
    device->backend->free_host(device, host);
    return status;
}

nb_status nb_packed_new(nb_stream *stream, const nb_qtensor *q, nb_packed **out, nb_err *err) {
    nb_device *device = stream->device;
    const nb_packer *packer = device->backend->packer;
    size_t bytes;
    nb_packed *p;
    if (!packer)
        return nb_fail(err, NB_E_UNSUPPORTED, "packed weights are not served by the device %s",
                       device->backend->name);
    if (!nb_packed_supports(q))
        return nb_fail(err, NB_E_UNSUPPORTED, "a tensor of %u bits, group %zu%s cannot be packed",
                       q->bits, q->group_size, q->codebook ? " with a codebook" : "");
    NB_TRY(nb_calloc(1, sizeof *p, "a packed weight", &p, err));
    p->device = device;
    p->w = (nb_qweight){
        .n = q->n, .k = q->k, .group = q->group_size, .bits = q->bits, .offsets = q->float_zeros};
    p->w.symmetric = !q->float_zeros && zeros_are_middle(q);
    p->w.act_order = !order_is_stored(q);
    p->w.scale_type = exact_scale_type(q);
    nb_status status = packer->size(&p->w, &bytes) ? pack(stream, p, q, bytes, err)
                                                   : nb_fail_memory(err, SIZE_MAX, "a packed weight");
    if (status != NB_OK) {
        nb_packed_free(p);
        return status;
    }
    *out = p;
    return NB_OK;
}

void nb_packed_free(nb_packed *p) {
    if (!p)
        return;
    nb_release(p->device, &p->w.data);
    nb_free(p);
}

nb_status nb_qgemm_workspace(nb_device *device, const nb_qweight *w, size_t m, nb_gemm_mode mode, size_t *bytes, nb_err *err) {
    const nb_packer *packer = device->backend->packer;
    if (!packer)
        return nb_fail(err, NB_E_UNSUPPORTED, "packed weights are not served by the device %s",
                       device->backend->name);
    if (!packer->workspace(w, m, mode == NB_GEMM_FAST, device->units, bytes))
        return nb_fail_memory(err, SIZE_MAX, "a workspace");
    return NB_OK;
}

nb_status nb_packed_workspace(const nb_packed *p, size_t m, nb_gemm_mode mode, size_t *bytes,
                              nb_err *err) {
    return nb_qgemm_workspace(p->device, &p->w, m, mode, bytes, err);
}

nb_status nb_packed_linear(nb_stream *stream, const nb_packed *p, nb_gemm_mode mode, size_t m,
                           nb_mem x, size_t ldx, nb_mem y, size_t ldy, nb_mem bias, bool accumulate,
                           nb_mem workspace, nb_err *err) {
    struct nb_qgemm_i8_args args = {.g = {.m = m,
                                          .w = p->w,
                                          .x = x,
                                          .y = y,
                                          .bias = bias,
                                          .workspace = workspace,
                                          .ldx = ldx,
                                          .ldy = ldy,
                                          .x_type = NB_F32,
                                          .y_type = NB_F32,
                                          .accumulate = accumulate}};
    if (mode == NB_GEMM_FAST)
        return nb_launch(stream, NB_OP_qgemm_i8, &args, err);
    return nb_launch(stream, NB_OP_qgemm, &args.g, err);
}

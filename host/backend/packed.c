#include "host/backend/packed.h"

#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "kernels/cpu/qgemm.h"

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
    const nb_qtensor *q;
    const nb_qweight *w;
    const nb__qlayout *l;
    const uint32_t *map;
    float *offsets; /* [n, groups] or NULL */
    unsigned char *panels;
} pack_run;

static void pack_task(void *arg, size_t p, unsigned worker) {
    const pack_run *r = arg;
    const nb_qtensor *q = r->q;
    (void)worker;
    size_t row = p * NB_PANEL, rows = nb_min(NB_PANEL, q->n - row);
    const float *zeros = r->offsets ? r->offsets : q->zeros;
    nb__qpanel_pack(r->w, r->l, r->map, rows, q->codes + row * q->k, q->scales + row * q->groups,
                    zeros + row * q->groups, r->panels + p * r->l->panel_bytes);
}

static nb_status make_offsets(const nb_qtensor *q, float **out, nb_err *err) {
    NB_TRY(nb_calloc(q->n * q->groups, sizeof **out, "offsets", out, err));
    for (size_t i = 0; i < q->n * q->groups; i++)
        (*out)[i] = -q->zeros[i] * q->scales[i];
    return NB_OK;
}

static nb_status pack_cpu(nb_packed *p, const nb_qtensor *q, const nb__qlayout *l, nb_err *err) {
    unsigned char *data = nb_host(p->w.data);
    pack_run r = {.q = q, .w = &p->w, .l = l, .panels = data + l->map_bytes};
    if (p->w.act_order) {
        uint32_t *map = (uint32_t *)(void *)data;
        if (!nb__qlayout_map(&p->w, l, q->g_idx, map))
            return nb_fail(err, NB_E_INPUT,
                           "g_idx names a group beyond %zu, or gives one more than %zu columns",
                           l->groups, q->group_size);
        r.map = map;
    }
    if (p->w.offsets)
        NB_TRY(make_offsets(q, &r.offsets, err));
    nb_pool_run(nb_device_pool(p->device), l->panels, pack_task, &r);
    nb_free(r.offsets);
    return NB_OK;
}

nb_status nb_packed_new(nb_stream *stream, const nb_qtensor *q, nb_packed **out, nb_err *err) {
    nb_device *device = stream->device;
    nb__qlayout l;
    nb_packed *p;
    if (device->backend->id != NB_CPU)
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
    nb_status status =
        nb__qlayout_make(&p->w, &l) ? NB_OK : nb_fail_memory(err, SIZE_MAX, "a packed weight");
    if (status == NB_OK)
        status = nb_alloc(device, l.bytes, &p->w.data, err);
    if (status == NB_OK)
        status = pack_cpu(p, q, &l, err);
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
    if (device->backend->id != NB_CPU)
        return nb_fail(err, NB_E_UNSUPPORTED, "packed weights are not served by the device %s",
                       device->backend->name);
    if (!nb__cpu_qgemm_workspace(w, m, mode == NB_GEMM_FAST,
                                 nb_pool_threads(nb_device_pool(device)), bytes))
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

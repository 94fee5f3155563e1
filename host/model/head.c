/* The output head as 8-bit rows: groups of 32 columns, one f16 scale each, as GGUF's Q8_0 has them. */
#include <math.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/model/impl.h"

enum { GROUP = 32, ROWS = 32, MIDDLE = 128 };

typedef struct rounding {
    const nb_view *view;
    size_t row_bytes;
    nb_qtensor *q;
    nb_pool *pool;
} rounding;

/* scale = max|x| / 127 rounded to f16, code = round(x / scale). Rows of Q8_0 come out as they are where a group's largest
 * code is 127. A scale that rounds to zero makes the group zero. */
static void round_group(const float *x, size_t count, uint8_t *codes, float *scale) {
    float max = 0.0f;
    for (size_t j = 0; j < count; j++)
        max = fabsf(x[j]) > max ? fabsf(x[j]) : max;
    *scale = nb_f16_to_f32(nb_f32_to_f16(max / 127.0f));
    float inverse = *scale > 0.0f ? 1.0f / *scale : 0.0f;
    for (size_t j = 0; j < count; j++) {
        /* Adding 1.5 * 2^23 rounds to an integer, half to even. */
        float code = (x[j] * inverse + 12582912.0f) - 12582912.0f;
        code = code > 127.0f ? 127.0f : code < -127.0f ? -127.0f : code;
        codes[j] = (uint8_t)((int)code + MIDDLE);
    }
}

static void round_rows(void *arg, size_t task, unsigned worker) {
    const rounding *r = arg;
    nb_qtensor *q = r->q;
    float *x = nb_pool_scratch(r->pool, worker, 0);
    for (size_t i = task * ROWS; i < nb_min((task + 1) * ROWS, q->n); i++) {
        nb_to_f32(r->view->dtype, (const char *)r->view->data + i * r->row_bytes, q->k, x);
        for (size_t g = 0; g < q->groups; g++) {
            size_t j = g * q->group_size;
            round_group(x + j, nb_min(q->group_size, q->k - j), q->codes + i * q->k + j, &q->scales[i * q->groups + g]);
            q->zeros[i * q->groups + g] = MIDDLE;
        }
    }
}

nb_status nb__head_q8(nb_stream *stream, const nb_view *view, nb_packed **out, nb_err *err) {
    size_t n = view->dims[0], k = view->dims[1];
    nb_pool *pool = stream->device->pool;
    nb_qtensor q;
    nb_status status;
    NB_TRY(nb_qtensor_new(n, k, 8, nb_min(GROUP, k), true, false, &q, err));
    NB_GO(nb_pool_reserve(pool, k * sizeof(float), err));
    rounding r = {.view = view, .row_bytes = view->bytes / n, .q = &q, .pool = pool};
    nb_pool_run(pool, nb_ceil_div(n, ROWS), round_rows, &r);
    NB_GO(nb_packed_new(stream, &q, out, err));
out:
    nb_qtensor_free(&q);
    return status;
}

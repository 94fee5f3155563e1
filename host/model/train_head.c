/* KL divergence of predictions to the original's, and its gradient by the last block's output: final norm, head, softmax. */
#include <math.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/model/impl.h"
#include "host/model/train.h"

/* Rows of logits at once: two matrices of 64 MB at the most, unless the vocabulary is huge. */
enum { LOGIT_FLOATS = 1 << 24, LEAST_ROWS = 16, MOST_ROWS = 512 };

struct nb_head_trainer {
    nb_stream *stream;
    nb_device *device;
    const nb_hparams *hp;
    size_t rows;
    nb_mem table;            /* f32 [vocab, hidden]: the gradient multiplies by it as stored */
    nb_mem norm;             /* f32 [hidden] */
    nb_mem x, d;             /* f32 [rows, hidden] */
    nb_mem logits, exact;    /* f32 [rows, vocab] */
    nb_mem targets, nll, kl, agree; /* [rows] of i32, f64, f64, i32 */
    double *host_kl;
};

static size_t logit_rows(const nb_hparams *hp) {
    return nb_min(nb_max(LOGIT_FLOATS / hp->vocab, LEAST_ROWS), MOST_ROWS);
}

size_t nb_head_trainer_bytes(const nb_hparams *hp) {
    size_t rows = logit_rows(hp), table, logits, total;
    if (!nb_mul3(hp->vocab, hp->hidden, sizeof(float), &table) || !nb_mul3(rows, hp->vocab + hp->hidden + 4, 2 * sizeof(float), &logits) ||
        !nb_add(table, logits, &total))
        return SIZE_MAX;
    return total;
}

static nb_status load_table(nb_head_trainer *t, const nb_view *view, nb_err *err) {
    size_t count = t->hp->vocab * t->hp->hidden; /* fits: nb_head_trainer_bytes */
    float *host;
    nb_status status;
    NB_TRY(nb__view_finite(view, err));
    NB_TRY(nb_calloc(count, sizeof *host, "the head", &host, err));
    nb_to_f32(view->dtype, view->data, count, host);
    NB_GO(nb_alloc_array(t->device, count, sizeof *host, &t->table, err));
    NB_GO(nb_upload(t->stream, t->table, host, count * sizeof *host, err));
    NB_GO(nb_sync(t->stream, err));
out:
    nb_free(host);
    return status;
}

static nb_status setup(nb_head_trainer *t, const nb_model *model, nb_err *err) {
    size_t h = t->hp->hidden, v = t->hp->vocab, rows = t->rows;
    if (nb_head_trainer_bytes(t->hp) == SIZE_MAX)
        return nb_fail_memory(err, SIZE_MAX, "the head");
    NB_TRY(load_table(t, model->head, err));
    NB_TRY(nb__load_vector(t->stream, model->final_norm, t->hp->norm_offset, &t->norm, err));
    NB_TRY(nb_alloc_array(t->device, rows * h, sizeof(float), &t->x, err));
    NB_TRY(nb_alloc_array(t->device, rows * h, sizeof(float), &t->d, err));
    NB_TRY(nb_alloc_array(t->device, rows * v, sizeof(float), &t->logits, err));
    NB_TRY(nb_alloc_array(t->device, rows * v, sizeof(float), &t->exact, err));
    NB_TRY(nb_alloc_array(t->device, rows, sizeof(int32_t), &t->targets, err));
    NB_TRY(nb_fill(t->stream, t->targets, 0, rows * sizeof(int32_t), err));
    NB_TRY(nb_alloc_array(t->device, rows, sizeof(double), &t->nll, err));
    NB_TRY(nb_alloc_array(t->device, rows, sizeof(double), &t->kl, err));
    NB_TRY(nb_alloc_array(t->device, rows, sizeof(int32_t), &t->agree, err));
    return nb_calloc(rows, sizeof *t->host_kl, "divergences", &t->host_kl, err);
}

nb_status nb_head_trainer_new(const nb_model *model, nb_stream *stream, nb_head_trainer **out, nb_err *err) {
    nb_head_trainer *t;
    NB_TRY(nb_calloc(1, sizeof *t, "the head's training", &t, err));
    *t = (nb_head_trainer){.stream = stream, .device = stream->device, .hp = &model->hp, .rows = logit_rows(&model->hp)};
    nb_status status = setup(t, model, err);
    if (status != NB_OK) {
        nb_head_trainer_free(t);
        return status;
    }
    *out = t;
    return NB_OK;
}

void nb_head_trainer_free(nb_head_trainer *t) {
    if (!t)
        return;
    nb_mem *all[] = {&t->table, &t->norm, &t->x, &t->d, &t->logits, &t->exact, &t->targets, &t->nll, &t->kl, &t->agree};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        nb_release(t->device, all[i]);
    nb_free(t->host_kl);
    nb_free(t);
}

static nb_status predict(nb_head_trainer *t, nb_mem hidden, size_t rows, nb_mem logits, nb_err *err) {
    size_t h = t->hp->hidden, v = t->hp->vocab;
    struct nb_rmsnorm_args norm = {.rows = rows, .k = h, .x = hidden, .weight = t->norm, .y = t->x, .ldx = h, .ldy = h,
                                   .eps = (float)t->hp->norm_eps};
    struct nb_linear_args head = {.m = rows, .n = v, .k = h, .x = t->x, .w = t->table, .y = logits, .ldx = h, .ldy = v, .w_type = NB_F32};
    NB_TRY(nb_launch(t->stream, NB_OP_rmsnorm, &norm, err));
    return nb_launch(t->stream, NB_OP_linear, &head, err);
}

/* From the logits of both to d [rows, hidden], the gradient by x. */
static nb_status back(nb_head_trainer *t, nb_mem x, size_t rows, float factor, nb_mem d, nb_err *err) {
    size_t h = t->hp->hidden, v = t->hp->vocab;
    struct nb_kl_back_args kl = {.rows = rows, .n = v, .logits = t->logits, .reference = t->exact, .d = t->logits, .ldl = v, .ldr = v,
                                 .ldd = v, .factor = factor};
    struct nb_matmul_args head = {.m = rows, .n = h, .k = v, .a = t->logits, .lda = v, .b = t->table, .ldb = h, .c = t->d, .ldc = h,
                                  .alpha = 1.0f};
    struct nb_rmsnorm_back_args norm = {.rows = rows, .k = h, .x = x, .weight = t->norm, .d = t->d, .dx = d, .ldx = h, .ldd = h,
                                        .lddx = h, .eps = (float)t->hp->norm_eps};
    NB_TRY(nb_launch(t->stream, NB_OP_kl_back, &kl, err));
    NB_TRY(nb_launch(t->stream, NB_OP_matmul, &head, err));
    return nb_launch(t->stream, NB_OP_rmsnorm_back, &norm, err);
}

static nb_status add_divergence(nb_head_trainer *t, size_t rows, double *kl, nb_err *err) {
    size_t v = t->hp->vocab;
    struct nb_logit_stats_args a = {.rows = rows, .n = v, .logits = t->logits, .reference = t->exact, .ldl = v, .ldr = v,
                                    .targets = t->targets, .nll = t->nll, .kl = t->kl, .agree = t->agree};
    NB_TRY(nb_launch(t->stream, NB_OP_logit_stats, &a, err));
    NB_TRY(nb_download(t->stream, t->host_kl, t->kl, rows * sizeof(double), err));
    NB_TRY(nb_sync(t->stream, err));
    for (size_t i = 0; i < rows; i++)
        *kl += t->host_kl[i];
    return NB_OK;
}

nb_status nb_head_trainer_kl(nb_head_trainer *t, nb_mem x, nb_mem exact, size_t tokens, float factor, nb_mem d, double *kl,
                             nb_err *err) {
    *kl = 0.0;
    for (size_t at = 0; at < tokens; at += t->rows) {
        size_t rows = nb_min(t->rows, tokens - at), bytes = at * t->hp->hidden * sizeof(float);
        NB_TRY(predict(t, nb_mem_at(exact, bytes), rows, t->exact, err));
        NB_TRY(predict(t, nb_mem_at(x, bytes), rows, t->logits, err));
        NB_TRY(add_divergence(t, rows, kl, err));
        if (d.base)
            NB_TRY(back(t, nb_mem_at(x, bytes), rows, factor, nb_mem_at(d, bytes), err));
    }
    return NB_OK;
}

/* One of n by their logits; x becomes their exponentials. */
static size_t draw(float *x, size_t n, double u) {
    float max = x[0];
    double sum = 0.0, at = 0.0;
    for (size_t j = 1; j < n; j++)
        max = x[j] > max ? x[j] : max;
    for (size_t j = 0; j < n; j++)
        sum += (double)(x[j] = expf(x[j] - max));
    for (size_t j = 0; j < n; j++) {
        at += (double)x[j];
        if (at > u * sum)
            return j;
    }
    return n - 1;
}

/* The logit of what is drawn, where all others are 0: it is then certain, as exp(-1000) is nothing. */
#define CERTAIN 1000.0f

/* exact := logits of predictions that are certain of tokens drawn by those in `logits`; `host` is room for [rows, vocab]. */
static nb_status draw_rows(nb_head_trainer *t, size_t rows, float *host, nb_random *random, nb_err *err) {
    const float certain = CERTAIN;
    size_t v = t->hp->vocab;
    NB_TRY(nb_download(t->stream, host, t->logits, rows * v * sizeof *host, err));
    NB_TRY(nb_fill(t->stream, t->exact, 0, rows * v * sizeof *host, err));
    NB_TRY(nb_sync(t->stream, err));
    for (size_t i = 0; i < rows; i++) {
        size_t y = draw(host + i * v, v, nb_random_f32(random));
        NB_TRY(nb_upload(t->stream, nb_mem_at(t->exact, (i * v + y) * sizeof certain), &certain, sizeof certain, err));
    }
    return nb_sync(t->stream, err);
}

nb_status nb_head_trainer_sample(nb_head_trainer *t, nb_mem x, size_t tokens, nb_random *random, nb_mem d, nb_err *err) {
    float *host;
    nb_status status = NB_OK;
    NB_TRY(nb_calloc(t->rows * t->hp->vocab, sizeof *host, "logits", &host, err));
    for (size_t at = 0; at < tokens; at += t->rows) {
        size_t rows = nb_min(t->rows, tokens - at), bytes = at * t->hp->hidden * sizeof(float);
        NB_GO(predict(t, nb_mem_at(x, bytes), rows, t->logits, err));
        NB_GO(draw_rows(t, rows, host, random, err));
        NB_GO(back(t, nb_mem_at(x, bytes), rows, 1.0f, nb_mem_at(d, bytes), err));
    }
out:
    nb_free(host);
    return status;
}

/* GPTQ whose rows make up for each other's errors too. With H the covariance of a linear's inputs and G that of the loss's gradients by
 * its outputs, tr(G E H E^T) stands for what the model's loss changes by (K-FAC, Martens and Grosse, arXiv 1503.05671); rounding against
 * it with feedback over columns and rows is YAQA's (Tseng, Sun, De Sa, arXiv 2505.22988). Here rows go in batches: GPTQ over columns
 * inside a batch, then the rows still to come take the batch's errors as GPTQ's columns do,
 *     W[F] -= U[P,F]^T U[P,P]^-T (W[P] - Q[P]),  G^-1 = U^T U,
 * with rows in falling order of diag G. Rows of one batch do not see each other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/quant/internal.h"
#include "host/quant/methods.h"

enum { BATCH = 32 }; /* rows */
#define MOST_RAISED 1000.0 /* of G's mean diagonal, after raising */

typedef struct two_sided {
    nb_stream *stream;
    nb_device *device;
    size_t n, k;
    nb_quant_options options; /* of batches */
    nb_quant_stats stats;
    nb_mem w;                 /* f32 [n,k], rows in visiting order: targets */
    nb_mem batch, spread;     /* f32 [BATCH,k], [BATCH,n] */
    size_t *perm;             /* [n] */
    float *g;                 /* f32 [n,n] */
    float *u;                 /* f32 [n,n]: upper factor of the inverse, in visiting order */
    float *room;              /* f32 [n,k] or [BATCH,n] */
} two_sided;

/* ---- the factor of G ---- */

typedef struct place {
    float size;
    size_t row;
} place;

static int falling(const void *a, const void *b) {
    const place *x = a, *y = b;
    return x->size > y->size ? -1 : x->size < y->size ? 1 : x->row < y->row ? -1 : x->row > y->row;
}

static nb_status order_rows(two_sided *t, nb_err *err) {
    place *places;
    NB_TRY(nb_calloc(t->n, sizeof *places, "an order of rows", &places, err));
    for (size_t i = 0; i < t->n; i++)
        places[i] = (place){.size = t->g[i * t->n + i], .row = i};
    qsort(places, t->n, sizeof *places, falling);
    for (size_t i = 0; i < t->n; i++)
        t->perm[i] = places[i].row;
    nb_free(places);
    return NB_OK;
}

/* u = U for G in visiting order with `add` on its diagonal; *good: it is positive definite. */
static nb_status factor_with(two_sided *t, float add, nb_mem f, nb_mem temp, nb_mem seen, bool *good, nb_err *err) {
    size_t n = t->n, bytes = n * n * sizeof(float);
    struct nb_gptq_status status;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            t->u[i * n + j] = t->g[t->perm[n - 1 - i] * n + t->perm[n - 1 - j]] + (i == j ? add : 0.0f);
    NB_TRY(nb_upload(t->stream, f, t->u, bytes, err));
    NB_TRY(nb_fill(t->stream, seen, 0, sizeof status, err));
    NB_TRY(nb__inverse_factor(t->stream, f, n, temp, seen, err));
    struct nb_reverse_args reverse = {.count = n * n, .a = f};
    NB_TRY(nb_launch(t->stream, NB_OP_reverse, &reverse, err));
    NB_TRY(nb_download(t->stream, t->u, f, bytes, err));
    NB_TRY(nb_download(t->stream, &status, seen, sizeof status, err));
    NB_TRY(nb_sync(t->stream, err));
    *good = status.pivot == 0;
    return NB_OK;
}

/* G onto the host; *mean of its diagonal. Gradients that are all zero are fine: *mean is 0. */
static nb_status load_outputs(two_sided *t, nb_mem output, double *mean, nb_err *err) {
    bool good = true;
    *mean = 0.0;
    NB_TRY(nb_calloc(t->n * t->n, sizeof *t->g, "a covariance", &t->g, err)); /* n n floats are there already: no overflow */
    NB_TRY(nb_download(t->stream, t->g, output, t->n * t->n * sizeof *t->g, err));
    NB_TRY(nb_sync(t->stream, err));
    for (size_t i = 0; i < t->n * t->n; i++)
        good = good && isfinite(t->g[i]) && (i % (t->n + 1) != 0 || t->g[i] >= 0.0f);
    for (size_t i = 0; i < t->n; i++)
        *mean += (double)t->g[i * t->n + i] / (double)t->n;
    return good ? NB_OK
                : nb_fail(err, NB_E_INPUT, "the covariance of output gradients is NaN, infinite or negative on its diagonal");
}

static nb_status factorize(two_sided *t, double mean, nb_quant_report *report, nb_err *err) {
    nb_mem f = {0}, temp = {0}, seen = {0};
    double damp = t->options.output_damp;
    bool good;
    nb_status status;
    NB_GO(nb_alloc_array(t->device, t->n * t->n, sizeof(float), &f, err));
    NB_GO(nb_alloc_array(t->device, nb__factor_temp(t->n), sizeof(float), &temp, err));
    NB_GO(nb_alloc(t->device, sizeof(struct nb_gptq_status), &seen, err));
    NB_GO(order_rows(t, err));
    NB_GO(factor_with(t, (float)(damp * mean), f, temp, seen, &good, err));
    while (!good && damp < MOST_RAISED) {
        damp = damp > 0.0 ? fmin(10.0 * damp, MOST_RAISED) : 0.01;
        report->output_damp_raised++;
        NB_GO(factor_with(t, (float)(damp * mean), f, temp, seen, &good, err));
    }
    report->output_damp_used = damp;
    if (!good)
        status = nb_fail(err, NB_E_FAILED, "the covariance of output gradients is not positive definite with damping %g", damp);
out:
    nb_release(t->device, &f);
    nb_release(t->device, &temp);
    nb_release(t->device, &seen);
    return status;
}

/* ---- batches ---- */

/* room [count, rest] = U[P,P]^-1 U[P,F] for the batch at p, F all rows behind it. */
static void feedback(const two_sided *t, size_t p, size_t count) {
    size_t n = t->n, from = p + count, rest = n - from;
    for (size_t i = count; i-- > 0;) {
        const float *row = t->u + (p + i) * n;
        float *y = t->room + i * rest;
        memcpy(y, row + from, rest * sizeof *y);
        for (size_t r = i + 1; r < count; r++)
            for (size_t j = 0; j < rest; j++)
                y[j] -= row[p + r] * t->room[r * rest + j];
        for (size_t j = 0; j < rest; j++)
            y[j] /= row[p + i];
    }
}

/* The batch's errors into the rows behind it; `batch` holds its dequantized rows. */
static nb_status spread(const two_sided *t, size_t p, size_t count, nb_err *err) {
    size_t from = p + count, rest = t->n - from, row = t->k * sizeof(float);
    struct nb_subtract_args less = {.rows = count, .k = t->k, .x = nb_mem_at(t->w, p * row), .ldx = t->k, .y = t->batch, .ldy = t->k};
    struct nb_matmul_args add = {.m = rest, .n = t->k, .k = count, .a = t->spread, .lda = rest, .trans_a = true, .b = t->batch,
                                 .ldb = t->k, .c = nb_mem_at(t->w, from * row), .ldc = t->k, .alpha = -1.0f, .beta = 1.0f};
    if (rest == 0)
        return NB_OK;
    feedback(t, p, count);
    NB_TRY(nb_upload(t->stream, t->spread, t->room, count * rest * sizeof(float), err));
    NB_TRY(nb_launch(t->stream, NB_OP_subtract, &less, err));
    NB_TRY(nb_launch(t->stream, NB_OP_matmul, &add, err));
    return nb_sync(t->stream, err);
}

/* Rows of a batch's tensor into their places. */
static void place_rows(const two_sided *t, const nb_qtensor *q, size_t p, nb_qtensor *out) {
    for (size_t i = 0; i < q->n; i++) {
        size_t to = t->perm[p + i];
        memcpy(out->codes + to * q->k, q->codes + i * q->k, q->k);
        memcpy(out->scales + to * q->groups, q->scales + i * q->groups, q->groups * sizeof *q->scales);
        memcpy(out->zeros + to * q->groups, q->zeros + i * q->groups, q->groups * sizeof *q->zeros);
    }
}

static nb_status solve_batch(two_sided *t, size_t p, size_t count, nb_qtensor *out, nb_quant_report *report, nb_err *err) {
    nb_quant_report made;
    nb_qtensor q;
    NB_TRY(nb_copy(t->stream, t->batch, nb_mem_at(t->w, p * t->k * sizeof(float)), count * t->k * sizeof(float), err));
    NB_TRY(nb__quantizer_gptq.run(t->stream, t->batch, count, t->k, &t->stats, &t->options, &q, &made, err));
    place_rows(t, &q, p, out);
    out->scale_type = q.scale_type;
    nb_qtensor_free(&q);
    report->loss += made.loss * (double)count / (double)t->n;
    report->dead_columns = made.dead_columns;
    report->damp_used = made.damp_used;
    report->damp_raised = made.damp_raised;
    report->factor_seconds += made.factor_seconds;
    report->solve_seconds += made.solve_seconds;
    return spread(t, p, count, err);
}

/* Rows of w into visiting order. */
static nb_status sort_rows(two_sided *t, nb_mem w, nb_err *err) {
    size_t row = t->k * sizeof(float);
    for (size_t i = 0; i < t->n; i++)
        NB_TRY(nb_copy(t->stream, nb_mem_at(t->w, i * row), nb_mem_at(w, t->perm[i] * row), row, err));
    return nb_sync(t->stream, err);
}

static nb_status put_back(two_sided *t, const nb_qtensor *q, nb_mem w, nb_err *err) {
    for (size_t i = 0; i < t->n; i++)
        nb_qtensor_row(q, i, t->room + i * t->k);
    NB_TRY(nb_upload(t->stream, w, t->room, t->n * t->k * sizeof(float), err));
    return nb_sync(t->stream, err);
}

static nb_status setup(two_sided *t, nb_err *err) {
    size_t n = t->n, k = t->k;
    NB_TRY(nb_calloc(n, sizeof *t->perm, "an order of rows", &t->perm, err));
    NB_TRY(nb_calloc(n * n, sizeof *t->u, "a covariance", &t->u, err)); /* n n and n k floats are there already: no overflow */
    NB_TRY(nb_calloc(nb_max(n * k, BATCH * n), sizeof *t->room, "a weight", &t->room, err));
    NB_TRY(nb_alloc_array(t->device, n * k, sizeof(float), &t->w, err));
    NB_TRY(nb_alloc_array(t->device, BATCH * k, sizeof(float), &t->batch, err));
    return nb_alloc_array(t->device, BATCH * n, sizeof(float), &t->spread, err);
}

nb_status nb__gptq_two_sided(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                             const nb_quant_options *options, nb_qtensor *out, nb_quant_report *report, nb_err *err) {
    two_sided t = {.stream = stream, .device = stream->device, .n = n, .k = k, .options = *options, .stats = *stats};
    nb_quant_cache *own = NULL;
    nb_quant_report made = {0};
    nb_qtensor q = {0};
    double mean;
    nb_status status;
    t.stats.output = (nb_mem){0};
    if (options->order == NB_ORDER_ACT)
        return nb_fail(err, NB_E_USAGE, "feedback over rows does not go with the order act");
    NB_GO(load_outputs(&t, stats->output, &mean, err));
    if (mean == 0.0) { /* nothing is known of rows: they are taken for independent */
        status = nb__quantizer_gptq.run(stream, w, n, k, &t.stats, options, out, report, err);
        goto out;
    }
    t.stats.cross = (nb_mem){0};
    t.stats.cache = stats->cache ? stats->cache : &own;
    t.options.asym = 0.0;
    NB_GO(setup(&t, err));
    NB_GO(nb__gptq_target(stream, w, n, k, stats, options, t.stats.cache, err));
    NB_GO(factorize(&t, mean, &made, err));
    NB_GO(sort_rows(&t, w, err));
    NB_GO(nb_qtensor_new(n, k, options->bits, options->group_size, options->symmetric, false, &q, err));
    for (size_t p = 0; p < n; p += BATCH)
        NB_GO(solve_batch(&t, p, nb_min(BATCH, n - p), &q, &made, err));
    NB_GO(put_back(&t, &q, w, err));
    *out = q;
    q = (nb_qtensor){0};
    *report = made;
out:
    nb_qtensor_free(&q);
    nb_quant_cache_free(t.device, &own);
    nb_release(t.device, &t.w);
    nb_release(t.device, &t.batch);
    nb_release(t.device, &t.spread);
    nb_free(t.perm);
    nb_free(t.g);
    nb_free(t.u);
    nb_free(t.room);
    return status;
}

/* GPTQ: Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
 * Transformers", arXiv 2210.17323, algorithm 1. Deviations:
 *
 *  - U, the upper Cholesky factor of H^-1, is made without H^-1 (internal.h, nb__inverse_factor).
 *  - Group parameters always come from fully updated weights: blocks are cut where groups begin, so that the result does
 *    not depend on the block size but for rounding. AutoGPTQ takes those of groups inside a block from weights that lack
 *    the block's own updates.
 *  - A dead column has the mean of the others as its diagonal, not 1, and is left out of that mean: damping then does not
 *    depend on how H is scaled.
 *  - Errors of several blocks are spread to far columns by one product (lazy batch updates, two levels).
 *
 * Asymmetric calibration (GPTAQ, arXiv 2504.02692, whose objective is |W Xo - Q X|, Xo the original model's inputs): here as
 * a least-squares target that is quantized in place of W, W* = W + asym W (Xo - X)^T X (X^T X + damping)^-1 (rows of X are
 * tokens). asym < 1 shrinks it, as it is estimated from the same tokens.
 *
 * With E = W - Q, sum of squares of the errors e (algorithm 1, line 7) = tr(E (H + lambda I) E^T): the reported loss needs no
 * product with H. */
#include <math.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/quant/internal.h"
#include "host/quant/methods.h"

/* Columns whose errors are spread to far columns together: at k = 512 the product no longer waits for memory. */
enum { FAR = 512 };

/* What depends on the Hessian and the settings alone. */
struct nb_quant_cache {
    const void *base; /* the Hessian's buffer and place, k, and the settings that matter: the key */
    size_t offset, k;
    nb_quant_options options;
    nb_mem u;                     /* f32 [k,k]: upper Cholesky factor of the inverse */
    nb_mem perm, group_of, g_idx; /* u32 [k] */
    uint32_t *groups_visited;     /* group_of on the host */
    double damp_used;
    unsigned damp_raised;
};

typedef struct solver {
    nb_stream *stream;
    nb_device *device;
    const nb_quant_options *options;
    size_t n, k, groups;
    nb_mem w, h, cross;  /* the caller's */
    nb_quant_cache *f;   /* own, until it is handed to the caller */
    bool shared;         /* f is the caller's */
    nb_mem wt;           /* f32 [k,n]; after the solve: codes u8 [n,k] */
    nb_mem temp;         /* f32: of the factorization */
    nb_mem errors;       /* f32 [FAR,n] */
    nb_mem codes;        /* u8 [k,n], visiting order */
    nb_mem scales, zeros; /* f32 [n,groups] */
    nb_mem loss;         /* f32 [n] */
    nb_mem status;       /* struct nb_gptq_status */
    nb_event *marks[4];  /* before and after the factorization, and the solve */
    struct nb_gptq_status seen;
} solver;

static bool fixed_params(const solver *s) {
    return s->options->order == NB_ORDER_ACT_STATIC;
}

static size_t far_columns(size_t k, const nb_quant_options *options) {
    return nb_min(k, nb_max(FAR, options->block));
}

static size_t gptq_scratch(size_t n, size_t k, const nb_quant_options *o) {
    size_t floats = n * k + k * k + nb__factor_temp(k) + far_columns(k, o) * n + 2 * n * nb_ceil_div(k, o->group_size) + n +
                    3 * k;
    size_t target = o->asym > 0.0 ? 2 * n * k * sizeof(float) : 0, descent = o->descent > 0 ? nb__descent_scratch(n, k, o) : 0;
    return floats * sizeof(float) + n * k + sizeof(struct nb_gptq_status) + nb_max(target, descent);
}

typedef struct buffer {
    nb_mem *mem;
    size_t count, size;
} buffer;

static nb_status allocate_all(nb_device *device, const buffer *buffers, size_t count, nb_err *err) {
    for (size_t i = 0; i < count; i++)
        NB_TRY(nb_alloc_array(device, buffers[i].count, buffers[i].size, buffers[i].mem, err));
    return NB_OK;
}

static nb_status allocate(solver *s, nb_err *err) {
    size_t n = s->n, k = s->k, elems, params, errors;
    if (!nb_mul(n, k, &elems) || !nb_mul(n, s->groups, &params) || !nb_mul(far_columns(k, s->options), n, &errors))
        return nb_fail_memory(err, SIZE_MAX, "a GPTQ solve");
    const buffer buffers[] = {
        {&s->wt, elems, sizeof(float)},      {&s->codes, elems, 1},
        {&s->scales, params, sizeof(float)}, {&s->zeros, params, sizeof(float)},
        {&s->errors, errors, sizeof(float)}, {&s->loss, n, sizeof(float)},
        {&s->status, 1, sizeof(struct nb_gptq_status)},
    };
    return allocate_all(s->device, buffers, sizeof buffers / sizeof *buffers, err);
}

static nb_status allocate_factor(solver *s, nb_err *err) {
    size_t k = s->k, square;
    if (!nb_mul(k, k, &square))
        return nb_fail_memory(err, SIZE_MAX, "a GPTQ solve");
    NB_TRY(nb_calloc(1, sizeof *s->f, "a GPTQ solve", &s->f, err));
    s->f->base = s->h.base;
    s->f->offset = s->h.offset;
    s->f->k = k;
    s->f->options = *s->options;
    const buffer buffers[] = {
        {&s->f->u, square, sizeof(float)},          {&s->f->perm, k, sizeof(uint32_t)},
        {&s->f->group_of, k, sizeof(uint32_t)},     {&s->f->g_idx, k, sizeof(uint32_t)},
        {&s->temp, nb__factor_temp(k), sizeof(float)},
    };
    NB_TRY(allocate_all(s->device, buffers, sizeof buffers / sizeof *buffers, err));
    return nb_calloc(k, sizeof(uint32_t), "a column order", &s->f->groups_visited, err);
}

void nb_quant_cache_free(nb_device *device, nb_quant_cache **cache) {
    nb_quant_cache *f = *cache;
    if (!f)
        return;
    nb_mem *all[] = {&f->u, &f->perm, &f->group_of, &f->g_idx};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        nb_release(device, all[i]);
    nb_free(f->groups_visited);
    nb_free(f);
    *cache = NULL;
}

/* Was it made for this Hessian and these settings? Bits, zeros and blocks do not matter to it. */
static bool cache_serves(const nb_quant_cache *f, const solver *s) {
    const nb_quant_options *a = &f->options, *b = s->options;
    return f->base == s->h.base && f->offset == s->h.offset && f->k == s->k && a->group_size == b->group_size &&
           a->order == b->order && a->damp == b->damp && a->damp_step == b->damp_step && a->damp_max == b->damp_max;
}

static void release(solver *s) {
    nb_mem *all[] = {&s->wt, &s->temp, &s->errors, &s->codes, &s->scales, &s->zeros, &s->loss, &s->status};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        nb_release(s->device, all[i]);
    if (!s->shared)
        nb_quant_cache_free(s->device, &s->f);
    for (int i = 0; i < 4; i++)
        if (s->marks[i])
            s->device->backend->event_free(s->marks[i]);
}

static nb_status mark(solver *s, int which, nb_err *err) {
    return s->device->backend->event_new(s->stream, &s->marks[which], err);
}

static nb_status read_times(const solver *s, nb_quant_report *report, nb_err *err) {
    const nb_backend *b = s->device->backend;
    NB_TRY(b->event_elapsed(s->marks[0], s->marks[1], &report->factor_seconds, err));
    return b->event_elapsed(s->marks[2], s->marks[3], &report->solve_seconds, err);
}

/* Looks at W and H, clears dead columns. Waits for the stream. */
static nb_status look(solver *s, nb_err *err) {
    struct nb_hessian_check_args check = {.n = s->n, .k = s->k, .h = s->h, .ldh = s->k, .w = s->w, .ldw = s->k,
                                          .status = s->status};
    NB_TRY(nb_launch(s->stream, NB_OP_hessian_check, &check, err));
    NB_TRY(nb_download(s->stream, &s->seen, s->status, sizeof s->seen, err));
    return nb_sync(s->stream, err);
}

static nb_status check_input(solver *s, nb_err *err) {
    NB_TRY(look(s, err));
    if (s->seen.bad_weight > 0)
        return nb_fail(err, NB_E_INPUT, "the weight holds %u values that are NaN or infinite", s->seen.bad_weight);
    if (s->seen.bad_hessian > 0)
        return nb_fail(err, NB_E_INPUT, "the Hessian of the calibration inputs holds %u values that are NaN, infinite or "
                       "negative on its diagonal", s->seen.bad_hessian);
    return NB_OK;
}

/* Blocks are cut by groups in visiting order, so the host needs it too, with the factor's status. */
static nb_status order_columns(solver *s, nb_err *err) {
    struct nb_column_order_args order = {.k = s->k, .group = s->options->group_size, .order = s->options->order,
                                         .h = s->h, .ldh = s->k, .perm = s->f->perm, .group_of = s->f->group_of,
                                         .g_idx = s->f->g_idx};
    NB_TRY(nb_launch(s->stream, NB_OP_column_order, &order, err));
    return nb_download(s->stream, s->f->groups_visited, s->f->group_of, s->k * sizeof(uint32_t), err);
}

/* U with one damping; *pivot is 0 where it worked. */
static nb_status factor_with(solver *s, double damp, uint32_t *pivot, nb_err *err) {
    struct nb_hessian_order_args order = {.k = s->k, .h = s->h, .ldh = s->k, .perm = s->f->perm, .damp = (float)damp,
                                          .f = s->f->u, .ldf = s->k, .status = s->status};
    NB_TRY(nb_launch(s->stream, NB_OP_hessian_order, &order, err));
    NB_TRY(nb__inverse_factor(s->stream, s->f->u, s->k, s->temp, s->status, err));
    NB_TRY(nb_download(s->stream, &s->seen, s->status, sizeof s->seen, err));
    NB_TRY(nb_sync(s->stream, err));
    *pivot = s->seen.pivot;
    return NB_OK;
}

/* Raises the damping until H is positive definite: damp, damp + step, damp + 10 step, ... up to damp_max. */
static nb_status factorize(solver *s, nb_err *err) {
    const nb_quant_options *o = s->options;
    double damp = o->damp, step = o->damp_step;
    uint32_t pivot;
    for (;;) {
        NB_TRY(factor_with(s, damp, &pivot, err));
        if (pivot == 0)
            break;
        double next = fmin(o->damp + step, o->damp_max);
        if (!(next > damp))
            return nb_fail(err, NB_E_FAILED, "the Hessian is not positive definite with damping %g (pivot %u of %zu), after "
                           "raising it %u times; more or more varied calibration text helps", damp, pivot, s->k,
                           s->f->damp_raised);
        damp = next;
        step *= 10.0;
        s->f->damp_raised++;
    }
    s->f->damp_used = damp;
    struct nb_reverse_args reverse = {.count = s->k * s->k, .a = s->f->u};
    return nb_launch(s->stream, NB_OP_reverse, &reverse, err);
}

/* Order and factor, the caller's where they serve. Made ones become the caller's where it shares them. */
static nb_status get_factor(solver *s, nb_quant_cache **cache, nb_err *err) {
    if (cache && *cache && cache_serves(*cache, s)) {
        s->f = *cache;
        s->shared = true;
        return NB_OK;
    }
    if (cache)
        nb_quant_cache_free(s->device, cache);
    NB_TRY(allocate_factor(s, err));
    NB_TRY(order_columns(s, err));
    NB_TRY(factorize(s, err));
    if (cache) {
        *cache = s->f;
        s->shared = true;
    }
    return NB_OK;
}

/* Where the group of position p begins, in visiting order. */
static size_t group_start(const solver *s, size_t p) {
    while (p > 0 && s->f->groups_visited[p - 1] == s->f->groups_visited[p])
        p--;
    return p;
}

static bool inside_group(const solver *s, size_t p) {
    return !fixed_params(s) && p < s->k && s->f->groups_visited[p] == s->f->groups_visited[p - 1];
}

/* End of the block that begins at p: a group that goes past it must begin with it. */
static size_t block_end(const solver *s, size_t p) {
    size_t end = nb_min(p + s->options->block, s->k);
    if (inside_group(s, end)) {
        size_t start = group_start(s, end);
        end = start > p ? start : end;
    }
    return end;
}

/* End of the blocks from p on whose errors are spread to far columns together, by the same rule. */
static size_t far_end(const solver *s, size_t p) {
    size_t end = block_end(s, p);
    while (end < s->k && block_end(s, end) - p <= FAR)
        end = block_end(s, end);
    while (inside_group(s, end) && group_start(s, end) > p)
        end = group_start(s, end);
    return end;
}

/* Wt[to .. end) -= U[first .. first + cols, to .. end)^T * errors[cols, n]. */
static nb_status spread(const solver *s, size_t first, size_t cols, nb_mem errors, size_t to, size_t end, nb_err *err) {
    if (to == end)
        return NB_OK;
    struct nb_matmul_args a = {.m = end - to, .n = s->n, .k = cols, .lda = s->k, .ldb = s->n, .ldc = s->n,
                               .trans_a = true, .alpha = -1.0f, .beta = 1.0f};
    a.a = nb_mem_at(s->f->u, (first * s->k + to) * sizeof(float));
    a.b = errors;
    a.c = nb_mem_at(s->wt, to * s->n * sizeof(float));
    return nb_launch(s->stream, NB_OP_matmul, &a, err);
}

static nb_status solve_block(const solver *s, size_t first, size_t cols, nb_mem errors, nb_err *err) {
    struct nb_gptq_block_args a = {.n = s->n, .k = s->k, .groups = s->groups, .first = first, .cols = cols, .wt = s->wt,
                                   .ldw = s->n, .u = s->f->u, .ldu = s->k, .group_of = s->f->group_of,
                                   .static_params = fixed_params(s), .symmetric = s->options->symmetric,
                                   .either_sign = s->options->either_sign, .bits = s->options->bits, .scale_type = s->options->scale_type, .scales = s->scales,
                                   .zeros = s->zeros, .codes = s->codes, .err = errors, .lderr = s->n, .loss = s->loss};
    if (s->options->scales == NB_SCALES_SEARCH) {
        a.h = s->h;
        a.ldh = s->k;
        a.perm = s->f->perm;
    }
    return nb_launch(s->stream, NB_OP_gptq_block, &a, err);
}

static nb_status solve(solver *s, nb_err *err) {
    NB_TRY(nb_fill(s->stream, s->loss, 0, s->n * sizeof(float), err));
    for (size_t p = 0; p < s->k;) {
        size_t far = far_end(s, p);
        for (size_t b = p; b < far;) {
            size_t end = block_end(s, b);
            nb_mem errors = nb_mem_at(s->errors, (b - p) * s->n * sizeof(float));
            NB_TRY(solve_block(s, b, end - b, errors, err));
            NB_TRY(spread(s, b, end - b, errors, end, far, err));
            b = end;
        }
        NB_TRY(spread(s, p, far - p, s->errors, far, s->k, err));
        p = far;
    }
    return NB_OK;
}

static nb_status multiply(const solver *s, struct nb_matmul_args a, nb_err *err) {
    return nb_launch(s->stream, NB_OP_matmul, &a, err);
}

/* Wt and W become the target W*: with D = W (cross - H) and H^-1 = U^T U in visiting order, Wt += asym U^T U D^T. */
static nb_status change_target(solver *s, nb_mem d, nb_mem turned, nb_err *err) {
    size_t n = s->n, k = s->k;
    struct nb_matmul_args by_cross = {.m = n, .n = k, .k = k, .a = s->w, .lda = k, .b = s->cross, .ldb = k, .c = d, .ldc = k,
                                      .alpha = 1.0f};
    struct nb_matmul_args by_h = by_cross;
    by_h.b = s->h;
    by_h.alpha = -1.0f;
    by_h.beta = 1.0f;
    NB_TRY(multiply(s, by_cross, err));
    NB_TRY(multiply(s, by_h, err));
    struct nb_transpose_args turn = {.rows = n, .cols = k, .elem = 4, .src = d, .lds = k, .dst = turned, .ldd = n,
                                     .from = s->f->perm};
    NB_TRY(nb_launch(s->stream, NB_OP_transpose, &turn, err));
    NB_TRY(multiply(s, (struct nb_matmul_args){.m = k, .n = n, .k = k, .a = s->f->u, .lda = k, .b = turned, .ldb = n, .c = d,
                                               .ldc = n, .alpha = 1.0f}, err));
    NB_TRY(multiply(s, (struct nb_matmul_args){.m = k, .n = n, .k = k, .a = s->f->u, .lda = k, .trans_a = true, .b = d, .ldb = n,
                                               .c = s->wt, .ldc = n, .alpha = (float)s->options->asym, .beta = 1.0f}, err));
    struct nb_transpose_args back = {.rows = k, .cols = n, .elem = 4, .src = s->wt, .lds = n, .dst = s->w, .ldd = k,
                                     .to = s->f->perm};
    return nb_launch(s->stream, NB_OP_transpose, &back, err);
}

static nb_status asymmetric_target(solver *s, nb_err *err) {
    nb_mem d = {0}, turned = {0};
    nb_status status;
    if (!s->cross.base || s->options->asym <= 0.0)
        return NB_OK;
    NB_GO(nb_alloc_array(s->device, s->n * s->k, sizeof(float), &d, err)); /* n k floats are there already: no overflow */
    NB_GO(nb_alloc_array(s->device, s->n * s->k, sizeof(float), &turned, err));
    NB_GO(change_target(s, d, turned, err));
    NB_GO(look(s, err));
    if (s->seen.bad_weight > 0)
        status = nb_fail(err, NB_E_INPUT, "the original model's calibration inputs are NaN, infinite or too large: they make %u values of the "
                         "target so", s->seen.bad_weight);
out:
    nb_release(s->device, &d);
    nb_release(s->device, &turned);
    return status;
}

/* Wt in visiting order, and where they are fixed before, the parameters of the groups. */
static nb_status load(solver *s, nb_err *err) {
    struct nb_transpose_args turn = {.rows = s->n, .cols = s->k, .elem = 4, .src = s->w, .lds = s->k, .dst = s->wt,
                                     .ldd = s->n, .from = s->f->perm};
    NB_TRY(nb_launch(s->stream, NB_OP_transpose, &turn, err));
    NB_TRY(asymmetric_target(s, err));
    if (fixed_params(s))
        NB_TRY(nb__quant_params(s->stream, s->w, s->n, s->k, s->h, s->options, s->scales, s->zeros, err));
    return NB_OK;
}

/* Codes back into stored order, in the buffer of Wt. */
static nb_status finish(solver *s, nb_qtensor *out, nb_quant_report *report, nb_err *err) {
    struct nb_transpose_args turn = {.rows = s->k, .cols = s->n, .elem = 1, .src = s->codes, .lds = s->n, .dst = s->wt,
                                     .ldd = s->k, .to = s->f->perm};
    NB_TRY(nb_launch(s->stream, NB_OP_transpose, &turn, err));
    double damped, squares;
    NB_TRY(nb__quant_sum(s->stream, s->loss, s->n, &damped, err));
    nb__quant_result r = {.n = s->n, .k = s->k, .w = s->w, .codes = s->wt, .scales = s->scales, .zeros = s->zeros};
    if (s->options->order == NB_ORDER_ACT)
        r.g_idx = s->f->g_idx;
    double descended = 0.0;
    if (s->options->descent > 0)
        NB_TRY(nb__quant_descend(s->stream, &r, s->h, s->options, &descended, err));
    NB_TRY(nb__quant_finish(s->stream, &r, s->options, s->loss, &squares, out, err));
    double loss = s->options->descent > 0 ? descended : damped - s->f->damp_used * (double)s->seen.mean * squares;
    if (!isfinite(loss))
        return nb_fail(err, NB_E_INPUT, "the error is NaN or infinite: the weight or the calibration inputs are too large");
    report->loss = (loss > 0.0 ? loss : 0.0) / ((double)s->n * (double)s->k);
    report->dead_columns = s->seen.dead;
    report->damp_used = s->f->damp_used;
    report->damp_raised = s->f->damp_raised;
    return NB_OK;
}

nb_status nb__gptq_target(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats, const nb_quant_options *options,
                          nb_quant_cache **cache, nb_err *err) {
    solver s = {.stream = stream, .device = stream->device, .options = options, .n = n, .k = k, .w = w,
                .h = stats->hessian, .cross = stats->cross, .groups = nb_ceil_div(k, options->group_size)};
    nb_status status;
    NB_GO(allocate(&s, err));
    NB_GO(check_input(&s, err));
    NB_GO(get_factor(&s, cache, err));
    NB_GO(load(&s, err));
    NB_GO(nb_sync(stream, err));
out:
    release(&s);
    return status;
}

static nb_status gptq_run(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                          const nb_quant_options *options, nb_qtensor *out, nb_quant_report *report, nb_err *err) {
    NB_TRY(nb__quant_check(n, k, options, err));
    if (!stats || !stats->hessian.base)
        return nb_fail(err, NB_E_USAGE, "GPTQ needs the Hessian of calibration inputs");
    if (stats->output.base)
        return nb__gptq_two_sided(stream, w, n, k, stats, options, out, report, err);
    solver s = {.stream = stream, .device = stream->device, .options = options, .n = n, .k = k, .w = w,
                .h = stats->hessian, .cross = stats->cross, .groups = nb_ceil_div(k, options->group_size)};
    nb_quant_report made = {0};
    nb_qtensor q = {0};
    nb_status status;
    NB_GO(allocate(&s, err));
    NB_GO(check_input(&s, err));
    NB_GO(mark(&s, 0, err));
    NB_GO(get_factor(&s, stats->cache, err));
    NB_GO(mark(&s, 1, err));
    NB_GO(load(&s, err));
    NB_GO(mark(&s, 2, err));
    NB_GO(solve(&s, err));
    NB_GO(mark(&s, 3, err));
    NB_GO(finish(&s, &q, &made, err));
    NB_GO(read_times(&s, &made, err));
    *out = q;
    q = (nb_qtensor){0};
    if (made.damp_raised > 0)
        nb_logf(&s.device->log, NB_LOG_WARN, "damping raised %u times, to %g: the Hessian was not positive definite",
                made.damp_raised, made.damp_used);
    *report = made;
out:
    nb_qtensor_free(&q);
    release(&s);
    return status;
}

const nb_quantizer nb__quantizer_gptq = {
    .name = "gptq",
    .about = "GPTQ: errors are compensated column by column against the Hessian (arXiv 2210.17323)",
    .needs_hessian = true,
    .scratch = gptq_scratch,
    .run = gptq_run,
};

/* Operations of the GPTQ solver, each against its statement in ops.h. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <nibble/quantize.h>
#include <stdlib.h>
#include <string.h>

#include "host/backend/backend.h"
#include "host/base/random.h"
#include "kernels/cpu/cpu.h"

static nb_device *device;
static nb_stream *stream;

static void open_threads(unsigned threads) {
    nb_device_options options = {.threads = threads};
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
}

static void open_device(void) {
    open_threads(3);
}

static void close_device(void) {
    nb_stream_free(stream);
    nb_device_close(device);
}

TestSuite(gptq_ops, .init = open_device, .fini = close_device);

static void fill(float *p, size_t count, uint64_t seed) {
    nb_random r = nb_random_seed(seed);
    for (size_t i = 0; i < count; i++)
        p[i] = nb_random_f32(&r) - 0.5f;
}

static void *make(size_t count, size_t size) {
    void *p = calloc(count, size);
    cr_assert_not_null(p);
    return p;
}

/* ---- gptq_block ---- */

typedef struct block_case {
    size_t n, k, first, cols, group;
    unsigned bits;
    bool symmetric, static_params, search, either_sign;
} block_case;

typedef struct block_out {
    float *scales, *zeros, *err, *loss;
    uint8_t *codes;
} block_out;

static block_out block_out_new(const block_case *c, size_t groups) {
    block_out o = {make(c->n * groups, 4), make(c->n * groups, 4), make(c->cols * c->n, 4), make(c->n, 4), make(c->k * c->n, 1)};
    fill(o.scales, c->n * groups, 50); /* as a block before would have left them */
    fill(o.zeros, c->n * groups, 51);
    for (size_t i = 0; i < c->n * groups; i++) {
        o.scales[i] = 0.02f + fabsf(o.scales[i]);
        o.zeros[i] = floorf(fabsf(o.zeros[i]) * 8.0f);
    }
    fill(o.loss, c->n, 52);
    return o;
}

static void block_out_free(block_out *o) {
    free(o->scales);
    free(o->zeros);
    free(o->err);
    free(o->loss);
    free(o->codes);
}

/* The statement of group_search for one group of one row: every pair in turn. */
typedef struct pair {
    float scale, zero, error;
} pair;

static float weighted_error(const float *w, const float *h, size_t count, unsigned bits, float scale, float zero) {
    float top = (float)((1u << bits) - 1u), sum = 0.0f, inverse = 1.0f / scale;
    for (size_t j = 0; j < count; j++) {
        float c = nearbyintf(w[j] * inverse);
        c = c < 0.0f - zero ? 0.0f - zero : c;
        c = c > top - zero ? top - zero : c;
        float e = w[j] - c * scale;
        sum += h[j] * (e * e);
    }
    return sum;
}

static void offer(pair *best, const float *w, const float *h, size_t count, unsigned bits, float scale, float zero) {
    float top = (float)((1u << bits) - 1u);
    zero = !(zero > 0.0f) ? 0.0f : zero > top ? top : zero;
    float error = weighted_error(w, h, count, bits, scale, zero);
    if (error < best->error)
        *best = (pair){scale, zero, error};
}

static pair search_oracle(const float *w, const float *h, size_t count, unsigned bits, bool symmetric, bool either_sign) {
    float min = 0.0f, max = 0.0f, top = (float)((1u << bits) - 1u), half = (float)(1u << (bits - 1));
    pair best;
    for (size_t j = 0; j < count; j++) {
        min = fminf(min, w[j]);
        max = fmaxf(max, w[j]);
    }
    nb__cpu_range_params(min, max, bits, symmetric, NB_F16, &best.scale, &best.zero);
    best.error = weighted_error(w, h, count, bits, best.scale, best.zero);
    for (int sign = 1; symmetric && sign >= (either_sign ? -1 : 1); sign -= 2)
        for (int i = 0; i < 36; i++) {
            float part = (float)(232 - 3 * i) / 200.0f;
            offer(&best, w, h, count, bits, (float)sign * nb__cpu_round_scale(part * fmaxf(-min, max) / half, NB_F16), half);
        }
    for (int i = 0; !symmetric && i < 26; i++) {
        float part = (float)(52 - i) / 50.0f, range = max - min;
        float scale = nb__cpu_round_scale(part * range / top, NB_F16), z = nearbyintf(-(part * min) / scale);
        offer(&best, w, h, count, bits, scale, z);
        offer(&best, w, h, count, bits, scale, z - 1.0f);
        offer(&best, w, h, count, bits, scale, z + 1.0f);
        offer(&best, w, h, count, bits, scale, nearbyintf(-(min + (1.0f - part) * 0.5f * range) / scale));
    }
    return best;
}

/* The statement of the operation, row by row. */
static void oracle(const block_case *c, size_t groups, const float *wt, const float *u, const float *h,
                   const uint32_t *group_of, block_out *o) {
    float *w = make(c->k, 4), top = (float)((1u << c->bits) - 1u);
    for (size_t i = 0; i < c->n; i++) {
        for (size_t p = 0; p < c->k; p++)
            w[p] = wt[p * c->n + i];
        for (size_t p = c->first; p < c->first + c->cols; p++) {
            size_t at = i * groups + group_of[p];
            if (!c->static_params && (p == 0 || group_of[p] != group_of[p - 1])) {
                float min = w[p], max = w[p];
                size_t end = p;
                for (; end < c->k && group_of[end] == group_of[p]; end++) {
                    min = fminf(min, w[end]);
                    max = fmaxf(max, w[end]);
                }
                nb__cpu_range_params(min, max, c->bits, c->symmetric, NB_F16, &o->scales[at], &o->zeros[at]);
                if (c->search) {
                    pair best = search_oracle(w + p, h + p, end - p, c->bits, c->symmetric, c->either_sign);
                    o->scales[at] = best.scale;
                    o->zeros[at] = best.zero;
                }
            }
            float q = nearbyintf(w[p] / o->scales[at]) + o->zeros[at];
            q = q < 0.0f ? 0.0f : q > top ? top : q;
            float e = (w[p] - (q - o->zeros[at]) * o->scales[at]) / u[p * c->k + p];
            o->codes[p * c->n + i] = (uint8_t)q;
            o->err[(p - c->first) * c->n + i] = e;
            o->loss[i] += e * e;
            for (size_t l = p + 1; l < c->first + c->cols; l++)
                w[l] -= e * u[p * c->k + l];
        }
    }
    free(w);
}

static bool same_block(const block_case *c, size_t groups, const block_out *a, const block_out *b) {
    return !memcmp(a->scales, b->scales, c->n * groups * 4) && !memcmp(a->zeros, b->zeros, c->n * groups * 4) &&
           !memcmp(a->err, b->err, c->cols * c->n * 4) && !memcmp(a->loss, b->loss, c->n * 4) &&
           !memcmp(a->codes, b->codes, c->k * c->n);
}

static void check_block(const block_case *c) {
    size_t groups = (c->k + c->group - 1) / c->group, count;
    float *wt = make(c->k * c->n, 4), *u = make(c->k * c->k, 4), *h = make(c->k * c->k, 4), *visited = make(c->k, 4);
    uint32_t *group_of = make(c->k, 4), *perm = make(c->k, 4);
    fill(wt, c->k * c->n, c->n + c->k);
    fill(u, c->k * c->k, c->cols);
    for (size_t p = 0; p < c->k; p++) {
        u[p * c->k + p] = 1.0f + fabsf(u[p * c->k + p]);
        group_of[p] = (uint32_t)(c->static_params ? p * 7 % c->k : p) / (uint32_t)c->group;
    }
    for (size_t p = 0; p < c->k; p++) { /* the stored column of position p, reversed, has weight visited[p] */
        perm[p] = (uint32_t)(c->k - 1 - p);
        visited[p] = 0.25f + (float)(p * 37 % 11);
        h[perm[p] * (c->k + 1)] = visited[p];
    }
    block_out want = block_out_new(c, groups);
    oracle(c, groups, wt, u, visited, group_of, &want);
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].op != NB_OP_gptq_block || rows[i].backend != NB_CPU || rows[i].needs & ~nb_cpu_features())
            continue;
        block_out got = block_out_new(c, groups);
        struct nb_gptq_block_args a = {.n = c->n, .k = c->k, .groups = groups, .first = c->first, .cols = c->cols,
                                       .ldw = c->n, .ldu = c->k, .static_params = c->static_params,
                                       .symmetric = c->symmetric, .either_sign = c->either_sign, .bits = c->bits, .scale_type = NB_F16,
                                       .lderr = c->n};
        a.wt = nb_mem_host(wt, 0);
        a.u = nb_mem_host(u, 0);
        a.group_of = nb_mem_host(group_of, 0);
        a.h = c->search ? nb_mem_host(h, 0) : (nb_mem){0};
        a.ldh = c->k;
        a.perm = nb_mem_host(perm, 0);
        a.scales = nb_mem_host(got.scales, 0);
        a.zeros = nb_mem_host(got.zeros, 0);
        a.codes = nb_mem_host(got.codes, 0);
        a.err = nb_mem_host(got.err, 0);
        a.loss = nb_mem_host(got.loss, 0);
        cr_assert_eq(nb_launch_row(stream, &rows[i], &a, NULL), NB_OK);
        cr_assert(same_block(c, groups, &want, &got), "%s: n %zu k %zu first %zu cols %zu group %zu bits %u", rows[i].name,
                  c->n, c->k, c->first, c->cols, c->group, c->bits);
        block_out_free(&got);
    }
    block_out_free(&want);
    free(wt);
    free(u);
    free(h);
    free(visited);
    free(group_of);
    free(perm);
}

/* Every row of kernels.def has the oracle's bits: codes, parameters, errors and losses. */
Test(gptq_ops, blocks_are_bit_equal_to_the_oracle) {
    static const block_case cases[] = {
        {1, 1, 0, 1, 1, 4, false, false, false, false},     {1, 5, 0, 5, 2, 2, true, false, false, false},     {7, 33, 0, 33, 32, 3, false, false, false, false},
        {32, 128, 0, 128, 64, 4, false, false, false, false}, {33, 128, 64, 64, 64, 4, true, false, false, false}, {31, 200, 96, 100, 96, 8, false, false, false, false},
        {100, 70, 16, 9, 16, 5, false, false, false, false}, {64, 300, 128, 128, 300, 4, false, false, false, false}, {17, 100, 40, 60, 1, 6, true, false, false, false},
        {40, 60, 0, 60, 8, 4, false, true, false, false},    {65, 96, 32, 64, 32, 7, true, true, false, false},   {5, 150, 75, 75, 3, 4, false, false, false, false},
        {33, 128, 0, 128, 64, 4, false, false, true, false}, {64, 300, 128, 128, 300, 4, true, false, true, false},
        {7, 100, 96, 4, 32, 3, false, false, true, false}, {33, 128, 0, 128, 32, 4, true, false, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_block(&cases[i]);
}

Test(gptq_ops, random_blocks_are_bit_equal_to_the_oracle) {
    nb_random r = nb_random_seed(5);
    for (int i = 0; i < 80; i++) {
        block_case c = {.n = 1 + nb_random_below(&r, 70), .k = 1 + nb_random_below(&r, 160)};
        c.first = nb_random_below(&r, (uint32_t)c.k);
        c.cols = 1 + nb_random_below(&r, (uint32_t)(c.k - c.first));
        c.group = 1 + nb_random_below(&r, (uint32_t)c.k);
        c.bits = 2 + nb_random_below(&r, 7);
        c.symmetric = nb_random_below(&r, 2);
        c.static_params = nb_random_below(&r, 4) == 0;
        c.search = nb_random_below(&r, 2);
        c.either_sign = nb_random_below(&r, 2);
        check_block(&c);
    }
}

/* ---- group_search ---- */

static void check_search(size_t n, size_t k, size_t group, unsigned bits, bool symmetric, bool weighted, bool either_sign) {
    size_t groups = (k + group - 1) / group, count, differs = 0, negative = 0;
    float *w = make(n * k, 4), *h = make(k * k, 4), *weight = make(k, 4);
    float *scales = make(n * groups, 4), *zeros = make(n * groups, 4);
    fill(w, n * k, n + k + bits);
    for (size_t i = 0; i < n * k; i++)
        w[i] = w[i] * w[i] * w[i] + (i % 3 ? 0.0f : 0.05f);
    for (size_t j = 0; j < k; j++)
        h[j * (k + 1)] = weight[j] = weighted ? (float)(j * 29 % 13) : 1.0f;
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t v = 0; v < count; v++) {
        if (rows[v].op != NB_OP_group_search || rows[v].backend != NB_CPU || rows[v].needs & ~nb_cpu_features())
            continue;
        struct nb_group_search_args a = {.n = n, .k = k, .group = group, .w = nb_mem_host(w, 0), .ldw = k, .ldh = k, .bits = bits,
                                         .symmetric = symmetric, .either_sign = either_sign, .scale_type = NB_F16, .scales = nb_mem_host(scales, 0),
                                         .zeros = nb_mem_host(zeros, 0)};
        a.h = weighted ? nb_mem_host(h, 0) : (nb_mem){0};
        cr_assert_eq(nb_launch_row(stream, &rows[v], &a, NULL), NB_OK);
        for (size_t i = 0; i < n * groups; i++) {
            size_t first = i % groups * group, len = first + group < k ? group : k - first;
            pair p = search_oracle(w + i / groups * k + first, weight + first, len, bits, symmetric, either_sign);
            cr_assert(p.scale == scales[i] && p.zero == zeros[i], "%s: %g %g, expected %g %g", rows[v].name, (double)scales[i],
                      (double)zeros[i], (double)p.scale, (double)p.zero);
            float scale, zero, min = 0.0f, max = 0.0f;
            for (size_t j = 0; j < len; j++) {
                min = fminf(min, w[i / groups * k + first + j]);
                max = fmaxf(max, w[i / groups * k + first + j]);
            }
            nb__cpu_range_params(min, max, bits, symmetric, NB_F16, &scale, &zero);
            differs += scale != p.scale;
            negative += p.scale < 0.0f;
        }
    }
    cr_assert(bits > 4 || differs > 0, "the search never left the range");
    cr_assert((negative > 0) == (symmetric && either_sign), "%zu negative scales", negative);
    free(w);
    free(h);
    free(weight);
    free(scales);
    free(zeros);
}

/* Every row finds, of all pairs tried one by one, the first of the least error. */
Test(gptq_ops, a_search_finds_the_best_pair) {
    check_search(1, 40, 16, 4, false, true, false);
    check_search(33, 96, 32, 4, true, true, false);
    check_search(40, 70, 64, 3, false, false, false);
    check_search(64, 128, 128, 3, true, false, false);
    check_search(5, 64, 32, 2, false, true, false);
    check_search(17, 64, 32, 8, false, true, false);
    check_search(17, 64, 32, 8, true, false, false);
    check_search(33, 96, 32, 4, true, true, true);
    check_search(33, 96, 32, 3, true, false, true);
    check_search(33, 96, 32, 4, false, false, true);
}

/* A group on a grid of the right kind with one outlier of no weight: the search finds the grid, whose error is 0. */
Test(gptq_ops, a_search_ignores_what_has_no_weight) {
    float w[16], h[16 * 16] = {0}, scale = 0.0f, zero = 0.0f;
    for (int j = 0; j < 16; j++) {
        w[j] = (float)(j - 5) * 0.125f;
        h[j * 17] = 1.0f;
    }
    w[15] = 1.25f / 0.9f * 15.0f / 14.0f; /* beyond the grid, not seen */
    h[15 * 17] = 0.0f;
    struct nb_group_search_args a = {.n = 1, .k = 16, .group = 16, .w = nb_mem_host(w, 0), .ldw = 16, .h = nb_mem_host(h, 0),
                                     .ldh = 16, .bits = 4, .scale_type = NB_F16, .scales = nb_mem_host(&scale, 0),
                                     .zeros = nb_mem_host(&zero, 0)};
    cr_assert_eq(nb_launch(stream, NB_OP_group_search, &a, NULL), NB_OK);
    float error = 0.0f;
    for (int j = 0; j < 15; j++) {
        float e = w[j] - (fminf(fmaxf(nearbyintf(w[j] / scale) + zero, 0.0f), 15.0f) - zero) * scale;
        error += e * e;
    }
    cr_assert_lt(error, 15.0f * 0.125f * 0.125f / 12.0f, "error %g with scale %g", (double)error, (double)scale);
    h[15 * 17] = 1000.0f;
    float before = scale;
    cr_assert_eq(nb_launch(stream, NB_OP_group_search, &a, NULL), NB_OK);
    cr_assert_neq(scale, before, "a heavy outlier must change the scale");
}

/* ---- hessian ---- */

static void check_hessian(const nb_kernel *row, size_t rows, size_t k, unsigned threads, float *first) {
    size_t ldx = k + 3, ldh = k + 5;
    float *x = make(rows * ldx, 4), *h = make(k * ldh, 4);
    fill(x, rows * ldx, rows + k);
    for (size_t i = 0; i < k * ldh; i++)
        h[i] = 0.25f;
    close_device();
    open_threads(threads);
    size_t half = rows / 3;
    for (int part = 0; part < 2; part++) {
        struct nb_hessian_args a = {.rows = part ? rows - half : half, .k = k, .ldx = ldx, .ldh = ldh, .scale = 0.5f, .mirror = part};
        a.x = nb_mem_host(x + (part ? half * ldx : 0), 0);
        a.h = nb_mem_host(h, 0);
        cr_assert_eq(nb_launch_row(stream, row, &a, NULL), NB_OK);
    }
    double terms = (double)(rows < 256 ? rows : 256) + ceil((double)half / 256) + ceil((double)(rows - half) / 256) + 4;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            double sum = 0.25, size = 0.25;
            for (size_t r = 0; r < rows; r++) {
                double t = 0.5 * (double)x[r * ldx + i] * (double)x[r * ldx + j];
                sum += t;
                size += fabs(t);
            }
            cr_assert_leq(fabs((double)h[i * ldh + j] - sum), terms * 0x1p-24 * size, "%s: rows %zu k %zu at %zu,%zu", row->name,
                          rows, k, i, j);
            cr_assert_eq(h[i * ldh + j], h[j * ldh + i]);
        }
    for (size_t i = 0; i < k; i++)
        for (size_t j = k; j < ldh; j++)
            cr_assert_eq(h[i * ldh + j], 0.25f, "wrote past a row");
    if (threads == 1)
        memcpy(first, h, k * ldh * 4);
    else
        cr_assert(!memcmp(first, h, k * ldh * 4), "%s: bits differ with %u threads", row->name, threads);
    free(x);
    free(h);
}

Test(gptq_ops, hessian_is_within_its_bound_and_does_not_depend_on_threads) {
    static const size_t shapes[][2] = {{1, 1}, {7, 33}, {600, 17}, {900, 96}, {40, 200}};
    static float first[300 * 300];
    size_t count;
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t i = 0; i < count; i++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (unsigned threads = 1; threads <= 3; threads++)
                if (rows[i].op == NB_OP_hessian && rows[i].backend == NB_CPU && !(rows[i].needs & ~nb_cpu_features()))
                    check_hessian(&rows[i], shapes[s][0], shapes[s][1], threads, first);
}

Test(gptq_ops, hessian_of_no_rows_only_mirrors) {
    float h[9] = {1, -1, -1, 2, 3, -1, 4, 5, 6};
    struct nb_hessian_args a = {.k = 3, .ldh = 3, .h = nb_mem_host(h, sizeof h), .mirror = true};
    cr_assert_eq(nb_launch(stream, NB_OP_hessian, &a, NULL), NB_OK);
    static const float want[9] = {1, 2, 4, 2, 3, 5, 4, 5, 6};
    cr_assert(!memcmp(h, want, sizeof h));
}

/* ---- order ---- */

static void run_order(size_t k, size_t group, nb_column_order order, const float *h, uint32_t *perm, uint32_t *group_of,
                      uint32_t *g_idx) {
    struct nb_column_order_args a = {.k = k, .group = group, .order = order, .ldh = k};
    a.h = nb_mem_host(h, 0);
    a.perm = nb_mem_host(perm, 0);
    a.group_of = nb_mem_host(group_of, 0);
    a.g_idx = nb_mem_host(g_idx, 0);
    cr_assert_eq(nb_launch(stream, NB_OP_column_order, &a, NULL), NB_OK);
}

Test(gptq_ops, column_orders_by_hand) {
    enum { K = 7 };
    static const float diag[K] = {3, 5, 1, 9, 5, 0, 9};
    static const uint32_t want[4][K] = {{0, 1, 2, 3, 4, 5, 6}, {3, 6, 1, 4, 0, 2, 5}, {3, 6, 1, 4, 0, 2, 5}, {3, 4, 5, 6, 1, 0, 2}};
    static const uint32_t want_group[4][K] = {{0, 0, 0, 1, 1, 1, 2}, {0, 0, 0, 1, 1, 1, 2}, {1, 2, 0, 1, 0, 0, 1}, {1, 1, 1, 2, 0, 0, 0}};
    float h[K * K] = {0};
    uint32_t perm[K], group_of[K], g_idx[K];
    for (size_t j = 0; j < K; j++)
        h[j * K + j] = diag[j];
    for (unsigned order = 0; order < 4; order++) {
        run_order(K, 3, (nb_column_order)order, h, perm, group_of, g_idx);
        for (size_t j = 0; j < K; j++) {
            cr_assert_eq(perm[j], want[order][j], "order %u position %zu", order, j);
            cr_assert_eq(group_of[j], want_group[order][j], "order %u position %zu", order, j);
            cr_assert_eq(g_idx[perm[j]], group_of[j]);
        }
    }
}

Test(gptq_ops, column_orders_are_permutations_even_of_nan) {
    enum { K = 50 };
    static float h[K * K];
    uint32_t perm[K], group_of[K], g_idx[K];
    for (size_t j = 0; j < K; j++)
        h[j * K + j] = j % 3 == 0 ? NAN : j % 3 == 1 ? INFINITY : (float)j;
    for (unsigned order = 0; order < 4; order++) {
        bool seen[K] = {false};
        run_order(K, 8, (nb_column_order)order, h, perm, group_of, g_idx);
        for (size_t j = 0; j < K; j++) {
            cr_assert(perm[j] < K && !seen[perm[j]]);
            seen[perm[j]] = true;
        }
    }
}

/* ---- what goes before a solve ---- */

Test(gptq_ops, check_counts_and_clears) {
    enum { N = 3, K = 5 };
    float h[K * K] = {0}, w[N * K];
    static const float diag[K] = {2, 0, 4, 0, -1};
    for (size_t j = 0; j < K; j++)
        h[j * K + j] = diag[j];
    h[2] = NAN;
    h[K] = INFINITY;
    fill(w, N * K, 1);
    w[0] = -INFINITY;
    w[7] = NAN;
    struct nb_gptq_status status = {.pivot = 9};
    struct nb_hessian_check_args a = {.n = N, .k = K, .ldh = K, .ldw = K};
    a.h = nb_mem_host(h, sizeof h);
    a.w = nb_mem_host(w, sizeof w);
    a.status = nb_mem_host(&status, sizeof status);
    cr_assert_eq(nb_launch(stream, NB_OP_hessian_check, &a, NULL), NB_OK);
    cr_assert_eq(status.dead, 2);
    cr_assert_eq(status.bad_hessian, 3); /* NaN, infinity, a negative diagonal */
    cr_assert_eq(status.bad_weight, 2);
    cr_assert_eq(status.pivot, 0);
    cr_assert_float_eq(status.mean, 5.0f / 3.0f, 1e-6);
    for (size_t i = 0; i < N; i++)
        cr_assert(w[i * K + 1] == 0.0f && w[i * K + 3] == 0.0f && w[i * K + 4] != 0.0f);
}

Test(gptq_ops, ordered_hessian_is_reversed_damped_and_lower) {
    enum { K = 40 };
    static float h[K * K], f[K * (K + 2)];
    uint32_t perm[K];
    for (uint32_t j = 0; j < K; j++)
        perm[j] = j * 7 % K;
    fill(h, K * K, 2);
    for (size_t i = 0; i < K; i++) {
        for (size_t j = 0; j < i; j++)
            h[i * K + j] = h[j * K + i];
        h[i * K + i] = i == 14 ? 0.0f : 1.0f + (float)i;
    }
    for (size_t i = 0; i < K * (K + 2); i++)
        f[i] = 7.0f;
    struct nb_gptq_status status = {.mean = 3.0f, .pivot = 4};
    struct nb_hessian_order_args a = {.k = K, .ldh = K, .ldf = K + 2, .damp = 0.5f};
    a.h = nb_mem_host(h, sizeof h);
    a.perm = nb_mem_host(perm, sizeof perm);
    a.f = nb_mem_host(f, sizeof f);
    a.status = nb_mem_host(&status, sizeof status);
    cr_assert_eq(nb_launch(stream, NB_OP_hessian_order, &a, NULL), NB_OK);
    cr_assert_eq(status.pivot, 0);
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j < K; j++) {
            size_t r = perm[K - 1 - i], c = perm[K - 1 - j];
            float want = j > i ? 0.0f : h[r * K + c];
            if (i == j)
                want = (r == 14 ? 3.0f : want) + 1.5f;
            cr_assert_eq(f[i * (K + 2) + j], want, "%zu,%zu", i, j);
        }
}

/* A random positive definite block of k; its Cholesky factor's inverse times itself is the identity to f32 rounding of the
 * elements: |X L - I| <= (k + 1) u |X| |L| (f64 inside adds nothing to that). */
Test(gptq_ops, inverse_factor_of_a_block) {
    static const size_t sizes[] = {1, 2, 7, 33, 64};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        enum { LD = 70 };
        static float a[64 * LD];
        double l[64][64] = {{0}};
        size_t k = sizes[s];
        nb_random r = nb_random_seed(s);
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j <= i; j++)
                l[i][j] = i == j ? 1.0 + (double)nb_random_f32(&r) : ((double)nb_random_f32(&r) - 0.5) / 4.0;
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j < LD; j++) {
                double sum = 0.0;
                for (size_t c = 0; j < k && c < k; c++)
                    sum += l[i][c] * l[j][c];
                a[i * LD + j] = j <= i ? (float)sum : 9.0f;
            }
        struct nb_gptq_status status = {0};
        struct nb_chol_inverse_args args = {.k = k, .base = 100, .lda = LD, .a = nb_mem_host(a, sizeof a),
                                            .status = nb_mem_host(&status, sizeof status)};
        cr_assert_eq(nb_launch(stream, NB_OP_chol_inverse, &args, NULL), NB_OK);
        cr_assert_eq(status.pivot, 0);
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j < LD; j++) {
                if (j > i) {
                    cr_assert_eq(a[i * LD + j], j < k ? 0.0f : 9.0f);
                    continue;
                }
                double sum = 0.0, size = 0.0;
                for (size_t c = 0; c < k; c++) {
                    sum += (double)a[i * LD + c] * l[c][j];
                    size += fabs((double)a[i * LD + c]) * fabs(l[c][j]);
                    c = c == i ? k : c;
                }
                /* a was rounded to f32: |dA| <= u |L||L^T| moves L by about cond u */
                cr_assert_leq(fabs(sum - (i == j)), 4.0 * (double)(k + 1) * 0x1p-24 * (size + 1.0), "k %zu at %zu,%zu", k, i, j);
            }
    }
}

Test(gptq_ops, a_bad_pivot_is_named_and_the_first_stays) {
    float a[9] = {4, 0, 0, 2, 1, 0, 0, 0, 1}, b[1] = {NAN}, c[1] = {-1};
    struct nb_gptq_status status = {0};
    struct nb_chol_inverse_args args = {.k = 3, .base = 20, .lda = 3, .a = nb_mem_host(a, sizeof a),
                                        .status = nb_mem_host(&status, sizeof status)};
    cr_assert_eq(nb_launch(stream, NB_OP_chol_inverse, &args, NULL), NB_OK);
    cr_assert_eq(status.pivot, 22); /* 1 - (2/2)^2 = 0 at index 1 */
    static const float identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    cr_assert(!memcmp(a, identity, sizeof a));
    args = (struct nb_chol_inverse_args){.k = 1, .base = 3, .lda = 1, .a = nb_mem_host(b, sizeof b), .status = args.status};
    cr_assert_eq(nb_launch(stream, NB_OP_chol_inverse, &args, NULL), NB_OK);
    cr_assert_eq(status.pivot, 22);
    status.pivot = 0;
    cr_assert_eq(nb_launch(stream, NB_OP_chol_inverse, &args, NULL), NB_OK);
    cr_assert_eq(status.pivot, 0, "b is 1 now");
    args.a = nb_mem_host(c, sizeof c);
    cr_assert_eq(nb_launch(stream, NB_OP_chol_inverse, &args, NULL), NB_OK);
    cr_assert_eq(status.pivot, 4);
    args.k = 65;
    cr_assert_eq(nb_launch(stream, NB_OP_chol_inverse, &args, NULL), NB_E_USAGE);
}

/* ---- moves ---- */

Test(gptq_ops, transposition_gathers_and_scatters) {
    static const size_t shapes[][2] = {{1, 1}, {5, 33}, {70, 31}, {64, 64}, {1, 200}, {200, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t rows = shapes[s][0], cols = shapes[s][1], lds = cols + 1, ldd = rows + 2;
        uint32_t *src = make(rows * lds, 4), *dst = make(cols * ldd, 4), *from = make(cols, 4), *to = make(rows, 4);
        uint8_t *bytes = make(rows * lds, 1), *back = make(cols * ldd, 1);
        for (uint32_t i = 0; i < rows * lds; i++) {
            src[i] = i;
            bytes[i] = (uint8_t)(i * 37u);
        }
        for (uint32_t c = 0; c < cols; c++)
            from[c] = (uint32_t)cols - 1 - c;
        for (uint32_t r = 0; r < rows; r++)
            to[r] = (r + 3) % (uint32_t)rows;
        struct nb_transpose_args a = {.rows = rows, .cols = cols, .elem = 4, .lds = lds, .ldd = ldd};
        a.src = nb_mem_host(src, 0);
        a.dst = nb_mem_host(dst, 0);
        a.from = nb_mem_host(from, 0);
        cr_assert_eq(nb_launch(stream, NB_OP_transpose, &a, NULL), NB_OK);
        struct nb_transpose_args b = {.rows = rows, .cols = cols, .elem = 1, .lds = lds, .ldd = ldd};
        b.src = nb_mem_host(bytes, 0);
        b.dst = nb_mem_host(back, 0);
        b.to = nb_mem_host(to, 0);
        cr_assert_eq(nb_launch(stream, NB_OP_transpose, &b, NULL), NB_OK);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++) {
                cr_assert_eq(dst[c * ldd + r], src[r * lds + from[c]]);
                cr_assert_eq(back[c * ldd + to[r]], bytes[r * lds + c]);
            }
        cr_assert_eq(dst[rows], 0, "wrote past a row");
        b.from = a.from;
        cr_assert_eq(nb_launch(stream, NB_OP_transpose, &b, NULL), NB_E_USAGE);
        a.elem = 2;
        cr_assert_eq(nb_launch(stream, NB_OP_transpose, &a, NULL), NB_E_USAGE);
        free(src), free(dst), free(from), free(to), free(bytes), free(back);
    }
}

Test(gptq_ops, reversal_of_odd_even_and_many) {
    static float a[300001];
    static const size_t counts[] = {0, 1, 2, 7, 8, 300000, 300001};
    for (size_t s = 0; s < sizeof counts / sizeof *counts; s++) {
        for (size_t i = 0; i < 300001; i++)
            a[i] = (float)i;
        struct nb_reverse_args args = {.count = counts[s], .a = nb_mem_host(a, sizeof a)};
        cr_assert_eq(nb_launch(stream, NB_OP_reverse, &args, NULL), NB_OK);
        for (size_t i = 0; i < 300001; i++)
            cr_assert_eq(a[i], (float)(i < counts[s] ? counts[s] - 1 - i : i), "count %zu at %zu", counts[s], i);
    }
}

Test(gptq_ops, copies_and_clears_a_part) {
    enum { R = 100, C = 9, LS = 12, LD = 11 };
    static float src[R * LS], dst[R * LD];
    fill(src, R * LS, 3);
    struct nb_copy_matrix_args a = {.rows = R - 1, .cols = C, .lds = LS, .ldd = LD, .dst = nb_mem_host(dst, sizeof dst)};
    for (int clear = 0; clear < 2; clear++) {
        for (size_t i = 0; i < R * LD; i++)
            dst[i] = 5.0f;
        a.src = clear ? (nb_mem){0} : nb_mem_host(src, sizeof src);
        cr_assert_eq(nb_launch(stream, NB_OP_copy_matrix, &a, NULL), NB_OK);
        for (size_t i = 0; i < R; i++)
            for (size_t j = 0; j < LD; j++)
                cr_assert_eq(dst[i * LD + j], i == R - 1 || j >= C ? 5.0f : clear ? 0.0f : src[i * LS + j]);
    }
}

Test(gptq_ops, error_of_codes) {
    enum { N = 20, K = 50, GROUP = 16, GROUPS = 4 };
    static float w[N * K], scales[N * GROUPS], zeros[N * GROUPS], error[N];
    static uint8_t codes[N * K];
    uint32_t g_idx[K];
    fill(w, N * K, 4);
    fill(scales, N * GROUPS, 5);
    for (size_t i = 0; i < N * GROUPS; i++)
        zeros[i] = (float)(i % 5);
    for (size_t i = 0; i < N * K; i++)
        codes[i] = (uint8_t)(i % 13);
    for (uint32_t j = 0; j < K; j++)
        g_idx[j] = j * 3 % GROUPS;
    for (int indexed = 0; indexed < 2; indexed++) {
        struct nb_quant_error_args a = {.n = N, .k = K, .group = GROUP, .ldw = K};
        a.w = nb_mem_host(w, sizeof w);
        a.codes = nb_mem_host(codes, sizeof codes);
        a.scales = nb_mem_host(scales, sizeof scales);
        a.zeros = nb_mem_host(zeros, sizeof zeros);
        a.g_idx = indexed ? nb_mem_host(g_idx, sizeof g_idx) : (nb_mem){0};
        a.error = nb_mem_host(error, sizeof error);
        cr_assert_eq(nb_launch(stream, NB_OP_quant_error, &a, NULL), NB_OK);
        for (size_t i = 0; i < N; i++) {
            double sum = 0.0;
            for (size_t j = 0; j < K; j++) {
                size_t at = i * GROUPS + (indexed ? g_idx[j] : j / GROUP);
                double d = (double)w[i * K + j] - ((double)codes[i * K + j] - (double)zeros[at]) * (double)scales[at];
                sum += d * d;
            }
            /* two roundings in each difference, whose size is at most 13 scales + |w| */
            cr_assert_float_eq(error[i], sum, 1e-6 * sum + 1e-6);
        }
    }
}

#include "tests/quant/naive.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"

void *must_alloc(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size);
    cr_assert_not_null(p);
    return p;
}

/* Gauss-Jordan with pivoting by rows. */
void naive_invert(double *a, size_t k) {
    double *inv = must_alloc(k * k, sizeof *inv);
    for (size_t i = 0; i < k; i++)
        inv[i * k + i] = 1.0;
    for (size_t c = 0; c < k; c++) {
        size_t p = c;
        for (size_t i = c; i < k; i++)
            p = fabs(a[i * k + c]) > fabs(a[p * k + c]) ? i : p;
        for (size_t j = 0; j < k; j++) {
            double t = a[c * k + j], s = inv[c * k + j];
            a[c * k + j] = a[p * k + j], inv[c * k + j] = inv[p * k + j];
            a[p * k + j] = t, inv[p * k + j] = s;
        }
        double d = a[c * k + c];
        for (size_t j = 0; j < k; j++)
            a[c * k + j] /= d, inv[c * k + j] /= d;
        for (size_t i = 0; i < k; i++) {
            double f = a[i * k + c];
            if (i == c || f == 0.0)
                continue;
            for (size_t j = 0; j < k; j++)
                a[i * k + j] -= f * a[c * k + j], inv[i * k + j] -= f * inv[c * k + j];
        }
    }
    memcpy(a, inv, k * k * sizeof *a);
    free(inv);
}

/* Selection sort by falling key, first index first: the order as the format's text states it. */
void naive_sort_falling(size_t *index, size_t count, const double *key) {
    for (size_t i = 0; i < count; i++) {
        size_t best = i;
        for (size_t j = i + 1; j < count; j++)
            if (key[index[j]] > key[index[best]])
                best = j;
        size_t chosen = index[best];
        memmove(index + i + 1, index + i, (best - i) * sizeof *index);
        index[i] = chosen;
    }
}

static void order_columns(naive_result *r, const double *diag, size_t k, const nb_quant_options *o) {
    size_t g = o->group_size, groups = (k + g - 1) / g;
    for (size_t j = 0; j < k; j++)
        r->visit[j] = j;
    if (o->order == NB_ORDER_ACT || o->order == NB_ORDER_ACT_STATIC)
        naive_sort_falling(r->visit, k, diag);
    if (o->order == NB_ORDER_GROUP_AWARE) {
        double *top = must_alloc(groups, sizeof *top);
        size_t *by_top = must_alloc(groups, sizeof *by_top), at = 0;
        for (size_t j = 0; j < k; j++)
            top[j / g] = fmax(top[j / g], diag[j]);
        for (size_t j = 0; j < groups; j++)
            by_top[j] = j;
        naive_sort_falling(by_top, groups, top);
        for (size_t i = 0; i < groups; i++) {
            size_t first = by_top[i] * g, count = first + g < k ? g : k - first;
            for (size_t j = 0; j < count; j++)
                r->visit[at + j] = first + j;
            naive_sort_falling(r->visit + at, count, diag);
            at += count;
        }
        free(top);
        free(by_top);
    }
    for (size_t p = 0; p < k; p++)
        r->group[r->visit[p]] = (o->order == NB_ORDER_ACT ? p : r->visit[p]) / g;
}

static float round_scale(double s) {
    float f = nb_f16_to_f32(nb_f32_to_f16((float)(s > 65504.0 ? 65504.0 : s)));
    return f < 0x1p-14f ? 0x1p-14f : f;
}

static void group_params(naive_result *r, const double *w, size_t row, size_t group, size_t groups, size_t k,
                         const nb_quant_options *o) {
    double lo = 0.0, hi = 0.0, top = (double)((1u << o->bits) - 1u);
    for (size_t j = 0; j < k; j++)
        if (r->group[j] == group) {
            lo = fmin(lo, w[row * k + j]);
            hi = fmax(hi, w[row * k + j]);
        }
    if (lo == 0.0 && hi == 0.0)
        lo = -1.0, hi = 1.0;
    size_t at = row * groups + group;
    r->range[at] = o->symmetric ? 2.0 * fmax(-lo, hi) / top : (hi - lo) / top;
    r->scales[at] = round_scale(r->range[at]);
    r->zeros[at] = o->symmetric ? (float)(1u << (o->bits - 1))
                                : (float)fmin(top, fmax(0.0, nearbyint(-lo / (double)r->scales[at])));
}

void naive_damped_inverse(double *inverse, const float *h, size_t k, double damp) {
    double mean = 0.0;
    size_t live = 0;
    for (size_t i = 0; i < k * k; i++)
        inverse[i] = (double)h[i];
    for (size_t j = 0; j < k; j++) {
        mean += inverse[j * (k + 1)];
        live += inverse[j * (k + 1)] != 0.0;
    }
    mean = live ? mean / (double)live : 1.0;
    for (size_t j = 0; j < k; j++)
        inverse[j * (k + 1)] = (inverse[j * (k + 1)] == 0.0 ? mean : inverse[j * (k + 1)]) + damp * mean;
    naive_invert(inverse, k);
}

naive_result naive_gptq(const float *w, const float *h, size_t n, size_t k, const nb_quant_options *o, double damp) {
    size_t groups = (k + o->group_size - 1) / o->group_size;
    naive_result r = {must_alloc(n * k, 1), must_alloc(n * groups, 4), must_alloc(n * groups, 4), must_alloc(n * k, 8),
                      must_alloc(n * k, 8), must_alloc(n * groups, 8), must_alloc(k, 8), must_alloc(k, 8)};
    double *diag = must_alloc(k, 8), *hinv = must_alloc(k * k, 8), *work = must_alloc(n * k, 8), top = (1 << o->bits) - 1;
    for (size_t j = 0; j < k; j++)
        diag[j] = (double)h[j * k + j];
    for (size_t i = 0; i < n * k; i++)
        work[i] = diag[i % k] == 0.0 ? 0.0 : (double)w[i];
    order_columns(&r, diag, k, o);
    naive_damped_inverse(hinv, h, k, damp);
    for (size_t g = 0; o->order == NB_ORDER_ACT_STATIC && g < groups; g++)
        for (size_t i = 0; i < n; i++)
            group_params(&r, work, i, g, groups, k, o);
    for (size_t p = 0; p < k; p++) {
        size_t c = r.visit[p], g = r.group[c];
        bool begins = p == 0 || r.group[r.visit[p - 1]] != g;
        double d = hinv[c * k + c];
        for (size_t i = 0; i < n; i++) {
            if (begins && o->order != NB_ORDER_ACT_STATIC)
                group_params(&r, work, i, g, groups, k, o);
            double s = (double)r.scales[i * groups + g], z = (double)r.zeros[i * groups + g], x = work[i * k + c];
            double q = fmin(top, fmax(0.0, nearbyint(x / s) + z));
            r.codes[i * k + c] = (uint8_t)q;
            r.before[i * k + c] = x / s;
            r.q[i * k + c] = (q - z) * s;
            double e = (x - r.q[i * k + c]) / d;
            for (size_t j = 0; j < k; j++)
                work[i * k + j] -= e * hinv[c * k + j];
            work[i * k + c] = r.q[i * k + c];
        }
        for (size_t a = 0; a < k; a++) /* remove c from the inverse */
            for (size_t b = 0; b < k; b++)
                if (a != c && b != c)
                    hinv[a * k + b] -= hinv[a * k + c] * hinv[c * k + b] / d;
        for (size_t a = 0; a < k; a++)
            hinv[a * k + c] = hinv[c * k + a] = 0.0;
    }
    free(diag);
    free(hinv);
    free(work);
    return r;
}

void naive_free(naive_result *r) {
    void *all[] = {r->codes, r->scales, r->zeros, r->q, r->before, r->range, r->visit, r->group};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* Could rounding have gone either way? `slack` is the error of x relative to 1 step. */
static bool near_tie(double x, double slack) {
    return fabs(fabs(x - floor(x)) - 0.5) < slack;
}

/* Is a scale so near the middle of two F16 numbers that an error of relative size `slack` changes it? */
static bool near_f16_tie(double scale, double slack) {
    return nb_f32_to_f16((float)(scale * (1.0 - slack))) != nb_f32_to_f16((float)(scale * (1.0 + slack)));
}

size_t naive_ties(const nb_qtensor *q, const naive_result *r, const nb_quant_options *o, double slack) {
    size_t ties = 0;
    for (size_t i = 0; i < q->n; i++)
        for (size_t p = 0; p < q->k; p++) {
            size_t c = r->visit[p], at = i * q->groups + r->group[c];
            bool same_params = q->scales[at] == r->scales[at] && q->zeros[at] == r->zeros[at];
            if (same_params && q->codes[i * q->k + c] == r->codes[i * q->k + c])
                continue;
            bool tie = same_params ? near_tie(r->before[i * q->k + c], slack) : near_f16_tie(r->range[at], 0.1 * slack);
            if (!same_params && q->scales[at] == r->scales[at]) /* the zero point is -min / scale, rounded */
                tie = !o->symmetric;
            cr_assert(tie, "row %zu position %zu: code %u naive %u at %g, scale %g naive %g", i, p, q->codes[i * q->k + c],
                      r->codes[i * q->k + c], r->before[i * q->k + c], (double)q->scales[at], (double)r->scales[at]);
            ties++;
            break; /* what follows in this row has other errors to make up for */
        }
    return ties;
}

double quad_loss(const float *w, const float *q, const float *h, size_t n, size_t k) {
    double loss = 0.0;
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < k; i++) {
            double e = (double)w[r * k + i] - (double)q[r * k + i], sum = 0.0;
            for (size_t j = 0; j < k; j++)
                sum += (double)h[i * k + j] * ((double)w[r * k + j] - (double)q[r * k + j]);
            loss += e * sum;
        }
    return loss;
}

void make_hessian(float *h, size_t k, size_t rows, uint64_t seed) {
    nb_random r = nb_random_seed(seed);
    double *x = must_alloc(rows * k, sizeof *x);
    enum { HIDDEN = 5 };
    for (size_t i = 0; i < rows; i++) {
        double common[HIDDEN];
        for (int l = 0; l < HIDDEN; l++)
            common[l] = (double)nb_random_f32(&r) - 0.5;
        for (size_t j = 0; j < k; j++) {
            double strength = 0.2 + 3.0 * (double)((j * 7919u) % 31u) / 31.0;
            x[i * k + j] = strength * (common[j % HIDDEN] + 0.6 * common[(j / 3) % HIDDEN] +
                                       0.5 * ((double)nb_random_f32(&r) - 0.5));
        }
    }
    for (size_t a = 0; a < k; a++)
        for (size_t b = 0; b <= a; b++) {
            double sum = 0.0;
            for (size_t i = 0; i < rows; i++)
                sum += x[i * k + a] * x[i * k + b];
            h[a * k + b] = h[b * k + a] = (float)(sum * 2.0 / (double)rows);
        }
    free(x);
}

void make_weight(float *w, size_t n, size_t k, uint64_t seed) {
    nb_random r = nb_random_seed(seed);
    for (size_t i = 0; i < n * k; i++) /* a sum of uniforms: bell-shaped */
        w[i] = 0.05f * (nb_random_f32(&r) + nb_random_f32(&r) + nb_random_f32(&r) - 1.5f);
}

static nb_status on_stream(const nb_quantizer *method, nb_stream *stream, const float *w, const float *h, size_t n,
                           size_t k, const nb_quant_options *o, nb_qtensor *out, float *deq, nb_quant_report *report,
                           nb_err *err) {
    nb_mem mw, mh = {0};
    cr_assert_eq(nb_alloc_array(stream->device, n * k, sizeof(float), &mw, NULL), NB_OK);
    cr_assert_eq(nb_upload(stream, mw, w, n * k * sizeof(float), NULL), NB_OK);
    if (h) {
        cr_assert_eq(nb_alloc_array(stream->device, k * k, sizeof(float), &mh, NULL), NB_OK);
        cr_assert_eq(nb_upload(stream, mh, h, k * k * sizeof(float), NULL), NB_OK);
    }
    nb_quant_stats stats = {.hessian = mh, .rows = 1};
    nb_status status = method->run(stream, mw, n, k, h ? &stats : NULL, o, out, report, err);
    if (status == NB_OK && deq) {
        cr_assert_eq(nb_download(stream, deq, mw, n * k * sizeof(float), NULL), NB_OK);
        cr_assert_eq(nb_sync(stream, NULL), NB_OK);
    }
    if (status == NB_OK && h && mh.base) /* the Hessian is the caller's */
        cr_assert(!memcmp(nb_host(mh), h, k * k * sizeof(float)), "the Hessian was changed");
    nb_release(stream->device, &mw);
    nb_release(stream->device, &mh);
    return status;
}

nb_status run_method(const char *method, unsigned threads, const char *filter, const float *w, const float *h, size_t n,
                     size_t k, const nb_quant_options *o, nb_qtensor *out, float *deq, nb_quant_report *report, nb_err *err) {
    nb_device_options device_options = {.threads = threads, .kernel_filter = filter};
    nb_device *device;
    nb_stream *stream;
    const nb_quantizer *quantizer = nb_quantizer_by_name(method);
    cr_assert_not_null(quantizer);
    cr_assert_eq(nb_device_open("cpu", &device_options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    nb_status status = on_stream(quantizer, stream, w, h, n, k, o, out, deq, report, err);
    nb_stream_free(stream);
    nb_device_close(device);
    return status;
}

nb_qtensor must_run(const char *method, const float *w, const float *h, size_t n, size_t k, const nb_quant_options *o,
                    float *deq, nb_quant_report *report) {
    nb_qtensor q;
    nb_quant_report ignored;
    nb_err err = {0};
    nb_status status = run_method(method, 2, NULL, w, h, n, k, o, &q, deq, report ? report : &ignored, &err);
    cr_assert_eq(status, NB_OK, "%s: %s", method, err.text);
    return q;
}

/* From logits to a token. */
#include <math.h>
#include <stdlib.h>

#include "host/base/random.h"
#include "host/base/size.h"
#include "host/model/generate.h"

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

/* Is a less likely than b? Of equals the later one is. */
static bool below(candidate a, candidate b) {
    return a.logit < b.logit || (a.logit == b.logit && a.id > b.id);
}

/* Restores a heap whose root is the least likely. */
static void sift_down(candidate *heap, size_t count, size_t at) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            return;
        if (child + 1 < count && below(heap[child + 1], heap[child]))
            child++;
        if (!below(heap[child], heap[at]))
            return;
        candidate t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
        at = child;
    }
}

/* The k most likely tokens, most likely first. */
static size_t take_top(const float *logits, size_t n, size_t k, candidate *heap) {
    size_t count = nb_min(n, k);
    for (size_t i = 0; i < count; i++)
        heap[i] = (candidate){logits[i], (int32_t)i};
    for (size_t i = count / 2; i-- > 0;)
        sift_down(heap, count, i);
    for (size_t i = count; i < n; i++)
        if (logits[i] > heap[0].logit) {
            heap[0] = (candidate){logits[i], (int32_t)i};
            sift_down(heap, count, 0);
        }
    for (size_t left = count; left > 1; left--) { /* the root goes to the end: falling order */
        candidate t = heap[0];
        heap[0] = heap[left - 1];
        heap[left - 1] = t;
        sift_down(heap, left - 1, 0);
    }
    return count;
}

/* Uniform in [0, 1) with 53 bits. */
static double uniform(nb_random *r) {
    uint64_t high = nb_random_u32(r) >> 5, low = nb_random_u32(r) >> 6;
    return (double)(high << 26 | low) * 0x1p-53;
}

static int32_t draw_top(const float *logits, size_t n, const nb_sampling *s, nb_random *r) {
    candidate top[NB_TOP_K_MAX];
    double p[NB_TOP_K_MAX], sum = 0.0, kept;
    size_t k = s->top_k ? nb_min(s->top_k, NB_TOP_K_MAX) : NB_TOP_K_MAX, count = take_top(logits, n, k, top);
    for (size_t i = 0; i < count; i++)
        sum += p[i] = exp(((double)top[i].logit - (double)top[0].logit) / s->temperature);
    size_t last = 0;
    p[0] = 1.0;
    for (kept = p[0]; last + 1 < count && kept < s->top_p * sum; kept += p[++last])
        continue;
    double at = uniform(r) * kept;
    for (size_t i = 0; i < last; i++)
        if ((at -= p[i]) < 0.0)
            return top[i].id;
    return top[last].id;
}

static int32_t draw_all(const float *logits, size_t n, float max, const nb_sampling *s, nb_random *r) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += exp(((double)logits[i] - (double)max) / s->temperature);
    double at = uniform(r) * sum;
    for (size_t i = 0; i + 1 < n; i++)
        if ((at -= exp(((double)logits[i] - (double)max) / s->temperature)) < 0.0)
            return (int32_t)i;
    return (int32_t)(n - 1);
}

/* The largest logit's place, the first of equals; n where one is NaN. A block's largest first, which compilers vectorise. */
static size_t largest(const float *logits, size_t n) {
    enum { BLOCK = 512 };
    size_t at = 0;
    float max = -INFINITY;
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t end = nb_min(i + BLOCK, n);
        float best[16];
        uint32_t nan = 0;
        for (size_t l = 0; l < 16; l++)
            best[l] = max;
        size_t j = i;
        for (; j + 16 <= end; j += 16)
            for (size_t l = 0; l < 16; l++) {
                best[l] = logits[j + l] > best[l] ? logits[j + l] : best[l];
                nan |= logits[j + l] != logits[j + l];
            }
        for (; j < end; j++) {
            best[0] = logits[j] > best[0] ? logits[j] : best[0];
            nan |= logits[j] != logits[j];
        }
        if (nan)
            return n;
        for (size_t l = 1; l < 16; l++)
            best[0] = best[l] > best[0] ? best[l] : best[0];
        if (!(best[0] > max))
            continue;
        max = best[0];
        for (at = i; logits[at] != max; at++)
            continue;
    }
    return at;
}

nb_status nb_sample(const float *logits, size_t n, const nb_sampling *s, nb_random *r, int32_t *out, nb_err *err) {
    size_t top = largest(logits, n);
    for (size_t i = 0; i < n && top == n; i++)
        if (isnan(logits[i]))
            return nb_fail(err, NB_E_INPUT, "the model's logit of token %zu is NaN", i);
    if (!(s->temperature > 0.0))
        *out = (int32_t)top;
    else if (s->top_k || s->top_p < 1.0)
        *out = draw_top(logits, n, s, r);
    else
        *out = draw_all(logits, n, logits[top], s, r);
    return NB_OK;
}

nb_sampling nb_sampling_for_calibration(uint64_t seed) {
    return (nb_sampling){.temperature = 1.0, .top_k = 50, .top_p = 1.0, .seed = seed};
}

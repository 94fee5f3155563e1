/* Checked size arithmetic. Sizes that come from files or flags go through these before they are used. Each
 * returns false, and leaves *out alone, where the result does not fit. */
#ifndef NB_BASE_SIZE_H
#define NB_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool nb_mul(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool nb_add(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

/* a * b * c. */
static inline bool nb_mul3(size_t a, size_t b, size_t c, size_t *out) {
    size_t r;
    return nb_mul(a, b, &r) && nb_mul(r, c, out);
}

/* a rounded up to a multiple of to (a power of two). */
static inline bool nb_align(size_t a, size_t to, size_t *out) {
    size_t r;
    if (!nb_add(a, to - 1, &r))
        return false;
    *out = r & ~(to - 1);
    return true;
}

/* ceil(a / b) for b > 0; never overflows. */
static inline size_t nb_ceil_div(size_t a, size_t b) {
    return a / b + (a % b != 0);
}

static inline size_t nb_min(size_t a, size_t b) {
    return a < b ? a : b;
}

static inline size_t nb_max(size_t a, size_t b) {
    return a > b ? a : b;
}

#endif

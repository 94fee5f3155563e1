/* Deterministic random numbers: PCG32 (O'Neill 2014, "PCG: A Family of Simple Fast Space-Efficient Statistically
 * Good Algorithms", XSH-RR variant). The same seed gives the same stream everywhere. */
#ifndef NB_BASE_RANDOM_H
#define NB_BASE_RANDOM_H

#include <stdint.h>

typedef struct nb_random {
    uint64_t state;
} nb_random;

static inline uint32_t nb_random_u32(nb_random *r) {
    uint64_t old = r->state;
    r->state = old * 6364136223846793005u + 1442695040888963407u;
    uint32_t xorshifted = (uint32_t)(((old >> 18) ^ old) >> 27);
    uint32_t rot = (uint32_t)(old >> 59);
    return (xorshifted >> rot) | (xorshifted << ((32 - rot) & 31));
}

static inline nb_random nb_random_seed(uint64_t seed) {
    nb_random r = {seed + 1442695040888963407u};
    nb_random_u32(&r);
    return r;
}

/* Uniform in [0, n), n > 0, without bias (Lemire's multiply with rejection). */
static inline uint32_t nb_random_below(nb_random *r, uint32_t n) {
    uint64_t m = (uint64_t)nb_random_u32(r) * n;
    uint32_t low = (uint32_t)m, floor = (uint32_t)(-n) % n;
    while (low < floor) {
        m = (uint64_t)nb_random_u32(r) * n;
        low = (uint32_t)m;
    }
    return (uint32_t)(m >> 32);
}

/* Uniform in [0, 1), a multiple of 2^-24. */
static inline float nb_random_f32(nb_random *r) {
    return (float)(nb_random_u32(r) >> 8) * 0x1p-24f;
}

#endif

/* The search for scales that gptq_block and group_search share; struct nb_group_search_args states the rule. */
#ifndef NB_KERNELS_CPU_SCALE_SEARCH_H
#define NB_KERNELS_CPU_SCALE_SEARCH_H

#include "kernels/cpu/cpu.h"

enum { NB_SEARCH_LANES = 32 };

/* One instruction set's code: error[z][lane] of one scale with `zeros` zero points (1 or 4), each [NB_SEARCH_LANES]. */
typedef struct nb__search_isa {
    void (*one)(const float *w, size_t count, const float *h, const float *scale, const float *zero, float top, float *error);
    void (*four)(const float *w, size_t count, const float *h, const float *scale, const float *zero, float top, float *error);
} nb__search_isa;

extern const nb__search_isa nb__search_plain;
#if defined(__x86_64__)
extern const nb__search_isa nb__search_avx2, nb__search_avx512;
#endif

/* A group of columns of NB_SEARCH_LANES rows: w is [count, NB_SEARCH_LANES], h [count]. */
typedef struct nb__search_group {
    const float *w, *h;
    size_t count;
    unsigned bits;
    bool symmetric, either_sign;
    nb_dtype scale_type;
} nb__search_group;

/* scale and zero [NB_SEARCH_LANES] of each row. */
void nb__search_params(const nb__search_isa *isa, const nb__search_group *group, float *scale, float *zero);

#endif

/* GPTQ as the textbook has it, in double: explicit inverse, one column at a time, elimination of each column from the
 * inverse (OBQ, arXiv 2208.11580, equations 3 and 4; arXiv 2210.17323, section 3.1). And what tests of quantizers share. */
#ifndef NB_TESTS_QUANT_NAIVE_H
#define NB_TESTS_QUANT_NAIVE_H

#include "host/quant/quant.h"

typedef struct naive_result {
    uint8_t *codes; /* [n,k], stored order */
    float *scales, *zeros;
    double *q;      /* dequantized [n,k] */
    double *before; /* [n,k]: w / scale + zero, what was rounded */
    double *range;  /* [n,groups]: scale before it was rounded to F16 */
    size_t *visit;  /* [k] stored column at each position */
    size_t *group;  /* [k] group of each stored column */
} naive_result;

/* w [n,k], h [k,k] of the caller are not changed. */
naive_result naive_gptq(const float *w, const float *h, size_t n, size_t k, const nb_quant_options *o, double damp);
void naive_free(naive_result *r);

/* Codes of each row equal the naive ones up to the first that is a provable tie, for a solver whose weights are off by at most `slack`
 * steps; fails where they do not. Returns how many rows had a tie: what follows it in the row is not compared. */
size_t naive_ties(const nb_qtensor *q, const naive_result *r, const nb_quant_options *o, double slack);

/* a [k,k] becomes its inverse. */
void naive_invert(double *a, size_t k);
/* inverse [k,k] of h with damping times the mean diagonal added to its diagonal; of dead columns the mean is the diagonal. */
void naive_damped_inverse(double *inverse, const float *h, size_t k, double damp);
/* Indices sorted by falling key, in place; the first of equals stays first. */
void naive_sort_falling(size_t *index, size_t count, const double *key);

/* tr(E H E^T) in double. */
double quad_loss(const float *w, const float *q, const float *h, size_t n, size_t k);

/* Inputs whose columns are correlated, with unlike strengths: x [rows,k]; h [k,k] = X^T X * 2 / rows. */
void make_hessian(float *h, size_t k, size_t rows, uint64_t seed);
void make_weight(float *w, size_t n, size_t k, uint64_t seed);

/* One run of a quantizer on a new CPU device: deq [n,k] gets the dequantized weight. h may be NULL. */
nb_status run_method(const char *method, unsigned threads, const char *filter, const float *w, const float *h, size_t n,
                     size_t k, const nb_quant_options *o, nb_qtensor *out, float *deq, nb_quant_report *report, nb_err *err);

/* As run_method, but must work. */
nb_qtensor must_run(const char *method, const float *w, const float *h, size_t n, size_t k, const nb_quant_options *o,
                    float *deq, nb_quant_report *report);

void *must_alloc(size_t count, size_t size);

#endif

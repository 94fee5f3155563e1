#include <criterion/criterion.h>
#include <math.h>

#include "host/model/model.h"

typedef struct llama3 {
    size_t head_dim;
    double theta, factor, low, high;
    size_t original;
} llama3;

/* As converters to GGUF make them: frequencies in f32. */
static void factors_of(const llama3 *c, float *out) {
    for (size_t i = 0; i < c->head_dim / 2; i++) {
        float freq = 1.0f / powf((float)c->theta, (float)(2 * i) / (float)c->head_dim);
        double length = 2.0 * M_PI / (double)freq, original = (double)c->original;
        double smooth = (original / length - c->low) / (c->high - c->low);
        out[i] = (float)(length < original / c->high ? 1.0 : length > original / c->low ? c->factor : 1.0 / ((1.0 - smooth) / c->factor + smooth));
    }
}

static bool solve(const llama3 *c, const float *factors, nb_hparams *out) {
    *out = (nb_hparams){.head_dim = c->head_dim, .rope_theta = c->theta, .rope_scaling = NB_ROPE_FACTORS};
    return nb_rope_solve(out, factors);
}

Test(rope, factors_give_the_parameters_that_they_were_made_of) {
    static const llama3 cases[] = {{128, 500000, 8, 1, 4, 8192}, {64, 500000, 32, 1, 4, 8192}, {128, 500000, 32, 1, 4, 8192}, {16, 10000, 8, 1, 4, 64},
                                   {128, 1000000, 16, 1, 8, 4096}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float factors[64];
        nb_hparams hp;
        factors_of(&cases[i], factors);
        cr_assert(solve(&cases[i], factors, &hp), "case %zu", i);
        cr_assert_eq(hp.rope_scaling, NB_ROPE_FACTORS);
        cr_assert_eq(hp.rope_factor, cases[i].factor);
        cr_assert_eq(hp.rope_low_freq, 1.0);
        cr_assert_eq(hp.rope_high_freq, cases[i].high, "case %zu: %.17g", i, hp.rope_high_freq);
        cr_assert_eq(hp.rope_original_context, cases[i].original);
    }
}

/* Only original / low and original / high matter. */
Test(rope, low_of_2_is_half_the_length_with_1) {
    static const llama3 made = {128, 500000, 8, 2, 8, 16384};
    float factors[64];
    nb_hparams hp;
    factors_of(&made, factors);
    cr_assert(solve(&made, factors, &hp));
    cr_assert(hp.rope_original_context == 8192 && hp.rope_low_freq == 1.0 && hp.rope_high_freq == 4.0);
}

Test(rope, other_factors_have_none) {
    static const llama3 made = {128, 500000, 8, 1, 4, 8192};
    float good[64], factors[64];
    nb_hparams hp;
    factors_of(&made, good);
    for (size_t changed = 0; changed < 64; changed++) { /* any one of them, by 1e-4 */
        for (size_t i = 0; i < 64; i++)
            factors[i] = good[i] * (i == changed ? 1.0001f : 1.0f);
        cr_assert_not(solve(&made, factors, &hp), "factor %zu", changed);
        cr_assert_eq(hp.rope_original_context, 0);
    }
    for (size_t i = 0; i < 64; i++)
        factors[i] = 1.0f;
    cr_assert_not(solve(&made, factors, &hp));
    for (size_t i = 0; i < 64; i++)
        factors[i] = 64.0f - (float)i;
    cr_assert_not(solve(&made, factors, &hp));
    for (size_t i = 0; i < 64; i++)
        factors[i] = 1.0f + (float)i / 7.0f;
    cr_assert_not(solve(&made, factors, &hp));
}

/* Frequencies of rotary embeddings, and Llama 3's way to stretch them (as Transformers' modeling_rope_utils.py does). */
#include <math.h>

#include "host/model/impl.h"

static const double two_pi = 6.283185307179586476925;

static double base_freq(double theta, const nb_hparams *hp, size_t i) {
    return pow(theta, -2.0 * (double)i / (double)hp->head_dim);
}

/* Llama-3: wavelengths below original / high stay, above original / low are stretched by the factor, between the two the
 * frequency is interpolated. */
static double llama3_freq(const nb_hparams *hp, double f) {
    double length = two_pi / f, original = (double)hp->rope_original_context;
    if (length < original / hp->rope_high_freq)
        return f;
    if (length > original / hp->rope_low_freq)
        return f / hp->rope_factor;
    double s = (original / length - hp->rope_low_freq) / (hp->rope_high_freq - hp->rope_low_freq);
    return (1.0 - s) * f / hp->rope_factor + s * f;
}

void nb_rope_factors(const nb_hparams *hp, float *factors) {
    for (size_t i = 0; i < hp->head_dim / 2; i++) {
        double f = base_freq(hp->rope_theta, hp, i);
        factors[i] = (float)(f / llama3_freq(hp, f));
    }
}

/* Converters make the factors from frequencies in f32, 2^-23 off. The interpolation enlarges that by original / length / (high - low), 4 / 3 at
 * most where high is 4, times the factor: 32 in Llama 3.2, and half as much again to spare. */
#define SAME_FACTOR 1e-5

static bool gives(const nb_hparams *hp, const float *factors) {
    for (size_t i = 0; i < hp->head_dim / 2; i++) {
        double f = base_freq(hp->rope_theta, hp, i), ours = f / llama3_freq(hp, f);
        if (!(fabs(factors[i] - ours) <= SAME_FACTOR * ours))
            return false;
    }
    return true;
}

/* Between the two bounds 1 / factors[i] is (1 - s) / F + s, and s = a / length - b with a = original / (high - low) and b = low / (high - low): two
 * frequencies there give both. Only original / low and original / high matter: low is 1, as in every Llama 3. */
bool nb_rope_solve(nb_hparams *hp, const float *factors) {
    size_t half = hp->head_dim / 2, first = 0, last = half;
    double most = half ? (double)factors[half - 1] : 0.0, s[2], x[2];
    while (first < half && factors[first] <= 1.0f)
        first++;
    while (last > 0 && (double)factors[last - 1] >= most)
        last--;
    if (!(most > 1.0) || last < first + 2)
        return false;
    for (int e = 0; e < 2; e++) {
        size_t i = e ? last - 1 : first;
        s[e] = (1.0 / (double)factors[i] - 1.0 / most) / (1.0 - 1.0 / most);
        x[e] = base_freq(hp->rope_theta, hp, i) / two_pi;
    }
    double a = (s[0] - s[1]) / (x[0] - x[1]), b = a * x[0] - s[0];
    if (!(a > 0.0 && b > 0.0 && a < 1e9 * b))
        return false;
    nb_hparams solved = *hp;
    solved.rope_factor = most;
    solved.rope_original_context = (size_t)llround(a / b);
    solved.rope_low_freq = 1.0;
    solved.rope_high_freq = 1.0 + round(1e3 / b) / 1e3;
    if (!gives(&solved, factors))
        return false;
    *hp = solved;
    return true;
}

void nb__rope_local_freq(const nb_hparams *hp, double *out) {
    for (size_t i = 0; i < hp->head_dim / 2; i++)
        out[i] = base_freq(hp->rope_local_theta, hp, i);
}

void nb__rope_inv_freq(const nb_hparams *hp, const float *factors, double *out) {
    for (size_t i = 0; i < hp->head_dim / 2; i++) {
        double f = base_freq(hp->rope_theta, hp, i);
        if (hp->rope_scaling == NB_ROPE_LINEAR)
            f /= hp->rope_factor;
        else if (hp->rope_scaling == NB_ROPE_LLAMA3)
            f = llama3_freq(hp, f);
        else if (hp->rope_scaling == NB_ROPE_FACTORS)
            f /= (double)factors[i];
        out[i] = f;
    }
}

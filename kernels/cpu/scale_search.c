/* Scales and zero points of least weighted error over a grid of candidates. */
#include "kernels/cpu/scale_search.h"

#include <math.h>

enum { LANES = NB_SEARCH_LANES };
enum { SHRINKS = 26, ZEROS = 4, MAGNITUDES = 36 };

#define LANES_ISA 0
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scale_search_tmpl.h"

#if defined(__x86_64__)
#define LANES_ISA 1
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scale_search_tmpl.h"

#define LANES_ISA 2
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scale_search_tmpl.h"
#endif

typedef struct search {
    const nb__search_isa *isa;
    const nb__search_group *group;
    float min[LANES], max[LANES]; /* 0 included */
    float best[LANES];            /* error of the pair that *scale and *zero hold */
    float *scale, *zero;
} search;

/* By range, as group_range has it. */
static void begin(search *s) {
    const nb__search_group *g = s->group;
    for (size_t l = 0; l < LANES; l++)
        s->min[l] = s->max[l] = 0.0f;
    for (size_t j = 0; j < g->count; j++)
        for (size_t l = 0; l < LANES; l++) {
            float x = g->w[j * LANES + l];
            s->min[l] = x < s->min[l] ? x : s->min[l];
            s->max[l] = x > s->max[l] ? x : s->max[l];
        }
    for (size_t l = 0; l < LANES; l++)
        nb__cpu_range_params(s->min[l], s->max[l], g->bits, g->symmetric, g->scale_type, &s->scale[l], &s->zero[l]);
    s->isa->one(g->w, g->count, g->h, s->scale, s->zero, (float)((1u << g->bits) - 1u), s->best);
}

static void keep_less(search *s, const float *scale, const float *zero, const float *error) {
    for (size_t l = 0; l < LANES; l++) {
        bool less = error[l] < s->best[l];
        s->best[l] = less ? error[l] : s->best[l];
        s->scale[l] = less ? scale[l] : s->scale[l];
        s->zero[l] = less ? zero[l] : s->zero[l];
    }
}

static void search_symmetric(search *s) {
    const nb__search_group *g = s->group;
    float top = (float)((1u << g->bits) - 1u), half = (float)(1u << (g->bits - 1));
    float scale[LANES], zero[LANES], error[LANES];
    for (int i = 0; i < (g->either_sign ? 2 : 1) * MAGNITUDES; i++) {
        float part = (float)(232 - 3 * (i % MAGNITUDES)) / 200.0f, sign = i < MAGNITUDES ? 1.0f : -1.0f;
        for (size_t l = 0; l < LANES; l++) {
            float a = -s->min[l] > s->max[l] ? -s->min[l] : s->max[l];
            scale[l] = sign * nb__cpu_round_scale(part * a / half, g->scale_type);
            zero[l] = half;
        }
        s->isa->one(g->w, g->count, g->h, scale, zero, top, error);
        keep_less(s, scale, zero, error);
    }
}

static inline float clamp_zero(float z, float top) {
    return !(z > 0.0f) ? 0.0f : z > top ? top : z; /* -0 becomes 0 */
}

static void search_asymmetric(search *s) {
    const nb__search_group *g = s->group;
    float top = (float)((1u << g->bits) - 1u);
    float scale[LANES], zero[ZEROS][LANES], error[ZEROS][LANES];
    for (int i = 0; i < SHRINKS; i++) {
        float part = (float)(52 - i) / 50.0f;
        for (size_t l = 0; l < LANES; l++) {
            float range = s->max[l] - s->min[l];
            scale[l] = nb__cpu_round_scale(part * range / top, g->scale_type);
            float z = nearbyintf(-(part * s->min[l]) / scale[l]);
            float low = s->min[l] + (1.0f - part) * 0.5f * range;
            zero[0][l] = clamp_zero(z, top);
            zero[1][l] = clamp_zero(z - 1.0f, top);
            zero[2][l] = clamp_zero(z + 1.0f, top);
            zero[3][l] = clamp_zero(nearbyintf(-low / scale[l]), top);
        }
        s->isa->four(g->w, g->count, g->h, scale, zero[0], top, error[0]);
        for (int z = 0; z < ZEROS; z++)
            keep_less(s, scale, zero[z], error[z]);
    }
}

void nb__search_params(const nb__search_isa *isa, const nb__search_group *group, float *scale, float *zero) {
    search s = {.isa = isa, .group = group, .scale = scale, .zero = zero};
    begin(&s);
    if (group->symmetric)
        search_symmetric(&s);
    else
        search_asymmetric(&s);
}

/* --method best: the settings that measured best (docs/quality.md, "What best means"), the first whose computing fits the time,
 * the memory and the device that there are. */
#include <string.h>

#include "host/run/plan.h"

typedef struct recipe {
    const char *name;      /* as a journal records it */
    unsigned most_bits;    /* for that many bits and fewer */
    const char *method;
    bool two_sided;
    unsigned descent;
    double asym_calib;
    bool zero_points, real_zeros; /* only with --asym; only where the format holds zero points that are not whole */
} recipe;

/* From the best to the cheapest. */
static const recipe recipes[] = {
    {.name = "awq+gptq two-sided", .most_bits = 8, .method = "awq+gptq", .two_sided = true, .asym_calib = 0.5},
    {.name = "gptq descent", .most_bits = 3, .method = "gptq", .descent = 2, .asym_calib = 0.5},
    {.name = "gptq", .most_bits = 8, .method = "gptq", .asym_calib = 0.5},
    {.name = "gptq one stream", .most_bits = 8, .method = "gptq"},
    {.name = "hqq", .most_bits = 8, .method = "hqq", .zero_points = true, .real_zeros = true},
    {.name = "rtn", .most_bits = 8, .method = "rtn"},
};
enum { RECIPES = sizeof recipes / sizeof *recipes };

static bool serves(const recipe *r, const nb_run_options *o, const nb_best_limits *l) {
    bool holds_reals = !strcmp(o->format, "gguf");
    return o->bits <= r->most_bits && (!r->zero_points || !o->symmetric) && (!r->real_zeros || holds_reals) &&
           (!r->two_sided || (l->gradients && o->order != NB_ORDER_ACT));
}

static void apply(const recipe *r, nb_run_options *o) {
    o->recipe = r->name;
    o->method = r->method;
    o->two_sided = r->two_sided;
    o->descent = r->descent;
    o->asym_calib = r->asym_calib;
}

/* A run leaves half of the memory to the model's file, which it reads by way of the system's cache, and to others. */
static nb_status fits(const nb_model *model, nb_run_options *o, const nb_best_limits *l, bool *yes, nb_err *err) {
    nb_plan plan;
    NB_TRY(nb_plan_make(model, o, &plan, err));
    *yes = (l->seconds <= 0.0 || plan.flop <= l->seconds * l->flops) && (!plan.two_sided || l->memory == 0 || plan.peak_memory <= l->memory / 2);
    for (size_t i = 0; i < o->n_overrides; i++)
        o->overrides[i].hits = 0; /* the next plan counts them anew */
    nb_plan_free(&plan);
    return NB_OK;
}

nb_status nb_best_options(const nb_model *model, nb_run_options *o, const nb_best_limits *limits, nb_err *err) {
    bool yes = false;
    if (strcmp(o->method, "best") != 0)
        return NB_OK;
    for (int i = 0; i < RECIPES && limits->begun[0]; i++)
        if (!strcmp(recipes[i].name, limits->begun)) {
            apply(&recipes[i], o);
            return NB_OK;
        }
    for (int i = 0; i < RECIPES && !yes; i++) /* the last needs no calibration: it is taken whatever there is */
        if (serves(&recipes[i], o, limits)) {
            apply(&recipes[i], o);
            NB_TRY(fits(model, o, limits, &yes, err));
        }
    return NB_OK;
}

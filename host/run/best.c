/* --method best: the settings that measured best (docs/quality.md, "What best means"), the first whose computing fits the time
 * that there is. */
#include <string.h>

#include "host/run/plan.h"

typedef struct recipe {
    unsigned most_bits;    /* for that many bits and fewer */
    const char *method;
    unsigned descent;
    double asym_calib;
    bool zero_points, real_zeros; /* only with --asym; only where the format holds zero points that are not whole */
} recipe;

/* From the best to the cheapest. */
static const recipe recipes[] = {
    {.most_bits = 3, .method = "gptq", .descent = 2, .asym_calib = 0.5},
    {.most_bits = 8, .method = "gptq", .asym_calib = 0.5},
    {.most_bits = 8, .method = "gptq"},
    {.most_bits = 8, .method = "hqq", .zero_points = true, .real_zeros = true},
    {.most_bits = 8, .method = "rtn"},
};
enum { RECIPES = sizeof recipes / sizeof *recipes };

static bool serves(const recipe *r, const nb_run_options *o) {
    bool holds_reals = !strcmp(o->format, "gguf");
    return o->bits <= r->most_bits && (!r->zero_points || !o->symmetric) && (!r->real_zeros || holds_reals);
}

static void apply(const recipe *r, nb_run_options *o) {
    o->method = r->method;
    o->descent = r->descent;
    o->asym_calib = r->asym_calib;
}

nb_status nb_best_options(const nb_model *model, nb_run_options *o, double seconds, double flops, nb_err *err) {
    if (strcmp(o->method, "best") != 0)
        return NB_OK;
    for (int i = 0; i < RECIPES; i++) {
        nb_plan plan;
        if (!serves(&recipes[i], o))
            continue;
        apply(&recipes[i], o);
        if (seconds <= 0.0)
            return NB_OK;
        NB_TRY(nb_plan_make(model, o, &plan, err));
        double need = plan.flop / flops;
        for (size_t l = 0; l < o->n_overrides; l++)
            o->overrides[l].hits = 0; /* the next plan counts them anew */
        nb_plan_free(&plan);
        if (need <= seconds)
            break; /* the last recipe needs no calibration: it always fits */
    }
    return NB_OK;
}

/* The list of methods. */
#include <math.h>
#include <string.h>

#include "host/quant/methods.h"

const nb_quantizer *const nb_quantizers[] = {
    &nb__quantizer_gptq,
    &nb__quantizer_rtn,
    &nb__quantizer_hqq,
    &nb__quantizer_autoround,
    NULL,
};

const nb_quantizer *nb_quantizer_by_name(const char *name) {
    for (size_t i = 0; nb_quantizers[i]; i++)
        if (!strcmp(nb_quantizers[i]->name, name))
            return nb_quantizers[i];
    return NULL;
}

const char *nb_scale_rule_name(nb_scale_rule rule) {
    return rule == NB_SCALES_SEARCH ? "search" : "minmax";
}

/* Measured with 2048 and 16384 tokens; with 2048, 0.5 was as good as 0.3, and 1 worse. */
#define LEAST_DAMP 0.01
#define DAMP_TOKENS 65536.0
#define MOST_DAMP 0.5
#define LEAST_OUTPUT_DAMP 0.25
#define OUTPUT_DAMP_TOKENS 16384.0
#define MOST_OUTPUT_DAMP 4.0

static double damp_for(size_t tokens, double least, double enough, double most) {
    return fmin(least * fmax(enough / fmax((double)tokens, 1.0), 1.0), most);
}

double nb_damp_for(size_t tokens) {
    return damp_for(tokens, LEAST_DAMP, DAMP_TOKENS, MOST_DAMP);
}

double nb_output_damp_for(size_t tokens) {
    return damp_for(tokens, LEAST_OUTPUT_DAMP, OUTPUT_DAMP_TOKENS, MOST_OUTPUT_DAMP);
}

nb_quant_options nb_quant_defaults(size_t k) {
    return (nb_quant_options){.bits = 4,
                              .group_size = k < 128 ? k : 128,
                              .scale_type = NB_F16,
                              .order = NB_ORDER_GROUP_AWARE,
                              .damp = LEAST_DAMP,
                              .output_damp = LEAST_OUTPUT_DAMP,
                              .damp_step = 0.01,
                              .damp_max = 1.0,
                              .iterations = 200,
                              .block = 128};
}

/* The list of methods. */
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

nb_quant_options nb_quant_defaults(size_t k) {
    return (nb_quant_options){.bits = 4,
                              .group_size = k < 128 ? k : 128,
                              .scale_type = NB_F16,
                              .order = NB_ORDER_GROUP_AWARE,
                              .damp = 0.01,
                              .damp_step = 0.01,
                              .damp_max = 1.0,
                              .iterations = 200,
                              .block = 128};
}

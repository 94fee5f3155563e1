/* One line a method: its file defines it, quantizers.c lists it. */
#ifndef NB_QUANT_METHODS_H
#define NB_QUANT_METHODS_H

#include "host/quant/quant.h"

extern const nb_quantizer nb__quantizer_rtn, nb__quantizer_gptq, nb__quantizer_hqq, nb__quantizer_autoround;

#endif

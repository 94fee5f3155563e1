/* The list of disk formats, and what they share. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/scheme/impl.h"

const nb_scheme *const nb_schemes[] = {&nb__scheme_gptq, &nb__scheme_awq, &nb__scheme_ggml, NULL};

const nb_scheme *nb_scheme_by_name(const char *name) {
    for (size_t i = 0; nb_schemes[i]; i++)
        if (!strcmp(nb_schemes[i]->name, name))
            return nb_schemes[i];
    return !strcmp(name, "gptq_v2") ? &nb__scheme_gptq : NULL;
}

void nb_packed_tensors_free(nb_packed_tensor *tensors, size_t count) {
    for (size_t i = 0; i < count; i++) {
        nb_free(tensors[i].data);
        tensors[i].data = NULL;
    }
}

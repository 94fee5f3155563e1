/* The cache of keys and values, as forward.c sees it. */
#ifndef NB_MODEL_KV_H
#define NB_MODEL_KV_H

#include "host/model/forward.h"

struct nb_kv {
    nb_device *device;
    nb_mem mem;
    size_t sequences, context, width; /* width: kv_heads * head_dim */
    size_t layer_bytes;               /* of keys, and of values, of one layer */
};

/* f32 [sequences, context, width]. */
nb_mem nb__kv_keys(const nb_kv *kv, size_t layer);
nb_mem nb__kv_values(const nb_kv *kv, size_t layer);

#endif

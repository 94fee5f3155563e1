/* Rows of an embedding table. */
#include "kernels/cpu/vmath.h"

static void embed_rows(const struct nb_embed_args *a, size_t first, size_t last) {
    const int32_t *ids = nb_host(a->ids);
    size_t bytes = 0;
    (void)nb_dtype_bytes(a->w_type, a->k, &bytes);
    for (size_t i = first; i < last; i++) {
        float *out = nb_host_f32(a->out) + i * a->ldo;
        nb_to_f32(a->w_type, (const char *)nb_host(a->table) + (size_t)ids[i] * bytes, a->k, out);
        if (a->scale != 1.0f)
            for (size_t j = 0; j < a->k; j++)
                out[j] *= a->scale;
    }
}

NB_ROWS_VARIANT(embed, plain, NB_TARGET_PLAIN, 64)

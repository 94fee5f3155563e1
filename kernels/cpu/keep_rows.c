/* Rows that did not get better take their old contents. */
#include "kernels/cpu/vmath.h"

static void keep_rows_rows(const struct nb_keep_rows_args *a, size_t first, size_t last) {
    for (size_t i = first; i < last; i++)
        if (!(nb_host_f32(a->after)[i] < nb_host_f32(a->before)[i]))
            memcpy((char *)nb_host(a->dst) + i * a->row_bytes, (const char *)nb_host(a->src) + i * a->row_bytes, a->row_bytes);
}

NB_ROWS_VARIANT(keep_rows, plain, NB_TARGET_PLAIN, 64)

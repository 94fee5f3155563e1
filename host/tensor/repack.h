/* Decoders of the layouts that weights have on disk, to canonical codes: pure functions over bytes.
 */
#ifndef NB_TENSOR_REPACK_H
#define NB_TENSOR_REPACK_H

#include <stdbool.h>
#include <nibble/packed.h>
#include "host/base/err.h"

/* What GPTQ's first version has subtracted from each word of zero points: 1 in each field; 0 for 3 bits, whose fields cross words. */
uint32_t nb_gptq_ones(unsigned bits);

/* Groups of a row. */
size_t nb_repack_groups(const nb_weight_desc *d);

/* Can this source hold this weight, and is every buffer long enough? */
nb_status nb_repack_check(const nb_weight_desc *d, const nb_weight_source *s, nb_err *err);

/* Decodes rows [row, row + rows) of a source that was checked: codes[rows][k],
 * scales[rows][groups], and zeros[rows][groups] or offsets (not written where symmetric).
 * Thread-safe. False where a zero point is above 255. */
bool nb_repack_rows(const nb_weight_desc *d, const nb_weight_source *s, size_t row, size_t rows,
                    uint8_t *codes, float *scales, float *zeros);

#endif

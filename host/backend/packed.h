/* Packed weights on a device: a quantized tensor in the layout that the device's inference kernels
 * read. */
#ifndef NB_BACKEND_PACKED_H
#define NB_BACKEND_PACKED_H

#include <nibble/gemm.h>
#include "host/backend/backend.h"
#include "host/tensor/qtensor.h"

typedef struct nb_packed {
    nb_device *device;
    nb_qweight w; /* w.data is owned */
} nb_packed;

/* Can the tensor be packed? 2, 3, 4 or 8 bits, no codebook, groups of at least 16 columns or of
 * whole rows, zero points that are integers in [0, 255] or float_zeros, and a g_idx that gives no
 * group more than group_size columns. */
bool nb_packed_supports(const nb_qtensor *q);

/* Packs q on the stream's device. NB_E_UNSUPPORTED where nb_packed_supports says no, or the device
 * has no packed kernels. Scales that are not exact in q's scale_type are kept as f32. Float zero
 * points become offsets -zero * scale, rounded once to f32. */
nb_status nb_packed_new(nb_stream *stream, const nb_qtensor *q, nb_packed **out, nb_err *err);
void nb_packed_free(nb_packed *packed); /* NULL is fine */

/* Bytes of workspace that nb_packed_linear needs for m rows; not more for fewer rows. */
nb_status nb_packed_workspace(const nb_packed *packed, size_t m, nb_gemm_mode mode, size_t *bytes,
                              nb_err *err);

/* Y[m,n] = X[m,k] * W^T + bias[n] (+ Y where accumulate); x, y, bias are f32 on the device, bias
 * may be absent. One workspace may serve all calls on a stream. */
nb_status nb_packed_linear(nb_stream *stream, const nb_packed *packed, nb_gemm_mode mode, size_t m,
                           nb_mem x, size_t ldx, nb_mem y, size_t ldy, nb_mem bias, bool accumulate,
                           nb_mem workspace, nb_err *err);

/* Workspace of one launch of qgemm or qgemm_i8 on a device. */
nb_status nb_qgemm_workspace(nb_device *device, const nb_qweight *w, size_t m, nb_gemm_mode mode, size_t *bytes, nb_err *err);

#endif

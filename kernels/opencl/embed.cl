/* Rows of an embedding table. A work-item an element. */
#include "kernels/opencl/weight_types.cl"

kernel void embed(uint k, BUF(ids), BUF(table), uint type, ulong row_bytes, BUF(out), uint ldo, float scale) {
    uint j = get_global_id(0), i = get_global_id(1);
    if (j < k)
        AT(float, out)[(ulong)i * ldo + j] = load_weight(AT(uchar, table) + (ulong)AT(int, ids)[i] * row_bytes, type, j) * scale;
}

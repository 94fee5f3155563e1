/* Dead columns, values that are no numbers, and the mean of the diagonal, before a GPTQ solve. */
#include "kernels/opencl/wide_sum.cl"
#include "kernels/opencl/gptq_status.cl"

#define STRIP 64 /* elements of a row that a work-item looks through */

/* One work-group. */
kernel void hessian_check_diagonal(uint k, BUF(h), uint ldh, BUF(status), local wide *room) {
    global const float *h = AT(float, h);
    global Status *status = AT(Status, status);
    if (get_local_id(0) == 0) {
        status->dead = 0;
        status->bad_hessian = 0;
        status->bad_weight = 0;
        status->pivot = 0;
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    ITEM_SUM(sum, k, wide_of(h[j * (ldh + 1ul)]))
    uint dead = 0;
    for (uint j = get_local_id(0); j < k; j += get_local_size(0))
        dead += h[j * (ldh + 1ul)] == 0.0f;
    if (dead)
        atomic_add(&status->dead, dead);
    sum = group_sum(room, sum);
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (get_local_id(0) == 0) {
        dead = atomic_add(&status->dead, 0u);
        status->mean = dead < k ? wide_float(wide_div(sum, wide_of((float)(k - dead)))) : 1.0f;
    }
}

/* NaN and infinity have all bits of the exponent set. */
inline uint not_finite(global const float *x, uint first, uint last) {
    uint bad = 0;
    for (uint j = first; j < last; j++)
        bad += (as_uint(x[j]) & 0x7f800000u) == 0x7f800000u;
    return bad;
}

/* Dimension 0: strips; 1: rows. */
kernel void hessian_check_hessian(uint k, BUF(h), uint ldh, BUF(status)) {
    uint first = get_global_id(0) * STRIP, i = get_global_id(1);
    if (first >= k)
        return;
    global const float *row = AT(float, h) + (ulong)i * ldh;
    uint last = min(first + STRIP, k), bad = not_finite(row, first, last);
    bad += i >= first && i < last && row[i] < 0.0f;
    if (bad)
        atomic_add(&AT(Status, status)->bad_hessian, bad);
}

kernel void hessian_check_weight(uint k, BUF(h), uint ldh, BUF(w), uint ldw, BUF(status)) {
    uint first = get_global_id(0) * STRIP, i = get_global_id(1);
    if (first >= k)
        return;
    global float *row = AT(float, w) + (ulong)i * ldw;
    uint last = min(first + STRIP, k), bad = not_finite(row, first, last);
    if (bad)
        atomic_add(&AT(Status, status)->bad_weight, bad);
    for (uint j = first; AT(Status, status)->dead > 0 && j < last; j++)
        if (AT(float, h)[j * (ldh + 1ul)] == 0.0f)
            row[j] = 0.0f;
}

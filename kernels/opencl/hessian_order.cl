/* The Hessian in reversed visiting order, damped, as a lower triangle. A work-item an element. */
#include "kernels/opencl/gptq_status.cl"

kernel void hessian_order(uint k, BUF(h), uint ldh, BUF(perm), float damp, BUF(f), uint ldf, BUF(status)) {
    uint j = get_global_id(0), i = get_global_id(1);
    if (j >= k)
        return;
    global Status *status = AT(Status, status);
    if (i == 0 && j == 0)
        status->pivot = 0;
    float v = 0.0f;
    if (j <= i)
        v = AT(float, h)[(ulong)AT(uint, perm)[k - 1 - i] * ldh + AT(uint, perm)[k - 1 - j]];
    if (j == i)
        v = (v == 0.0f ? status->mean : v) + damp * status->mean;
    AT(float, f)[(ulong)i * ldf + j] = v;
}

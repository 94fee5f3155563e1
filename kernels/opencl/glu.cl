/* Gated linear units: act(gate) * up. Both activations are x * sigmoid(z): z = x for SiLU, and for GELU by tanh
 * z = 2 sqrt(2/pi) (x + 0.044715 x^3). A work-item makes LANES columns of a row. */
#include "kernels/opencl/lanes.cl"

kernel void glu(uint n, BUF(gate), BUF(up), BUF(out), uint ldg, uint ldu, uint ldo, uint gelu) {
    uint j = get_global_id(0) * LANES, i = get_global_id(1);
    if (j >= n)
        return;
    uint count = min(n - j, (uint)LANES);
    V x = lanes_load(AT(float, gate) + (ulong)i * ldg + j, count), up = lanes_load(AT(float, up) + (ulong)i * ldu + j, count);
    V z = gelu ? 1.5957691216057308f * (x + 0.044715f * (x * x * x)) : x;
    lanes_store(x / (1.0f + lanes_exp(-z)) * up, AT(float, out) + (ulong)i * ldo + j, count);
}

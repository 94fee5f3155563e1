/* Rotary position embedding (arXiv 2104.09864), on halves of each head. A work-item a pair. */
kernel void rope(uint length, uint past, uint heads, uint head_dim, BUF(x), uint ldx, BUF(cos), BUF(sin)) {
    uint at = get_global_id(0), i = get_global_id(1), half_dim = head_dim / 2;
    if (at >= heads * half_dim)
        return;
    uint head = at / half_dim, j = at % half_dim;
    ulong angle = (ulong)(past + i % length) * half_dim + j;
    float c = AT(float, cos)[angle], s = AT(float, sin)[angle];
    global float *low = AT(float, x) + (ulong)i * ldx + head * head_dim + j, *high = low + half_dim;
    float p = *low, q = *high;
    *low = p * c - q * s;
    *high = q * c + p * s;
}

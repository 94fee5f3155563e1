/* Codes to floats. A work-item an element. */
kernel void dequant(uint k, uint group, BUF(codes), BUF(scales), BUF(zeros), BUF(g_idx), BUF(w), uint ldw) {
    uint j = get_global_id(0), i = get_global_id(1);
    if (j >= k)
        return;
    uint groups = (k - 1) / group + 1, g = HAS(g_idx) ? AT(uint, g_idx)[j] : j / group;
    ulong at = (ulong)i * groups + g;
    AT(float, w)[(ulong)i * ldw + j] = ((float)AT(uchar, codes)[(ulong)i * k + j] - AT(float, zeros)[at]) * AT(float, scales)[at];
}

/* Rows that did not get better take their old contents. Dimension 0: words of a row; 1: rows. */
kernel void keep_rows(ulong row_bytes, BUF(before), BUF(after), BUF(src), BUF(dst)) {
    ulong i = get_global_id(1), at = get_global_id(0) * 4ul;
    if (at >= row_bytes || AT(float, after)[i] < AT(float, before)[i])
        return;
    global const uchar *src = AT(uchar, src) + i * row_bytes;
    global uchar *dst = AT(uchar, dst) + i * row_bytes;
    for (ulong b = at; b < min(at + 4, row_bytes); b++)
        dst[b] = src[b];
}

/* y += x. A work-item a column, groups of columns by rows. */
kernel void add(uint n, BUF(x), BUF(y), uint ldx, uint ldy) {
    uint j = get_global_id(0), i = get_global_id(1);
    if (j < n)
        AT(float, y)[(ulong)i * ldy + j] += AT(float, x)[(ulong)i * ldx + j];
}

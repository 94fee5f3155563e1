/* y = x - y. A work-item a column, groups of columns by rows. */
kernel void subtract(uint n, BUF(x), BUF(y), uint ldx, uint ldy) {
    uint j = get_global_id(0), i = get_global_id(1);
    if (j < n) {
        global float *y = AT(float, y) + (ulong)i * ldy + j;
        *y = AT(float, x)[(ulong)i * ldx + j] - *y;
    }
}

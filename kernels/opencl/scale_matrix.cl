/* Rows and columns of a matrix times factors. A work-item a column, groups of columns by rows. */
kernel void scale_matrix(uint k, BUF(x), BUF(y), uint ldx, uint ldy, BUF(row), BUF(col)) {
    uint j = get_global_id(0), i = get_global_id(1);
    if (j >= k)
        return;
    float v = AT(float, x)[(ulong)i * ldx + j];
    v = v * (HAS(row) ? AT(float, row)[i] : 1.0f);
    AT(float, y)[(ulong)i * ldy + j] = HAS(col) ? v * AT(float, col)[j] : v;
}

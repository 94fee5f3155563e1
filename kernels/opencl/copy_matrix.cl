/* Copies or clears a part of a matrix, as words, so that every bit pattern stays. */
kernel void copy_matrix(uint cols, BUF(src), BUF(dst), uint lds, uint ldd) {
    uint j = get_global_id(0), i = get_global_id(1);
    if (j < cols)
        AT(uint, dst)[(ulong)i * ldd + j] = HAS(src) ? AT(uint, src)[(ulong)i * lds + j] : 0;
}

/* Reversal in place. A work-item a pair; the count goes up to 2^64. */
kernel void reverse(ulong count, BUF(a)) {
    ulong i = (ulong)get_global_id(1) * get_global_size(0) + get_global_id(0);
    if (i >= count / 2)
        return;
    global uint *a = AT(uint, a);
    uint t = a[i];
    a[i] = a[count - 1 - i];
    a[count - 1 - i] = t;
}

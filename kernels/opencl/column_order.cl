/* The order in which GPTQ visits columns. The order is total, so a column's place is the number of columns before it. */

/* Keys: the diagonal (NaN as -1; 0 in stored order), and where groups count, the largest of the group. */
kernel void column_order_keys(uint k, uint group, uint by_key, uint by_group, BUF(h), uint ldh, BUF(keys)) {
    uint j = get_global_id(0);
    if (j >= k)
        return;
    global const float *h = AT(float, h);
    float d = h[j * (ldh + 1ul)], top = 0.0f;
    d = by_key ? (d == d ? d : -1.0f) : 0.0f;
    uint first = j / group * group;
    for (uint c = first; by_group && c < min(first + group, k); c++) {
        float x = h[c * (ldh + 1ul)];
        x = x == x ? x : -1.0f;
        top = c == first || x > top ? x : top;
    }
    AT(float, keys)[j] = d;
    AT(float, keys)[k + j] = top;
}

kernel void column_order(uint k, uint group, uint by_group, uint by_place, BUF(keys), BUF(perm), BUF(group_of), BUF(g_idx)) {
    uint j = get_global_id(0);
    if (j >= k)
        return;
    global const float *key = AT(float, keys), *top = key + k;
    float mine = key[j], mine_top = top[j];
    uint own = by_group ? j / group : 0, place = 0;
    for (uint c = 0; c < k; c++) {
        uint other = by_group ? c / group : 0;
        bool by_index = key[c] == mine ? c < j : key[c] > mine;
        bool inside = other == own ? by_index : other < own;
        place += top[c] == mine_top ? inside : top[c] > mine_top;
    }
    uint g = (by_place ? place : j) / group;
    AT(uint, perm)[place] = j;
    AT(uint, group_of)[place] = g;
    if (HAS(g_idx))
        AT(uint, g_idx)[j] = g;
}

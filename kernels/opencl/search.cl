/* The search for scales on lanes, after grid.cl; struct nb_group_search_args states the rule. The file that includes this
 * defines SOURCE, a type of which search_weight(source, j) gives column j of the group and search_h(source, j) its weight. */

/* error[z] = sum_j h_j (w - q scale)^2, q = clamp(round(w / scale), -zero, top - zero), by the reciprocal. */
inline void search_errors(SOURCE s, uint count, V scale, const V *zero, uint zeros, float top, V *error) {
    V r = grid_div((V)(1.0f), scale), low[4], high[4], sum[4];
    for (uint z = 0; z < 4; z++) {
        low[z] = 0.0f - zero[z < zeros ? z : 0];
        high[z] = top - zero[z < zeros ? z : 0];
        sum[z] = (V)(0.0f);
    }
    for (uint j = 0; j < count; j++) {
        V x = search_weight(s, j), q = rint(x * r);
        float h = search_h(s, j);
        if (zeros == 1) {
            V c = q > low[0] ? q : low[0];
            c = c < high[0] ? c : high[0];
            V e = x - c * scale;
            sum[0] = sum[0] + h * (e * e);
            continue;
        }
#pragma unroll
        for (uint z = 0; z < 4; z++) {
            V c = q > low[z] ? q : low[z];
            c = c < high[z] ? c : high[z];
            V e = x - c * scale;
            sum[z] = sum[z] + h * (e * e);
        }
    }
    for (uint z = 0; z < zeros; z++)
        error[z] = sum[z];
}

inline void keep_less(V *best, V *scale, V *zero, V new_scale, V new_zero, V error) {
    VI less = error < *best;
    *best = less ? error : *best;
    *scale = less ? new_scale : *scale;
    *zero = less ? new_zero : *zero;
}

inline V clamp_zero(V z, float top) {
    V v = z > top ? (V)(top) : z;
    return z > 0.0f ? v : (V)(0.0f); /* -0 and NaN become 0 */
}

inline void search_params(SOURCE s, uint count, uint bits, uint symmetric, uint either_sign, uint type, V *scale,
                          V *zero) {
    V low = (V)(0.0f), high = (V)(0.0f), best, error[4], zeros[4];
    float top = (float)((1u << bits) - 1u), middle = (float)(1u << (bits - 1));
    for (uint j = 0; j < count; j++) {
        V x = search_weight(s, j);
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    grid_params(low, high, bits, symmetric, type, scale, zero);
    search_errors(s, count, *scale, zero, 1, top, &best);
    V a = -low > high ? -low : high, range = high - low;
    for (int i = 0; symmetric && i < (either_sign ? 72 : 36); i++) {
        V part = grid_div((V)((float)(232 - 3 * (i % 36))), (V)(200.0f)), z = (V)(middle);
        V try = grid_round_scale(grid_div(part * a, z), type);
        try = i < 36 ? try : -try;
        search_errors(s, count, try, &z, 1, top, error);
        keep_less(&best, scale, zero, try, z, error[0]);
    }
    for (int i = 0; !symmetric && i < 26; i++) {
        V part = grid_div((V)((float)(52 - i)), (V)(50.0f));
        V try = grid_round_scale(grid_div(part * range, (V)(top)), type);
        V z = rint(grid_div(-(part * low), try)), from = low + (1.0f - part) * 0.5f * range;
        zeros[0] = clamp_zero(z, top);
        zeros[1] = clamp_zero(z - 1.0f, top);
        zeros[2] = clamp_zero(z + 1.0f, top);
        zeros[3] = clamp_zero(rint(grid_div(-from, try)), top);
        search_errors(s, count, try, zeros, 4, top, error);
        for (int c = 0; c < 4; c++)
            keep_less(&best, scale, zero, try, zeros[c], error[c]);
    }
}

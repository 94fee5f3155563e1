/* Causal attention with grouped heads, by tiles of keys with a running maximum (arXiv 2205.14135). */
#include "kernels/opencl/lanes.cl"

#define LOWEST (-1e30f) /* below any score; a difference of two of them is 0, not NaN */

/* Keys that the query at position pos sees: [first_key, pos]. */
inline uint first_key(uint pos, uint window) { return window && pos + 1 > window ? pos + 1 - window : 0; }

#if NB_CL_CPU
#include "kernels/opencl/wide_tile.cl"
#define KEYS 64

inline void mask(local float *s, uint key0, uint keys, uint pos, uint window) {
    for (uint i = 0; i < keys; i++)
        for (uint l = 0; l < PANEL; l++)
            if (key0 + i > pos + l || key0 + i < first_key(pos + l, window))
                s[i * PANEL + l] = -INFINITY;
}

/* Turns a half of the scores, 16 queries, into exp(score - max) with the new maximum; what was summed before is rescaled. */
inline void softmax_step(local float *s, local float *o, uint keys, uint head_dim, V *top, V *sum) {
    V max_now = *top, part = (V)(0.0f);
    for (uint i = 0; i < keys; i++) {
        V x = V_LOAD(s + i * PANEL);
        max_now = x > max_now ? x : max_now;
    }
    V keep = lanes_exp(*top - max_now);
    for (uint i = 0; i < keys; i++) {
        V e = lanes_exp(V_LOAD(s + i * PANEL) - max_now);
        V_STORE(e, s + i * PANEL);
        part += e;
    }
    *sum = *sum * keep + part;
    *top = max_now;
    for (uint d = 0; d < head_dim; d++)
        V_STORE(V_LOAD(o + d * PANEL) * keep, o + d * PANEL);
}

/* A work-item takes 32 queries of a head, which lie across lanes: q and o are [head_dim][32], scores [keys][32]. room holds
 * the three. Dimension 0: blocks of queries, those with the most keys first; 1: heads; 2: sequences. */
kernel void attention_wide(uint length, uint past, uint group, uint head_dim, BUF(q), BUF(k), BUF(v), BUF(out), uint ldq,
                           uint ldkv, uint ldo, ulong kv_stride, uint window, float scale, local float *room) {
    uint first = (get_global_size(0) - 1 - get_global_id(0)) * PANEL, head = get_global_id(1), seq = get_global_id(2);
    uint count = min(length - first, (uint)PANEL), pos = past + first, end = pos + count;
    ulong kv = seq * kv_stride + (ulong)(head / group) * head_dim;
    global const float *keys = AT(float, k) + kv, *values = AT(float, v) + kv;
    global const float *query = AT(float, q) + ((ulong)seq * length + first) * ldq + head * head_dim;
    local float *q = room, *o = q + head_dim * PANEL, *s = o + head_dim * PANEL;
    for (uint d = 0; d < head_dim; d++)
        for (uint l = 0; l < PANEL; l++) {
            q[d * PANEL + l] = l < count ? query[(ulong)l * ldq + d] : 0.0f;
            o[d * PANEL + l] = 0.0f;
        }
    V top[2] = {(V)(LOWEST), (V)(LOWEST)}, sum[2] = {(V)(0.0f), (V)(0.0f)};
    for (uint key0 = first_key(pos, window) / KEYS * KEYS; key0 < end; key0 += KEYS) {
        uint some = min(end - key0, (uint)KEYS);
        for (uint i = 0; i < some; i += TILE_M) {
            float16 c[TILE_M][2] = {{0.0f}};
            uint rows = min(some - i, (uint)TILE_M);
            tile_product_local(c, keys + (ulong)(key0 + i) * ldkv, ldkv, 1, rows, q, head_dim);
            for (uint r = 0; r < TILE_M; r++) /* s has room for whole tiles */
                for (uint h = 0; h < 2; h++)
                    vstore16(scale * c[r][h], h, s + (i + r) * PANEL);
        }
        if (key0 + some > pos + 1 || key0 < first_key(pos + count - 1, window))
            mask(s, key0, some, pos, window);
        for (uint h = 0; h < 2; h++)
            softmax_step(s + 16 * h, o + 16 * h, some, head_dim, &top[h], &sum[h]);
        for (uint d = 0; d < head_dim; d += TILE_M) {
            float16 c[TILE_M][2] = {{0.0f}};
            uint rows = min(head_dim - d, (uint)TILE_M);
            tile_product_local(c, values + (ulong)key0 * ldkv + d, 1, ldkv, rows, s, some);
#pragma unroll
            for (uint r = 0; r < TILE_M; r++)
                for (uint h = 0; h < 2 && r < rows; h++)
                    vstore16(vload16(h, o + (d + r) * PANEL) + c[r][h], h, o + (d + r) * PANEL);
        }
    }
    float inverse[PANEL];
    vstore16(1.0f / sum[0], 0, inverse);
    vstore16(1.0f / sum[1], 1, inverse);
    global float *out = AT(float, out) + ((ulong)seq * length + first) * ldo + head * head_dim;
    for (uint l = 0; l < count; l++)
        for (uint d = 0; d < head_dim; d++)
            out[(ulong)l * ldo + d] = o[d * PANEL + l] * inverse[l];
}
#else
#define ITEMS 64
#define MAX_EACH 8 /* head_dim / ITEMS */

/* A work-group takes one query of a head: an item a key of a tile, then an item some columns of v. Dimension 0: queries; 1:
 * heads; 2: sequences. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void attention_tiled(uint length, uint past, uint group, uint head_dim,
                                                                               BUF(q), BUF(k), BUF(v), BUF(out), uint ldq,
                                                                               uint ldkv, uint ldo, ulong kv_stride, uint window,
                                                                               float scale) {
    local float scores[ITEMS], room[ITEMS];
    uint item = get_local_id(0), head = get_group_id(1), seq = get_group_id(2), pos = past + get_group_id(0);
    ulong row = (ulong)seq * length + get_group_id(0), kv = seq * kv_stride + (ulong)(head / group) * head_dim;
    global const float *q = AT(float, q) + row * ldq + head * head_dim;
    global const float *keys = AT(float, k) + kv, *values = AT(float, v) + kv;
    float o[MAX_EACH] = {0.0f}, top = LOWEST, sum = 0.0f;
    for (uint key0 = first_key(pos, window); key0 <= pos; key0 += ITEMS) {
        uint some = min(pos + 1 - key0, (uint)ITEMS);
        float score = -INFINITY;
        if (item < some) {
            global const float *k = keys + (ulong)(key0 + item) * ldkv;
            score = 0.0f;
            for (uint d = 0; d < head_dim; d++)
                score = MAD(q[d], k[d], score);
            score *= scale;
        }
        room[item] = score;
        for (uint step = ITEMS / 2; step > 0; step /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (item < step)
                room[item] = fmax(room[item], room[item + step]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float now = fmax(top, room[0]), keep = lanes_exp(top - now), e = lanes_exp(score - now);
        top = now;
        barrier(CLK_LOCAL_MEM_FENCE);
        scores[item] = e;
        room[item] = e;
        for (uint step = ITEMS / 2; step > 0; step /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            if (item < step)
                room[item] += room[item + step];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        sum = sum * keep + room[0];
        for (uint e_ = 0; e_ < MAX_EACH; e_++) {
            uint d = item + e_ * ITEMS;
            float add = 0.0f;
            for (uint i = 0; d < head_dim && i < some; i++)
                add = MAD(scores[i], values[(ulong)(key0 + i) * ldkv + d], add);
            o[e_] = o[e_] * keep + add;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (uint e_ = 0; e_ < MAX_EACH; e_++)
        if (item + e_ * ITEMS < head_dim)
            AT(float, out)[row * ldo + head * head_dim + item + e_ * ITEMS] = o[e_] / sum;
}
#endif

/* GPTQ's step over a block of columns (arXiv 2210.17323, algorithm 1, the inner loop).
 *
 * A CTA takes `lanes` rows of W, which are columns of Wt, and copies the block into a tile in shared memory; lane l of
 * each warp works on row l. Columns go in runs of at most 8: inside a run warp 0 finds codes and spreads each error at once, past it all
 * warps spread the run's errors together, each on its own columns. Every element sees its subtractions in rising order, one rounding
 * each: bit for bit the plain loop. A run ends where a group begins, as parameters need updated weights; those are found by all warps,
 * each for its share of the rows. */
#include "kernels/cuda/search.cuh"

enum { GPTQ_STEPS = 8 };

/* What a CTA works in. */
struct gptq_room {
    float *tile;         /* [cols, stride], stride = lanes + 1, so that columns and rows are read without bank conflicts */
    float *err;          /* [GPTQ_STEPS, lanes] */
    float *scale, *zero; /* [lanes] */
    float *diagonal;     /* [cols]: of H, by position in the block */
    unsigned i0, rows;   /* rows of W: the first, and how many are there */
    unsigned stride;
};

static __device__ __forceinline__ bool begins_group(const nb_cu_gptq &p, unsigned at) {
    return at == 0u || p.group_of[at] != p.group_of[at - 1u];
}

/* Parameters of the group that begins at column c of the block: a warp takes every eighth row, its lanes the group's columns or the
 * candidates. Columns past the block are read from Wt. */
static __device__ void find_params(const nb_cu_gptq &p, const gptq_room &r, unsigned c, unsigned group) {
    const unsigned start = p.first + c, block_end = p.first + p.cols;
    unsigned end = start + 1u;
    while (end < p.k && p.group_of[end] == group)
        end++;
    const unsigned count = end - start;
    for (unsigned l = threadIdx.x / 32u; l < r.rows; l += blockDim.x / 32u) {
        auto weight = [&](unsigned j) {
            return start + j < block_end ? r.tile[(c + j) * r.stride + l] : p.wt[(start + j) * p.ldw + r.i0 + l];
        };
        auto factor = [&](unsigned j) {
            return start + j < block_end ? r.diagonal[c + j] : p.h[p.perm[start + j] * (p.ldh + 1u)];
        };
        float scale, zero;
        if (p.h) {
            search_params(count, weight, factor, p.bits, p.symmetric, p.either_sign, p.scale_type, &scale, &zero);
        } else {
            float min, max;
            warp_range(count, weight, &min, &max);
            range_params(min, max, p.bits, p.symmetric, p.scale_type, &scale, &zero);
        }
        if (lane_id() == 0u) {
            r.scale[l] = scale;
            r.zero[l] = zero;
            p.scales[(u64)(r.i0 + l) * p.groups + group] = scale;
            p.zeros[(u64)(r.i0 + l) * p.groups + group] = zero;
        }
    }
}

/* The same from where they are, by warp 0's lanes. */
static __device__ void load_params(const nb_cu_gptq &p, const gptq_room &r, unsigned group) {
    if (threadIdx.x < r.rows) {
        r.scale[threadIdx.x] = p.scales[(u64)(r.i0 + threadIdx.x) * p.groups + group];
        r.zero[threadIdx.x] = p.zeros[(u64)(r.i0 + threadIdx.x) * p.groups + group];
    }
}

/* Columns c0 .. c1 - 1 of the block by one lane of warp 0, which has the row to itself; returns the loss added to. */
static __device__ float solve_run(const nb_cu_gptq &p, const gptq_room &r, unsigned c0, unsigned c1, float loss) {
    const unsigned l = threadIdx.x;
    const float top = (float)((1u << p.bits) - 1u);
    for (unsigned c = c0; c < c1; c++) {
        const u64 at = p.first + c;
        if (p.static_params && c > c0 && begins_group(p, (unsigned)at))
            load_params(p, r, p.group_of[at]);
        const float *u = p.u + at * p.ldu + p.first;
        float x = r.tile[c * r.stride + l], s = r.scale[l], z = r.zero[l], q = rintf(x / s) + z;
        q = q > 0.0f ? q : 0.0f;
        q = q < top ? q : top;
        float e = (x - (q - z) * s) / u[c];
        loss = loss + e * e;
        p.codes[at * p.n + r.i0 + l] = (unsigned char)(int)q;
        p.err[c * p.lderr + r.i0 + l] = e;
        r.err[(c - c0) * p.lanes + l] = e;
        for (unsigned q2 = c + 1u; q2 < c1; q2++)
            r.tile[q2 * r.stride + l] = r.tile[q2 * r.stride + l] - e * u[q2];
    }
    return loss;
}

/* tile[j] -= sum over the run of err * U, j in [c1, cols), in rising columns of the run. */
static __device__ void spread_run(const nb_cu_gptq &p, const gptq_room &r, unsigned c0, unsigned c1) {
    const unsigned l = lane_id();
    if (l >= r.rows)
        return;
    const float *u = p.u + (u64)(p.first + c0) * p.ldu + p.first;
    for (unsigned j = c1 + threadIdx.x / 32u; j < p.cols; j += blockDim.x / 32u) {
        float t = r.tile[j * r.stride + l];
        for (unsigned s = 0u; s < c1 - c0; s++)
            t = t - r.err[s * p.lanes + l] * u[s * p.ldu + j];
        r.tile[j * r.stride + l] = t;
    }
}

extern "C" __global__ void __launch_bounds__(256, 1) gptq_block_cuda(const nb_cu_gptq p) {
    float *room = (float *)nb_shared;
    gptq_room r;
    r.stride = p.lanes + 1u;
    r.tile = room;
    r.err = r.tile + p.cols * r.stride;
    r.scale = r.err + GPTQ_STEPS * p.lanes;
    r.zero = r.scale + p.lanes;
    r.diagonal = r.zero + p.lanes;
    r.i0 = blockIdx.x * p.lanes;
    r.rows = p.n - r.i0 < p.lanes ? p.n - r.i0 : p.lanes;
    for (unsigned e = threadIdx.x; e < p.cols * p.lanes; e += blockDim.x) {
        unsigned c = e / p.lanes, l = e % p.lanes;
        if (l < r.rows)
            r.tile[c * r.stride + l] = p.wt[(p.first + c) * p.ldw + r.i0 + l];
    }
    if (p.h)
        for (unsigned c = threadIdx.x; c < p.cols; c += blockDim.x)
            r.diagonal[c] = p.h[p.perm[p.first + c] * (p.ldh + 1u)];
    float loss = threadIdx.x < r.rows ? p.loss[r.i0 + threadIdx.x] : 0.0f;
    for (unsigned c0 = 0u, c1; c0 < p.cols; c0 = c1) {
        c1 = c0 + 1u;
        while (c1 < p.cols && c1 - c0 < GPTQ_STEPS && (p.static_params || !begins_group(p, p.first + c1)))
            c1++;
        __syncthreads();
        if (!p.static_params && begins_group(p, p.first + c0))
            find_params(p, r, c0, p.group_of[p.first + c0]);
        else if (c0 == 0u || begins_group(p, p.first + c0))
            load_params(p, r, p.group_of[p.first + c0]);
        __syncthreads();
        if (threadIdx.x < r.rows)
            loss = solve_run(p, r, c0, c1, loss);
        __syncthreads();
        spread_run(p, r, c0, c1);
    }
    if (threadIdx.x < r.rows)
        p.loss[r.i0 + threadIdx.x] = loss;
}

// One small faulty kernel for each strict detector (template argument or suffix _bad) and its correct
// twin (_good). All take (int *o, int *a, int n).
#include <stdint.h>

#define PAIR(name, ...)                                                                            \
    template <bool bad> __device__ __forceinline__ void name(int *o, int *a, int n);               \
    extern "C" __global__ void name##_bad(int *o, int *a, int n) { name<true>(o, a, n); }          \
    extern "C" __global__ void name##_good(int *o, int *a, int n) { name<false>(o, a, n); }        \
    template <bool bad> __device__ __forceinline__ void name(int *o, int *a, int n)
#define T threadIdx.x

__device__ __forceinline__ uint32_t smem_addr(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

PAIR(bounds) // the last thread reads one past the end
{
    o[T] = a[T + (bad ? 1 : 0)];
}

PAIR(before) // one before the start
{
    o[T] = a[(int)T - (bad ? 1 : 0)];
}

PAIR(aligned) // 8-byte load at an address of 4 mod 8
{
    if (T == 3)
        *(int2 *)o = *(int2 *)(a + (bad ? 1 : 2));
}

PAIR(shared_bounds) // past the dynamic shared memory
{
    extern __shared__ int s[];
    s[T + (bad ? 1 : 0)] = a[T];
    o[T] = s[T + (bad ? 1 : 0)];
}

PAIR(shared_init) // a word of shared memory that nobody wrote
{
    __shared__ int s[128];
    if (!bad || T != 77)
        s[T] = a[T];
    __syncthreads();
    o[T] = s[127 - T];
}

PAIR(shared_raw) // no barrier between write and read by another warp
{
    __shared__ int s[128];
    s[T] = 0;
    __syncthreads();
    s[T] = a[T];
    if (!bad)
        __syncthreads();
    o[T] = s[127 - T];
}

PAIR(shared_war) // no barrier between the reads and the next round's write
{
    __shared__ int s[128];
    int r = 0;
    for (int k = 0; k < 4; k++) {
        s[T] = a[T] + k;
        __syncthreads();
        r += s[127 - T];
        if (!bad)
            __syncthreads();
    }
    o[T] = r;
}

PAIR(shared_waw) // two warps write one word
{
    __shared__ int s[64];
    if (bad || T < 64)
        s[T % 64] = a[T];
    __syncthreads();
    o[T] = s[T % 64];
}

PAIR(lane_race) // lanes of one warp exchange through shared memory without __syncwarp
{
    __shared__ int s[128];
    s[T] = a[T];
    if (!bad)
        __syncwarp();
    o[T] = s[T ^ 1];
}

PAIR(same_store) // lanes of one store write different values to one word
{
    __shared__ int s[4];
    s[T / 32] = bad ? (int)T : 5;
    __syncwarp();
    o[T] = s[T / 32];
}

PAIR(async_wait) // cp.async read without its wait
{
    __shared__ __align__(16) int s[512];
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(smem_addr(s + 4 * T)), "l"(a + 4 * T));
    asm volatile("cp.async.commit_group;" ::: "memory");
    if (!bad)
        asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    o[T] = s[511 - T];
}

PAIR(async_count) // waits for the wrong group
{
    __shared__ __align__(16) int s[2][512];
    for (int k = 0; k < 2; k++) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(smem_addr(&s[k][4 * T])), "l"(a + 4 * T));
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    o[T] = s[bad ? 1 : 0][511 - T];
    asm volatile("cp.async.wait_group 0;" ::: "memory");
}

PAIR(async_barrier) // own copies waited for, but other warps' copies need a barrier too
{
    __shared__ __align__(16) int s[512];
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(smem_addr(s + 4 * T)), "l"(a + 4 * T));
    asm volatile("cp.async.commit_group;\n\tcp.async.wait_group 0;" ::: "memory");
    if (!bad)
        __syncthreads();
    o[T] = s[511 - T];
}

PAIR(async_refill) // the copy of the next tile starts while other warps still read this one
{
    __shared__ __align__(16) int s[512];
    int r = 0;
    for (int k = 0; k < 2; k++) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(smem_addr(s + 4 * T)), "l"(a + 4 * T));
        asm volatile("cp.async.commit_group;\n\tcp.async.wait_group 0;" ::: "memory");
        __syncthreads();
        r += s[511 - T];
        if (!bad)
            __syncthreads();
    }
    o[T] = r;
}

PAIR(split_barrier) // half of a warp at the barrier
{
    if (bad ? T % 32 < 16 : T < 128)
        asm volatile("bar.sync 0;" ::: "memory");
    o[T] = T;
}

PAIR(two_barriers) // warps at different barriers of the same number
{
    if (T < 64) {
        o[T] = 1;
        asm volatile("bar.sync 0;" ::: "memory");
    } else {
        o[T] = 2;
        if (bad)
            asm volatile("bar.sync 0;" ::: "memory");
    }
    if (!bad && T >= 64)
        return; // an exit before the barrier is legal
}

PAIR(crossed) // each half waits where the other never comes
{
    if (T < 64)
        asm volatile("bar.sync 1, 128;" ::: "memory");
    else if (bad)
        asm volatile("bar.sync 2, 128;" ::: "memory");
    else
        asm volatile("bar.sync 1, 128;" ::: "memory");
    o[T] = T;
}

PAIR(resident) // waits for the last CTA, which has no place; the twin waits for an earlier one
{
    volatile int *flag = a;
    if (T == 0) {
        int b = blockIdx.x, last = gridDim.x - 1;
        if (bad) {
            if (b != last)
                while (flag[last] == 0) {
                }
        } else if (b > 0) {
            while (flag[b - 1] == 0) {
            }
        }
        flag[b] = 1;
    }
}

PAIR(handover) // data passed between CTAs without a release
{
    __shared__ int go;
    if (blockIdx.x == 0) {
        o[T] = T;
        __syncthreads();
        if (T == 0) {
            if (!bad)
                __threadfence();
            *(volatile int *)a = 1;
        }
    } else {
        if (T == 0) {
            while (*(volatile int *)a == 0) {
            }
            __threadfence();
            go = 1;
        }
        __syncthreads();
        o[128 + T] = o[127 - T] + go;
    }
}

PAIR(takeover) // the taker does not acquire
{
    if (blockIdx.x == 0) {
        if (T == 0) {
            o[0] = 42;
            asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(a) : "memory");
        }
    } else if (T == 0) {
        int v;
        do {
            if (bad)
                asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(a) : "memory");
            else
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(a) : "memory");
        } while (v == 0);
        o[1] = o[0];
    }
}

PAIR(halves) // warps that share words, but not bytes; the faulty one reads its neighbour's half
{
    __shared__ unsigned short s[512];
    for (int k = T; k < 256; k += 128)
        s[k] = 0;
    __syncthreads();
    int w = T / 32, l = T % 32;
    // warps 0 and 1 hold the even and odd halves of 32 words, warps 2 and 3 of 32 others
    unsigned short *mine = s + (w / 2) * 128 + 2 * l + w % 2;
    *mine = (unsigned short)(*mine + T);
    __syncwarp();
    o[T] = mine[bad ? (w % 2 ? -1 : 1) : 0];
}

PAIR(consumers) // one producer, two consumers, named barriers at different times
{
    __shared__ int s[32];
    int w = T / 32, l = T % 32, r = 0;
    for (int k = 0; k < 3; k++) {
        if (w == 0) {
            if (k > 0) {
                asm volatile("bar.sync 3, 64;" ::: "memory"); // consumer 1 has read
                if (!bad)
                    asm volatile("bar.sync 4, 64;" ::: "memory"); // consumer 2 has read
            }
            s[l] = a[l] + k;
            asm volatile("bar.sync 1, 64;" ::: "memory");
            asm volatile("bar.sync 2, 64;" ::: "memory");
        } else if (w == 1) {
            asm volatile("bar.sync 1, 64;" ::: "memory");
            r += s[31 - l];
            if (k < 2)
                asm volatile("bar.arrive 3, 64;" ::: "memory");
        } else if (w == 2) {
            asm volatile("bar.sync 2, 64;" ::: "memory");
            r += s[l ^ 5];
            if (k < 2 && !bad)
                asm volatile("bar.arrive 4, 64;" ::: "memory");
        }
    }
    o[T] = r;
}

PAIR(grid_halves) // CTAs that share words of global memory, but not bytes
{
    unsigned short *h = (unsigned short *)o;
    h[2 * T + (bad ? 0 : blockIdx.x)] = (unsigned short)(T + blockIdx.x);
}

PAIR(grid_race) // two CTAs write one place
{
    o[bad ? T : blockIdx.x * blockDim.x + T] = blockIdx.x;
}

PAIR(grid_war) // a CTA overwrites what another one reads
{
    int v = a[(T + blockIdx.x * 128 + (bad ? 128 : 0)) % 256];
    a[T + blockIdx.x * 128] = v + 1;
}

PAIR(nc_written) // read-only path to data of this launch
{
    int v;
    o[T] = T;
    __syncwarp();
    if (bad)
        asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(o + T));
    else
        asm volatile("ld.global.u32 %0, [%1];" : "=r"(v) : "l"(o + T));
    a[T] = v;
}

PAIR(shfl_lane) // shuffle from a lane that does not take part
{
    int v = a[T], r = 0;
    if (T % 32 < 16)
        r = __shfl_sync(0x0000ffffu, v, bad ? 20 : 3);
    o[T] = r;
}

PAIR(mask_lane) // a lane executes with a mask that does not name it
{
    int v = a[T], r = 0;
    if (T % 32 < 16)
        asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, %2;" : "=r"(r) : "r"(v), "r"(bad ? 0x7fff : 0xffff));
    o[T] = r;
}

PAIR(mask_never) // the mask names lanes that never come
{
    int v = a[T], r = 0;
    if (T % 32 < 16)
        asm volatile("shfl.sync.bfly.b32 %0, %1, 1, 31, %2;" : "=r"(r) : "r"(v), "r"(bad ? 0xffffffff : 0xffff));
    else
        asm volatile("barrier.sync 3, 128;");
    if (T % 32 < 16)
        asm volatile("barrier.sync 3, 128;");
    o[T] = r;
}

PAIR(local_bounds) // past a local array
{
    volatile int l[8];
    for (int i = 0; i < 8; i++)
        l[i] = a[i];
    o[T] = l[(n + T) % 8 + (bad ? 1 : 0)];
}

PAIR(local_init) // an element of a local array that was not written
{
    volatile int l[8];
    for (int i = 0; i < (bad ? 7 : 8); i++)
        l[i] = a[i];
    o[T] = l[(n + T) % 8];
}

extern "C" __global__ void reader(int *o, int *a, int n)
{
    if ((int)T < n)
        o[T] = a[T];
}
extern "C" __global__ void big_static(int *o, int *a, int n)
{
    __shared__ int s[10000];
    s[T] = a[T];
    o[T] = s[T];
}
extern "C" __global__ void __launch_bounds__(64) bounded(int *o, int *a, int n)
{
    o[T] = a[T];
}

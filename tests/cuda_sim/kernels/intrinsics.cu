// As many intrinsics and library functions as fit: what nvcc makes of them must be known to the
// simulator.
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <cuda_pipeline.h>
#include <math.h>
extern "C" __global__ void h1(__half *o, const __half *a, const __half2 *b, float *f, int *ii,
                              unsigned short *us) {
    int i = threadIdx.x;
    __half x = a[i], y = a[i + 1], z = a[i + 2];
    __half2 u = b[i], v = b[i + 1];
    __half r = __hadd(x, y);
    r = __hsub(r, z);
    r = __hmul(r, x);
    r = __hdiv(r, y);
    r = __hfma(r, x, y);
    r = __hadd_sat(r, x);
    r = __hfma_sat(r, x, y);
    r = __hneg(r);
    r = __habs(r);
    r = hsqrt(r);
    r = hrsqrt(r);
    r = hexp(r);
    r = hexp2(r);
    r = hlog(r);
    r = hlog2(r);
    r = hsin(r);
    r = hcos(r);
    r = hrcp(r);
    r = hfloor(r);
    r = hceil(r);
    r = hrint(r);
    r = htrunc(r);
    r = __hmin(r, x);
    r = __hmax(r, y);
    r = __hmax_nan(r, y);
    o[i] = r;
    __half2 q = __hadd2(u, v);
    q = __hmul2(q, u);
    q = __hfma2(q, u, v);
    q = __h2div(q, u);
    q = h2exp(q);
    q = h2sqrt(q);
    q = h2rsqrt(q);
    q = h2log(q);
    q = __hmin2(q, u);
    q = __hmax2(q, v);
    q = __hadd2_rn(q, u);
    q = __hfma2_relu(q, u, v);
    q = __lowhigh2highlow(q);
    q = __hneg2(q);
    q = __habs2(q);
    if (__hbeq2(q, u) || __hgt(x, y) || __hisnan(x) || __hbgtu2(u, v))
        q = __hge2(u, v);
    ((__half2 *)o)[i + 64] = q;
    f[i] = __half2float(r) + __low2float(q) + __high2float(q);
    ii[i] = __half2int_rn(x) + __half2int_rz(y) + __half2uint_rd(z) + (int)__half2ll_ru(x) +
            __half2short_rn(y);
    o[i + 7] = __int2half_rn(i);
    o[i + 8] = __uint2half_rz(i);
    o[i + 9] = __float2half_rd(f[i]);
    o[i + 10] = __double2half((double)f[i]);
    o[i + 11] = __ll2half_rn(i);
    us[i] = __half_as_ushort(r);
    atomicAdd((__half2 *)o, u);
    atomicAdd(o, x);
    o[i + 12] = __shfl_xor_sync(~0u, x, 1);
    o[i + 13] = htanh(x);
    ((__half2 *)o)[i + 65] = h2tanh_approx(u);
}
#if __CUDA_ARCH__ >= 800
extern "C" __global__ void b1(__nv_bfloat16 *o, const __nv_bfloat16 *a, float *f) {
    int i = threadIdx.x;
    __nv_bfloat16 x = a[i], y = a[i + 1], z = a[i + 2];
    __nv_bfloat162 u = ((__nv_bfloat162 *)a)[i], v = ((__nv_bfloat162 *)a)[i + 1];
    __nv_bfloat16 r = __hadd(x, y);
    r = __hsub(r, z);
    r = __hmul(r, x);
    r = __hdiv(r, y);
    r = __hfma(r, x, y);
    r = __hneg(r);
    r = __habs(r);
    r = hsqrt(r);
    r = hexp(r);
    r = hlog(r);
    r = hsin(r);
    r = __hmin(r, x);
    r = __hmax(r, y);
    r = __hmax_nan(r, y);
    r = hfloor(r);
    r = hrint(r);
    o[i] = r;
    u = __hfma2(u, v, u);
    u = __hadd2(u, v);
    u = __hmul2(u, v);
    u = __hmax2(u, v);
    u = h2exp2(u);
    ((__nv_bfloat162 *)o)[i + 40] = u;
    if (__hgt(x, y) && __hbgt2(u, v))
        o[3] = x;
    o[i + 9] = __float2bfloat16_rn(f[i]);
    o[i + 10] = __float2bfloat16_rz(f[i]);
    o[i + 11] = __int2bfloat16_rn(i);
    ((__nv_bfloat162 *)o)[i + 90] = __floats2bfloat162_rn(f[i], f[i + 1]);
    f[i] = __bfloat162float(x) + __low2float(u) + __bfloat162int_rz(y);
    atomicAdd((__nv_bfloat162 *)o, u);
}
extern "C" __global__ void pipe(float *o, const float *a) {
    __shared__ float s[256];
    __pipeline_memcpy_async(s + threadIdx.x, a + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncthreads();
    o[threadIdx.x] = s[255 - threadIdx.x];
}
using namespace nvcuda;
#endif
extern "C" __global__ void m1(float *o, const float *a, double *d, int n) {
    int i = threadIdx.x;
    float x = a[i], r = 0;
    r += sinf(x) + cosf(x) + tanf(x) + asinf(x) + acosf(x) + atanf(x) + atan2f(x, r) + sinhf(x) +
         coshf(x) + tanhf(x) + expf(x) + exp2f(x) + exp10f(x) + expm1f(x) + logf(x) + log2f(x) +
         log10f(x) + log1pf(x) + powf(x, r) + sqrtf(x) + rsqrtf(x) + cbrtf(x) + erff(x) + erfcf(x) +
         erfinvf(x) + normcdff(x) + lgammaf(x) + tgammaf(x) + fmodf(x, r) + remainderf(x, r) +
         hypotf(x, r) + roundf(x) + rintf(x) + truncf(x) + ceilf(x) + floorf(x) + lroundf(x) +
         ldexpf(x, n) + frexpf(x, &n) + fdimf(x, r) + copysignf(x, r) + nextafterf(x, r) +
         scalbnf(x, n) + ilogbf(x) + logbf(x) + j0f(x);
    r += __fdividef(x, r) + __expf(x) + __logf(x) + __powf(x, r) + __sinf(x) + __cosf(x) +
         __tanf(x) + __saturatef(x) + __frcp_rz(x) + __fsqrt_ru(x) + __fdiv_rd(x, r) +
         __fmaf_rz(x, r, x) + __fadd_ru(x, r) + __fmul_rd(x, r) + __frsqrt_rn(x) +
         __int_as_float(n) + __float2int_rd(x) + __uint2float_ru(n) + __ll2float_rn(n) +
         __float2ll_rz(x) + fmaxf(x, r) + fminf(x, r) + fabsf(x) + (isnan(x) ? 1 : 0) +
         (isinf(x) ? 2 : 0) + (signbit(x) ? 1 : 0) + __float2half(x).operator float();
    o[i] = r;
    double y = d[i];
    y += sin(y) + exp(y) + log(y) + pow(y, 3.3) + sqrt(y) + tanh(y) + floor(y) + fmod(y, 2.5) +
         rsqrt(y) + cbrt(y) + __dadd_rz(y, r) + __dmul_ru(y, r) + __fma_rd(y, y, y) +
         __ddiv_rn(y, r) + __drcp_ru(y) + rint(y) + llround(y) + __double2int_rn(y) +
         __double2float_ru(y) + __hiloint2double(n, n) + __double2hiint(y) + atan(y) + erf(y);
    d[i] = y;
}
extern "C" __global__ void i1(unsigned *o, const unsigned *a, long long *l) {
    int i = threadIdx.x;
    unsigned x = a[i], y = a[i + 1];
    int sx = x, sy = y;
    unsigned r = 0;
    r += __brev(x) + __clz(x) + __ffs(x) + __popc(x) + __byte_perm(x, y, 0x5140) +
         __funnelshift_l(x, y, 7) + __funnelshift_rc(x, y, y) + __mulhi(sx, sy) + __umulhi(x, y) +
         __mul24(sx, sy) + __umul24(x, y) + __sad(sx, sy, r) + __usad(x, y, r) + __hadd(sx, sy) +
         __rhadd(sx, sy) + __uhadd(x, y) + __dp4a(sx, sy, (int)r) + __dp4a(x, y, r) +
         __dp2a_lo(sx, sy, (int)r) + __vadd2(x, y) + __vadd4(x, y) + __vsub4(x, y) +
         __vabsdiffu4(x, y) + __vmaxs2(x, y) + __vmins4(x, y) + __vcmpeq4(x, y) + __vsetltu4(x, y) +
         __vavgu4(x, y) + __vaddss4(x, y) + __vneg4(x) + __vabs2(x) + __vsads4(x, y) +
         __vimax_s32_relu(sx, sy) + __viaddmax_s32(sx, sy, 3) + __vibmax_s32(sx, sy, (bool *)o) +
         __fns(x, 0, 2);
    long long q = l[i];
    q += __clzll(q) + __popcll(q) + __brevll(q) + __ffsll(q) + __mul64hi(q, x) + __umul64hi(q, y) +
         q / 7 + q % y + (q >> 3) + (unsigned long long)q / 1000 + max(q, (long long)x) + llabs(q);
    l[i] = q;
    o[i] = r + __ldg(a + i + 3) + __ldcg(a + i) + __ldcs(a + 4 + i) + __ldca(a + 5) +
           __ldlu(a + 6) + __ldcv(a + 7) + __activemask() + __match_all_sync(~0u, x, (int *)o);
    __stcg(o + 300 + i, x);
    __stcs(o + 400 + i, y);
    __stwt(o + 500 + i, x);
}

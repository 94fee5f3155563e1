/* What a machine can do at most: read memory by the widest loads that it has, and multiply and add in registers. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/cli/bench.h"
#include "kernels/cpu/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { SLICE = 256 << 10 }; /* bytes a task reads */

typedef struct reader {
    nb_pool *pool;
    nb_device *device;
    nb_mem mem; /* of the device, as the weights are: the same kind of pages */
    unsigned char *data, *at;
    size_t bytes, copies;
    uint64_t (*sum)(const unsigned char *p, size_t bytes);
    uint64_t sums[64];
} reader;

static uint64_t sum_plain(const unsigned char *p, size_t bytes) {
    uint64_t s[4] = {0}, v[4];
    for (size_t i = 0; i + sizeof v <= bytes; i += sizeof v) {
        memcpy(v, p + i, sizeof v);
        for (int l = 0; l < 4; l++)
            s[l] ^= v[l];
    }
    return s[0] ^ s[1] ^ s[2] ^ s[3];
}

#if defined(__x86_64__)
NB_TARGET_AVX2 static uint64_t sum_avx2(const unsigned char *p, size_t bytes) {
    __m256i s[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                    _mm256_setzero_si256()};
    for (size_t i = 0; i + 128 <= bytes; i += 128) {
        _mm_prefetch((const void *)(p + i + 4096), _MM_HINT_T0);
        _mm_prefetch((const void *)(p + i + 4096 + 64), _MM_HINT_T0);
        for (int l = 0; l < 4; l++)
            s[l] = _mm256_xor_si256(s[l], _mm256_loadu_si256((const void *)(p + i + 32 * l)));
    }
    uint64_t out[4];
    _mm256_storeu_si256(
        (void *)out, _mm256_xor_si256(_mm256_xor_si256(s[0], s[1]), _mm256_xor_si256(s[2], s[3])));
    return out[0] ^ out[1] ^ out[2] ^ out[3];
}

NB_TARGET_AVX512 static uint64_t sum_avx512(const unsigned char *p, size_t bytes) {
    __m512i s[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                    _mm512_setzero_si512()};
    for (size_t i = 0; i + 256 <= bytes; i += 256)
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) {
            _mm_prefetch((const void *)(p + i + 4096 + 64 * l), _MM_HINT_T0);
            s[l] = _mm512_xor_si512(s[l], _mm512_loadu_si512(p + i + 64 * l));
        }
    uint64_t out[8];
    _mm512_storeu_si512(
        out, _mm512_xor_si512(_mm512_xor_si512(s[0], s[1]), _mm512_xor_si512(s[2], s[3])));
    return out[0] ^ out[1] ^ out[2] ^ out[3] ^ out[4] ^ out[5] ^ out[6] ^ out[7];
}
#endif

static void read_task(void *arg, size_t task, unsigned worker) {
    reader *r = arg;
    size_t at = task * SLICE;
    r->sums[worker % 64] ^= r->sum(r->at + at, nb_min(SLICE, r->bytes - at));
}

static nb_status read_run(void *state, size_t iteration, nb_err *err) {
    reader *r = state;
    (void)err;
    r->at = r->data + iteration % r->copies * r->bytes;
    nb_pool_run(r->pool, nb_ceil_div(r->bytes, SLICE), read_task, r);
    return NB_OK;
}

static void read_free(void *state) {
    reader *r = state;
    nb_release(r->device, &r->mem);
    nb_free(r);
}

/* ---- a copy on a device ---- */

typedef struct copier {
    nb_stream *stream;
    nb_mem from, to;
    size_t bytes;
} copier;

static nb_status copy_run(void *state, size_t iteration, nb_err *err) {
    copier *c = state;
    (void)iteration;
    return nb_copy(c->stream, c->to, c->from, c->bytes, err);
}

static nb_status copy_wait(void *state, nb_err *err) {
    return nb_sync(((copier *)state)->stream, err);
}

static void copy_free(void *state) {
    copier *c = state;
    nb_release(c->stream->device, &c->from);
    nb_release(c->stream->device, &c->to);
    nb_free(c);
}

static nb_status copy_item(nb_stream *stream, size_t bytes, nb_bench_item *out, nb_err *err) {
    copier *c;
    NB_TRY(nb_calloc(1, sizeof *c, "a copier", &c, err));
    c->stream = stream;
    c->bytes = bytes;
    nb_status status = nb_alloc(stream->device, nb_max(bytes, 1), &c->from, err);
    if (status == NB_OK)
        status = nb_alloc(stream->device, nb_max(bytes, 1), &c->to, err);
    if (status == NB_OK)
        status = nb_fill(stream, c->from, 1, bytes, err);
    if (status != NB_OK) {
        copy_free(c);
        return status;
    }
    *out = (nb_bench_item){.name = "copy",
                           .op = "read",
                           .run = copy_run,
                           .wait = copy_wait,
                           .release = copy_free,
                           .state = c,
                           .bytes = 2.0 * (double)bytes};
    return NB_OK;
}

/* ---- reading on the CPU ---- */

nb_status nb_bench_read(nb_stream *stream, size_t bytes, size_t copies, nb_bench_item *out,
                        nb_err *err) {
    reader *r;
    size_t all = 0;
    if (stream->device->backend->id != NB_CPU)
        return copy_item(stream, bytes, out, err);
    NB_TRY(nb_calloc(1, sizeof *r, "a reader", &r, err));
    nb_status status = nb_mul(bytes, copies, &all) && nb_add(all, 4096, &all)
                           ? nb_alloc(stream->device, all, &r->mem, err)
                           : nb_fail_memory(err, SIZE_MAX, "memory to read");
    if (status != NB_OK) {
        nb_free(r);
        return status;
    }
    r->device = stream->device;
    r->data = nb_host(r->mem);
    memset(r->data, 1, all);
    r->copies = copies;
    r->pool = stream->device->pool;
    r->bytes = bytes;
    r->sum = sum_plain;
#if defined(__x86_64__)
    if (nb_cpu_features() & NB_NEED_AVX2)
        r->sum = sum_avx2;
    if (nb_cpu_features() & NB_NEED_AVX512)
        r->sum = sum_avx512;
#endif
    *out = (nb_bench_item){.name = "read",
                           .op = "read",
                           .run = read_run,
                           .release = read_free,
                           .state = r,
                           .bytes = (double)bytes};
    return NB_OK;
}

/* ---- multiplying and adding ---- */

enum { ROUNDS = 20000, CHAINS = 12 };

typedef struct peak {
    nb_pool *pool;
    size_t tasks;
    void (*chains)(float *out);
    float out[64];
} peak;

/* CHAINS independent sums; what comes out is looked at, so that nothing is left out. */
static void chains_plain(float *out) {
    float a[CHAINS * 4], x = *out * 1e-9f, y = 1.0f - x;
    for (size_t i = 0; i < CHAINS * 4; i++)
        a[i] = (float)i;
    for (size_t r = 0; r < ROUNDS; r++)
        for (size_t i = 0; i < CHAINS * 4; i++)
            a[i] = a[i] * y + x;
    for (size_t i = 0; i < CHAINS * 4; i++)
        *out += a[i] * 1e-9f;
}

#if defined(__x86_64__)
NB_TARGET_AVX2 static void chains_avx2(float *out) {
    __m256 a[CHAINS], x = _mm256_set1_ps(*out * 1e-9f), y = _mm256_set1_ps(1.0f - *out * 1e-9f);
    NB_UNROLL
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm256_set1_ps((float)i);
    for (size_t r = 0; r < ROUNDS; r++)
        NB_UNROLL
        for (int i = 0; i < CHAINS; i++)
            a[i] = _mm256_fmadd_ps(a[i], y, x);
    NB_UNROLL
    for (int i = 0; i < CHAINS; i++)
        *out += _mm256_cvtss_f32(a[i]) * 1e-9f;
}

NB_TARGET_AVX512 static void chains_avx512(float *out) {
    __m512 a[CHAINS], x = _mm512_set1_ps(*out * 1e-9f), y = _mm512_set1_ps(1.0f - *out * 1e-9f);
    NB_UNROLL
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm512_set1_ps((float)i);
    for (size_t r = 0; r < ROUNDS; r++)
        NB_UNROLL
        for (int i = 0; i < CHAINS; i++)
            a[i] = _mm512_fmadd_ps(a[i], y, x);
    NB_UNROLL
    for (int i = 0; i < CHAINS; i++)
        *out += _mm512_cvtss_f32(a[i]) * 1e-9f;
}
#endif

static void peak_task(void *arg, size_t task, unsigned worker) {
    peak *p = arg;
    (void)task;
    p->chains(&p->out[worker % 64]);
}

static nb_status peak_run(void *state, size_t iteration, nb_err *err) {
    peak *p = state;
    (void)iteration, (void)err;
    nb_pool_run(p->pool, p->tasks, peak_task, p);
    return NB_OK;
}

nb_status nb_bench_peak(nb_stream *stream, nb_bench_item *out, nb_err *err) {
    peak *p;
    size_t lanes = 4;
    nb_pool *pool = stream->device->pool;
    if (stream->device->backend->id != NB_CPU)
        return nb_fail(err, NB_E_UNSUPPORTED, "peak arithmetic is measured on the cpu only");
    NB_TRY(nb_calloc(1, sizeof *p, "a peak", &p, err));
    p->pool = pool;
    p->tasks = 2 * (size_t)nb_pool_threads(pool);
    p->chains = chains_plain;
#if defined(__x86_64__)
    if (nb_cpu_features() & NB_NEED_AVX2)
        p->chains = chains_avx2, lanes = 8;
    if (nb_cpu_features() & NB_NEED_AVX512)
        p->chains = chains_avx512, lanes = 16;
#endif
    *out = (nb_bench_item){.name = "peak",
                           .op = "peak",
                           .run = peak_run,
                           .release = nb_free,
                           .state = p,
                           .flops = 2.0 * (double)p->tasks * ROUNDS * CHAINS * (double)lanes};
    return NB_OK;
}

/* Read bandwidth of memory, by the widest loads that the processor has. */
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
    nb_free(r->data);
    nb_free(r);
}

nb_status nb_bench_read(nb_stream *stream, size_t bytes, size_t copies, nb_bench_item *out,
                        nb_err *err) {
    reader *r;
    size_t all = 0;
    if (stream->device->backend->id != NB_CPU)
        return nb_fail(err, NB_E_UNSUPPORTED, "read bandwidth is measured on the cpu only");
    NB_TRY(nb_calloc(1, sizeof *r, "a reader", &r, err));
    nb_status status = nb_mul(bytes, copies, &all) && nb_add(all, 4096, &all)
                           ? nb_alloc_aligned(all, 1, "memory to read", &r->data, err)
                           : nb_fail_memory(err, SIZE_MAX, "memory to read");
    if (status != NB_OK) {
        nb_free(r);
        return status;
    }
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

/* Vector variants of the product with 8-bit activations give the same bits: integers are exact, and what follows is in one order. */
#include <criterion/criterion.h>
#include <string.h>

#include "host/backend/packed.h"
#include "host/base/random.h"

enum { N = 50, MOST_M = 12, MOST_K = 1025, GROUP = 64 };

static float x[MOST_M * MOST_K], first[MOST_M * N], y[MOST_M * N];

/* Runs every variant but the plain one, which multiplies and adds in two roundings; returns how many there are. */
static size_t run_variants(nb_stream *stream, const nb_packed *p, size_t m) {
    size_t count, work, ran = 0;
    const nb_kernel *rows = nb_kernels(&count);
    struct nb_qgemm_i8_args a = {.g = {.m = m, .w = p->w, .x = nb_mem_host(x, sizeof x), .y = nb_mem_host(y, sizeof y)}};
    a.g.ldx = p->w.k;
    a.g.ldy = N;
    cr_assert_eq(nb_packed_workspace(p, m, NB_GEMM_FAST, &work, NULL), NB_OK);
    cr_assert_eq(nb_alloc(stream->device, work, &a.g.workspace, NULL), NB_OK);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].op != NB_OP_qgemm_i8 || rows[i].backend != NB_CPU || rows[i].needs == NB_NEED_NONE ||
            rows[i].needs & ~nb_cpu_features())
            continue;
        memset(y, 0, sizeof y);
        cr_assert_eq(nb_launch_row(stream, &rows[i], &a, NULL), NB_OK);
        if (ran++ == 0)
            memcpy(first, y, sizeof y);
        cr_assert(!memcmp(first, y, sizeof y), "%s, %u bits, k %zu, m %zu", rows[i].name, p->w.bits, p->w.k, m);
    }
    nb_release(stream->device, &a.g.workspace);
    return ran;
}

Test(qgemm_i8, vector_variants_give_the_same_bits) {
    static const unsigned widths[] = {2, 3, 4, 8};
    static const size_t columns[] = {64, 300, MOST_K};
    nb_device_options options = {.threads = 1};
    nb_random r = nb_random_seed(5);
    nb_device *device;
    nb_stream *stream;
    size_t ran = 0, cases = 0;
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    for (size_t i = 0; i < MOST_M * MOST_K; i++)
        x[i] = nb_random_f32(&r) - 0.5f;
    for (size_t b = 0; b < 4; b++)
        for (size_t k = 0; k < 3; k++) {
            nb_qtensor q;
            nb_packed *p;
            cr_assert_eq(nb_qtensor_new(N, columns[k], widths[b], GROUP, false, false, &q, NULL), NB_OK);
            for (size_t i = 0; i < N * columns[k]; i++)
                q.codes[i] = (uint8_t)nb_random_below(&r, 1u << widths[b]);
            for (size_t i = 0; i < N * q.groups; i++) {
                q.scales[i] = nb_random_f32(&r);
                q.zeros[i] = (float)nb_random_below(&r, 1u << widths[b]);
            }
            q.scale_type = NB_F32;
            cr_assert_eq(nb_packed_new(stream, &q, &p, NULL), NB_OK);
            for (size_t m = 1; m <= MOST_M; m += m < 4 ? 1 : 4, cases++)
                ran += run_variants(stream, p, m);
            nb_packed_free(p);
            nb_qtensor_free(&q);
        }
    if (nb_cpu_features() & NB_NEED_AVX2)
        cr_assert_geq(ran, cases);
    nb_stream_free(stream);
    nb_device_close(device);
}

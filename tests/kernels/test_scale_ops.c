/* The operations of channel scales, with numbers that can be worked out by hand; `nibble verify` has the rest. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "host/backend/backend.h"

/* Runs `args` on every row of the operation that this processor has, with 1 and 3 threads; `out` holds `before` at first and
 * must then hold `want`, bit for bit. */
static void run_rows(nb_op op, const void *args, float *out, const float *before, const float *want, size_t count) {
    size_t n_rows, ran = 0;
    const nb_kernel *rows = nb_kernels(&n_rows);
    for (size_t i = 0; i < n_rows; i++)
        for (unsigned threads = 1; threads <= 3; threads += 2) {
            nb_device_options options = {.threads = threads};
            nb_device *device;
            nb_stream *stream;
            if (rows[i].op != op || rows[i].backend != NB_CPU || rows[i].needs & ~nb_cpu_features())
                continue;
            cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
            cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
            memcpy(out, before, count * sizeof *out);
            cr_assert_eq(nb_launch_row(stream, &rows[i], args, NULL), NB_OK);
            for (size_t j = 0; j < count; j++)
                cr_assert(!memcmp(&out[j], &want[j], sizeof *out), "%s, %u threads: [%zu] is %g, not %g", rows[i].name,
                          threads, j, (double)out[j], (double)want[j]);
            nb_stream_free(stream);
            nb_device_close(device);
            ran++;
        }
    cr_assert_geq(ran, 2);
}

#define MEM(p) nb_mem_host(p, sizeof p)

/* Column j holds j + 1 in alternating sign but for one row of zeros in four: its mean is 3/4 (j + 1). Wider than the 64 columns
 * of a task; rows are padded. */
Test(scale_ops, abs_mean) {
    enum { ROWS = 8, K = 67, LD = K + 2 };
    static float x[ROWS * LD], out[K], before[K], want[K];
    for (size_t i = 0; i < ROWS * LD; i++)
        x[i] = i % LD >= K ? NAN : i / LD % 4 == 1 ? 0.0f : (i % 2 ? -1.0f : 1.0f) * (float)(i % LD + 1);
    for (size_t j = 0; j < K; j++)
        want[j] = 0.75f * (float)(j + 1);
    struct nb_abs_mean_args a = {.rows = ROWS, .k = K, .x = MEM(x), .ldx = LD, .out = MEM(out)};
    run_rows(NB_OP_abs_mean, &a, out, before, want, K);
    memset(want, 0, sizeof want);
    a.rows = 0;
    run_rows(NB_OP_abs_mean, &a, out, x, want, K);
}

/* 2^24 + 1 + 1: f32 would lose the ones. */
Test(scale_ops, abs_mean_is_summed_in_f64) {
    enum { ROWS = 3 };
    static float x[ROWS] = {0x1p24f, -1.0f, 1.0f}, out[1], before[1], want[1];
    want[0] = (float)((0x1p24 + 2) / 3);
    struct nb_abs_mean_args a = {.rows = ROWS, .k = 1, .x = MEM(x), .ldx = 1, .out = MEM(out)};
    run_rows(NB_OP_abs_mean, &a, out, before, want, 1);
}

/* x[i][j] = i + 1, rows by 1/2^i, columns by j: (i + 1) j / 2^i, in place and not, and with either factor absent. */
Test(scale_ops, scale_matrix) {
    enum { ROWS = 35, K = 9 };
    static float x[ROWS * K], y[ROWS * K], want[ROWS * K], row[ROWS], col[K];
    for (size_t i = 0; i < ROWS * K; i++)
        x[i] = (float)(i / K + 1);
    for (size_t i = 0; i < ROWS; i++)
        row[i] = ldexpf(1.0f, -(int)i);
    for (size_t j = 0; j < K; j++)
        col[j] = (float)j;
    for (int form = 0; form < 4; form++) {
        bool rows = form & 1, cols = form & 2;
        struct nb_scale_matrix_args a = {.rows = ROWS, .k = K, .x = MEM(x), .y = MEM(y), .ldx = K, .ldy = K};
        if (rows)
            a.row = MEM(row);
        if (cols)
            a.col = MEM(col);
        for (size_t i = 0; i < ROWS * K; i++)
            want[i] = (float)(i / K + 1) * (rows ? row[i / K] : 1.0f) * (cols ? col[i % K] : 1.0f);
        run_rows(NB_OP_scale_matrix, &a, y, want, want, ROWS * K);
        memset(y, 0, sizeof y);
        run_rows(NB_OP_scale_matrix, &a, y, x, want, ROWS * K);
        a.x = a.y; /* in place */
        run_rows(NB_OP_scale_matrix, &a, y, x, want, ROWS * K);
    }
}

/* The order of the two products shows where one underflows: (2^-100 * 2^-60) * 2^60 is 0, 2^-100 * (2^-60 * 2^60) is not. */
Test(scale_ops, scale_matrix_multiplies_by_the_row_first) {
    static float x[1] = {0x1p-100f}, y[1], before[1] = {5.0f}, want[1] = {0.0f}, row[1] = {0x1p-60f}, col[1] = {0x1p60f};
    struct nb_scale_matrix_args a = {.rows = 1, .k = 1, .x = MEM(x), .y = MEM(y), .ldx = 1, .ldy = 1, .row = MEM(row),
                                     .col = MEM(col)};
    run_rows(NB_OP_scale_matrix, &a, y, before, want, 1);
}

/* y = x - y, and not y - x. */
Test(scale_ops, subtract) {
    enum { ROWS = 33, K = 7, LD = K + 1 };
    static float x[ROWS * K], y[ROWS * LD], before[ROWS * LD], want[ROWS * LD];
    for (size_t i = 0; i < ROWS * LD; i++)
        before[i] = want[i] = (float)i;
    for (size_t i = 0; i < ROWS * K; i++) {
        x[i] = (float)(3 * i);
        want[i / K * LD + i % K] = (float)(3 * i) - (float)(i / K * LD + i % K);
    }
    struct nb_subtract_args a = {.rows = ROWS, .k = K, .x = MEM(x), .y = MEM(y), .ldx = K, .ldy = LD};
    run_rows(NB_OP_subtract, &a, y, before, want, ROWS * LD);
}

/* sum_j (j + 1) of a row is k (k + 1) / 2; and 2^45 + 1 - 2^45, which f32 sums would make 0. */
Test(scale_ops, row_dot) {
    enum { ROWS = 34, K = 10 };
    static float a[ROWS * K], b[ROWS * (K + 3)], out[ROWS], before[ROWS], want[ROWS];
    for (size_t i = 0; i < ROWS * K; i++) {
        a[i] = (float)(i % K + 1);
        b[i / K * (K + 3) + i % K] = (float)(i / K);
    }
    for (size_t i = 0; i < ROWS; i++)
        want[i] = 55.0f * (float)i;
    struct nb_row_dot_args args = {.rows = ROWS, .k = K, .a = MEM(a), .b = MEM(b), .lda = K, .ldb = K + 3, .out = MEM(out)};
    run_rows(NB_OP_row_dot, &args, out, before, want, ROWS);
}

Test(scale_ops, row_dot_is_summed_in_f64) {
    static float a[3] = {0x1p25f, 1.0f, -0x1p25f}, b[3] = {0x1p20f, 1.0f, 0x1p20f}, out[1], before[1], want[1] = {1.0f};
    struct nb_row_dot_args args = {.rows = 1, .k = 3, .a = MEM(a), .b = MEM(b), .lda = 3, .ldb = 3, .out = MEM(out)};
    run_rows(NB_OP_row_dot, &args, out, before, want, 1);
}

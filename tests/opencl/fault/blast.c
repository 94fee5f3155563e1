/* A libclblast.so.1 for tests. NB_BLAST says what it is like:
 *   right   products are right; one that is asked for again and again comes from memory, so that tuning finds it fast
 *   wrong   says that all went well, and does nothing
 *   error   says that it cannot */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

enum { TRANSPOSED = 112, M = 512, N = 1536 };

typedef struct matrix {
    float *p;
    size_t row, col; /* distances of elements */
} matrix;

static matrix fetch(cl_command_queue queue, cl_mem mem, size_t offset, size_t rows, size_t cols, size_t ld, bool turned) {
    size_t high = turned ? cols : rows, wide = turned ? rows : cols, count = (high - 1) * ld + wide;
    matrix x = {malloc(count * sizeof(float)), turned ? 1 : ld, turned ? ld : 1};
    if (!x.p || clEnqueueReadBuffer(queue, mem, CL_TRUE, offset * 4, count * 4, x.p, 0, NULL, NULL) != CL_SUCCESS)
        abort();
    return x;
}

static void multiply(size_t m, size_t n, size_t k, float alpha, matrix a, matrix b, float beta, float *c, size_t ldc) {
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = 0.0f, *to = c + i * ldc + j;
            for (size_t kk = 0; kk < k; kk++)
                sum += a.p[i * a.row + kk * a.col] * b.p[kk * b.row + j * b.col];
            *to = alpha * sum + (beta != 0.0f ? beta * *to : 0.0f);
        }
}

int CLBlastSgemm(int layout, int trans_a, int trans_b, size_t m, size_t n, size_t k, float alpha, cl_mem a, size_t a_offset, size_t lda,
                 cl_mem b, size_t b_offset, size_t ldb, float beta, cl_mem c, size_t c_offset, size_t ldc, cl_command_queue *queue,
                 cl_event *event);
int CLBlastSgemm(int layout, int trans_a, int trans_b, size_t m, size_t n, size_t k, float alpha, cl_mem a, size_t a_offset, size_t lda,
                 cl_mem b, size_t b_offset, size_t ldb, float beta, cl_mem c, size_t c_offset, size_t ldc, cl_command_queue *queue,
                 cl_event *event) {
    static float *timed; /* the result of tuning's product */
    const char *kind = getenv("NB_BLAST");
    (void)layout;
    (void)event;
    if (!kind || !strcmp(kind, "error"))
        return -2047;
    if (!strcmp(kind, "wrong"))
        return 0;
    bool tuning = m == M && n == N && ldc == N;
    if (tuning && timed)
        return clEnqueueWriteBuffer(*queue, c, CL_FALSE, c_offset * 4, (size_t)M * N * 4, timed, 0, NULL, NULL);
    matrix x = fetch(*queue, a, a_offset, m, k, lda, trans_a == TRANSPOSED), y = fetch(*queue, b, b_offset, k, n, ldb, trans_b == TRANSPOSED),
           z = fetch(*queue, c, c_offset, m, n, ldc, false);
    multiply(m, n, k, alpha, x, y, beta, z.p, ldc);
    clEnqueueWriteBuffer(*queue, c, CL_TRUE, c_offset * 4, ((m - 1) * ldc + n) * 4, z.p, 0, NULL, NULL);
    free(x.p);
    free(y.p);
    if (tuning)
        timed = z.p;
    else
        free(z.p);
    return 0;
}

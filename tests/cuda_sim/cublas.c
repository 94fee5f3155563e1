/* libcublas.so.13 for tests: the entry points that the host uses, on the simulator's memory. Every
 * sum runs in double in a fixed order and is rounded once. Column-major, as cuBLAS is. */
#include "cuda_sim.h"
#include "exec.h"

#include <cuda.h>
#include <stdlib.h>

#define API __attribute__((visibility("default")))

typedef enum {
    ST_OK = 0,
    ST_NOT_INIT = 1,
    ST_ALLOC = 3,
    ST_VALUE = 7,
    ST_EXEC = 13,
    ST_UNSUPPORTED = 15
} status;
typedef struct context {
    uint32_t magic;
    CUstream stream;
    int math, atomics, pointer;
} context;
#define MAGIC 0x43424c53u
enum { R_32F = 0, R_64F = 1, R_16F = 2, R_8I = 3, R_32I = 10, R_16BF = 14 };

static context *of(void *h) {
    context *c = h;
    return c && c->magic == MAGIC ? c : NULL;
}

API int cublasCreate_v2(void **h);
API int cublasCreate_v2(void **h) {
    CUcontext x;
    if (!h)
        return ST_VALUE;
    if (cuCtxGetCurrent(&x) || !x)
        return ST_NOT_INIT;
    context *c = calloc(1, sizeof *c);
    if (!c)
        return ST_ALLOC;
    c->magic = MAGIC;
    *h = c;
    return ST_OK;
}
API int cublasDestroy_v2(void *h);
API int cublasDestroy_v2(void *h) {
    context *c = of(h);
    if (!c)
        return ST_NOT_INIT;
    c->magic = 0;
    free(c);
    return ST_OK;
}
#define SETTER(name, T, field)                                                                     \
    API int name(void *h, T v);                                                                    \
    API int name(void *h, T v) {                                                                   \
        context *c = of(h);                                                                        \
        if (!c)                                                                                    \
            return ST_NOT_INIT;                                                                    \
        c->field = v;                                                                              \
        return ST_OK;                                                                              \
    }
#define GETTER(name, T, field)                                                                     \
    API int name(void *h, T *v);                                                                   \
    API int name(void *h, T *v) {                                                                  \
        context *c = of(h);                                                                        \
        if (!c || !v)                                                                              \
            return c ? ST_VALUE : ST_NOT_INIT;                                                     \
        *v = c->field;                                                                             \
        return ST_OK;                                                                              \
    }
SETTER(cublasSetStream_v2, CUstream, stream)
GETTER(cublasGetStream_v2, CUstream, stream)
SETTER(cublasSetMathMode, int, math)
GETTER(cublasGetMathMode, int, math)
SETTER(cublasSetAtomicsMode, int, atomics)
GETTER(cublasGetAtomicsMode, int, atomics)
SETTER(cublasSetPointerMode_v2, int, pointer)
GETTER(cublasGetPointerMode_v2, int, pointer)

API int cublasSetWorkspace_v2(void *h, void *p, size_t n);
API int cublasSetWorkspace_v2(void *h, void *p, size_t n) {
    if (!of(h))
        return ST_NOT_INIT;
    return n && !cuda_sim_range((CUdeviceptr)(uintptr_t)p, n, 0) ? ST_VALUE : ST_OK;
}
API int cublasGetVersion_v2(void *h, int *v);
API int cublasGetVersion_v2(void *h, int *v) {
    (void)h;
    if (!v)
        return ST_VALUE;
    *v = 130000;
    return ST_OK;
}
API const char *cublasGetStatusString(int s);
API const char *cublasGetStatusString(int s) {
    return s == ST_OK         ? "success"
           : s == ST_NOT_INIT ? "the library was not initialized"
           : s == ST_ALLOC    ? "the resource allocation failed"
           : s == ST_VALUE    ? "an unsupported value or parameter was passed to the function"
           : s == ST_EXEC     ? "the function failed to launch on the GPU"
                              : "the functionality is not supported";
}
API const char *cublasGetStatusName(int s);
API const char *cublasGetStatusName(int s) {
    return s == ST_OK         ? "CUBLAS_STATUS_SUCCESS"
           : s == ST_NOT_INIT ? "CUBLAS_STATUS_NOT_INITIALIZED"
           : s == ST_ALLOC    ? "CUBLAS_STATUS_ALLOC_FAILED"
           : s == ST_VALUE    ? "CUBLAS_STATUS_INVALID_VALUE"
           : s == ST_EXEC     ? "CUBLAS_STATUS_EXECUTION_FAILED"
                              : "CUBLAS_STATUS_NOT_SUPPORTED";
}

/* ---- matrices ---- */

static size_t bytes_of(int type) {
    return type == R_32F || type == R_32I    ? 4
           : type == R_64F                   ? 8
           : type == R_16F || type == R_16BF ? 2
           : type == R_8I                    ? 1
                                             : 0;
}
static double get(const uint8_t *p, int type) {
    uint32_t w = 0;
    switch (type) {
    case R_32F:
        memcpy(&w, p, 4);
        return (double)sim_f(w);
    case R_16F:
        memcpy(&w, p, 2);
        return (double)sim_h2f(w);
    case R_16BF:
        memcpy(&w, p, 2);
        return (double)sim_bf2f(w);
    case R_8I:
        return (double)(int8_t)*p;
    default:
        memcpy(&w, p, 4);
        return (double)(int32_t)w;
    }
}
static void put(uint8_t *p, int type, double v) {
    uint32_t w;
    switch (type) {
    case R_32F:
        w = sim_b((float)v);
        memcpy(p, &w, 4);
        break;
    case R_16F:
        w = sim_f2h((float)v);
        memcpy(p, &w, 2);
        break;
    case R_16BF:
        w = sim_f2bf((float)v);
        memcpy(p, &w, 2);
        break;
    default:
        w = (uint32_t)(int32_t)v;
        memcpy(p, &w, 4);
        break;
    }
}

typedef struct job {
    int kind; /* 0 gemm, 1 syrk, 2 trsm */
    int ta, tb, m, n, k, tya, tyb, tyc, batch;
    int lda, ldb, ldc;
    long long sa, sb, sc;
    uint64_t a, b, c;
    double alpha, beta;
    uint64_t dalpha, dbeta; /* device pointer mode */
    int side, uplo, diag;
} job;

/* Host image of a column-major matrix of rows x cols; NULL when it leaves its allocation. */
static uint8_t *matrix(uint64_t p, int rows, int cols, int ld, int type, int access) {
    if (rows <= 0 || cols <= 0)
        return NULL;
    uint64_t n = ((uint64_t)(cols - 1) * (uint64_t)ld + (uint64_t)rows) * bytes_of(type);
    if (access &
        2) /* an output with holes between the columns: check the extent, mark column by column */
        for (int j = 0; j < cols; j++)
            if (!cuda_sim_range(p + (uint64_t)j * (uint64_t)ld * bytes_of(type),
                                (uint64_t)rows * bytes_of(type), access))
                return NULL;
    if (access & 1)
        for (int j = 0; j < cols; j++)
            if (!cuda_sim_range(p + (uint64_t)j * (uint64_t)ld * bytes_of(type),
                                (uint64_t)rows * bytes_of(type), 1))
                return NULL;
    return cuda_sim_range(p, n, 0);
}

/* op(X) as double, row-major: out[i * inner + l] = op(X)[i][l] */
static double *pack(const uint8_t *x, int type, int ld, bool trans, int rows, int inner) {
    double *o = malloc((size_t)rows * (size_t)inner * sizeof *o);
    const size_t e = bytes_of(type);
    for (int i = 0; o && i < rows; i++)
        for (int l = 0; l < inner; l++) {
            size_t at =
                trans ? (size_t)i * (size_t)ld + (size_t)l : (size_t)l * (size_t)ld + (size_t)i;
            o[(size_t)i * (size_t)inner + (size_t)l] = get(x + at * e, type);
        }
    return o;
}

static double dot(const double *x, const double *y, int n) {
    double s[8] = {0};
    int l = 0;
    for (; l + 8 <= n; l += 8)
        for (int q = 0; q < 8; q++)
            s[q] += x[l + q] * y[l + q];
    for (; l < n; l++)
        s[0] += x[l] * y[l];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

static int do_product(const job *j, uint64_t pa, uint64_t pb, uint64_t pc, double alpha,
                      double beta) {
    const bool syrk = j->kind == 1, whole = !syrk;
    uint8_t *a = matrix(pa, j->ta ? j->k : j->m, j->ta ? j->m : j->k, j->lda, j->tya, 1);
    uint8_t *b = syrk ? a : matrix(pb, j->tb ? j->n : j->k, j->tb ? j->k : j->n, j->ldb, j->tyb, 1);
    uint8_t *c = matrix(pc, j->m, j->n, j->ldc, j->tyc, 0);
    if ((j->k > 0 && (!a || !b)) || !c)
        return ST_EXEC;
    double *x = j->k ? pack(a, j->tya, j->lda, j->ta != 0, j->m, j->k) : NULL;
    double *y = syrk ? x : j->k ? pack(b, j->tyb, j->ldb, j->tb == 0, j->n, j->k) : NULL;
    if (j->k && (!x || !y))
        return ST_ALLOC;
    const size_t e = bytes_of(j->tyc);
    for (int col = 0; col < j->n; col++)
        for (int row = 0; row < j->m; row++) {
            if (!whole && (j->uplo == 0 ? row < col : row > col))
                continue;
            uint8_t *p = c + ((size_t)col * (size_t)j->ldc + (size_t)row) * e;
            double s =
                j->k ? dot(x + (size_t)row * (size_t)j->k, y + (size_t)col * (size_t)j->k, j->k)
                     : 0.0;
            if (beta != 0.0 && !cuda_sim_range(pc + (uint64_t)(p - c), e, 1))
                return ST_EXEC;
            put(p, j->tyc, alpha * s + (beta != 0.0 ? beta * get(p, j->tyc) : 0.0));
            cuda_sim_range(pc + (uint64_t)(p - c), e, 2);
        }
    if (!syrk)
        free(y);
    free(x);
    return ST_OK;
}

/* B = alpha op(A)^-1 B (side left) or alpha B op(A)^-1; A triangular. */
static int do_trsm(const job *j, double alpha) {
    const int na = j->side == 0 ? j->m : j->n;
    float *b = (float *)(void *)matrix(j->b, j->m, j->n, j->ldb, R_32F, 1);
    const uint8_t *ah =
        cuda_sim_range(j->a, ((uint64_t)(na - 1) * (uint64_t)j->lda + (uint64_t)na) * 4, 0);
    if (!b || !ah)
        return ST_EXEC;
    const float *a = (const float *)(const void *)ah;
#define A_(r, c)                                                                                   \
    ((double)(j->ta ? a[(size_t)(r) * (size_t)j->lda + (size_t)(c)]                                \
                    : a[(size_t)(c) * (size_t)j->lda + (size_t)(r)]))
    const bool lower = (j->uplo == 0) != (j->ta != 0); /* of op(A) */
    const int count = j->side == 0 ? j->n : j->m;
    for (int v = 0; v < count; v++) {
        const size_t step = j->side == 0 ? 1 : (size_t)j->ldb;
        float *x = j->side == 0 ? b + (size_t)v * (size_t)j->ldb : b + v;
        const bool forward = j->side == 0 ? lower : !lower;
        for (int q = 0; q < na; q++) {
            const int i = forward ? q : na - 1 - q;
            double s = alpha * (double)x[(size_t)i * step];
            for (int p = 0; p < q; p++) {
                const int l = forward ? p : na - 1 - p;
                s -= (j->side == 0 ? A_(i, l) : A_(l, i)) * (double)x[(size_t)l * step];
            }
            x[(size_t)i * step] = (float)(j->diag ? s : s / A_(i, i));
        }
    }
#undef A_
    return ST_OK;
}

static int work(void *arg) {
    const job *j = arg;
    double alpha = j->alpha, beta = j->beta;
    if (j->dalpha) {
        const uint8_t *p = cuda_sim_range(j->dalpha, 4, 1),
                      *q = j->dbeta ? cuda_sim_range(j->dbeta, 4, 1) : p;
        if (!p || !q)
            return ST_EXEC;
        alpha = get(p, R_32F);
        beta = j->dbeta ? get(q, R_32F) : 0.0;
    }
    if (j->kind == 2)
        return do_trsm(j, alpha);
    for (int i = 0; i < j->batch; i++) {
        int r = do_product(j, j->a + (uint64_t)(i * j->sa) * bytes_of(j->tya),
                           j->b + (uint64_t)(i * j->sb) * bytes_of(j->tyb),
                           j->c + (uint64_t)(i * j->sc) * bytes_of(j->tyc), alpha, beta);
        if (r)
            return r;
    }
    return ST_OK;
}

static int submit(context *c, job *j, const void *alpha, const void *beta, bool integer) {
    if (!c)
        return ST_NOT_INIT;
    if (!alpha || (!beta && j->kind != 2))
        return ST_VALUE;
    if (c->pointer) {
        j->dalpha = (uintptr_t)alpha;
        j->dbeta = (uintptr_t)beta;
    } else {
        j->alpha = get(alpha, integer ? R_32I : R_32F);
        j->beta = beta ? get(beta, integer ? R_32I : R_32F) : 0.0;
    }
    if (j->m == 0 || j->n == 0)
        return ST_OK;
    int r = 0;
    CUresult e = cuda_sim_enqueue(c->stream, work, j, sizeof *j, &r);
    return e ? ST_EXEC : r;
}

static bool good(int ta, int tb, int m, int n, int k, int lda, int ldb, int ldc) {
    return ta >= 0 && ta <= 2 && tb >= 0 && tb <= 2 && m >= 0 && n >= 0 && k >= 0 &&
           lda >= (ta ? k : m) && lda > 0 && ldb >= (tb ? n : k) && ldb > 0 && ldc >= m && ldc > 0;
}

API int cublasGemmStridedBatchedEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha,
                                   const void *a, int tya, int lda, long long sa, const void *b,
                                   int tyb, int ldb, long long sb, const void *beta, void *c,
                                   int tyc, int ldc, long long sc, int batch, int compute,
                                   int algo);
API int cublasGemmStridedBatchedEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha,
                                   const void *a, int tya, int lda, long long sa, const void *b,
                                   int tyb, int ldb, long long sb, const void *beta, void *c,
                                   int tyc, int ldc, long long sc, int batch, int compute,
                                   int algo) {
    (void)algo;
    if (!of(h))
        return ST_NOT_INIT;
    if (!good(ta, tb, m, n, k, lda, ldb, ldc) || batch < 0)
        return ST_VALUE;
    const bool ints = tya == R_8I && tyb == R_8I && tyc == R_32I && compute == 72;
    const bool floats = (tya == R_32F || tya == R_16F || tya == R_16BF) && tya == tyb &&
                        (tyc == R_32F || tyc == tya) &&
                        (compute == 68 || compute == 69 || (compute >= 74 && compute <= 79));
    if (!ints && !floats)
        return ST_UNSUPPORTED;
    job j = {.kind = 0,
             .ta = ta,
             .tb = tb,
             .m = m,
             .n = n,
             .k = k,
             .tya = tya,
             .tyb = tyb,
             .tyc = tyc,
             .batch = batch,
             .lda = lda,
             .ldb = ldb,
             .ldc = ldc,
             .sa = sa,
             .sb = sb,
             .sc = sc,
             .a = (uintptr_t)a,
             .b = (uintptr_t)b,
             .c = (uintptr_t)c};
    return submit(of(h), &j, alpha, beta, ints);
}
API int cublasGemmEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a,
                     int tya, int lda, const void *b, int tyb, int ldb, const void *beta, void *c,
                     int tyc, int ldc, int compute, int algo);
API int cublasGemmEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a,
                     int tya, int lda, const void *b, int tyb, int ldb, const void *beta, void *c,
                     int tyc, int ldc, int compute, int algo) {
    return cublasGemmStridedBatchedEx(h, ta, tb, m, n, k, alpha, a, tya, lda, 0, b, tyb, ldb, 0,
                                      beta, c, tyc, ldc, 0, 1, compute, algo);
}
API int cublasSgemmStridedBatched(void *h, int ta, int tb, int m, int n, int k, const float *alpha,
                                  const float *a, int lda, long long sa, const float *b, int ldb,
                                  long long sb, const float *beta, float *c, int ldc, long long sc,
                                  int batch);
API int cublasSgemmStridedBatched(void *h, int ta, int tb, int m, int n, int k, const float *alpha,
                                  const float *a, int lda, long long sa, const float *b, int ldb,
                                  long long sb, const float *beta, float *c, int ldc, long long sc,
                                  int batch) {
    return cublasGemmStridedBatchedEx(h, ta, tb, m, n, k, alpha, a, R_32F, lda, sa, b, R_32F, ldb,
                                      sb, beta, c, R_32F, ldc, sc, batch, 68, 0);
}
API int cublasSgemm_v2(void *h, int ta, int tb, int m, int n, int k, const float *alpha,
                       const float *a, int lda, const float *b, int ldb, const float *beta,
                       float *c, int ldc);
API int cublasSgemm_v2(void *h, int ta, int tb, int m, int n, int k, const float *alpha,
                       const float *a, int lda, const float *b, int ldb, const float *beta,
                       float *c, int ldc) {
    return cublasSgemmStridedBatched(h, ta, tb, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc,
                                     0, 1);
}
/* fill mode: 0 lower, 1 upper */
API int cublasSsyrk_v2(void *h, int uplo, int trans, int n, int k, const float *alpha,
                       const float *a, int lda, const float *beta, float *c, int ldc);
API int cublasSsyrk_v2(void *h, int uplo, int trans, int n, int k, const float *alpha,
                       const float *a, int lda, const float *beta, float *c, int ldc) {
    if (!of(h))
        return ST_NOT_INIT;
    if (uplo < 0 || uplo > 1 || !good(trans, !trans, n, n, k, lda, lda, ldc))
        return ST_VALUE;
    job j = {.kind = 1,
             .ta = trans,
             .m = n,
             .n = n,
             .k = k,
             .batch = 1,
             .lda = lda,
             .ldc = ldc,
             .a = (uintptr_t)a,
             .c = (uintptr_t)c,
             .uplo = uplo};
    return submit(of(h), &j, alpha, beta, false);
}
API int cublasStrsm_v2(void *h, int side, int uplo, int trans, int diag, int m, int n,
                       const float *alpha, const float *a, int lda, float *b, int ldb);
API int cublasStrsm_v2(void *h, int side, int uplo, int trans, int diag, int m, int n,
                       const float *alpha, const float *a, int lda, float *b, int ldb) {
    if (!of(h))
        return ST_NOT_INIT;
    if (side < 0 || side > 1 || uplo < 0 || uplo > 1 || m < 0 || n < 0 || lda < (side ? n : m) ||
        lda < 1 || ldb < m || ldb < 1)
        return ST_VALUE;
    job j = {.kind = 2,
             .ta = trans,
             .m = m,
             .n = n,
             .lda = lda,
             .ldb = ldb,
             .a = (uintptr_t)a,
             .b = (uintptr_t)b,
             .side = side,
             .uplo = uplo,
             .diag = diag};
    return submit(of(h), &j, alpha, NULL, false);
}

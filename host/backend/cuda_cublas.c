/* Dense products by cuBLAS: f32 without TF32, without atomics, in a workspace of ours, so that two runs give the same bits. */
#include <stdio.h>

#include "host/backend/cuda_dense.h"
#include "host/base/size.h"

static nb_status check(nb__blas_result r, const char *doing, nb_err *err) {
    enum { ALLOC_FAILED = 3 };
    return r == 0 ? NB_OK : nb_fail(err, r == ALLOC_FAILED ? NB_E_MEMORY : NB_E_DEVICE, "%s: cuBLAS answers %d", doing, r);
}

static nb_status make(nb__cuda_stream *s, const nb__cuda_device *d, nb_err *err) {
    size_t bytes = d->cc >= 90 ? NB_CUDA_WORKSPACE_HOPPER : NB_CUDA_WORKSPACE;
    NB_TRY(check(d->blas->create(&s->blas), "opening cuBLAS", err));
    NB_TRY(nb_alloc(s->base.device, bytes, &s->blas_workspace, err));
    NB_TRY(check(d->blas->set_stream(s->blas, s->native), "giving cuBLAS its stream", err));
    NB_TRY(check(d->blas->set_workspace(s->blas, (void *)(uintptr_t)nb__cuda_at(s->blas_workspace), bytes),
                 "giving cuBLAS its workspace", err));
    NB_TRY(check(d->blas->set_math(s->blas, NB_BLAS_PEDANTIC), "setting the precision of cuBLAS", err));
    return check(d->blas->set_atomics(s->blas, NB_BLAS_NO_ATOMICS), "forbidding atomics to cuBLAS", err);
}

void nb__cuda_blas_free(nb__cuda_stream *s) {
    const nb__cuda_device *d = nb__cuda_device_of(&s->base);
    if (s->blas && nb__cuda_enter(d, NULL) == NB_OK) {
        d->blas->destroy(s->blas);
        nb__cuda_leave(d);
    }
    s->blas = NULL;
    nb_release(s->base.device, &s->blas_workspace);
}

nb_status nb__cuda_blas(nb_stream *stream, nb__blas_handle *out, nb_err *err) {
    nb__cuda_stream *s = (nb__cuda_stream *)stream;
    nb__cuda_device *d = nb__cuda_device_of(stream);
    NB_TRY(nb__cuda_must_own(s, err));
    if (!s->blas_workspace.base) {
        NB_TRY(nb__cuda_enter(d, err));
        nb_status status = make(s, d, err);
        nb__cuda_leave(d);
        if (status != NB_OK) {
            nb__cuda_blas_free(s);
            return status;
        }
    }
    *out = s->blas;
    return NB_OK;
}

static bool is_int(size_t x) {
    return x <= INT32_MAX;
}

static nb_status check_sizes(const struct nb_matmul_args *a, nb_err *err) {
    if (is_int(a->m) && is_int(a->n) && is_int(a->k) && is_int(a->lda) && is_int(a->ldb) && is_int(a->ldc))
        return NB_OK;
    return nb_fail(err, NB_E_UNSUPPORTED, "a product of %zu x %zu x %zu is too large for cuBLAS", a->m, a->n, a->k);
}

static const float *floats(nb_mem m) {
    return (const float *)(uintptr_t)nb__cuda_at(m);
}

/* cuBLAS stores by columns: a row-major C = A B is its C^T = B^T A^T. */
nb_status nb__cuda_matmul_cublas(nb_stream *stream, const struct nb_matmul_args *a, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    nb__blas_handle handle;
    if (a->m == 0 || a->n == 0)
        return NB_OK;
    NB_TRY(check_sizes(a, err));
    NB_TRY(nb__cuda_blas(stream, &handle, err));
    NB_TRY(nb__cuda_enter(d, err));
    nb__blas_result r =
        d->blas->sgemm(handle, a->trans_b ? NB_BLAS_T : NB_BLAS_N, a->trans_a ? NB_BLAS_T : NB_BLAS_N, (int)a->n, (int)a->m, (int)a->k,
                       &a->alpha, floats(a->b), (int)a->ldb, floats(a->a), (int)a->lda, &a->beta,
                       (float *)(uintptr_t)nb__cuda_at(a->c), (int)a->ldc);
    nb__cuda_leave(d);
    return check(r, "a matrix product", err);
}

/* H += scale X^T X: X is, by columns, [k, rows], and the lower triangle by rows is the upper one by columns. */
static nb_status add_moments(nb_stream *stream, const struct nb_hessian_args *a, nb_mem x, size_t rows, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    const float one = 1.0f;
    nb__blas_handle handle;
    if (!is_int(a->k) || !is_int(a->ldx) || !is_int(a->ldh))
        return nb_fail(err, NB_E_UNSUPPORTED, "a Hessian of %zu columns is too large for cuBLAS", a->k);
    NB_TRY(nb__cuda_blas(stream, &handle, err));
    NB_TRY(nb__cuda_enter(d, err));
    nb__blas_result r = d->blas->ssyrk(handle, NB_BLAS_UPPER, NB_BLAS_N, (int)a->k, (int)rows, &a->scale, floats(x), (int)a->ldx, &one,
                                       (float *)(uintptr_t)nb__cuda_at(a->h), (int)a->ldh);
    nb__cuda_leave(d);
    return check(r, "adding to a Hessian", err);
}

nb_status nb__cuda_hessian_cublas(nb_stream *stream, const struct nb_hessian_args *a, nb_err *err) {
    return nb__cuda_hessian(stream, a, add_moments, err);
}

nb_status nb__cuda_linear_cublas(nb_stream *stream, const struct nb_linear_args *a, nb_err *err) {
    return nb__cuda_linear(stream, a, nb__cuda_matmul_cublas, err);
}

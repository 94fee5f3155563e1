/* Packed products on CUDA: from arguments to a launch. */
#include "host/backend/cuda.h"
#include "host/backend/cuda_qgemm.h"

static nb_status too_large(const struct nb_qgemm_args *a, nb_err *err) {
    return nb_fail(err, NB_E_UNSUPPORTED, "a packed product of %zu x %zu x %zu is too large for a CUDA kernel", a->m, a->w.n, a->w.k);
}

static nb_status check_workspace(const struct nb_qgemm_args *a, size_t bytes, nb_err *err) {
    if (bytes && (!a->workspace.base || a->workspace.bytes < bytes))
        return nb_fail(err, NB_E_USAGE, "workspace: has %zu bytes, %zu are needed", a->workspace.bytes, bytes);
    return NB_OK;
}

static nb__cuda_qaddress addresses(const struct nb_qgemm_args *a) {
    return (nb__cuda_qaddress){.packed = nb__cuda_at(a->w.data),
                               .x = nb__cuda_at(a->x),
                               .y = nb__cuda_at(a->y),
                               .bias = nb__cuda_at(a->bias),
                               .workspace = nb__cuda_at(a->workspace)};
}

static nb_status run(nb_stream *stream, const struct nb_qgemm_args *a, bool exact, nb_err *err) {
    const nb__cuda_device *d = nb__cuda_device_of(stream);
    nb__cuda_qplan plan;
    nb_cu_qgemm p;
    if (a->m == 0 || a->w.n == 0)
        return NB_OK;
    if (!nb__cuda_qplan_make(&a->w, a->m, a->x_type, exact, d->cc, d->base.units, &plan))
        return too_large(a, err);
    NB_TRY(check_workspace(a, plan.bytes, err));
    nb__cuda_qaddress at = addresses(a);
    if (!nb__cuda_qparams(a, &plan, &at, &p))
        return nb_fail(err, NB_E_USAGE, "a packed weight outside of its domain");
    if (plan.bytes) /* nobody has arrived */
        NB_TRY(nb_fill(stream, nb_mem_at(a->workspace, plan.partial_bytes), 0, plan.bytes - plan.partial_bytes, err));
    nb__cuda_grid grid = {.x = plan.grid_x,
                          .y = plan.grid_y,
                          .z = plan.slices,
                          .threads = plan.warps * plan.split * 32,
                          .shared = plan.shared};
    return nb__cuda_run(stream, plan.kernel, grid, &p, err);
}

nb_status nb__cuda_qgemm_tensor(nb_stream *stream, const struct nb_qgemm_args *a, nb_err *err) {
    return run(stream, a, false, err);
}

nb_status nb__cuda_qgemm_f32(nb_stream *stream, const struct nb_qgemm_args *a, nb_err *err) {
    return run(stream, a, true, err);
}

/* f16 and bf16 X need no rounding: tensor cores take them as they are, with fewer instructions. */
nb_status nb__cuda_qgemm_i8_tensor(nb_stream *stream, const struct nb_qgemm_i8_args *args, nb_err *err) {
    const struct nb_qgemm_args *a = &args->g;
    nb__cuda_i8plan plan;
    nb__cuda_qplan exact = {.slices = 1};
    nb_cu_qgemm_i8 p;
    if (a->x_type != NB_F32)
        return run(stream, a, false, err);
    if (a->m == 0 || a->w.n == 0)
        return NB_OK;
    if (!nb__cuda_i8plan_make(&a->w, a->m, &plan))
        return too_large(a, err);
    NB_TRY(check_workspace(a, plan.bytes, err));
    nb__cuda_qaddress at = addresses(a);
    if (!nb__cuda_qparams(a, &exact, &at, &p.g))
        return nb_fail(err, NB_E_USAGE, "a packed weight outside of its domain");
    nb__cuda_i8params(&plan, &at, &p);
    nb__cuda_grid prepare = {.x = plan.prepare_x, .y = plan.prepare_y, .z = 1, .threads = 32 * NB_CUDA_PREPARE_WARPS};
    nb__cuda_grid grid = {.x = plan.grid_x, .y = plan.grid_y, .z = 1, .threads = 32 * plan.warps};
    NB_TRY(nb__cuda_run(stream, NB_CUDA_PREPARE, prepare, &p, err));
    return nb__cuda_run(stream, plan.kernel, grid, &p, err);
}

/* One case of a check: arrays on the device between guards, the oracle, the launch, the comparison. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/cli/verify.h"

const char *nb_filling_name(nb_filling fill) {
    static const char *const names[] = {"random", "zeros", "denormals", "a huge one"};
    return names[fill];
}

void nb_case_fill(nb_case *c, float *p, size_t rows, size_t cols, size_t ld, nb_filling fill) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            float f = nb_random_f32(&c->random) - 0.5f;
            if (fill == NB_FILL_ZEROS && nb_random_below(&c->random, 4))
                f = 0.0f;
            if (fill == NB_FILL_DENORMAL)
                f = (float)((int)nb_random_below(&c->random, 2001) - 1000) * 0x1p-149f;
            if (fill == NB_FILL_HUGE && nb_random_below(&c->random, 97) == 0)
                f *= 1e6f;
            p[i * ld + j] = f;
        }
}

/* Random bytes, again and again until their values are of use: that holds for every type, wherever its scales stand. */
void nb_case_stored(nb_case *c, nb_dtype type, size_t blocks, unsigned char *p) {
    const nb_dtype_info *t = nb_dtype_get(type);
    float values[256];
    for (size_t b = 0; b < blocks; b++, p += t->block_bytes)
        for (double most = 0; !(most >= 0x1p-6 && most <= 64);) {
            for (size_t i = 0; i < t->block_bytes; i++)
                p[i] = (unsigned char)nb_random_u32(&c->random);
            nb__to_f32_plain(type, p, t->block_elems, values);
            most = 0;
            for (size_t i = 0; i < t->block_elems; i++)
                most = fmax(most, fabs((double)values[i]));
            for (size_t i = 0; i < t->block_elems; i++)
                most = isfinite(values[i]) ? most : INFINITY;
        }
}

/* ---- arrays ---- */

static void array_free(nb_case *c, nb_case_array *t) {
    nb_guarded_free(c->v->stream, &t->device);
    nb_free(t->host);
    nb_free(t->want);
    nb_free(t->back);
    nb_free(t->y);
    nb_free(t->bound);
}

nb_status nb_case_add(nb_case *c, nb_role role, nb_mem *field, nb_dtype type, size_t rows, size_t cols, size_t ld,
                      const char *name, void *host, nb_err *err) {
    nb_case_array *t = &c->arrays[c->count];
    if (c->count == NB_CASE_ARRAYS)
        return nb_fail(err, NB_E_FAILED, "a case with more than %d arrays", NB_CASE_ARRAYS);
    *t = (nb_case_array){.name = name, .role = role, .type = type, .rows = rows, .cols = cols, .ld = ld};
    t->fields[0] = field;
    c->count++;
    (void)nb_dtype_bytes(type, 1, &t->size);
    t->bytes = rows ? ((rows - 1) * ld + cols) * t->size : 0;
    NB_TRY(nb_guarded_new(c->v->stream, t->bytes, t->size, &t->device, err));
    NB_TRY(nb_calloc(t->bytes, 1, name, &t->host, err));
    NB_TRY(nb_calloc(t->bytes, 1, name, &t->back, err));
    memset(t->host, NB_GUARD, t->bytes);
    if (role == NB_ROLE_EXACT)
        NB_TRY(nb_calloc(t->bytes, 1, name, &t->want, err));
    if (role == NB_ROLE_BOUNDED) {
        NB_TRY(nb_calloc(rows * cols, sizeof *t->y, name, &t->y, err));
        NB_TRY(nb_calloc(rows * cols, sizeof *t->bound, name, &t->bound, err));
    }
    if (host)
        memcpy(host, &t->host, sizeof t->host);
    return NB_OK;
}

nb_status nb_case_floats(nb_case *c, nb_role role, nb_mem *field, size_t rows, size_t cols, size_t ld, nb_filling fill,
                         const char *name, float **host, nb_err *err) {
    float *p = NULL;
    NB_TRY(nb_case_add(c, role, field, NB_F32, rows, cols, ld, name, &p, err));
    nb_case_fill(c, p, rows, cols, ld, fill);
    if (host)
        *host = p;
    return NB_OK;
}

void nb_case_alias(nb_case *c, nb_mem *field) {
    c->arrays[c->count - 1].fields[1] = field;
}

static void name_memory(nb_case *c, bool host) {
    for (size_t i = 0; i < c->count; i++) {
        nb_case_array *t = &c->arrays[i];
        for (size_t f = 0; f < 2; f++)
            if (t->fields[f])
                *t->fields[f] = host ? nb_mem_host(t->want ? t->want : t->host, t->bytes) : t->device.mem;
    }
}

/* ---- the run ---- */

static void ask_oracle(nb_case *c, const nb_check *check) {
    nb_ref_out out[NB_CASE_ARRAYS];
    size_t outs = 0;
    for (size_t i = 0; i < c->count; i++) {
        nb_case_array *t = &c->arrays[i];
        if (t->role == NB_ROLE_EXACT && t->bytes)
            memcpy(t->want, t->host, t->bytes);
        if (t->role == NB_ROLE_BOUNDED)
            out[outs++] = (nb_ref_out){t->y, t->bound};
    }
    name_memory(c, true);
    check->oracle(&c->args, &c->row->err, out);
}

/* Writes the byte before each output. */
static nb_status overrun(nb_case *c, nb_err *err) {
    for (size_t i = 0; i < c->count; i++) {
        nb_mem at = c->arrays[i].device.mem;
        if (c->arrays[i].role != NB_ROLE_EXACT && c->arrays[i].role != NB_ROLE_BOUNDED)
            continue;
        if (c->arrays[i].device.map)
            at.base = (char *)at.base - 1;
        else
            at.offset--;
        NB_TRY(nb_fill(c->v->stream, at, 0, 1, err));
    }
    return NB_OK;
}

static nb_status run_on_device(nb_case *c, const nb_check *check, nb_err *err) {
    nb_fault fault = c->v->fault;
    name_memory(c, false);
    for (size_t i = 0; i < c->count; i++)
        NB_TRY(nb_upload(c->v->stream, c->arrays[i].device.mem, c->arrays[i].host, c->arrays[i].bytes, err));
    if (fault >= NB_FAULT_ARGS)
        check->faults[fault - NB_FAULT_ARGS].apply(&c->args);
    if (fault != NB_FAULT_NOT_RUN)
        NB_TRY(nb_launch_row(c->v->stream, c->row, &c->args, err));
    if (fault == NB_FAULT_OVERRUN)
        NB_TRY(overrun(c, err));
    for (size_t i = 0; i < c->count; i++)
        NB_TRY(nb_guarded_read(c->v->stream, &c->arrays[i].device, c->arrays[i].back, &c->arrays[i].intact, err));
    return NB_OK;
}

/* ---- the comparison ---- */

static double number(const nb_case_array *t, const void *image, size_t at) {
    const unsigned char *p = (const unsigned char *)image + at * t->size;
    union {
        float f;
        double d;
        uint32_t u;
    } v;
    memcpy(&v, p, nb_min(t->size, sizeof v));
    return t->type == NB_F32 ? (double)v.f : t->type == NB_F64 ? v.d : t->size == 4 ? (double)v.u : (double)*p;
}

/* Every byte but the elements themselves must be as it was. */
static bool same_padding(const nb_case_array *t) {
    size_t row = t->ld * t->size, used = t->cols * t->size;
    for (size_t i = 0; row > used && i + 1 < t->rows; i++)
        if (memcmp(t->back + i * row + used, t->host + i * row + used, row - used) != 0)
            return false;
    return true;
}

static void compare_exact(nb_case *c, const nb_case_array *t, const unsigned char *want) {
    if (t->bytes == 0 || !memcmp(t->back, want, t->bytes))
        return;
    size_t at = 0;
    while (t->back[at] == want[at])
        at++;
    size_t element = at / t->size, row = element / t->ld, col = element % t->ld;
    if (col >= t->cols)
        nb_verify_wrong(c->v, "%s: %s is written past row %zu", c->text, t->name, row);
    else if (t->role == NB_ROLE_IN)
        nb_verify_wrong(c->v, "%s: the input %s is written at [%zu][%zu]", c->text, t->name, row, col);
    else
        nb_verify_wrong(c->v, "%s: %s[%zu][%zu] is %.9g, not %.9g bit for bit", c->text, t->name, row, col,
                        number(t, t->back, element), number(t, want, element));
}

static void compare_bounded(nb_case *c, const nb_case_array *t) {
    for (size_t i = 0; i < t->rows; i++)
        for (size_t j = 0; j < t->cols; j++) {
            double want = t->y[i * t->cols + j], bound = t->bound[i * t->cols + j];
            double got = number(t, t->back, i * t->ld + j);
            if (isinf(bound) || (isnan(want) && isnan(got)) || got == want)
                continue;
            if (nb_verify_count(c->v, fabs(got - want), bound))
                continue;
            nb_verify_wrong(c->v, "%s: %s[%zu][%zu] is %.9g, not %.9g within %.3g", c->text, t->name, i, j, got, want,
                            bound);
            return;
        }
    if (!same_padding(t))
        nb_verify_wrong(c->v, "%s: %s is written between its rows", c->text, t->name);
}

static void compare(nb_case *c) {
    for (size_t i = 0; i < c->count; i++) {
        const nb_case_array *t = &c->arrays[i];
        if (!t->intact)
            nb_verify_wrong(c->v, "%s: bytes around %s are written", c->text, t->name);
        if (t->role == NB_ROLE_IN)
            compare_exact(c, t, t->host);
        else if (t->role == NB_ROLE_EXACT)
            compare_exact(c, t, t->want);
        else if (t->role == NB_ROLE_BOUNDED)
            compare_bounded(c, t);
    }
}

/* ---- faults ---- */

/* Moves one element: where exact its lowest bit, else 1.5 times its bound. */
static void move_element(nb_case *c, nb_case_array *t) {
    if (t->rows * t->cols == 0)
        return;
    size_t i = nb_random_below(&c->random, (uint32_t)t->rows), j = nb_random_below(&c->random, (uint32_t)t->cols);
    unsigned char *p = t->back + (i * t->ld + j) * t->size;
    double bound = t->role == NB_ROLE_EXACT ? 0 : t->bound[i * t->cols + j];
    if (bound == 0 || t->size == 1) {
        *p ^= 1;
        return;
    }
    double y = t->y[i * t->cols + j] + 1.5 * bound;
    float f = (float)y;
    memcpy(p, t->size == 8 ? (const void *)&y : &f, t->size);
}

static void spoil(nb_case *c) {
    for (size_t i = 0; i < c->count; i++) {
        nb_case_array *t = &c->arrays[i];
        bool out = t->role == NB_ROLE_EXACT || t->role == NB_ROLE_BOUNDED;
        if (out && c->v->fault == NB_FAULT_ELEMENT)
            move_element(c, t);
        else if (out && c->v->fault == NB_FAULT_PADDING && t->ld > t->cols && t->rows > 1)
            t->back[t->cols * t->size]++;
        else if (t->role == NB_ROLE_IN && c->v->fault == NB_FAULT_INPUT && t->bytes)
            t->back[t->bytes - 1]++;
        else
            continue;
        c->v->spoiled++;
    }
}

static nb_status run_case(nb_verify *v, const nb_kernel *row, const nb_check *check, size_t index, nb_err *err) {
    nb_case c = {.v = v, .row = row, .random = nb_random_seed(index * 977 + (uint64_t)row->op)};
    nb_status status;
    snprintf(c.text, sizeof c.text, "case %zu", index);
    NB_GO(check->make(&c, index, err));
    ask_oracle(&c, check);
    NB_GO(run_on_device(&c, check, err));
    v->cases++;
    if (v->fault)
        spoil(&c);
    compare(&c);
out:
    for (size_t i = 0; i < c.count; i++)
        array_free(&c, &c.arrays[i]);
    return status;
}

nb_status nb_verify_row(nb_verify *v, const nb_kernel *row, nb_err *err) {
    const nb_check *check = nb_check_of(row->op);
    if (!check)
        return nb_fail(err, NB_E_UNSUPPORTED, "the operation %s has no check", nb_op_name(row->op));
    if (check->walk)
        return check->walk(v, row, err);
    size_t cases = check->cases + (v->full ? check->full_cases : 0);
    for (size_t i = 0; i < cases; i++) {
        if (!nb_verify_takes(v, i))
            continue;
        NB_TRY(run_case(v, row, check, i, err));
        if (v->fault && v->wrong)
            return NB_OK;
    }
    return NB_OK;
}

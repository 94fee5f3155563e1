/* Writes safetensors files that are equal, byte for byte, to those of the reference writer
 * (huggingface/safetensors, tensor.rs `prepare`): tensors by falling dtype rank, then by name; compact JSON, padded
 * with blanks to a multiple of 8. Falling rank means that 8-byte types come first, so all data is aligned. */
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/json.h"
#include "host/base/size.h"
#include "host/base/str.h"
#include "host/ckpt/ckpt.h"

enum { MAX_HEADER = 100 * 1000 * 1000 };

typedef struct declared {
    char *name;
    nb_dtype dtype;
    unsigned ndim;
    size_t dims[NB_MAX_DIMS];
    size_t bytes, index; /* index: place in the order of declaration */
} declared;

struct nb_st_writer {
    char *path;
    nb_out *out; /* NULL until nb_st_begin */
    declared *items; /* sorted by nb_st_begin */
    size_t count, room;
    uint64_t total, written;
};

static int rank_of(nb_dtype dtype) {
    static const unsigned char ranks[NB_DTYPE_COUNT] = {
        [NB_BOOL] = 1, [NB_U8] = 2,   [NB_I8] = 3,  [NB_F8_E5M2] = 4, [NB_F8_E4M3] = 5, [NB_I16] = 6,  [NB_U16] = 7,
        [NB_F16] = 8,  [NB_BF16] = 9, [NB_I32] = 10, [NB_U32] = 11,   [NB_F32] = 12,    [NB_F64] = 13, [NB_I64] = 14,
        [NB_U64] = 15,
    };
    return ranks[dtype];
}

static void writer_free(nb_st_writer *w) {
    for (size_t i = 0; i < w->count; i++)
        nb_free(w->items[i].name);
    nb_free(w->items);
    nb_free(w->path);
    nb_free(w);
}

nb_status nb_st_writer_new(const char *path, nb_st_writer **out, nb_err *err) {
    nb_st_writer *w;
    NB_TRY(nb_calloc(1, sizeof *w, "a safetensors writer", &w, err));
    nb_status status = nb_strdup(path, &w->path, err);
    if (status != NB_OK)
        nb_free(w);
    else
        *out = w;
    return status;
}

nb_status nb_st_declare(nb_st_writer *w, const char *name, nb_dtype dtype, unsigned ndim, const size_t *dims, nb_err *err) {
    declared d = {.dtype = dtype, .ndim = ndim, .index = w->count};
    size_t count = 1;
    if (w->out)
        return nb_fail_at(err, NB_E_USAGE, w->path, name, "declared after the header was written");
    if (!nb_dtype_get(dtype)->safetensors)
        return nb_fail_at(err, NB_E_USAGE, w->path, name, "safetensors has no type %s", nb_dtype_get(dtype)->name);
    if (ndim > NB_MAX_DIMS)
        return nb_fail_at(err, NB_E_USAGE, w->path, name, "has %u dimensions, at most %d can be written", ndim, NB_MAX_DIMS);
    for (unsigned i = 0; i < ndim; i++) {
        d.dims[i] = dims[i];
        if (!nb_mul(count, dims[i], &count))
            return nb_fail_at(err, NB_E_USAGE, w->path, name, "the product of its shape overflows");
    }
    if (!nb_dtype_bytes(dtype, count, &d.bytes) || __builtin_add_overflow(w->total, d.bytes, &w->total))
        return nb_fail_at(err, NB_E_USAGE, w->path, name, "the product of its shape overflows");
    if (w->count == w->room) {
        size_t room = w->room ? 2 * w->room : 64;
        NB_TRY(nb_regrow(room, sizeof *w->items, "declared tensors", &w->items, err));
        w->room = room;
    }
    NB_TRY(nb_strdup(name, &d.name, err));
    w->items[w->count++] = d;
    return NB_OK;
}

static int by_rank(const void *a, const void *b) {
    const declared *x = a, *y = b;
    int rx = rank_of(x->dtype), ry = rank_of(y->dtype);
    return rx != ry ? ry - rx : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static nb_status check_names(const nb_st_writer *w, nb_err *err) {
    char **names;
    NB_TRY(nb_calloc(w->count, sizeof *names, "tensor names", &names, err));
    for (size_t i = 0; i < w->count; i++)
        names[i] = w->items[i].name;
    if (w->count)
        qsort(names, w->count, sizeof *names, by_name);
    nb_status status = NB_OK;
    for (size_t i = 0; i < w->count && status == NB_OK; i++)
        if (!strcmp(names[i], "__metadata__"))
            status = nb_fail_at(err, NB_E_USAGE, w->path, names[i], "is no name for a tensor");
        else if (i && !strcmp(names[i - 1], names[i]))
            status = nb_fail_at(err, NB_E_USAGE, w->path, names[i], "declared twice");
    nb_free(names);
    return status;
}

static nb_status add_entry(nb_str *s, const nb_st_writer *w, const declared *d, uint64_t begin, nb_err *err) {
    json_t *name = json_string(d->name);
    if (!name) {
        NB_TRY(nb_json_check(err));
        return nb_fail_at(err, NB_E_USAGE, w->path, d->name, "its name is not UTF-8");
    }
    char *quoted = NULL;
    nb_status status = nb_json_text(name, JSON_ENCODE_ANY, &quoted, err);
    json_decref(name);
    if (status == NB_OK)
        status = nb_str_addf(s, err, ",%s:{\"dtype\":\"%s\",\"shape\":[", quoted, nb_dtype_get(d->dtype)->safetensors);
    nb_free(quoted);
    for (unsigned i = 0; i < d->ndim && status == NB_OK; i++)
        status = nb_str_addf(s, err, i ? ",%zu" : "%zu", d->dims[i]);
    NB_TRY(status);
    return nb_str_addf(s, err, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                       (unsigned long long)(begin + d->bytes));
}

nb_status nb_st_begin(nb_st_writer *w, nb_err *err) {
    if (w->out)
        return nb_fail_at(err, NB_E_USAGE, w->path, NULL, "the header is written already");
    NB_TRY(check_names(w, err));
    if (w->count)
        qsort(w->items, w->count, sizeof *w->items, by_rank);
    nb_str s = {0};
    nb_status status;
    uint64_t at = 0;
    NB_GO(nb_str_addf(&s, err, "{\"__metadata__\":{\"format\":\"pt\"}"));
    for (size_t i = 0; i < w->count; i++) {
        NB_GO(add_entry(&s, w, &w->items[i], at, err));
        at += w->items[i].bytes;
    }
    NB_GO(nb_str_add(&s, "}", 1, err));
    while (s.len % 8)
        NB_GO(nb_str_add(&s, " ", 1, err));
    if (s.len > MAX_HEADER) {
        status = nb_fail_at(err, NB_E_USAGE, w->path, NULL, "a header of %zu bytes is too long for readers", s.len);
        goto out;
    }
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)s.len >> 8 * i);
    NB_GO(nb_out_open(w->path, &w->out, err));
    NB_GO(nb_out_write(w->out, length, sizeof length, err));
    status = nb_out_write(w->out, s.data, s.len, err);
out:
    nb_str_free(&s);
    return status;
}

size_t nb_st_order(const nb_st_writer *w, size_t i) { return w->items[i].index; }

nb_status nb_st_write(nb_st_writer *w, const void *data, size_t bytes, nb_err *err) {
    if (!w->out)
        return nb_fail_at(err, NB_E_USAGE, w->path, NULL, "data before the header");
    if (bytes > w->total - w->written)
        return nb_fail_at(err, NB_E_USAGE, w->path, NULL, "more data than was declared");
    NB_TRY(nb_out_write(w->out, data, bytes, err));
    w->written += bytes;
    return NB_OK;
}

nb_status nb_st_commit(nb_st_writer *w, nb_err *err) {
    nb_status status;
    if (!w->out || w->written != w->total) {
        status = nb_fail_at(err, NB_E_USAGE, w->path, NULL, "%llu bytes of data declared, %llu written",
                            (unsigned long long)w->total, (unsigned long long)w->written);
        nb_st_abort(w);
        return status;
    }
    status = nb_out_commit(w->out, err);
    writer_free(w);
    return status;
}

void nb_st_abort(nb_st_writer *w) {
    if (!w)
        return;
    nb_out_abort(w->out);
    writer_free(w);
}

/* Writes GGUF v3 files (formats: ggml docs/gguf.md). Metadata first, then tensors in the order of their declaration, each at the
 * running sum of padded sizes, which is the only place where readers take them. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/size.h"
#include "host/base/str.h"
#include "host/ckpt/impl.h"

enum { ALIGN = 32, MAX_NAME = 63, VERSION = 3 };

struct nb_gguf_writer {
    char *path;
    nb_str meta, infos;
    uint64_t n_meta, n_tensors, data; /* data: padded bytes declared */
    size_t *bytes; /* of each */
    size_t room;
    nb_out *out; /* NULL until nb_gguf_begin */
    size_t item, written; /* the tensor whose data comes, and what of it has come */
};

nb_status nb_gguf_writer_new(const char *path, nb_gguf_writer **out, nb_err *err) {
    nb_gguf_writer *w;
    NB_TRY(nb_calloc(1, sizeof *w, "a GGUF writer", &w, err));
    nb_status status = nb_strdup(path, &w->path, err);
    if (status != NB_OK)
        nb_free(w);
    else
        *out = w;
    return status;
}

void nb_gguf_abort(nb_gguf_writer *w) {
    if (!w)
        return;
    nb_out_abort(w->out);
    nb_str_free(&w->meta);
    nb_str_free(&w->infos);
    nb_free(w->bytes);
    nb_free(w->path);
    nb_free(w);
}

/* ---- metadata ---- */

static nb_status put_int(nb_str *s, uint64_t v, int bytes, nb_err *err) {
    char b[8];
    for (int i = 0; i < bytes; i++)
        b[i] = (char)(unsigned char)(v >> 8 * i);
    return nb_str_add(s, b, (size_t)bytes, err);
}

static nb_status put_text(nb_str *s, const char *text, size_t len, nb_err *err) {
    NB_TRY(put_int(s, len, 8, err));
    return nb_str_add(s, text, len, err);
}

static nb_status put_key(nb_gguf_writer *w, const char *key, nb__gguf_type type, nb_err *err) {
    if (w->out)
        return nb_fail_at(err, NB_E_USAGE, w->path, key, "metadata after the header was written");
    w->n_meta++;
    NB_TRY(put_text(&w->meta, key, strlen(key), err));
    return put_int(&w->meta, (uint64_t)type, 4, err);
}

nb_status nb_gguf_put_u32(nb_gguf_writer *w, const char *key, uint32_t v, nb_err *err) {
    NB_TRY(put_key(w, key, NB__GGUF_U32, err));
    return put_int(&w->meta, v, 4, err);
}

nb_status nb_gguf_put_f32(nb_gguf_writer *w, const char *key, float v, nb_err *err) {
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    NB_TRY(put_key(w, key, NB__GGUF_F32, err));
    return put_int(&w->meta, u, 4, err);
}

nb_status nb_gguf_put_bool(nb_gguf_writer *w, const char *key, bool v, nb_err *err) {
    NB_TRY(put_key(w, key, NB__GGUF_BOOL, err));
    return put_int(&w->meta, v, 1, err);
}

nb_status nb_gguf_put_str(nb_gguf_writer *w, const char *key, const char *v, nb_err *err) {
    NB_TRY(put_key(w, key, NB__GGUF_STRING, err));
    return put_text(&w->meta, v, strlen(v), err);
}

static nb_status put_array(nb_gguf_writer *w, const char *key, nb__gguf_type elem, size_t count, nb_err *err) {
    NB_TRY(put_key(w, key, NB__GGUF_ARRAY, err));
    NB_TRY(put_int(&w->meta, (uint64_t)elem, 4, err));
    return put_int(&w->meta, count, 8, err);
}

nb_status nb_gguf_put_strs(nb_gguf_writer *w, const char *key, const nb_bytes *v, size_t count, nb_err *err) {
    NB_TRY(put_array(w, key, NB__GGUF_STRING, count, err));
    for (size_t i = 0; i < count; i++)
        NB_TRY(put_text(&w->meta, v[i].data, v[i].len, err));
    return NB_OK;
}

nb_status nb_gguf_put_i32s(nb_gguf_writer *w, const char *key, const int32_t *v, size_t count, nb_err *err) {
    NB_TRY(put_array(w, key, NB__GGUF_I32, count, err));
    for (size_t i = 0; i < count; i++)
        NB_TRY(put_int(&w->meta, (uint32_t)v[i], 4, err));
    return NB_OK;
}

nb_status nb_gguf_put_f32s(nb_gguf_writer *w, const char *key, const float *v, size_t count, nb_err *err) {
    NB_TRY(put_array(w, key, NB__GGUF_F32, count, err));
    for (size_t i = 0; i < count; i++) {
        uint32_t u;
        memcpy(&u, &v[i], sizeof u);
        NB_TRY(put_int(&w->meta, u, 4, err));
    }
    return NB_OK;
}

/* Bytes of a value as it lies in a file that was checked. */
static size_t value_bytes(const nb__kv *kv) {
    static const unsigned char sizes[NB__GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (kv->type == NB__GGUF_STRING)
        return kv->count;
    if (kv->type != NB__GGUF_ARRAY)
        return sizes[kv->type];
    if (kv->elem != NB__GGUF_STRING)
        return kv->count * sizes[kv->elem];
    const unsigned char *p = kv->at;
    for (size_t i = 0; i < kv->count; i++)
        p += 8 + (size_t)nb__u64(p);
    return (size_t)(p - kv->at);
}

nb_status nb_gguf_copy_meta(nb_gguf_writer *w, const nb_ckpt *from, bool (*keep)(const char *key), nb_err *err) {
    for (size_t i = 0; i < from->meta.count; i++) {
        const nb__kv *kv = &from->meta.items[i];
        if (!keep(kv->key))
            continue;
        NB_TRY(put_key(w, kv->key, kv->type, err));
        if (kv->type == NB__GGUF_STRING)
            NB_TRY(put_int(&w->meta, kv->count, 8, err));
        if (kv->type == NB__GGUF_ARRAY) {
            NB_TRY(put_int(&w->meta, (uint64_t)kv->elem, 4, err));
            NB_TRY(put_int(&w->meta, kv->count, 8, err));
        }
        NB_TRY(nb_str_add(&w->meta, (const char *)kv->at, value_bytes(kv), err));
    }
    return NB_OK;
}

/* ---- tensors ---- */

static size_t padded(size_t bytes) {
    return bytes + (ALIGN - bytes % ALIGN) % ALIGN;
}

/* Name, dimensions with the fastest first, type, offset. */
static nb_status put_info(nb_gguf_writer *w, const char *name, int type, unsigned ndim, const size_t *dims, nb_err *err) {
    NB_TRY(put_text(&w->infos, name, strlen(name), err));
    NB_TRY(put_int(&w->infos, ndim, 4, err));
    for (unsigned i = ndim; i-- > 0;)
        NB_TRY(put_int(&w->infos, dims[i], 8, err));
    NB_TRY(put_int(&w->infos, (uint64_t)type, 4, err));
    return put_int(&w->infos, w->data, 8, err);
}

nb_status nb_gguf_declare(nb_gguf_writer *w, const char *name, nb_dtype dtype, unsigned ndim, const size_t *dims, nb_err *err) {
    const nb_dtype_info *t = nb_dtype_get(dtype);
    size_t count = 1, bytes;
    if (w->out)
        return nb_fail_at(err, NB_E_USAGE, w->path, name, "declared after the header was written");
    if (t->ggml < 0)
        return nb_fail_at(err, NB_E_USAGE, w->path, name, "GGUF has no type %s", t->name);
    if (strlen(name) > MAX_NAME)
        return nb_fail_at(err, NB_E_USAGE, w->path, name, "is longer than %d bytes, which readers refuse", MAX_NAME);
    if (ndim == 0 || ndim > 4 || dims[ndim - 1] % t->block_elems != 0)
        return nb_fail_at(err, NB_E_USAGE, w->path, name, "has %u dimensions or rows that are no whole blocks of %s", ndim, t->name);
    for (unsigned i = 0; i < ndim; i++)
        if (!nb_mul(count, dims[i], &count))
            return nb_fail_at(err, NB_E_USAGE, w->path, name, "the product of its shape overflows");
    if (!nb_dtype_bytes(dtype, count, &bytes) || bytes > SIZE_MAX - ALIGN || w->data > INT64_MAX - padded(bytes))
        return nb_fail_at(err, NB_E_USAGE, w->path, name, "the product of its shape overflows");
    if (w->n_tensors == w->room) {
        size_t room = w->room ? 2 * w->room : 256;
        NB_TRY(nb_regrow(room, sizeof *w->bytes, "declared tensors", &w->bytes, err));
        w->room = room;
    }
    NB_TRY(put_info(w, name, t->ggml, ndim, dims, err));
    w->bytes[w->n_tensors++] = bytes;
    w->data += padded(bytes);
    return NB_OK;
}

static nb_status pad(nb_gguf_writer *w, size_t written, nb_err *err) {
    static const char zeros[ALIGN];
    return nb_out_write(w->out, zeros, padded(written) - written, err);
}

nb_status nb_gguf_begin(nb_gguf_writer *w, nb_err *err) {
    nb_str head = {0};
    nb_status status;
    if (w->out)
        return nb_fail_at(err, NB_E_USAGE, w->path, NULL, "the header is written already");
    NB_GO(nb_str_add(&head, "GGUF", 4, err));
    NB_GO(put_int(&head, VERSION, 4, err));
    NB_GO(put_int(&head, w->n_tensors, 8, err));
    NB_GO(put_int(&head, w->n_meta, 8, err));
    NB_GO(nb_out_open(w->path, &w->out, err));
    NB_GO(nb_out_write(w->out, head.data, head.len, err));
    NB_GO(nb_out_write(w->out, w->meta.data, w->meta.len, err));
    NB_GO(nb_out_write(w->out, w->infos.data, w->infos.len, err));
    status = pad(w, head.len + w->meta.len + w->infos.len, err);
out:
    nb_str_free(&head);
    return status;
}

nb_status nb_gguf_write(nb_gguf_writer *w, const void *data, size_t bytes, nb_err *err) {
    if (!w->out || w->item == w->n_tensors || bytes > w->bytes[w->item] - w->written)
        return nb_fail_at(err, NB_E_USAGE, w->path, NULL, "more data than was declared, or before the header");
    NB_TRY(nb_out_write(w->out, data, bytes, err));
    w->written += bytes;
    if (w->written < w->bytes[w->item])
        return NB_OK;
    NB_TRY(pad(w, w->written, err));
    w->item++;
    w->written = 0;
    return NB_OK;
}

nb_status nb_gguf_commit(nb_gguf_writer *w, nb_err *err) {
    nb_status status;
    if (!w->out || w->item != w->n_tensors) {
        status = nb_fail_at(err, NB_E_USAGE, w->path, NULL, "the data of %llu tensors declared, of %zu written",
                            (unsigned long long)w->n_tensors, w->item);
    } else {
        status = nb_out_commit(w->out, err);
        w->out = NULL;
    }
    nb_gguf_abort(w);
    return status;
}

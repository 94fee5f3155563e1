/* Reads a GGUF header, versions 2 and 3 (ggml docs/gguf.md). Every count and length is checked against the bytes that
 * are left before it is used; data must follow in the order of the infos without gap, as ggml demands. */
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/ckpt/impl.h"

enum { DEFAULT_ALIGNMENT = 32, MAX_NAME = 63, MAX_KEY = 65535 };

typedef struct cursor {
    const nb_map *map;
    size_t at;
    const char *item; /* key or tensor being read, for errors */
    nb_err *err;
} cursor;

#define FAIL(c, code, ...) set_offset((c), nb_fail_at((c)->err, (code), (c)->map->path, (c)->item, __VA_ARGS__))

static nb_status set_offset(const cursor *c, nb_status status) {
    if (c->err)
        c->err->offset = c->at;
    return status;
}

static nb_status take(cursor *c, size_t bytes, const unsigned char **out) {
    size_t left = c->map->size - c->at;
    if (bytes > left)
        return FAIL(c, NB_E_INPUT, "the file ends early: %zu bytes needed, %zu left", bytes, left);
    *out = c->map->data + c->at;
    c->at += bytes;
    return NB_OK;
}

static nb_status take_u32(cursor *c, uint32_t *out) {
    const unsigned char *p = NULL;
    NB_TRY(take(c, 4, &p));
    *out = nb__u32(p);
    return NB_OK;
}

static nb_status take_u64(cursor *c, uint64_t *out) {
    const unsigned char *p = NULL;
    NB_TRY(take(c, 8, &p));
    *out = nb__u64(p);
    return NB_OK;
}

static nb_status take_string(cursor *c, const unsigned char **out, size_t *len) {
    uint64_t n = 0;
    NB_TRY(take_u64(c, &n));
    if (n > c->map->size - c->at)
        return FAIL(c, NB_E_INPUT, "a string of %llu bytes, but %zu are left", (unsigned long long)n,
                    c->map->size - c->at);
    *len = (size_t)n;
    return take(c, *len, out);
}

/* A name or key as a C string. */
static nb_status take_name(cursor *c, size_t longest, const char *what, char **out) {
    const unsigned char *p = NULL;
    size_t len = 0;
    NB_TRY(take_string(c, &p, &len));
    if (len == 0 || len > longest || memchr(p, 0, len))
        return FAIL(c, NB_E_INPUT, "%s of %zu bytes: empty, longer than %zu, or with a NUL", what, len, longest);
    NB_TRY(nb_calloc(len + 1, 1, what, out, c->err));
    memcpy(*out, p, len);
    return NB_OK;
}

/* Bytes of a scalar; 0 for strings and arrays. */
static size_t scalar_bytes(nb__gguf_type type) {
    static const unsigned char bytes[NB__GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[type];
}

static nb_status take_type(cursor *c, nb__gguf_type *out) {
    uint32_t type = 0;
    NB_TRY(take_u32(c, &type));
    if (type >= NB__GGUF_TYPES)
        return FAIL(c, NB_E_INPUT, "value type %u is out of range", type);
    *out = (nb__gguf_type)type;
    return NB_OK;
}

static nb_status take_array(cursor *c, nb__kv *kv) {
    uint64_t n = 0;
    size_t bytes = 0, len = 0;
    const unsigned char *p = NULL;
    NB_TRY(take_type(c, &kv->elem));
    NB_TRY(take_u64(c, &n));
    if (kv->elem == NB__GGUF_ARRAY)
        return FAIL(c, NB_E_INPUT, "an array of arrays is not allowed");
    kv->at = c->map->data + c->at;
    kv->count = (size_t)n;
    if (kv->elem != NB__GGUF_STRING) {
        if (!nb_mul(kv->count, scalar_bytes(kv->elem), &bytes))
            return FAIL(c, NB_E_INPUT, "an array of %llu elements overflows", (unsigned long long)n);
        return take(c, bytes, &p);
    }
    if (n > (c->map->size - c->at) / 8)
        return FAIL(c, NB_E_INPUT, "an array of %llu strings, but %zu bytes are left", (unsigned long long)n,
                    c->map->size - c->at);
    for (uint64_t i = 0; i < n; i++)
        NB_TRY(take_string(c, &p, &len));
    return NB_OK;
}

static nb_status take_value(cursor *c, nb__kv *kv) {
    NB_TRY(take_type(c, &kv->type));
    if (kv->type == NB__GGUF_ARRAY)
        return take_array(c, kv);
    if (kv->type == NB__GGUF_STRING) {
        NB_TRY(take_string(c, &kv->at, &kv->count));
        NB_TRY(nb_calloc(kv->count + 1, 1, "a metadata string", &kv->text, c->err));
        memcpy(kv->text, kv->at, kv->count);
        return NB_OK;
    }
    NB_TRY(take(c, scalar_bytes(kv->type), &kv->at));
    if (kv->type == NB__GGUF_BOOL && kv->at[0] > 1)
        return FAIL(c, NB_E_INPUT, "a bool of value %u", kv->at[0]);
    return NB_OK;
}

static nb_status take_kv(cursor *c, nb__meta *meta) {
    if (meta->count == meta->room) {
        size_t room = meta->room ? 2 * meta->room : 32;
        NB_TRY(nb_regrow(room, sizeof *meta->items, "metadata", &meta->items, c->err));
        meta->room = room;
    }
    nb__kv *kv = &meta->items[meta->count];
    *kv = (nb__kv){0};
    c->item = NULL;
    NB_TRY(take_name(c, MAX_KEY, "a metadata key", &kv->key));
    meta->count++; /* from here on nb__meta_free frees it */
    c->item = kv->key;
    return take_value(c, kv);
}

static int by_key(const void *a, const void *b) {
    return strcmp((*(const nb__kv *const *)a)->key, (*(const nb__kv *const *)b)->key);
}

static nb_status take_metadata(cursor *c, uint64_t count, nb__meta *meta) {
    for (uint64_t i = 0; i < count; i++)
        NB_TRY(take_kv(c, meta));
    c->item = NULL;
    NB_TRY(nb_calloc(meta->count, sizeof *meta->by_key, "metadata", &meta->by_key, c->err));
    for (size_t i = 0; i < meta->count; i++)
        meta->by_key[i] = &meta->items[i];
    if (meta->count)
        qsort(meta->by_key, meta->count, sizeof *meta->by_key, by_key);
    for (size_t i = 1; i < meta->count; i++)
        if (!strcmp(meta->by_key[i - 1]->key, meta->by_key[i]->key)) {
            c->item = meta->by_key[i]->key;
            return FAIL(c, NB_E_INPUT, "duplicate key");
        }
    return NB_OK;
}

const nb__kv *nb__meta_find(const nb__meta *meta, const char *key) {
    nb__kv wanted = {.key = (char *)(uintptr_t)key};
    const nb__kv *p = &wanted, **found = NULL;
    if (meta->count)
        found = bsearch(&p, meta->by_key, meta->count, sizeof *meta->by_key, by_key);
    return found ? *found : NULL;
}

void nb__meta_free(nb__meta *meta) {
    for (size_t i = 0; i < meta->count; i++) {
        nb_free(meta->items[i].key);
        nb_free(meta->items[i].text);
    }
    nb_free(meta->items);
    nb_free(meta->by_key);
    *meta = (nb__meta){0};
}

static nb_status read_alignment(cursor *c, const nb__meta *meta, size_t *out) {
    const nb__kv *kv = nb__meta_find(meta, "general.alignment");
    *out = DEFAULT_ALIGNMENT;
    if (!kv)
        return NB_OK;
    c->item = kv->key;
    if (kv->type != NB__GGUF_U32)
        return FAIL(c, NB_E_INPUT, "is not of type u32");
    uint32_t alignment = nb__u32(kv->at);
    if (alignment == 0 || (alignment & (alignment - 1)))
        return FAIL(c, NB_E_INPUT, "is %u, expected a power of two", alignment);
    *out = alignment;
    c->item = NULL;
    return NB_OK;
}

/* Type ids that ggml has or had; others are corrupt. */
static nb_status find_dtype(cursor *c, uint32_t id, nb_dtype *out) {
    enum { LAST_KNOWN = 41 };
    if (id > LAST_KNOWN)
        return FAIL(c, NB_E_INPUT, "ggml type %u is out of range", id);
    if (!nb_dtype_from_ggml((int)id, out))
        return FAIL(c, NB_E_UNSUPPORTED, "ggml type %u is not supported", id);
    return NB_OK;
}

/* One tensor info; *end is the sum of padded sizes so far, and grows. */
static nb_status take_info(cursor *c, size_t alignment, size_t *end, nb_view *view) {
    uint32_t ndim = 0, type = 0;
    uint64_t dim = 0, offset = 0;
    NB_TRY(take_u32(c, &ndim));
    if (ndim < 1 || ndim > NB_MAX_DIMS)
        return FAIL(c, NB_E_INPUT, "has %u dimensions, expected 1 to %d", ndim, NB_MAX_DIMS);
    view->ndim = ndim;
    size_t count = 1;
    for (uint32_t i = 0; i < ndim; i++) {
        NB_TRY(take_u64(c, &dim));
        if (dim > INT64_MAX)
            return FAIL(c, NB_E_INPUT, "dimension %u is negative", i);
        view->dims[ndim - 1 - i] = (size_t)dim;
        if (!nb_mul(count, (size_t)dim, &count))
            return FAIL(c, NB_E_INPUT, "the product of its dimensions overflows");
    }
    NB_TRY(take_u32(c, &type));
    NB_TRY(find_dtype(c, type, &view->dtype));
    const nb_dtype_info *info = nb_dtype_get(view->dtype);
    if (view->dims[ndim - 1] % info->block_elems)
        return FAIL(c, NB_E_INPUT, "its rows of %zu are no multiple of %s's block of %u", view->dims[ndim - 1],
                    info->name, info->block_elems);
    if (!nb_dtype_bytes(view->dtype, count, &view->bytes))
        return FAIL(c, NB_E_INPUT, "the product of its dimensions overflows");
    NB_TRY(take_u64(c, &offset));
    if (offset != *end)
        return FAIL(c, NB_E_INPUT, "its data begins at %llu, expected %zu (no gaps, in order)",
                    (unsigned long long)offset, *end);
    view->offset = *end;
    if (!nb_add(*end, view->bytes, end) || !nb_align(*end, alignment, end))
        return FAIL(c, NB_E_INPUT, "the sum of tensor sizes overflows");
    return NB_OK;
}

static nb_status take_infos(cursor *c, uint64_t count, size_t alignment, nb__tensors *list) {
    size_t end = 0;
    for (uint64_t i = 0; i < count; i++) {
        char *name = NULL;
        nb_view view = {.path = c->map->path};
        c->item = NULL;
        NB_TRY(take_name(c, MAX_NAME, "a tensor's name", &name));
        c->item = view.name = name;
        nb_status status = take_info(c, alignment, &end, &view);
        if (status == NB_OK)
            status = nb__tensors_add(list, &view, c->err);
        c->item = NULL;
        nb_free(name);
        NB_TRY(status);
    }
    return NB_OK;
}

/* Offsets count from the start of the data until here; now they become those of the file. */
static nb_status place_data(cursor *c, size_t alignment, nb_view *views, size_t count) {
    size_t base;
    if (!nb_align(c->at, alignment, &base))
        return FAIL(c, NB_E_INPUT, "padding of %zu overflows", alignment);
    for (size_t i = 0; i < count; i++) {
        nb_view *v = &views[i];
        size_t end;
        c->item = v->name;
        if (!nb_add(base, v->offset, &v->offset) || !nb_add(v->offset, v->bytes, &end) || end > c->map->size)
            return FAIL(c, NB_E_INPUT, "its %zu bytes of data do not lie inside the file of %zu (truncated?)", v->bytes,
                        c->map->size);
        v->data = c->map->data + v->offset;
    }
    c->item = NULL;
    return NB_OK;
}

/* magic, version, counts. */
static nb_status take_head(cursor *c, uint64_t *n_tensors, uint64_t *n_kv) {
    const unsigned char *p = NULL;
    uint32_t version = 0;
    if (c->map->size < 4 || memcmp(c->map->data, "GGUF", 4) != 0)
        return FAIL(c, NB_E_INPUT, "is neither a model folder nor a GGUF file");
    NB_TRY(take(c, 4, &p));
    NB_TRY(take_u32(c, &version));
    if (version && (version & 0xffffu) == 0)
        return FAIL(c, NB_E_UNSUPPORTED, "is big-endian GGUF; only little-endian files are read");
    if (version < 2 || version > 3)
        return FAIL(c, NB_E_INPUT, "GGUF version %u, expected 2 or 3", version);
    NB_TRY(take_u64(c, n_tensors));
    NB_TRY(take_u64(c, n_kv));
    /* Smallest entries: 8 + 1 + 4 + 1 bytes of metadata, 8 + 1 + 4 + 8 + 4 + 8 of a tensor. */
    size_t left = c->map->size - c->at;
    if (*n_kv > left / 14)
        return FAIL(c, NB_E_INPUT, "%lld metadata keys do not fit into %zu bytes", (long long)*n_kv, left);
    if (*n_tensors > left / 33)
        return FAIL(c, NB_E_INPUT, "%lld tensors do not fit into %zu bytes", (long long)*n_tensors, left);
    return NB_OK;
}

static nb_status refuse_split(cursor *c, const nb__meta *meta) {
    const nb__kv *kv = nb__meta_find(meta, "split.count");
    if (kv && kv->type == NB__GGUF_U16 && nb__u16(kv->at) > 1) {
        c->item = kv->key;
        return FAIL(c, NB_E_UNSUPPORTED, "is one of %u files of a split model; join them with llama-gguf-split --merge",
                    nb__u16(kv->at));
    }
    return NB_OK;
}

nb_status nb__gguf_parse(const nb_map *map, nb__meta *meta, nb__tensors *list, nb_err *err) {
    cursor c = {.map = map, .err = err};
    uint64_t n_tensors = 0, n_kv = 0;
    size_t alignment = 0, before = list->count;
    NB_TRY(take_head(&c, &n_tensors, &n_kv));
    NB_TRY(take_metadata(&c, n_kv, meta));
    NB_TRY(refuse_split(&c, meta));
    NB_TRY(read_alignment(&c, meta, &alignment));
    NB_TRY(take_infos(&c, n_tensors, alignment, list));
    nb_view *views = list->items ? list->items + before : NULL;
    return place_data(&c, alignment, views, list->count - before);
}

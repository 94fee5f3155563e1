/* Reads the header of a safetensors file. The checks are those of the reference reader (huggingface/safetensors,
 * tensor.rs): data must cover the buffer without hole, overlap or rest, and agree with shape and dtype. */
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/json.h"
#include "host/base/size.h"
#include "host/ckpt/impl.h"

enum { LENGTH_BYTES = 8, MAX_HEADER = 100 * 1000 * 1000 };

/* shape -> view->dims; every product is checked. */
static nb_status parse_shape(const nb_map *map, const char *name, const json_t *shape, nb_view *view, size_t *count,
                             nb_err *err) {
    if (!json_is_array(shape))
        return nb_fail_at(err, NB_E_INPUT, map->path, name, "has no shape");
    size_t ndim = json_array_size(shape);
    if (ndim > NB_MAX_DIMS)
        return nb_fail_at(err, NB_E_UNSUPPORTED, map->path, name, "has %zu dimensions, at most %d are read", ndim,
                          NB_MAX_DIMS);
    view->ndim = (unsigned)ndim;
    *count = 1;
    for (size_t i = 0; i < ndim; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return nb_fail_at(err, NB_E_INPUT, map->path, name, "dimension %zu of its shape is no count", i);
        view->dims[i] = (size_t)json_integer_value(dim);
        if (!nb_mul(*count, view->dims[i], count))
            return nb_fail_at(err, NB_E_INPUT, map->path, name, "the product of its shape overflows");
    }
    return NB_OK;
}

static nb_status parse_dtype(const nb_map *map, const char *name, const json_t *dtype, nb_view *view, nb_err *err) {
    static const char *const known[] = {"F4",          "F6_E2M3",     "F6_E3M2", "F8_E8M0",
                                        "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64",     NULL};
    const char *text = json_string_value(dtype);
    if (!text)
        return nb_fail_at(err, NB_E_INPUT, map->path, name, "has no dtype");
    if (nb_dtype_from_safetensors(text, &view->dtype))
        return NB_OK;
    for (int i = 0; known[i]; i++)
        if (!strcmp(known[i], text))
            return nb_fail_at(err, NB_E_UNSUPPORTED, map->path, name, "dtype %s is not supported", text);
    return nb_fail_at(err, NB_E_INPUT, map->path, name, "unknown dtype '%.40s'", text);
}

/* One entry; `begin` of the data buffer lies at `base`, its size is `room`. */
static nb_status parse_tensor(const nb_map *map, size_t base, const char *name, const json_t *entry, nb_view *view,
                              nb_err *err) {
    size_t room = map->size - base, count = 0, bytes = 0;
    if (!json_is_object(entry))
        return nb_fail_at(err, NB_E_INPUT, map->path, name, "its entry is no object");
    NB_TRY(parse_dtype(map, name, json_object_get(entry, "dtype"), view, err));
    NB_TRY(parse_shape(map, name, json_object_get(entry, "shape"), view, &count, err));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return nb_fail_at(err, NB_E_INPUT, map->path, name, "data_offsets are not two integers");
    long long begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < 0)
        return nb_fail_at(err, NB_E_INPUT, map->path, name, "negative data offset (%lld, %lld)", begin, end);
    if (end < begin)
        return nb_fail_at(err, NB_E_INPUT, map->path, name, "its data ends at %lld, before its begin %lld", end, begin);
    if ((unsigned long long)end > room)
        return nb_fail_at(err, NB_E_INPUT, map->path, name,
                          "its data reaches byte %lld, but the file holds %zu (truncated?)", end, room);
    if (!nb_dtype_bytes(view->dtype, count, &bytes))
        return nb_fail_at(err, NB_E_INPUT, map->path, name, "the product of its shape overflows");
    if (bytes != (size_t)(end - begin))
        return nb_fail_at(err, NB_E_INPUT, map->path, name, "its shape needs %zu bytes, its data_offsets span %lld",
                          bytes, end - begin);
    view->name = name;
    view->path = map->path;
    view->bytes = bytes;
    view->offset = base + (size_t)begin;
    view->data = map->data + view->offset;
    return NB_OK;
}

static nb_status check_metadata(const nb_map *map, const json_t *meta, nb_err *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(meta))
        return nb_fail_at(err, NB_E_INPUT, map->path, "__metadata__", "is no object");
    json_object_foreach((json_t *)(uintptr_t)meta, key, value) {
        if (!json_is_string(value))
            return nb_fail_at(err, NB_E_INPUT, map->path, key, "a value of __metadata__ is no string");
    }
    return NB_OK;
}

static int by_offset(const void *a, const void *b) {
    const nb_view *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Sorts the views of one file and checks that they cover its buffer. */
static nb_status check_cover(const nb_map *map, size_t base, nb_view *views, size_t count, nb_err *err) {
    if (count)
        qsort(views, count, sizeof *views, by_offset);
    size_t at = base;
    for (size_t i = 0; i < count; i++) {
        const nb_view *v = &views[i];
        if (v->offset < at)
            return nb_fail_at(err, NB_E_INPUT, map->path, v->name, "its data overlaps that of %.100s", views[i - 1].name);
        if (v->offset > at)
            return nb_fail_at(err, NB_E_INPUT, map->path, v->name, "there is a hole of %zu bytes before its data",
                              v->offset - at);
        at += v->bytes;
    }
    if (at != map->size)
        return nb_fail_at(err, NB_E_INPUT, map->path, NULL, "%zu bytes after the last tensor belong to none",
                          map->size - at);
    return NB_OK;
}

static nb_status read_header(const nb_map *map, size_t *base, json_t **out, nb_err *err) {
    if (map->size < LENGTH_BYTES)
        return nb_fail_at(err, NB_E_INPUT, map->path, NULL, "has %zu bytes, too short for a safetensors file", map->size);
    uint64_t length = nb__u64(map->data);
    if (length > MAX_HEADER)
        return nb_fail_at(err, NB_E_INPUT, map->path, NULL, "header of %llu bytes, at most %d are read",
                          (unsigned long long)length, MAX_HEADER);
    if (length > map->size - LENGTH_BYTES)
        return nb_fail_at(err, NB_E_INPUT, map->path, NULL, "header of %llu bytes, but only %zu follow (truncated?)",
                          (unsigned long long)length, map->size - LENGTH_BYTES);
    const char *text = (const char *)map->data + LENGTH_BYTES;
    if (length == 0 || text[0] != '{')
        return nb_fail_at(err, NB_E_INPUT, map->path, NULL, "the header does not begin with '{'");
    *base = LENGTH_BYTES + (size_t)length;
    return nb_json_parse(text, (size_t)length, map->path, out, err);
}

nb_status nb__st_parse(const nb_map *map, nb__tensors *list, nb_err *err) {
    json_t *header = NULL, *entry;
    size_t base = 0, before = list->count;
    const char *name;
    NB_TRY(read_header(map, &base, &header, err));
    nb_status status = NB_OK;
    json_object_foreach(header, name, entry) {
        nb_view view = {0};
        if (!strcmp(name, "__metadata__")) {
            NB_GO(check_metadata(map, entry, err));
            continue;
        }
        NB_GO(parse_tensor(map, base, name, entry, &view, err));
        NB_GO(nb__tensors_add(list, &view, err));
    }
    nb_view *views = list->items ? list->items + before : NULL;
    status = check_cover(map, base, views, list->count - before, err);
out:
    json_decref(header);
    return status;
}

/* Whatever the bytes: tensors that are accepted lie inside the file, one after another; metadata and vocabulary can be
 * read to their last byte. */
#include <string.h>

#include "host/ckpt/impl.h"
#include "tests/fuzz/fuzz.h"

static unsigned sum; /* bytes are read, so that a sanitizer sees where they are */

static void touch(const void *data, size_t bytes) {
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        sum += p[i];
}

static void check_tensors(const nb_map *map, const nb__tensors *list) {
    size_t end = 0;
    for (size_t i = 0; i < list->count; i++) {
        const nb_view *v = &list->items[i];
        size_t bytes;
        MUST(v->ndim >= 1 && v->ndim <= NB_MAX_DIMS && v->name[0]);
        MUST(nb_dtype_bytes(v->dtype, nb_view_count(v), &bytes) && bytes == v->bytes);
        MUST(v->offset >= end && v->offset <= map->size && v->bytes <= map->size - v->offset);
        MUST(v->data == map->data + v->offset);
        end = v->offset + v->bytes;
        const nb_dtype_info *info = nb_dtype_get(v->dtype);
        if (v->bytes && info->to_f32) {
            float first[256];
            nb_to_f32(v->dtype, v->data, info->block_elems, first);
            touch(first, sizeof *first);
        }
    }
}

static void check_meta(nb_ckpt *c) {
    for (size_t i = 0; i < c->meta.count; i++) {
        const char *key = c->meta.items[i].key, *text = NULL;
        int64_t n = 0;
        double x;
        bool b, found = false;
        MUST(nb__meta_find(&c->meta, key) == &c->meta.items[i]);
        if (nb_ckpt_meta_int(c, key, -5, 5, &n, &found, NULL) == NB_OK)
            MUST(n >= -5 && n <= 5);
        MUST(found);
        nb_ckpt_meta_float(c, key, &x, NULL, NULL);
        nb_ckpt_meta_bool(c, key, &b, NULL, NULL);
        if (nb_ckpt_meta_str(c, key, &text, NULL, NULL) == NB_OK)
            touch(text, strlen(text));
    }
}

static void check_vocab(const nb_vocab *v) {
    const int64_t ids[] = {v->bos, v->eos, v->unk, v->pad, v->eot};
    MUST(v->size > 0);
    for (size_t i = 0; i < 5; i++)
        MUST(ids[i] >= -1 && ids[i] < (int64_t)v->size);
    for (size_t i = 0; i < v->size; i++)
        touch(v->tokens[i].data, v->tokens[i].len);
    for (size_t i = 0; i < v->n_merges; i++)
        touch(v->merges[i].data, v->merges[i].len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[] = "fuzz";
    nb_map map = {data, size, path};
    nb_ckpt c = {.kind = NB_CKPT_GGUF, .path = path};
    nb_err err = {0};
    nb_status status = nb__gguf_parse(&map, &c.meta, &c.tensors, &err);
    if (status == NB_OK) {
        check_tensors(&map, &c.tensors);
        check_meta(&c);
        if (nb__gguf_vocab(&c.meta, path, &c.vocab, &err) == NB_OK)
            check_vocab(c.vocab);
    } else {
        MUST(err.status == status && err.text[0]);
    }
    nb__vocab_free(c.vocab);
    nb__meta_free(&c.meta);
    nb__tensors_free(&c.tensors);
    return 0;
}

/* One interface over both containers. */
#include "host/ckpt/ckpt.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "host/base/alloc.h"
#include "host/base/json.h"
#include "host/base/hash.h"
#include "host/base/size.h"
#include "host/base/str.h"
#include "host/ckpt/impl.h"

/* Well-formed UTF-8 without control characters: names go to terminals and into JSON. */
static bool is_clean(const char *name) {
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)name;
    while (*at) {
        utf8proc_int32_t c;
        utf8proc_ssize_t len = utf8proc_iterate(at, -1, &c);
        if (len <= 0 || c < 0x20 || (c >= 0x7f && c < 0xa0))
            return false;
        at += len;
    }
    return true;
}

nb_status nb__tensors_add(nb__tensors *list, const nb_view *view, nb_err *err) {
    if (!is_clean(view->name))
        return nb_fail_at(err, NB_E_INPUT, view->path, view->name, "is a tensor's name with control characters, or not UTF-8");
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        NB_TRY(nb_regrow(room, sizeof *list->items, "a list of tensors", &list->items, err));
        list->room = room;
    }
    char *name;
    NB_TRY(nb_strdup(view->name, &name, err));
    list->items[list->count] = *view;
    list->items[list->count++].name = name;
    return NB_OK;
}

void nb__tensors_free(nb__tensors *list) {
    for (size_t i = 0; i < list->count; i++)
        nb_free((void *)(uintptr_t)list->items[i].name);
    nb_free(list->items);
    *list = (nb__tensors){0};
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const nb_view *const *)a)->name, (*(const nb_view *const *)b)->name);
}

nb_status nb__tensors_index(const nb__tensors *list, const nb_view ***out, nb_err *err) {
    const nb_view **index;
    NB_TRY(nb_calloc(list->count, sizeof *index, "an index of tensors", &index, err));
    for (size_t i = 0; i < list->count; i++)
        index[i] = &list->items[i];
    if (list->count)
        qsort(index, list->count, sizeof *index, by_name);
    for (size_t i = 1; i < list->count; i++)
        if (!strcmp(index[i - 1]->name, index[i]->name)) {
            const nb_view *a = index[i - 1], *b = index[i];
            nb_status status =
                a->path == b->path
                    ? nb_fail_at(err, NB_E_INPUT, a->path, a->name, "duplicate tensor")
                    : nb_fail_at(err, NB_E_INPUT, a->path, a->name, "the same tensor stands in two shards; also in %.200s",
                                 nb_path_base(b->path));
            nb_free(index);
            return status;
        }
    *out = index;
    return NB_OK;
}

static nb_status open_gguf(nb_ckpt *c, nb_err *err) {
    c->kind = NB_CKPT_GGUF;
    NB_TRY(nb_calloc(1, sizeof *c->maps, "a mapped file", &c->maps, err));
    NB_TRY(nb_map_open(c->path, &c->maps[0], err));
    c->n_maps = 1;
    NB_TRY(nb__gguf_parse(&c->maps[0], &c->meta, &c->tensors, err));
    /* A model without a vocabulary, or with one that we do not know, can still be inspected. */
    if (nb__gguf_vocab(&c->meta, c->path, &c->vocab, &c->vocab_fault) == NB_E_MEMORY) {
        if (err)
            *err = c->vocab_fault;
        return NB_E_MEMORY;
    }
    return NB_OK;
}

static nb_status open_part(nb_ckpt *c, nb_err *err) {
    c->kind = NB_CKPT_HF;
    NB_TRY(nb_calloc(1, sizeof *c->maps, "a mapped file", &c->maps, err));
    NB_TRY(nb_map_open(c->path, &c->maps[0], err));
    c->n_maps = 1;
    return nb__st_parse(&c->maps[0], &c->tensors, err);
}

static nb_status open_model(nb_ckpt *c, nb_err *err) {
    if (nb_path_is_dir(c->path))
        return nb__hf_open(c, err);
    if (nb_ends_with(c->path, ".safetensors"))
        return nb_fail_at(err, NB_E_INPUT, c->path, NULL,
                          "a single safetensors file tells no architecture; give its folder");
    return open_gguf(c, err);
}

typedef nb_status open_fn(nb_ckpt *, nb_err *);

static nb_status open_with(open_fn *open, const char *path, nb_ckpt **out, nb_err *err) {
    nb_ckpt *c;
    nb_status status;
    NB_TRY(nb_calloc(1, sizeof *c, "a checkpoint", &c, err));
    NB_GO(nb_strdup(path, &c->path, err));
    NB_GO(open(c, err));
    NB_GO(nb__tensors_index(&c->tensors, &c->by_name, err));
    *out = c;
out:
    if (status != NB_OK)
        nb_ckpt_close(c);
    return status;
}

nb_status nb_ckpt_open(const char *path, nb_ckpt **out, nb_err *err) { return open_with(open_model, path, out, err); }

nb_status nb_ckpt_open_part(const char *path, nb_ckpt **out, nb_err *err) {
    return open_with(open_part, path, out, err);
}

void nb_ckpt_close(nb_ckpt *c) {
    if (!c)
        return;
    nb__vocab_free(c->vocab);
    nb__meta_free(&c->meta);
    nb_free(c->by_name);
    nb__tensors_free(&c->tensors);
    json_decref(c->config);
    json_decref(c->generation_config);
    for (size_t i = 0; i < c->n_maps; i++)
        nb_map_close(&c->maps[i]);
    nb_free(c->maps);
    nb_free(c->path);
    nb_free(c);
}

nb_ckpt_kind nb_ckpt_kind_of(const nb_ckpt *c) { return c->kind; }

const char *nb_ckpt_path(const nb_ckpt *c) { return c->path; }

size_t nb_ckpt_count(const nb_ckpt *c) { return c->tensors.count; }

const nb_view *nb_ckpt_tensor(const nb_ckpt *c, size_t i) { return &c->tensors.items[i]; }

const nb_view *nb_ckpt_find(const nb_ckpt *c, const char *name) {
    nb_view key = {.name = name};
    const nb_view *p = &key, **found = NULL;
    if (c->tensors.count)
        found = bsearch(&p, c->by_name, c->tensors.count, sizeof *c->by_name, by_name);
    return found ? *found : NULL;
}

void nb_ckpt_drop(const nb_ckpt *c, const nb_view *view) {
    for (size_t i = 0; i < c->n_maps; i++)
        if (c->maps[i].path == view->path)
            nb_map_drop(&c->maps[i], view->offset, view->bytes);
}

uint64_t nb_ckpt_file_bytes(const nb_ckpt *c) {
    uint64_t sum = 0;
    for (size_t i = 0; i < c->n_maps; i++)
        sum += c->maps[i].size;
    return sum;
}

uint64_t nb_ckpt_tensor_bytes(const nb_ckpt *c) {
    uint64_t sum = 0;
    for (size_t i = 0; i < c->tensors.count; i++)
        sum += c->tensors.items[i].bytes;
    return sum;
}

const json_t *nb_ckpt_config(const nb_ckpt *c) { return c->config; }

const json_t *nb_ckpt_generation_config(const nb_ckpt *c) { return c->generation_config; }

nb_status nb_ckpt_vocab(const nb_ckpt *c, const nb_vocab **out, nb_err *err) {
    if (c->kind == NB_CKPT_HF)
        return nb_fail_at(err, NB_E_UNSUPPORTED, c->path, NULL,
                          "a Hugging Face folder keeps its vocabulary in tokenizer.json");
    if (!c->vocab) {
        if (err)
            *err = c->vocab_fault;
        return c->vocab_fault.status;
    }
    *out = c->vocab;
    return NB_OK;
}

/* In pieces, so that the pages of one do not stay mapped while the next is read. */
static void hash_map(nb_hash *hash, const nb_map *map) {
    const size_t piece = (size_t)16 << 20;
    uint64_t size = map->size;
    nb_hash_add(hash, &size, sizeof size);
    for (size_t at = 0; at < map->size; at += piece) {
        size_t bytes = nb_min(piece, map->size - at);
        nb_hash_add(hash, map->data + at, bytes);
        nb_map_drop(map, at, bytes);
    }
}

static nb_status hash_json(nb_hash *hash, const json_t *value, nb_err *err) {
    if (!value)
        return NB_OK;
    char *text;
    NB_TRY(nb_json_text(value, JSON_COMPACT, &text, err));
    nb_hash_add_str(hash, text);
    nb_free(text);
    return NB_OK;
}

nb_status nb_ckpt_fingerprint(const nb_ckpt *c, char *out, nb_err *err) {
    nb_hash *hash;
    NB_TRY(nb_hash_new(&hash, err));
    nb_status status = hash_json(hash, c->config, err);
    for (size_t i = 0; i < c->n_maps && status == NB_OK; i++)
        hash_map(hash, &c->maps[i]);
    if (status == NB_OK)
        nb_hash_text(hash, out);
    nb_hash_free(hash);
    return status;
}

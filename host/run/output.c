#include "host/run/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/json.h"
#include "host/base/size.h"
#include "host/base/str.h"

/* Where a tensor of the output comes from. */
typedef enum source_kind {
    SRC_COPY,   /* bytes of `view` as they are */
    SRC_F16,    /* `view` converted to F16 */
    SRC_NORM,   /* `view` less the family's norm offset, as F32: GGUF holds norms whole */
    SRC_LINEAR  /* the linear (layer, lin) of the model in HF row order */
} source_kind;

typedef struct entry {
    char *name;
    source_kind kind;
    const nb_view *view;
    size_t layer;
    nb_lin lin;
    nb_dtype dtype;
    unsigned ndim;
    size_t dims[NB_MAX_DIMS];
    size_t bytes;
} entry;

typedef struct assembly {
    const nb_model *model;
    const nb_plan *plan;
    entry *entries;
    size_t count, room;
    nb_ckpt **parts; /* [layers] */
    size_t n_parts;  /* open */
} assembly;

/* Does a block's part file hold another value of it, as of a norm with channel scales in it? */
static bool in_parts(const assembly *a, const char *name) {
    for (size_t layer = 0; layer < a->n_parts; layer++)
        if (nb_ckpt_find(a->parts[layer], name))
            return true;
    return false;
}

static nb_status add(assembly *a, const char *name, source_kind kind, const nb_view *view, nb_err *err) {
    if (a->count == a->room) {
        size_t room = a->room ? 2 * a->room : 256;
        NB_TRY(nb_regrow(room, sizeof *a->entries, "the list of tensors", &a->entries, err));
        a->room = room;
    }
    entry e = {.kind = kind, .view = view, .dtype = kind == SRC_COPY ? view->dtype : kind == SRC_NORM ? NB_F32 : NB_F16};
    NB_TRY(nb_strdup(name, &e.name, err));
    if (view) {
        e.ndim = view->ndim;
        memcpy(e.dims, view->dims, sizeof e.dims);
        e.bytes = kind == SRC_COPY ? view->bytes : (kind == SRC_NORM ? 4 : 2) * nb_view_count(view);
    }
    a->entries[a->count++] = e;
    return NB_OK;
}

/* Plain float types stay what they are; block types of GGUF become F16. */
static source_kind kept_as(const nb_view *v) {
    return nb_dtype_get(v->dtype)->block_elems == 1 ? SRC_COPY : SRC_F16;
}

static nb_status add_named(assembly *a, const char *name, const nb_view *view, nb_err *err) {
    return view && !in_parts(a, name) ? add(a, name, kept_as(view), view, err) : NB_OK;
}

/* ---- what the model keeps ---- */

/* Is `name` the weight of a linear that the plan quantizes? */
static bool is_quantized_weight(const assembly *a, const char *name) {
    for (size_t i = 0; i < a->plan->count; i++) {
        const nb_plan_item *it = &a->plan->items[i];
        size_t len = strlen(it->name);
        if (!it->skip && !strncmp(name, it->name, len) && !strcmp(name + len, ".weight"))
            return true;
    }
    return false;
}

static nb_status add_kept_hf(assembly *a, nb_err *err) {
    const nb_ckpt *ckpt = nb_model_ckpt(a->model);
    for (size_t i = 0; i < nb_ckpt_count(ckpt); i++) {
        const nb_view *v = nb_ckpt_tensor(ckpt, i);
        if (!is_quantized_weight(a, v->name) && !in_parts(a, v->name))
            NB_TRY(add(a, v->name, SRC_COPY, v, err));
    }
    return NB_OK;
}

/* "blk.N.NAME.weight" of a GGUF. */
static const nb_view *find_block(const nb_ckpt *ckpt, size_t layer, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "blk.%zu.%s.weight", layer, name);
    return nb_ckpt_find(ckpt, full);
}

static const nb_view *find_top(const nb_ckpt *ckpt, const char *name) {
    char full[128];
    snprintf(full, sizeof full, "%s.weight", name);
    return nb_ckpt_find(ckpt, full);
}

static nb_status add_weight(assembly *a, const char *module, const nb_view *view, nb_err *err) {
    char name[192];
    snprintf(name, sizeof name, "%s.weight", module);
    return add_named(a, name, view, err);
}

static nb_status add_norm(assembly *a, const char *module, const nb_view *view, nb_err *err) {
    char name[192];
    if (nb_model_hparams(a->model)->family->norm_offset == 0)
        return add_weight(a, module, view, err);
    snprintf(name, sizeof name, "%s.weight", module);
    return view && !in_parts(a, name) ? add(a, name, SRC_NORM, view, err) : NB_OK;
}

static nb_status add_skipped_gguf(assembly *a, const nb_plan_item *it, nb_err *err) {
    char name[192];
    snprintf(name, sizeof name, "%s.weight", it->name);
    NB_TRY(add(a, name, SRC_LINEAR, NULL, err));
    const nb_view *v = nb_model_linear_view(a->model, it->layer, it->lin);
    entry *e = &a->entries[a->count - 1];
    e->view = v;
    e->dtype = kept_as(v) == SRC_COPY ? v->dtype : NB_F16;
    e->layer = it->layer;
    e->lin = it->lin;
    e->ndim = 2;
    e->dims[0] = it->n;
    e->dims[1] = it->k;
    e->bytes = nb_dtype_get(e->dtype)->block_bytes * it->n * it->k;
    return NB_OK;
}

static nb_status add_kept_gguf(assembly *a, nb_err *err) {
    const nb_ckpt *ckpt = nb_model_ckpt(a->model);
    const nb_hparams *hp = nb_model_hparams(a->model);
    const nb_family *f = hp->family;
    NB_TRY(add_weight(a, f->embed, find_top(ckpt, f->gguf_embed), err));
    NB_TRY(add_norm(a, f->final_norm, find_top(ckpt, f->gguf_final_norm), err));
    if (!hp->tied)
        NB_TRY(add_weight(a, f->head, find_top(ckpt, f->gguf_head), err));
    for (size_t layer = 0; layer < hp->layers; layer++)
        for (nb_norm n = 0; n < NB_NORM_COUNT; n++) {
            char module[160];
            if (!f->norms[n].hf)
                continue;
            snprintf(module, sizeof module, "model.layers.%zu.%s", layer, f->norms[n].hf);
            NB_TRY(add_norm(a, module, find_block(ckpt, layer, f->norms[n].gguf), err));
        }
    for (size_t i = 0; i < a->plan->count; i++)
        if (a->plan->items[i].skip)
            NB_TRY(add_skipped_gguf(a, &a->plan->items[i], err));
    return NB_OK;
}

nb_status nb_output_open_part(const nb_journal *journal, size_t layer, nb_ckpt **part, nb_err *err) {
    char *path;
    NB_TRY(nb_journal_part(journal, layer, &path, err));
    nb_status status = nb_ckpt_open_part(path, part, err);
    nb_free(path);
    return status;
}

nb_status nb_output_open_parts(const nb_journal *journal, nb_ckpt **parts, size_t *open, nb_err *err) {
    for (*open = 0; *open < journal->done; ++*open)
        NB_TRY(nb_output_open_part(journal, *open, &parts[*open], err));
    return NB_OK;
}

static nb_status add_parts(assembly *a, nb_err *err) {
    for (size_t layer = 0; layer < a->n_parts; layer++)
        for (size_t i = 0; i < nb_ckpt_count(a->parts[layer]); i++) {
            const nb_view *v = nb_ckpt_tensor(a->parts[layer], i);
            NB_TRY(add(a, v->name, SRC_COPY, v, err));
        }
    return NB_OK;
}

/* ---- writing ---- */

static nb_status check_f16(const nb_view *v, const uint16_t *h, size_t count, nb_err *err) {
    for (size_t i = 0; i < count; i++)
        if ((h[i] & 0x7c00u) == 0x7c00u)
            return nb_fail_at(err, NB_E_INPUT, v->path, v->name, "holds values past the range of F16, in which it would be written");
    return NB_OK;
}

/* Converts in pieces, so that an embedding table is never whole in memory as floats. */
static nb_status write_f16(nb_st_writer *w, const nb_view *v, nb_err *err) {
    enum { PIECE = 1 << 16 }; /* elements: a whole number of blocks of every type */
    const nb_dtype_info *t = nb_dtype_get(v->dtype);
    size_t count = nb_view_count(v);
    float *f = NULL;
    uint16_t *h = NULL;
    nb_status status;
    if (!t->to_f32)
        return nb_fail_at(err, NB_E_UNSUPPORTED, v->path, v->name, "has type %s, which cannot be converted", t->name);
    NB_GO(nb_calloc(PIECE, sizeof *f, "a conversion", &f, err));
    NB_GO(nb_calloc(PIECE, sizeof *h, "a conversion", &h, err));
    for (size_t at = 0; at < count; at += PIECE) {
        size_t n = nb_min(PIECE, count - at);
        nb_to_f32(v->dtype, (const char *)v->data + at / t->block_elems * t->block_bytes, n, f);
        nb_f16_from_f32(f, n, h);
        NB_GO(check_f16(v, h, n, err));
        NB_GO(nb_st_write(w, h, n * sizeof *h, err));
    }
out:
    nb_free(f);
    nb_free(h);
    return status;
}

static nb_status write_norm(const nb_model *model, nb_st_writer *w, const nb_view *v, nb_err *err) {
    size_t count = nb_view_count(v);
    float *f;
    NB_TRY(nb_calloc(count, sizeof *f, "a norm", &f, err));
    nb_to_f32(v->dtype, v->data, count, f);
    for (size_t i = 0; i < count; i++)
        f[i] -= (float)nb_model_hparams(model)->family->norm_offset;
    nb_status status = nb_st_write(w, f, count * sizeof *f, err);
    nb_free(f);
    return status;
}

static nb_status write_linear(const nb_model *model, nb_st_writer *w, const entry *e, nb_err *err) {
    size_t count = e->dims[0] * e->dims[1];
    float *f = NULL;
    void *stored = NULL;
    nb_status status;
    NB_GO(nb_calloc(count, sizeof *f, "a weight", &f, err));
    NB_GO(nb_calloc(e->bytes, 1, "a weight", &stored, err));
    NB_GO(nb_model_weight_f32(model, e->layer, e->lin, f, err));
    nb_from_f32(e->dtype, f, count, stored);
    if (e->dtype == NB_F16)
        NB_GO(check_f16(e->view, stored, count, err));
    NB_GO(nb_st_write(w, stored, e->bytes, err));
out:
    nb_free(f);
    nb_free(stored);
    return status;
}

static nb_status write_entry(const assembly *a, nb_st_writer *w, const entry *e, nb_err *err) {
    switch (e->kind) {
    case SRC_COPY:
        return nb_st_write(w, e->view->data, e->bytes, err);
    case SRC_F16:
        return write_f16(w, e->view, err);
    case SRC_NORM:
        return write_norm(a->model, w, e->view, err);
    default:
        return write_linear(a->model, w, e, err);
    }
}

static nb_status write_shard(const assembly *a, size_t first, size_t last, const char *path, uint64_t *bytes, nb_err *err) {
    nb_st_writer *w;
    NB_TRY(nb_st_writer_new(path, &w, err));
    nb_status status = NB_OK;
    for (size_t i = first; i < last && status == NB_OK; i++)
        status = nb_st_declare(w, a->entries[i].name, a->entries[i].dtype, a->entries[i].ndim, a->entries[i].dims, err);
    if (status == NB_OK)
        status = nb_st_begin(w, err);
    for (size_t i = first; i < last && status == NB_OK; i++)
        status = write_entry(a, w, &a->entries[first + nb_st_order(w, i - first)], err);
    if (status != NB_OK) {
        nb_st_abort(w);
        return status;
    }
    NB_TRY(nb_st_commit(w, err));
    nb_map map;
    NB_TRY(nb_map_open(path, &map, err));
    *bytes += map.size;
    nb_map_close(&map);
    return NB_OK;
}

/* First entry after the shard that begins at `first`: as many as fit, and one at least. */
static size_t shard_end(const assembly *a, size_t first, uint64_t limit) {
    uint64_t sum = 0;
    size_t i = first;
    while (i < a->count && (i == first || sum + a->entries[i].bytes <= limit))
        sum += a->entries[i++].bytes;
    return i;
}

static void shard_name(char *out, size_t cap, size_t i, size_t count) {
    if (count == 1)
        snprintf(out, cap, "model.safetensors");
    else
        snprintf(out, cap, "model-%05zu-of-%05zu.safetensors", i + 1, count);
}

static nb_status write_index(const assembly *a, const char *dir, uint64_t limit, size_t shards, nb_err *err) {
    json_t *map = json_object(); /* what fails here is found by nb_json_write */
    json_int_t total = 0;
    char name[64], *path;
    for (size_t s = 0, first = 0; s < shards; s++) {
        size_t last = shard_end(a, first, limit);
        shard_name(name, sizeof name, s, shards);
        for (; first < last; first++) {
            json_object_set_new(map, a->entries[first].name, json_string(name));
            total += (json_int_t)a->entries[first].bytes;
        }
    }
    json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", total, "weight_map", map);
    if (!index)
        return nb_fail_memory(err, 0, "the index");
    nb_status status = nb_path_join(dir, "model.safetensors.index.json", &path, err);
    if (status == NB_OK) {
        status = nb_json_write(path, index, err);
        nb_free(path);
    }
    json_decref(index);
    return status;
}

static nb_status write_shards(const assembly *a, const char *dir, uint64_t limit, uint64_t *bytes, nb_err *err) {
    size_t shards = 0;
    for (size_t first = 0; first < a->count; first = shard_end(a, first, limit))
        shards++;
    for (size_t s = 0, first = 0; s < shards; s++) {
        size_t last = shard_end(a, first, limit);
        char name[64], *path;
        shard_name(name, sizeof name, s, shards);
        NB_TRY(nb_path_join(dir, name, &path, err));
        nb_status status = write_shard(a, first, last, path, bytes, err);
        nb_free(path);
        NB_TRY(status);
        first = last;
    }
    return shards > 1 ? write_index(a, dir, limit, shards, err) : NB_OK;
}

nb_status nb_output_assemble(const nb_model *model, const nb_plan *plan, const nb_run_options *options,
                             const nb_journal *journal, const char *dir, uint64_t *file_bytes, nb_err *err) {
    enum { GIB = 1 << 30 };
    assembly a = {.model = model, .plan = plan};
    size_t layers = nb_model_hparams(model)->layers;
    uint64_t limit = options->shard_bytes ? options->shard_bytes : 5ull * GIB;
    nb_status status;
    *file_bytes = 0;
    NB_GO(nb_calloc(layers, sizeof *a.parts, "part files", &a.parts, err));
    NB_GO(nb_output_open_parts(journal, a.parts, &a.n_parts, err));
    if (nb_ckpt_kind_of(nb_model_ckpt(model)) == NB_CKPT_GGUF)
        NB_GO(add_kept_gguf(&a, err));
    else
        NB_GO(add_kept_hf(&a, err));
    NB_GO(add_parts(&a, err));
    NB_GO(write_shards(&a, dir, limit, file_bytes, err));
out:
    for (size_t i = 0; a.parts && i < layers; i++)
        nb_ckpt_close(a.parts[i]);
    for (size_t i = 0; i < a.count; i++)
        nb_free(a.entries[i].name);
    nb_free(a.entries);
    nb_free(a.parts);
    return status;
}

nb_status nb_output_part(const char *path, const nb_packed_tensor *tensors, const char *const *prefixes, size_t count,
                         nb_err *err) {
    nb_st_writer *w;
    NB_TRY(nb_st_writer_new(path, &w, err));
    nb_status status = NB_OK;
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        char name[224];
        snprintf(name, sizeof name, "%s.%s", prefixes[i], tensors[i].suffix);
        status = nb_st_declare(w, name, tensors[i].dtype, tensors[i].ndim, tensors[i].dims, err);
    }
    if (status == NB_OK)
        status = nb_st_begin(w, err);
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        const nb_packed_tensor *t = &tensors[nb_st_order(w, i)];
        status = nb_st_write(w, t->data, t->bytes, err);
    }
    if (status != NB_OK) {
        nb_st_abort(w);
        return status;
    }
    return nb_st_commit(w, err);
}

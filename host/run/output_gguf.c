/* The output as one GGUF file: parts of finished blocks, what the model keeps, metadata and vocabulary. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/json.h"
#include "host/base/size.h"
#include "host/base/str.h"
#include "host/run/gguf_meta.h"
#include "host/run/output.h"
#include "host/scheme/ggml.h"

typedef enum source_kind {
    SRC_ROWS,  /* bytes of `view`, rows of `row_bytes`, put into GGUF's order where `permute` */
    SRC_TABLE, /* `view` converted to the entry's dtype, F16 or Q8_0 */
    SRC_VECTOR /* `view` and `offset` as F32 */
} source_kind;

typedef struct entry {
    char name[72];
    source_kind kind;
    const nb_view *view;
    nb_dtype dtype;
    unsigned ndim;
    size_t dims[2];
    float offset;
    bool permute;
    nb_lin lin;
} entry;

typedef struct assembly {
    const nb_model *model;
    const nb_hparams *hp;
    const nb_ckpt *ckpt;
    const nb_plan *plan;
    bool from_gguf;
    entry *entries;
    size_t count, room;
    nb_ckpt **parts; /* [layers] */
    size_t n_parts;  /* open */
    float *factors;  /* [head_dim / 2] of Llama-3's rotation, where the source is no GGUF */
    nb_view factors_view;
} assembly;

static entry *add(assembly *a, const char *name, source_kind kind, const nb_view *view, nb_dtype dtype, nb_err *err) {
    if (a->count == a->room) {
        size_t room = a->room ? 2 * a->room : 256;
        if (nb_regrow(room, sizeof *a->entries, "the list of tensors", &a->entries, err) != NB_OK)
            return NULL;
        a->room = room;
    }
    entry *e = &a->entries[a->count++];
    *e = (entry){.kind = kind, .view = view, .dtype = dtype, .ndim = view->ndim, .dims = {view->dims[0], view->dims[1]}};
    snprintf(e->name, sizeof e->name, "%s.weight", name);
    return e;
}

static const nb_view *find(const assembly *a, const char *hf, const char *gguf) {
    char name[192];
    snprintf(name, sizeof name, "%s.weight", a->from_gguf ? gguf : hf);
    return nb_ckpt_find(a->ckpt, name);
}

/* ---- what stands in the file ---- */

static nb_status add_table(assembly *a, const char *hf, const char *gguf, nb_err *err) {
    const nb_view *v = find(a, hf, gguf);
    nb_dtype type = a->plan->embed_type;
    if (v && v->dims[1] % nb_dtype_get(type)->block_elems != 0)
        type = NB_F16;
    return !v || add(a, gguf, v->dtype == type ? SRC_ROWS : SRC_TABLE, v, type, err) ? NB_OK : NB_E_MEMORY;
}

/* A norm: of the part, where channel scales were folded into it, else of the model. */
static nb_status add_norm(assembly *a, size_t layer, const char *hf, const char *gguf, nb_err *err) {
    char full[192];
    snprintf(full, sizeof full, "%s.weight", hf);
    const nb_view *part = layer < a->n_parts ? nb_ckpt_find(a->parts[layer], full) : NULL, *v = part ? part : find(a, hf, gguf);
    entry *e = v ? add(a, gguf, SRC_VECTOR, v, NB_F32, err) : NULL;
    if (!e)
        return v ? NB_E_MEMORY : nb_fail_at(err, NB_E_INPUT, nb_ckpt_path(a->ckpt), full, "the tensor is missing");
    e->offset = part ? 0.0f : (float)a->hp->norm_offset;
    return NB_OK;
}

static nb_status add_linear(assembly *a, const nb_plan_item *it, nb_err *err) {
    const nb_family *f = a->hp->family;
    bool qk = it->lin == NB_LIN_Q || it->lin == NB_LIN_K;
    nb_dtype type = nb_ggml_type(it->bits, a->plan->config.symmetric);
    char gguf[64], full[192];
    snprintf(gguf, sizeof gguf, "blk.%zu.%s", it->layer, f->lins[it->lin].gguf);
    snprintf(full, sizeof full, "%s.%s", it->name, type == NB_Q8_0 ? "q8_0" : type == NB_Q4_0 ? "q4_0" : "q4_1");
    const nb_view *v = it->skip ? nb_model_linear_view(a->model, it->layer, it->lin) : nb_ckpt_find(a->parts[it->layer], full);
    if (!v)
        return nb_fail_at(err, NB_E_INPUT, NULL, full, "is not in the part files");
    entry *e = add(a, gguf, SRC_ROWS, v, it->skip ? v->dtype : type, err);
    if (!e)
        return NB_E_MEMORY;
    e->dims[0] = it->n;
    e->dims[1] = it->k;
    e->lin = it->lin;
    e->permute = qk && f->gguf_permutes_qk && !(it->skip && a->from_gguf);
    return NB_OK;
}

static nb_status add_block(assembly *a, size_t layer, nb_err *err) {
    const nb_family *f = a->hp->family;
    for (nb_norm n = 0; n < NB_NORM_COUNT; n++) {
        char hf[160], gguf[64];
        if (!f->norms[n].hf)
            continue;
        snprintf(hf, sizeof hf, "model.layers.%zu.%s", layer, f->norms[n].hf);
        snprintf(gguf, sizeof gguf, "blk.%zu.%s", layer, f->norms[n].gguf);
        NB_TRY(add_norm(a, layer, hf, gguf, err));
    }
    for (size_t l = 0; l < NB_LIN_COUNT; l++)
        NB_TRY(add_linear(a, &a->plan->items[layer * NB_LIN_COUNT + l], err));
    return NB_OK;
}

static nb_status add_factors(assembly *a, nb_err *err) {
    size_t half = a->hp->head_dim / 2;
    if (a->hp->rope_scaling == NB_ROPE_LLAMA3) {
        NB_TRY(nb_calloc(half, sizeof *a->factors, "rotary factors", &a->factors, err));
        nb_rope_factors(a->hp, a->factors);
        a->factors_view = (nb_view){.name = "rope_freqs.weight", .dtype = NB_F32, .ndim = 1, .dims = {half}, .data = a->factors,
                                    .bytes = half * sizeof *a->factors, .path = ""};
        return add(a, "rope_freqs", SRC_VECTOR, &a->factors_view, NB_F32, err) ? NB_OK : NB_E_MEMORY;
    }
    const nb_view *v = a->from_gguf ? nb_ckpt_find(a->ckpt, "rope_freqs.weight") : NULL;
    return !v || add(a, "rope_freqs", SRC_VECTOR, v, NB_F32, err) ? NB_OK : NB_E_MEMORY;
}

static nb_status add_all(assembly *a, nb_err *err) {
    const nb_family *f = a->hp->family;
    NB_TRY(add_table(a, f->embed, f->gguf_embed, err));
    NB_TRY(add_factors(a, err));
    for (size_t layer = 0; layer < a->hp->layers; layer++)
        NB_TRY(add_block(a, layer, err));
    NB_TRY(add_norm(a, SIZE_MAX, f->final_norm, f->gguf_final_norm, err));
    return a->hp->tied ? NB_OK : add_table(a, f->head, f->gguf_head, err);
}

/* ---- writing ---- */

static nb_status write_rows(const assembly *a, nb_gguf_writer *w, const entry *e, nb_err *err) {
    if (!e->permute)
        return nb_gguf_write(w, e->view->data, e->view->bytes, err);
    size_t row_bytes = e->view->bytes / e->dims[0];
    char *rows;
    NB_TRY(nb_alloc_aligned(e->view->bytes, 1, "a weight", &rows, err));
    for (size_t i = 0; i < e->dims[0]; i++)
        memcpy(rows + nb_gguf_row(a->hp, i) * row_bytes, (const char *)e->view->data + i * row_bytes, row_bytes);
    nb_status status = nb_gguf_write(w, rows, e->view->bytes, err);
    nb_free(rows);
    return status;
}

/* Row by row, so that a table is never whole in memory as floats. */
static nb_status write_table(nb_gguf_writer *w, const entry *e, nb_err *err) {
    size_t k = e->dims[1], from = e->view->bytes / e->dims[0], to;
    float *f = NULL;
    void *out = NULL;
    nb_status status;
    if (!nb_dtype_get(e->view->dtype)->to_f32 || !nb_dtype_bytes(e->dtype, k, &to))
        return nb_fail_at(err, NB_E_UNSUPPORTED, e->view->path, e->view->name, "has type %s, which cannot be converted",
                          nb_dtype_get(e->view->dtype)->name);
    NB_GO(nb_calloc(k, sizeof *f, "a conversion", &f, err));
    NB_GO(nb_alloc_aligned(to, 1, "a conversion", &out, err));
    for (size_t i = 0; i < e->dims[0]; i++) {
        nb_to_f32(e->view->dtype, (const char *)e->view->data + i * from, k, f);
        if (e->dtype == NB_Q8_0)
            nb_ggml_q8_0(f, k, out);
        else
            nb_f16_from_f32(f, k, out);
        NB_GO(nb_gguf_write(w, out, to, err));
    }
out:
    nb_free(f);
    nb_free(out);
    return status;
}

static nb_status write_vector(nb_gguf_writer *w, const entry *e, nb_err *err) {
    size_t count = nb_view_count(e->view);
    float *f;
    NB_TRY(nb_calloc(count, sizeof *f, "a norm", &f, err));
    nb_to_f32(e->view->dtype, e->view->data, count, f);
    for (size_t i = 0; i < count; i++)
        f[i] += e->offset;
    nb_status status = nb_gguf_write(w, f, count * sizeof *f, err);
    nb_free(f);
    return status;
}

static nb_status write_all(const assembly *a, nb_gguf_writer *w, nb_err *err) {
    for (size_t i = 0; i < a->count; i++)
        NB_TRY(nb_gguf_declare(w, a->entries[i].name, a->entries[i].dtype, a->entries[i].ndim, a->entries[i].dims, err));
    NB_TRY(nb_gguf_begin(w, err));
    for (size_t i = 0; i < a->count; i++) {
        const entry *e = &a->entries[i];
        NB_TRY(e->kind == SRC_ROWS    ? write_rows(a, w, e, err)
               : e->kind == SRC_TABLE ? write_table(w, e, err)
                                      : write_vector(w, e, err));
    }
    return NB_OK;
}

static nb_status put_report(nb_gguf_writer *w, const json_t *report, nb_err *err) {
    char *text;
    NB_TRY(nb_json_text(report, JSON_COMPACT, &text, err));
    nb_status status = nb_gguf_put_str(w, "nibble.report", text, err);
    nb_free(text);
    return status;
}

static nb_status write_file(assembly *a, const json_t *report, const char *path, nb_err *err) {
    nb_gguf_writer *w;
    NB_TRY(nb_gguf_writer_new(path, &w, err));
    nb_status status = nb_gguf_metadata(w, a->model, a->plan, err);
    if (status == NB_OK)
        status = put_report(w, report, err);
    if (status == NB_OK)
        status = write_all(a, w, err);
    if (status == NB_OK)
        return nb_gguf_commit(w, err);
    nb_gguf_abort(w);
    return status;
}

nb_status nb_output_gguf_check(const nb_model *model, const nb_plan *plan, const char *path, nb_err *err) {
    nb_gguf_writer *w;
    NB_TRY(nb_gguf_writer_new(path, &w, err));
    nb_status status = nb_gguf_metadata(w, model, plan, err);
    nb_gguf_abort(w);
    return status;
}

nb_status nb_output_gguf(const nb_model *model, const nb_plan *plan, const nb_journal *journal, const json_t *report,
                         const char *path, uint64_t *file_bytes, nb_err *err) {
    assembly a = {.model = model, .hp = nb_model_hparams(model), .ckpt = nb_model_ckpt(model), .plan = plan};
    nb_map map;
    nb_status status;
    a.from_gguf = nb_ckpt_kind_of(a.ckpt) == NB_CKPT_GGUF;
    NB_GO(nb_calloc(a.hp->layers, sizeof *a.parts, "part files", &a.parts, err));
    NB_GO(nb_output_open_parts(journal, a.parts, &a.n_parts, err));
    NB_GO(add_all(&a, err));
    NB_GO(write_file(&a, report, path, err));
    NB_GO(nb_map_open(path, &map, err));
    *file_bytes = map.size;
    nb_map_close(&map);
out:
    for (size_t i = 0; a.parts && i < a.hp->layers; i++)
        nb_ckpt_close(a.parts[i]);
    nb_free(a.parts);
    nb_free(a.entries);
    nb_free(a.factors);
    return status;
}

#include "host/tokenizer/tokenizer.h"

#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/tokenizer/parts.h"
#include "host/tokenizer/utf8.h"

enum { CACHE_FROM = 2048 }; /* bytes of text from which a cache of words is worth its making */

nb_status nb_ids_add(nb_ids *ids, int32_t id, nb_err *err) {
    if (ids->len == ids->room) {
        size_t room = ids->room ? ids->room : 32;
        if (!nb_mul(room, 2, &room))
            return nb_fail_memory(err, ids->len, "token ids");
        NB_TRY(nb_regrow(room, sizeof *ids->data, "token ids", &ids->data, err));
        ids->room = room;
    }
    ids->data[ids->len++] = id;
    return NB_OK;
}

void nb_ids_free(nb_ids *ids) {
    nb_free(ids->data);
    *ids = (nb_ids){0};
}

void nb_tokenizer_free(nb_tokenizer *tok) {
    if (!tok)
        return;
    nb_str_free(&tok->text);
    nb_free(tok->at);
    nb_free(tok->flags);
    nb__strmap_free(&tok->by_content);
    nb_str_free(&tok->contents);
    nb_str_free(&tok->piece_bytes);
    nb__bpe_free(&tok->bpe);
    nb_free(tok->added);
    nb__matcher_free(&tok->raw);
    nb__matcher_free(&tok->normalized);
    nb__norm_free(&tok->norm);
    nb__pre_free(&tok->pre);
    nb__dec_free(&tok->dec);
    nb_ids_free(&tok->prefix);
    nb_ids_free(&tok->suffix);
    nb_free(tok);
}

/* One call of nb_tokenize. */
typedef struct job {
    const nb_tokenizer *tok;
    nb__bpe_scratch bpe;
    nb__pre_scratch pre;
    nb__regex_scratch norm;
    nb_str text; /* the fragment, normalized */
    nb_ids *out;
    nb_err *err;
} job;

static nb_status on_piece(void *arg, const char *piece, size_t len, nb_err *err) {
    job *j = arg;
    return nb__bpe_encode(&j->tok->bpe, &j->bpe, piece, len, j->out, err);
}

typedef nb_status fragment_fn(job *j, const char *text, size_t len, bool first);

static nb_status pieces(job *j, const char *text, size_t len, bool first) {
    return nb__pretokenize(&j->tok->pre, &j->pre, text, len, first, on_piece, j, j->err);
}

/* Added tokens become ids, what lies between them goes to fn. */
static nb_status around_added(job *j, const nb__matcher *m, const char *text, size_t len, bool first, fragment_fn *fn) {
    size_t done = 0, from = 0, start = 0, end = 0;
    int32_t hit;
    while ((hit = nb__matcher_next(m, j->tok->added, text, len, done, &from, &start, &end)) >= 0) {
        if (start > done)
            NB_TRY(fn(j, text + done, start - done, first && done == 0));
        NB_TRY(nb_ids_add(j->out, j->tok->added[hit].id, j->err));
        done = end;
    }
    return done < len ? fn(j, text + done, len - done, first && done == 0) : NB_OK;
}

static nb_status normalize(job *j, const char *text, size_t len, bool first) {
    const nb_tokenizer *tok = j->tok;
    if (tok->norm.count) {
        j->text.len = 0;
        NB_TRY(nb__normalize(&tok->norm, &j->norm, text, len, &j->text, j->err));
        text = j->text.data;
        len = j->text.len;
    }
    return around_added(j, &tok->normalized, text, len, first, pieces);
}

static nb_status all_ids(nb_ids *out, const nb_ids *add, nb_err *err) {
    for (size_t i = 0; i < add->len; i++)
        NB_TRY(nb_ids_add(out, add->data[i], err));
    return NB_OK;
}

nb_status nb_tokenize(const nb_tokenizer *tok, const char *text, size_t len, bool with_special, nb_ids *out,
                      nb_err *err) {
    job j = {.tok = tok, .out = out, .err = err};
    nb_str repaired = {0};
    nb_status status = NB_OK;
    size_t before = out->len;
    if (nb__utf8_valid(text, len) < len) {
        NB_GO(nb__utf8_repair(text, len, &repaired, err));
        text = repaired.data;
        len = repaired.len;
    }
    if (len >= CACHE_FROM)
        NB_GO(nb__bpe_use_cache(&j.bpe, err));
    if (with_special)
        NB_GO(all_ids(out, &tok->prefix, err));
    NB_GO(around_added(&j, &tok->raw, text, len, true, normalize));
    if (with_special)
        NB_GO(all_ids(out, &tok->suffix, err));
out:
    if (status != NB_OK)
        out->len = before;
    nb_str_free(&repaired);
    nb_str_free(&j.text);
    nb__bpe_scratch_free(&j.bpe);
    nb__pre_scratch_free(&j.pre);
    nb__regex_scratch_free(&j.norm);
    return status;
}

static nb_status bad_id(const nb_tokenizer *tok, int32_t id, nb_err *err) {
    return nb_fail(err, NB_E_USAGE, "token id %ld, expected 0 to %zu", (long)id, tok->size - 1);
}

static bool in_range(const nb_tokenizer *tok, int32_t id) {
    return id >= 0 && (size_t)id < tok->size;
}

/* An id that has no token is passed over, as in the reference. */
static bool has_text(const nb_tokenizer *tok, int32_t id) {
    return tok->at[id + 1] > tok->at[id];
}

nb_status nb_detokenize(const nb_tokenizer *tok, const int32_t *ids, size_t count, bool skip_special, nb_str *out,
                        nb_err *err) {
    nb__list list = {0};
    nb_status status = NB_OK;
    for (size_t i = 0; i < count; i++) {
        if (!in_range(tok, ids[i])) {
            status = bad_id(tok, ids[i], err);
            goto out;
        }
        if (!has_text(tok, ids[i]) || (skip_special && (tok->flags[ids[i]] & NB_TOK_SPECIAL)))
            continue;
        size_t at = tok->at[ids[i]];
        NB_GO(nb_str_add(&list.bytes, tok->text.data + at, tok->at[ids[i] + 1] - at, err));
        NB_GO(nb__list_close(&list, err));
    }
    NB_GO(nb__decode(&tok->dec, &list, out, err));
out:
    nb__list_free(&list);
    return status;
}

nb_status nb_token_bytes(const nb_tokenizer *tok, int32_t id, bool first, nb_str *out, nb_err *err) {
    if (!in_range(tok, id))
        return bad_id(tok, id, err);
    size_t at = tok->at[id];
    return has_text(tok, id) ? nb__decode_one(&tok->dec, tok->text.data + at, tok->at[id + 1] - at, first, out, err) : NB_OK;
}

size_t nb_tokenizer_size(const nb_tokenizer *tok) {
    return tok->size;
}

int32_t nb_tokenizer_bos(const nb_tokenizer *tok) {
    return tok->bos;
}

int32_t nb_tokenizer_eos(const nb_tokenizer *tok) {
    return tok->eos;
}

bool nb_tokenizer_adds_bos(const nb_tokenizer *tok) {
    return tok->bos >= 0 && tok->prefix.len > 0 && tok->prefix.data[0] == tok->bos;
}

bool nb_tokenizer_is_special(const nb_tokenizer *tok, int32_t id) {
    return in_range(tok, id) && (tok->flags[id] & NB_TOK_SPECIAL);
}

int32_t nb_tokenizer_find(const nb_tokenizer *tok, const char *content) {
    return nb__strmap_get(&tok->by_content, content, strlen(content));
}

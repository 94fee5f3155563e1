/* From a loader's description to the internal form: checks, maps, merges. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/tokenizer/parts.h"
#include "host/tokenizer/unicode.h"
#include "host/tokenizer/utf8.h"

enum { PIECE_LIMIT = 4096 }; /* bytes of a piece whose merges follow from scores; SentencePiece's own limit is 16 characters */

static int shown(nb_bytes b) {
    return (int)(b.len < 64 ? b.len : 64);
}

static nb_status reserve(nb_str *s, size_t bytes, nb_err *err) {
    NB_TRY(nb_regrow(bytes + 1, 1, "the vocabulary", &s->data, err));
    s->room = bytes + 1;
    return NB_OK;
}

/* Adds to an arena that has room, so that pointers into it stay. */
static nb_bytes keep(nb_str *s, nb_bytes b) {
    nb_bytes kept = {s->data + s->len, b.len};
    nb_status status = nb_str_add(s, b.data, b.len, NULL);
    return status == NB_OK ? kept : (nb_bytes){"", 0};
}

static nb_status check_added(const nb__spec *spec, size_t *size, nb_err *err) {
    /* An id far beyond what is there would only waste memory. */
    size_t limit = 2 * (spec->size + spec->n_added) + 65536;
    *size = spec->size;
    for (size_t i = 0; i < spec->n_added; i++) {
        const nb__spec_added *a = &spec->added[i];
        nb_bytes c = a->content;
        if (c.len == 0)
            return nb_fail(err, NB_E_INPUT, "added token %zu is empty", i);
        if (nb__utf8_valid(c.data, c.len) != c.len)
            return nb_fail(err, NB_E_INPUT, "added token %zu is not UTF-8", i);
        if (a->flags.id < 0 || (size_t)a->flags.id >= limit)
            return nb_fail(err, NB_E_INPUT, "added token \"%.*s\" has id %ld, expected 0 to %zu", shown(c), c.data,
                           (long)a->flags.id, limit - 1);
        if ((size_t)a->flags.id < spec->size) {
            nb_bytes t = spec->tokens[a->flags.id];
            if (t.data && (t.len != c.len || memcmp(t.data, c.data, c.len) != 0))
                return nb_fail(err, NB_E_INPUT, "added token \"%.*s\" has id %ld, which is \"%.*s\" in the vocabulary",
                               shown(c), c.data, (long)a->flags.id, shown(t), t.data);
        }
        *size = nb_max(*size, (size_t)a->flags.id + 1);
    }
    return NB_OK;
}

/* contents, by_content, by_text. */
static nb_status index_contents(nb_tokenizer *tok, const nb__spec *spec, nb_err *err) {
    size_t bytes = 0, count = 0;
    for (size_t i = 0; i < spec->size; i++) {
        nb_bytes t = spec->tokens[i];
        count += t.data != NULL;
        if (!nb_add(bytes, t.len, &bytes))
            return nb_fail_memory(err, SIZE_MAX, "the vocabulary");
        if (nb__utf8_valid(t.data, t.len) != t.len)
            return nb_fail(err, NB_E_INPUT, "token %zu is not UTF-8", i);
    }
    for (size_t i = 0; i < spec->n_added; i++)
        if (!nb_add(bytes, spec->added[i].content.len, &bytes))
            return nb_fail_memory(err, SIZE_MAX, "the vocabulary");
    NB_TRY(reserve(&tok->contents, bytes, err));
    NB_TRY(nb__strmap_init(&tok->by_content, count + spec->n_added, err));
    if (!spec->byte_level)
        NB_TRY(nb__strmap_init(&tok->bpe.by_text, count, err));
    for (size_t i = 0; i < spec->size; i++) {
        if (!spec->tokens[i].data)
            continue;
        nb_bytes t = keep(&tok->contents, spec->tokens[i]);
        if (!nb__strmap_put(&tok->by_content, t, (int32_t)i))
            return nb_fail(err, NB_E_INPUT, "tokens %ld and %zu are both \"%.*s\"",
                           (long)nb__strmap_get(&tok->by_content, t.data, t.len), i, shown(t), t.data);
        if (!spec->byte_level)
            nb__strmap_put(&tok->bpe.by_text, t, (int32_t)i);
    }
    for (size_t i = 0; i < spec->n_added; i++) {
        nb_bytes t = keep(&tok->contents, spec->added[i].content);
        int32_t id = spec->added[i].flags.id;
        if (!nb__strmap_put(&tok->by_content, t, id) && nb__strmap_get(&tok->by_content, t.data, t.len) != id)
            return nb_fail(err, NB_E_INPUT, "\"%.*s\" is token %ld and added token %ld", shown(t), t.data,
                           (long)nb__strmap_get(&tok->by_content, t.data, t.len), (long)id);
    }
    return NB_OK;
}

static nb_status normalized_content(const nb_tokenizer *tok, nb_bytes content, nb_str *out, nb_err *err) {
    nb__regex_scratch scratch = {0};
    out->len = 0;
    nb_status status = nb__normalize(&tok->norm, &scratch, content.data, content.len, out, err);
    nb__regex_scratch_free(&scratch);
    return status;
}

/* Added tokens, the matchers, and which added token an id is (index + 1 in `which`). */
static nb_status take_added(nb_tokenizer *tok, const nb__spec *spec, uint32_t *which, nb_err *err) {
    NB_TRY(nb_calloc(spec->n_added, sizeof *tok->added, "added tokens", &tok->added, err));
    tok->n_added = spec->n_added;
    nb_str text = {0};
    nb_status status = NB_OK;
    size_t raw = 0, normalized = 0;
    for (size_t pass = 0; pass < 2; pass++) { /* sizes, then contents */
        if (pass) {
            NB_GO(nb__matcher_init(&tok->raw, raw, err));
            NB_GO(nb__matcher_init(&tok->normalized, normalized, err));
        }
        for (size_t i = 0; i < spec->n_added; i++) {
            const nb__spec_added *a = &spec->added[i];
            nb_bytes c = a->content;
            if (a->flags.normalized) {
                NB_GO(normalized_content(tok, c, &text, err));
                c = (nb_bytes){text.data, text.len};
            }
            if (!pass) {
                *(a->flags.normalized ? &normalized : &raw) += c.len;
                continue;
            }
            tok->added[i] = a->flags;
            tok->flags[a->flags.id] = (uint8_t)(NB_TOK_ADDED | (a->flags.special ? NB_TOK_SPECIAL : 0));
            which[a->flags.id] = (uint32_t)(i + 1);
            nb__matcher_add(a->flags.normalized ? &tok->normalized : &tok->raw, c.data, c.len, (int32_t)i);
        }
    }
out:
    nb_str_free(&text);
    return status;
}

/* text and at: what decoders see. */
static nb_status take_texts(nb_tokenizer *tok, const nb__spec *spec, const uint32_t *which, nb_err *err) {
    nb_str text = {0};
    nb_status status = NB_OK;
    for (size_t i = 0; i < tok->size; i++) {
        nb_bytes t = {0};
        if (which[i]) {
            const nb__spec_added *a = &spec->added[which[i] - 1];
            t = a->content;
            if (a->flags.normalized) {
                NB_GO(normalized_content(tok, t, &text, err));
                t = (nb_bytes){text.data, text.len};
            }
        } else if (i < spec->size) {
            t = spec->tokens[i];
        }
        NB_GO(nb_str_add(&tok->text, t.data, t.len, err));
        tok->at[i + 1] = tok->text.len;
    }
out:
    nb_str_free(&text);
    return status;
}

static void take_bytes(nb_tokenizer *tok, const nb__spec *spec) {
    for (unsigned b = 0; b < 256; b++) {
        char name[8];
        size_t n;
        if (spec->byte_level)
            n = nb__utf8_put(nb__byte_to_char((unsigned char)b), name);
        else
            n = (size_t)snprintf(name, sizeof name, "<0x%02X>", b);
        tok->bpe.byte_id[b] = nb__strmap_get(&tok->by_content, name, n);
    }
}

/* Does the merge put a mark behind something else? */
static bool joins_before_mark(nb_bytes left, nb_bytes right) {
    bool mark_left = left.len >= 3 && memcmp(left.data + left.len - 3, NB_MARK, 3) == 0;
    return !mark_left && right.len >= 3 && memcmp(right.data, NB_MARK, 3) == 0;
}

static nb_status no_token(nb_err *err, size_t i, nb_bytes l, nb_bytes r, nb_bytes missing) {
    return nb_fail(err, NB_E_INPUT, "merge %zu (\"%.*s\" \"%.*s\"): \"%.*s\" is not in the vocabulary", i, shown(l), l.data,
                   shown(r), r.data, shown(missing), missing.data);
}

static nb_status take_merges(nb_tokenizer *tok, const nb__spec *spec, nb_err *err) {
    if (spec->n_merges >= INT32_MAX)
        return nb_fail(err, NB_E_INPUT, "%zu merges, expected fewer than 2^31 - 1", spec->n_merges);
    NB_TRY(nb__pairmap_init(&tok->bpe.merges, spec->n_merges, err));
    nb_str joined = {0};
    nb_status status = NB_OK;
    for (size_t i = 0; i < spec->n_merges; i++) {
        nb_bytes l = spec->left[i], r = spec->right[i];
        int32_t left = nb__strmap_get(&tok->by_content, l.data, l.len);
        int32_t right = nb__strmap_get(&tok->by_content, r.data, r.len);
        joined.len = 0;
        NB_GO(nb_str_add(&joined, l.data, l.len, err));
        NB_GO(nb_str_add(&joined, r.data, r.len, err));
        int32_t id = nb__strmap_get(&tok->by_content, joined.data, joined.len);
        if (left < 0 || right < 0 || id < 0) {
            nb_bytes whole = {joined.data, joined.len};
            status = no_token(err, i, l, r, left < 0 ? l : right < 0 ? r : whole);
            goto out;
        }
        tok->bpe.cut = tok->bpe.cut && !joins_before_mark(l, r);
        nb__pairmap_put(&tok->bpe.merges, left, right, (int32_t)i, id);
    }
out:
    nb_str_free(&joined);
    return status;
}

/* Calls for each way to cut piece `id` in two tokens; counts, and with put adds the merges. */
static size_t cuts_of(nb_tokenizer *tok, nb_bytes piece, int32_t id, int32_t rank, bool put) {
    size_t count = 0;
    for (size_t k = 1; k < piece.len; k++) {
        if (((unsigned char)piece.data[k] & 0xC0) == 0x80)
            continue;
        nb_bytes l = {piece.data, k}, r = {piece.data + k, piece.len - k};
        int32_t left = nb__strmap_get(&tok->by_content, l.data, l.len);
        int32_t right = left < 0 ? -1 : nb__strmap_get(&tok->by_content, r.data, r.len);
        if (right < 0)
            continue;
        count++;
        if (put) {
            tok->bpe.cut = tok->bpe.cut && !joins_before_mark(l, r);
            nb__pairmap_put(&tok->bpe.merges, left, right, rank, id);
        }
    }
    return count;
}

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* SentencePiece: the pair whose piece has the highest score goes first, the leftmost of equals. Pieces of equal score
 * share a rank. */
static nb_status take_scores(nb_tokenizer *tok, const nb__spec *spec, nb_err *err) {
    scored *order;
    nb_status status = NB_OK;
    size_t n = 0, merges = 0;
    int32_t rank = 0;
    NB_TRY(nb_calloc(spec->size, sizeof *order, "scores", &order, err));
    for (size_t i = 0; i < spec->size; i++) {
        bool normal = spec->tokens[i].data && (!spec->types || spec->types[i] == NB_TOKEN_NORMAL);
        if (!normal)
            continue;
        if (isnan(spec->scores[i]) || spec->tokens[i].len > PIECE_LIMIT) {
            status = isnan(spec->scores[i])
                         ? nb_fail(err, NB_E_INPUT, "token %zu has the score NaN", i)
                         : nb_fail(err, NB_E_INPUT, "token %zu has %zu bytes, expected at most %d", i,
                                   spec->tokens[i].len, PIECE_LIMIT);
            goto out;
        }
        order[n++] = (scored){spec->scores[i], (int32_t)i};
        merges += cuts_of(tok, spec->tokens[i], (int32_t)i, 0, false);
    }
    qsort(order, n, sizeof *order, by_score);
    NB_GO(nb__pairmap_init(&tok->bpe.merges, merges, err));
    for (size_t i = 0; i < n; i++) {
        rank += i && order[i].score < order[i - 1].score;
        cuts_of(tok, spec->tokens[order[i].id], order[i].id, rank, true);
    }
out:
    nb_free(order);
    return status;
}

/* Byte-level pieces by the bytes they stand for, for ignore_merges. */
static nb_status index_bytes(nb_tokenizer *tok, const nb__spec *spec, nb_err *err) {
    size_t total = 0;
    for (size_t i = 0; i < spec->size; i++)
        total += spec->tokens[i].len; /* an upper bound; checked in index_contents */
    NB_TRY(reserve(&tok->piece_bytes, total, err));
    NB_TRY(nb__strmap_init(&tok->bpe.by_bytes, spec->size, err));
    for (size_t i = 0; i < spec->size; i++) {
        nb_bytes t = spec->tokens[i];
        size_t at = tok->piece_bytes.len;
        bool all = false;
        if (!t.data)
            continue;
        NB_TRY(nb__from_alphabet(t.data, t.len, &tok->piece_bytes, &all, err));
        nb_bytes key = {tok->piece_bytes.data + at, tok->piece_bytes.len - at};
        if (all)
            nb__strmap_put(&tok->bpe.by_bytes, key, (int32_t)i);
    }
    return NB_OK;
}

static nb_status check_special(const char *what, int64_t id, size_t size, int32_t *out, nb_err *err) {
    if (id < -1 || id >= (int64_t)size)
        return nb_fail_at(err, NB_E_INPUT, NULL, what, "is %lld, but there are %zu tokens", (long long)id, size);
    *out = (int32_t)id;
    return NB_OK;
}

nb_status nb__build(nb_tokenizer *tok, const nb__spec *spec, nb_err *err) {
    nb__unicode_init();
    if (spec->size == 0 || spec->size >= INT32_MAX)
        return nb_fail(err, NB_E_INPUT, "a vocabulary of %zu tokens, expected 1 to 2^31 - 2", spec->size);
    NB_TRY(check_added(spec, &tok->size, err));
    int32_t unk = -1;
    NB_TRY(check_special("unk", spec->unk == NB_UNK_MISSING ? -1 : spec->unk, tok->size, &unk, err));
    NB_TRY(check_special("bos", spec->bos, tok->size, &tok->bos, err));
    NB_TRY(check_special("eos", spec->eos, tok->size, &tok->eos, err));
    NB_TRY(nb_calloc(tok->size + 1, sizeof *tok->at, "the vocabulary", &tok->at, err));
    NB_TRY(nb_calloc(tok->size, 1, "the vocabulary", &tok->flags, err));
    NB_TRY(index_contents(tok, spec, err));
    uint32_t *which;
    NB_TRY(nb_calloc(tok->size, sizeof *which, "the vocabulary", &which, err));
    nb_status status = take_added(tok, spec, which, err);
    if (status == NB_OK)
        status = take_texts(tok, spec, which, err);
    nb_free(which);
    NB_TRY(status);

    nb__bpe *b = &tok->bpe;
    b->byte_level = spec->byte_level;
    b->byte_fallback = spec->byte_fallback;
    b->fuse_unk = spec->fuse_unk;
    b->ignore_merges = spec->ignore_merges;
    b->unk = spec->unk == NB_UNK_MISSING ? NB_UNK_MISSING : unk;
    b->mark = (nb_bytes){NB_MARK, 3};
    b->cut = !spec->byte_level && nb__strmap_get(&b->by_text, NB_MARK, 3) >= 0;
    take_bytes(tok, spec);
    NB_TRY(spec->scores ? take_scores(tok, spec, err) : take_merges(tok, spec, err));
    return spec->ignore_merges && spec->byte_level ? index_bytes(tok, spec, err) : NB_OK;
}

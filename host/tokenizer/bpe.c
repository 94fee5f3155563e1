#include "host/tokenizer/bpe.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/tokenizer/utf8.h"

#define NONE UINT32_MAX
enum { SMALL = 24 }; /* pieces of so few symbols are searched through instead of kept in a heap */

static nb_status reserve(nb__bpe_scratch *s, size_t symbols, nb_err *err) {
    if (symbols >= NONE)
        return nb_fail(err, NB_E_UNSUPPORTED, "a piece of %zu bytes without a break, expected fewer than 2^32 - 1", symbols);
    if (symbols > s->room) {
        size_t room = nb_max(symbols, 2 * s->room);
        NB_TRY(nb_regrow(room, sizeof *s->symbols, "the symbols of a word", &s->symbols, err));
        s->room = room;
    }
    return NB_OK;
}

static void add_symbol(nb__bpe_scratch *s, int32_t id) {
    s->symbols[s->count].id = id;
    s->count++;
}

static void add_bytes(const nb__bpe *b, nb__bpe_scratch *s, const char *piece, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (b->byte_id[(unsigned char)piece[i]] >= 0)
            add_symbol(s, b->byte_id[(unsigned char)piece[i]]);
}

static bool has_bytes(const nb__bpe *b, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (b->byte_id[(unsigned char)text[i]] < 0)
            return false;
    return true;
}

static nb_status no_unk(nb_err *err) {
    return nb_fail(err, NB_E_INPUT, "the text has characters that are no token, and the unk_token is no token either");
}

/* Characters, with byte fallback and unknown ones. An unknown character waits until a known one comes: bytes may
 * overtake it, as in the reference. Without an unk_token it is dropped. */
static nb_status add_chars(const nb__bpe *b, nb__bpe_scratch *s, const char *piece, size_t len, nb_err *err) {
    bool waiting = false;
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp;
        n = nb__utf8_get(piece + i, &cp);
        int32_t id = nb__strmap_get(&b->by_text, piece + i, n);
        if (id >= 0) {
            if (waiting)
                add_symbol(s, b->unk);
            waiting = false;
            add_symbol(s, id);
        } else if (b->byte_fallback && has_bytes(b, piece + i, n)) {
            add_bytes(b, s, piece + i, n);
        } else if (b->unk == NB_UNK_MISSING) {
            return no_unk(err);
        } else if (b->unk >= 0) {
            if (waiting && !b->fuse_unk)
                add_symbol(s, b->unk);
            waiting = true;
        }
    }
    if (waiting)
        add_symbol(s, b->unk);
    return NB_OK;
}

/* Byte-level bytes that are no token are unknown characters too. */
static nb_status add_bytes_unk(const nb__bpe *b, nb__bpe_scratch *s, const char *piece, size_t len, nb_err *err) {
    bool waiting = false;
    for (size_t i = 0; i < len; i++) {
        int32_t id = b->byte_id[(unsigned char)piece[i]];
        if (id < 0 && b->unk == NB_UNK_MISSING)
            return no_unk(err);
        if (waiting && (id >= 0 || !b->fuse_unk))
            add_symbol(s, b->unk);
        waiting = id < 0;
        if (id >= 0)
            add_symbol(s, id);
    }
    if (waiting)
        add_symbol(s, b->unk);
    return NB_OK;
}

/* Few symbols: look at all pairs, join the best, again. */
static void merge_small(const nb__bpe *b, nb__bpe_scratch *s) {
    int32_t rank[SMALL], id[SMALL];
    nb__symbol *y = s->symbols;
    for (size_t i = 0; i + 1 < s->count; i++) {
        const nb__pair_slot *m = nb__pairmap_get(&b->merges, y[i].id, y[i + 1].id);
        rank[i] = m ? m->rank : INT32_MAX;
        id[i] = m ? m->id : -1;
    }
    for (;;) {
        size_t best = 0;
        int32_t least = INT32_MAX;
        for (size_t i = 0; i + 1 < s->count; i++)
            if (rank[i] < least) {
                least = rank[i];
                best = i;
            }
        if (least == INT32_MAX)
            return;
        s->joins++;
        y[best].id = id[best];
        s->count--;
        for (size_t i = best + 1; i < s->count; i++) {
            y[i] = y[i + 1];
            rank[i] = i + 1 < s->count ? rank[i + 1] : INT32_MAX;
            id[i] = i + 1 < s->count ? id[i + 1] : -1;
        }
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < s->count; i++) {
            const nb__pair_slot *m = nb__pairmap_get(&b->merges, y[i].id, y[i + 1].id);
            rank[i] = m ? m->rank : INT32_MAX;
            id[i] = m ? m->id : -1;
        }
    }
}

static bool before(const nb__pair *a, const nb__pair *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static nb_status push(nb__bpe_scratch *s, nb__pair p, nb_err *err) {
    if (s->heap_count == s->heap_room) {
        size_t room = s->heap_room ? 2 * s->heap_room : 64;
        NB_TRY(nb_regrow(room, sizeof *s->heap, "the pairs of a word", &s->heap, err));
        s->heap_room = room;
    }
    size_t i = s->heap_count++;
    for (; i > 0 && before(&p, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = p;
    return NB_OK;
}

static nb__pair pop(nb__bpe_scratch *s) {
    nb__pair top = s->heap[0], last = s->heap[--s->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->heap_count)
            break;
        if (child + 1 < s->heap_count && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

static nb_status push_pair(const nb__bpe *b, nb__bpe_scratch *s, uint32_t at, nb_err *err) {
    uint32_t next = s->symbols[at].next;
    const nb__pair_slot *m =
        next == NONE ? NULL : nb__pairmap_get(&b->merges, s->symbols[at].id, s->symbols[next].id);
    return m ? push(s, (nb__pair){m->rank, at, m->id}, err) : NB_OK;
}

/* Many symbols: a heap of pairs, in which a pair that no longer stands is passed over. */
static nb_status merge_heap(const nb__bpe *b, nb__bpe_scratch *s, nb_err *err) {
    nb__symbol *y = s->symbols;
    s->heap_count = 0;
    for (size_t i = 0; i < s->count; i++) {
        y[i].prev = i ? (uint32_t)(i - 1) : NONE;
        y[i].next = i + 1 < s->count ? (uint32_t)(i + 1) : NONE;
    }
    for (size_t i = 0; i < s->count; i++)
        NB_TRY(push_pair(b, s, (uint32_t)i, err));
    while (s->heap_count) {
        nb__pair p = pop(s);
        s->pops++;
        uint32_t next = y[p.at].next;
        if (y[p.at].id < 0 || next == NONE)
            continue;
        const nb__pair_slot *m = nb__pairmap_get(&b->merges, y[p.at].id, y[next].id);
        if (!m || m->id != p.id)
            continue;
        s->joins++;
        y[p.at].id = p.id;
        y[p.at].next = y[next].next;
        y[next].id = -1;
        if (y[p.at].next != NONE)
            y[y[p.at].next].prev = p.at;
        if (y[p.at].prev != NONE)
            NB_TRY(push_pair(b, s, y[p.at].prev, err));
        NB_TRY(push_pair(b, s, p.at, err));
    }
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++)
        if (y[i].id >= 0)
            y[kept++].id = y[i].id;
    s->count = kept;
    return NB_OK;
}

static nb_status encode(const nb__bpe *b, nb__bpe_scratch *s, const char *piece, size_t len, nb_ids *out, nb_err *err) {
    if (b->ignore_merges) {
        int32_t id = nb__strmap_get(b->byte_level ? &b->by_bytes : &b->by_text, piece, len);
        if (id >= 0)
            return nb_ids_add(out, id, err);
    }
    NB_TRY(reserve(s, len, err));
    s->count = 0;
    if (!b->byte_level)
        NB_TRY(add_chars(b, s, piece, len, err));
    else if (b->unk == NB_UNK_NONE)
        add_bytes(b, s, piece, len);
    else
        NB_TRY(add_bytes_unk(b, s, piece, len, err));
    if (s->count <= SMALL)
        merge_small(b, s);
    else
        NB_TRY(merge_heap(b, s, err));
    for (size_t i = 0; i < s->count; i++)
        NB_TRY(nb_ids_add(out, s->symbols[i].id, err));
    return NB_OK;
}

static nb_status encode_cached(const nb__bpe *b, nb__bpe_scratch *s, const char *piece, size_t len, nb_ids *out,
                               nb_err *err) {
    if (!s->cache || len > NB_CACHE_KEY || len == 0)
        return encode(b, s, piece, len, out, err);
    nb__cached *c = &s->cache[XXH3_64bits(piece, len) % NB_CACHE_SLOTS];
    if (c->len == len && memcmp(c->key, piece, len) == 0) {
        for (size_t i = 0; i < c->count; i++)
            NB_TRY(nb_ids_add(out, c->ids[i], err));
        return NB_OK;
    }
    size_t at = out->len;
    NB_TRY(encode(b, s, piece, len, out, err));
    size_t count = out->len - at;
    if (count <= NB_CACHE_IDS) {
        c->len = (uint8_t)len;
        c->count = (uint8_t)count;
        memcpy(c->key, piece, len);
        if (count)
            memcpy(c->ids, out->data + at, count * sizeof *c->ids);
    }
    return NB_OK;
}

/* A mark with something else than a mark before it: where a piece may be cut. */
static size_t next_cut(const nb__bpe *b, const char *piece, size_t len, size_t from) {
    bool after_mark = true;
    size_t n = b->mark.len;
    while (from < len) {
        bool is_mark = len - from >= n && memcmp(piece + from, b->mark.data, n) == 0;
        if (is_mark && !after_mark)
            return from;
        after_mark = is_mark;
        from += is_mark ? n : 1;
    }
    return len;
}

nb_status nb__bpe_encode(const nb__bpe *b, nb__bpe_scratch *s, const char *piece, size_t len, nb_ids *out, nb_err *err) {
    if (!b->cut || b->ignore_merges)
        return encode_cached(b, s, piece, len, out, err);
    for (size_t at = 0; at < len;) {
        size_t end = next_cut(b, piece, len, at);
        NB_TRY(encode_cached(b, s, piece + at, end - at, out, err));
        at = end;
    }
    return NB_OK;
}

nb_status nb__bpe_use_cache(nb__bpe_scratch *s, nb_err *err) {
    return s->cache ? NB_OK : nb_calloc(NB_CACHE_SLOTS, sizeof *s->cache, "a cache of words", &s->cache, err);
}

void nb__bpe_scratch_free(nb__bpe_scratch *s) {
    nb_free(s->symbols);
    nb_free(s->heap);
    nb_free(s->cache);
    *s = (nb__bpe_scratch){0};
}

void nb__bpe_free(nb__bpe *b) {
    nb__strmap_free(&b->by_text);
    nb__strmap_free(&b->by_bytes);
    nb__pairmap_free(&b->merges);
}

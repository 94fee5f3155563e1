/* Decoders, and GPT-2's byte alphabet. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/tokenizer/steps.h"
#include "host/tokenizer/utf8.h"

/* Printable Latin-1 stands for itself; the 68 other bytes, in order, follow from U+0100. */
static bool stands_for_itself(unsigned b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

uint32_t nb__byte_to_char(unsigned char byte) {
    if (stands_for_itself(byte))
        return byte;
    uint32_t others = 0;
    for (unsigned b = 0; b < byte; b++)
        others += !stands_for_itself(b);
    return 0x100 + others;
}

int nb__char_to_byte(uint32_t cp) {
    if (cp < 0x100)
        return stands_for_itself(cp) ? (int)cp : -1;
    if (cp <= 0x120) /* 00..20 */
        return (int)(cp - 0x100);
    if (cp <= 0x142) /* 7F..A0 */
        return (int)(cp - 0x121 + 0x7F);
    return cp == 0x143 ? 0xAD : -1;
}

nb_status nb__from_alphabet(const char *text, size_t len, nb_str *out, bool *all, nb_err *err) {
    size_t before = out->len;
    *all = true;
    for (size_t i = 0; i < len && *all;) {
        uint32_t cp;
        i += nb__utf8_get(text + i, &cp);
        int byte = nb__char_to_byte(cp);
        char c = (char)byte;
        *all = byte >= 0;
        if (*all)
            NB_TRY(nb_str_add(out, &c, 1, err));
    }
    if (!*all)
        out->len = before;
    return NB_OK;
}

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int nb__byte_token(const char *t, size_t len) {
    if (len != 6 || memcmp(t, "<0x", 3) != 0 || t[5] != '>' || hex(t[3]) < 0 || hex(t[4]) < 0)
        return -1;
    return hex(t[3]) * 16 + hex(t[4]);
}

nb_status nb__list_close(nb__list *l, nb_err *err) {
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 32;
        NB_TRY(nb_regrow(room, sizeof *l->ends, "a list of tokens", &l->ends, err));
        l->room = room;
    }
    l->ends[l->count++] = l->bytes.len;
    return NB_OK;
}

nb_bytes nb__list_item(const nb__list *l, size_t i) {
    size_t start = i ? l->ends[i - 1] : 0;
    return (nb_bytes){l->bytes.data ? l->bytes.data + start : "", l->ends[i] - start};
}

void nb__list_free(nb__list *l) {
    nb_str_free(&l->bytes);
    nb_free(l->ends);
    *l = (nb__list){0};
}

static nb_status replace(const nb__dec_step *s, nb_bytes t, nb_str *out, nb_err *err) {
    nb__regex_scratch scratch = {0};
    nb_status status = nb__replace(&s->find, &scratch, t.data, t.len, &s->text, out, err);
    nb__regex_scratch_free(&scratch);
    return status;
}

/* Up to s->start characters from the front and s->stop from the end, where they are the one to strip. */
static nb_bytes strip(const nb__dec_step *s, nb_bytes t, bool front, bool back) {
    size_t n = s->text.len;
    for (size_t i = 0; front && i < s->start && t.len >= n && memcmp(t.data, s->text.data, n) == 0; i++) {
        t.data += n;
        t.len -= n;
    }
    for (size_t i = 0; back && i < s->stop && t.len >= n && memcmp(t.data + t.len - n, s->text.data, n) == 0; i++)
        t.len -= n;
    return t;
}

/* The mark becomes a blank, or nothing in the first token. */
static nb_status marks(const nb__dec_step *s, nb_bytes t, bool first, nb_str *out, nb_err *err) {
    for (size_t i = 0; i < t.len;) {
        bool mark = t.len - i >= s->text.len && memcmp(t.data + i, s->text.data, s->text.len) == 0;
        if (!mark)
            NB_TRY(nb_str_add(out, t.data + i, 1, err));
        else if (!(first && s->drop_first))
            NB_TRY(nb_str_add(out, " ", 1, err));
        i += mark ? s->text.len : 1;
    }
    return NB_OK;
}

/* Runs of byte tokens: their text where they are UTF-8, otherwise U+FFFD for each byte. */
static nb_status byte_fallback(const nb__list *in, nb__list *out, nb_err *err) {
    for (size_t i = 0; i < in->count;) {
        nb_bytes t = nb__list_item(in, i);
        size_t start = out->bytes.len, end = i;
        int byte;
        while (end < in->count && (byte = nb__byte_token(nb__list_item(in, end).data, nb__list_item(in, end).len)) >= 0) {
            char c = (char)byte;
            NB_TRY(nb_str_add(&out->bytes, &c, 1, err));
            end++;
        }
        if (end == i) {
            NB_TRY(nb_str_add(&out->bytes, t.data, t.len, err));
            NB_TRY(nb__list_close(out, err));
            i++;
            continue;
        }
        size_t count = end - i;
        if (nb__utf8_valid(out->bytes.data + start, count) == count) {
            NB_TRY(nb__list_close(out, err));
        } else {
            out->bytes.len = start;
            for (size_t k = 0; k < count; k++) {
                NB_TRY(nb_str_add(&out->bytes, "\xEF\xBF\xBD", 3, err));
                NB_TRY(nb__list_close(out, err));
            }
        }
        i = end;
    }
    return NB_OK;
}

static nb_status byte_level(const nb__list *in, nb__list *out, nb_err *err) {
    nb_str raw = {0};
    nb_status status = NB_OK;
    for (size_t i = 0; status == NB_OK && i < in->count; i++) {
        nb_bytes t = nb__list_item(in, i);
        bool all = false;
        status = nb__from_alphabet(t.data, t.len, &raw, &all, err);
        if (status == NB_OK && !all)
            status = nb_str_add(&raw, t.data, t.len, err);
    }
    if (status == NB_OK && raw.len)
        status = nb__utf8_repair(raw.data, raw.len, &out->bytes, err);
    nb_str_free(&raw);
    return status == NB_OK ? nb__list_close(out, err) : status;
}

static nb_status one_step(const nb__dec_step *s, const nb__list *in, nb__list *out, nb_err *err) {
    if (s->kind == NB_DEC_BYTE_FALLBACK)
        return byte_fallback(in, out, err);
    if (s->kind == NB_DEC_BYTE_LEVEL)
        return byte_level(in, out, err);
    for (size_t i = 0; i < in->count; i++) {
        nb_bytes t = nb__list_item(in, i);
        if (s->kind == NB_DEC_REPLACE)
            NB_TRY(replace(s, t, &out->bytes, err));
        else if (s->kind == NB_DEC_METASPACE)
            NB_TRY(marks(s, t, i == 0, &out->bytes, err));
        else {
            nb_bytes u = s->kind == NB_DEC_STRIP ? strip(s, t, true, true) : t;
            NB_TRY(nb_str_add(&out->bytes, u.data, u.len, err));
        }
        if (s->kind != NB_DEC_FUSE || i + 1 == in->count)
            NB_TRY(nb__list_close(out, err));
    }
    return NB_OK;
}

nb_status nb__decode(const nb__dec *dec, nb__list *tokens, nb_str *out, nb_err *err) {
    nb__list now = {0}, next = {0};
    nb_status status = NB_OK;
    for (size_t k = 0; status == NB_OK && k < dec->count; k++) {
        next.bytes.len = next.count = 0;
        status = one_step(&dec->steps[k], k ? &now : tokens, &next, err);
        nb__list swap = now;
        now = next;
        next = swap;
    }
    const nb__list *last = dec->count ? &now : tokens;
    for (size_t i = 0; status == NB_OK && i < last->count; i++) {
        nb_bytes t = nb__list_item(last, i);
        if (i && dec->count == 0)
            status = nb_str_add(out, " ", 1, err);
        if (status == NB_OK)
            status = nb_str_add(out, t.data, t.len, err);
    }
    nb__list_free(&now);
    nb__list_free(&next);
    return status;
}

/* As nb__decode for a list of one, but bytes stay bytes, and what a Strip after Fuse does at the end of the text is
 * left out, as more tokens may come. */
static nb_status one_raw(const nb__dec *dec, nb_str *now, nb_str *next, bool first, nb_err *err) {
    bool fused = false, raw = false;
    for (size_t k = 0; k < dec->count; k++) {
        const nb__dec_step *s = &dec->steps[k];
        nb_bytes t = {now->data ? now->data : "", now->len};
        bool all = false;
        int byte = nb__byte_token(t.data, t.len);
        char c = (char)byte;
        next->len = 0;
        if (s->kind == NB_DEC_FUSE) {
            fused = true;
            continue;
        }
        if (raw && s->kind != NB_DEC_STRIP) /* a lone byte is no text that a pattern could look at */
            continue;
        if (s->kind == NB_DEC_BYTE_LEVEL)
            NB_TRY(nb__from_alphabet(t.data, t.len, next, &all, err));
        else if (s->kind == NB_DEC_REPLACE)
            NB_TRY(replace(s, t, next, err));
        else if (s->kind == NB_DEC_METASPACE)
            NB_TRY(marks(s, t, first, next, err));
        else if (s->kind == NB_DEC_BYTE_FALLBACK && byte >= 0)
            NB_TRY(nb_str_add(next, &c, 1, err));
        else if (s->kind == NB_DEC_STRIP) {
            nb_bytes u = strip(s, t, !fused || first, !fused);
            NB_TRY(nb_str_add(next, u.data, u.len, err));
        } else
            continue;
        if (s->kind == NB_DEC_BYTE_LEVEL && !all)
            continue;
        raw = raw || s->kind == NB_DEC_BYTE_LEVEL || s->kind == NB_DEC_BYTE_FALLBACK;
        nb_str swap = *now;
        *now = *next;
        *next = swap;
    }
    return NB_OK;
}

nb_status nb__decode_one(const nb__dec *dec, const char *token, size_t len, bool first, nb_str *out, nb_err *err) {
    nb_str now = {0}, next = {0};
    nb_status status = nb_str_add(&now, token, len, err);
    if (status == NB_OK && dec->count == 0 && !first) {
        status = nb_str_add(out, " ", 1, err);
    }
    if (status == NB_OK)
        status = one_raw(dec, &now, &next, first, err);
    if (status == NB_OK)
        status = nb_str_add(out, now.data, now.len, err);
    nb_str_free(&now);
    nb_str_free(&next);
    return status;
}

void nb__dec_free(nb__dec *dec) {
    for (size_t i = 0; i < dec->count; i++) {
        nb__finder_free(&dec->steps[i].find);
        nb_str_free(&dec->steps[i].text);
    }
    dec->count = 0;
}

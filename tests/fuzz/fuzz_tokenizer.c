/* Any tokenizer.json and any text. A tokenizer that is accepted gives ids below its size, and each of them, and all of
 * them together, can be decoded to well-formed text. Over a byte-level vocabulary of ours, with the pre-tokenizers that
 * GGUF names, decoding gives the text back.
 *
 * Input: '{' begins a tokenizer.json, then a NUL and a text; any other byte picks a pre-tokenizer, and a text follows. */
#include <string.h>

#include "host/tokenizer/parts.h"
#include "host/tokenizer/utf8.h"
#include "tests/fuzz/fuzz.h"

/* Without NFC, so that the text comes back as it was. */
static const char *const names[] = {"gpt-2", "smollm", "llama-bpe", "tekken", "deepseek-v3", "default", "gpt-4o", "deepseek-coder"};
enum { NAMES = sizeof names / sizeof *names, TOKENS = 256 + 6 };

static nb_tokenizer *named(size_t which) {
    static char text[256][4];
    static const char *const more[] = {"th", "the", ("\xC4\xA0" "x"), "12", "<s>", "ab"};
    nb_bytes tokens[TOKENS], merges[] = {{"t h", 3}, {"th e", 4}, {"\xC4\xA0 x", 4}, {"1 2", 3}, {"a b", 3}};
    int32_t types[TOKENS];
    for (unsigned i = 0; i < TOKENS; i++) {
        types[i] = NB_TOKEN_NORMAL;
        tokens[i] = i < 256 ? (nb_bytes){text[i], nb__utf8_put(nb__byte_to_char((unsigned char)i), text[i])}
                            : (nb_bytes){more[i - 256], strlen(more[i - 256])};
    }
    types[260] = NB_TOKEN_CONTROL;
    nb_vocab v = {.kind = NB_VOCAB_BPE, .pre = names[which], .size = TOKENS, .tokens = tokens, .types = types, .n_merges = 5,
                  .merges = merges, .bos = -1, .eos = -1, .unk = -1, .pad = -1, .eot = -1};
    nb_tokenizer *tok = NULL;
    MUST(nb_tokenizer_from_vocab(&v, "fuzz", &tok, NULL) == NB_OK);
    return tok;
}

static void check(const nb_tokenizer *tok, const char *text, size_t len, bool gives_back) {
    nb_ids ids = {0};
    nb_str all = {0}, one = {0}, repaired = {0};
    nb_err err = {0};
    nb_status status = nb_tokenize(tok, text, len, true, &ids, &err);
    MUST(status == NB_OK || (err.text[0] && ids.len == 0 && !gives_back));
    for (size_t i = 0; i < ids.len; i++) {
        MUST(ids.data[i] >= 0 && (size_t)ids.data[i] < nb_tokenizer_size(tok));
        MUST(nb_token_bytes(tok, ids.data[i], i == 0, &one, &err) == NB_OK || err.text[0]);
    }
    status = nb_detokenize(tok, ids.data, ids.len, false, &all, &err);
    MUST(status == NB_OK ? nb__utf8_valid(all.data, all.len) == all.len : err.text[0] != 0);
    if (gives_back) {
        MUST(nb__utf8_repair(text, len, &repaired, NULL) == NB_OK);
        MUST(all.len == repaired.len && (all.len == 0 || memcmp(all.data, repaired.data, all.len) == 0));
        one.len = 0;
        for (size_t i = 0; i < ids.len; i++)
            MUST(nb_token_bytes(tok, ids.data[i], i == 0, &one, NULL) == NB_OK);
        MUST(one.len == all.len && (one.len == 0 || memcmp(one.data, all.data, one.len) == 0));
    }
    nb_ids_free(&ids);
    nb_str_free(&all);
    nb_str_free(&one);
    nb_str_free(&repaired);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static nb_tokenizer *kept[NAMES];
    const char *text = (const char *)data;
    if (size && text[0] != '{') {
        size_t which = data[0] % NAMES;
        if (!kept[which])
            kept[which] = named(which);
        check(kept[which], text + 1, size - 1, true);
        return 0;
    }
    const char *nul = size ? memchr(text, 0, size) : NULL;
    size_t len = nul ? (size_t)(nul - text) : size;
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    nb_status status = nb__tokenizer_from_text(text, len, "fuzz", &tok, &err);
    MUST(status == NB_OK || (err.status == status && err.text[0] && !tok));
    if (status == NB_OK && nul)
        check(tok, nul + 1, size - len - 1, false);
    nb_tokenizer_free(tok);
    return 0;
}

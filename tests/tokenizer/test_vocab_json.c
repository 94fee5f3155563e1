/* tokenizer.json -> GGUF vocabulary -> tokenizer: the ids are those of tokenizer.json itself. */
#include <stdio.h>
#include <string.h>

#include "host/base/file.h"
#include "host/tokenizer/vocab_json.h"
#include "tests/tokenizer/golden.h"

static void check_way(const char *name, const char *pre, const char *expected) {
    nb_json_vocab *v = NULL;
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    json_t *config = json_pack("{s:i, s:[i]}", "bos_token_id", 1, "eos_token_id", 2);
    const char *path = golden_path(name, "json");
    need(nb_vocab_from_json(path, config, 1500, &v, &err), &err, path);
    nb_vocab vocab = *nb_json_vocab_get(v);
    cr_assert_str_eq(vocab.pre, pre, "%s: %s", name, vocab.pre);
    cr_assert(vocab.size >= 1500 && vocab.types[vocab.size - 1] == NB_TOKEN_UNUSED && vocab.eos == 2, "%s", name);
    if (vocab.add_bos) /* the golden models name theirs in the template alone */
        for (size_t i = 0; i < vocab.size; i++)
            if (vocab.tokens[i].len && (!strncmp(vocab.tokens[i].data, "<s>", 3) || !strncmp(vocab.tokens[i].data, "<bos>", 5) ||
                                        !strncmp(vocab.tokens[i].data, "<|begin_of_text|>", 17)))
                vocab.bos = (int64_t)i;
    need(nb_tokenizer_from_vocab(&vocab, path, &tok, &err), &err, path);
    nb_json_vocab_free(v);
    json_decref(config);
    check_all(tok, expected, true);
    nb_tokenizer_free(tok);
}

Test(vocab_json, byte_level) {
    check_way("smollm", "smollm", "smollm");
    check_way("gpt2", "gpt-2", "gpt2");
    check_way("llama3", "llama-bpe", "llama3");
    check_way("qwen2", "qwen2", "qwen2");
}

Test(vocab_json, sentencepiece) {
    check_way("llama2-prepend", "default", "llama2-prepend");
    /* Metaspace puts no blank before one; GGUF has no way to say so */
    check_way("llama2-metaspace", "default", "llama2-prepend");
    check_way("gemma", "default", "gemma");
}

static void refused(const char *text, const char *says) {
    char path[] = "/tmp/nibble-vocab-XXXXXX";
    nb_json_vocab *v = NULL;
    nb_err err = {0};
    cr_assert_geq(mkstemp(path), 0);
    cr_assert_eq(nb_file_write(path, text, strlen(text), NULL), NB_OK);
    nb_status status = nb_vocab_from_json(path, NULL, 4, &v, &err);
    cr_expect(status == NB_E_UNSUPPORTED || status == NB_E_INPUT, "%s", says);
    cr_expect(strstr(err.text, says) || strstr(err.item, says), "%s: %s", err.item, err.text);
    cr_expect_null(v);
    remove(path);
}

#define MODEL(more) "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}," more

Test(vocab_json, refusals) {
    refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", "Unigram");
    refused("{\"model\":{\"type\":\"BPE\"}}", "model.vocab");
    refused(MODEL("\"merges\":[\"a\"]},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}}"), "two pieces");
    refused(MODEL("\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Whitespace\"}}"), "pre_tokenizer");
    refused(MODEL("\"merges\":[]},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}}"), "pre_tokenizer");
    refused(MODEL("\"merges\":[],\"byte_fallback\":true}}"), "blanks are not replaced");
    refused(MODEL("\"merges\":[]},\"added_tokens\":[{\"id\":1,\"content\":\"c\"}]}"), "both have the id 1");
    refused(MODEL("\"merges\":[]},\"added_tokens\":[{\"id\":-1,\"content\":\"c\"}]}"), "no id");
    refused(MODEL("\"merges\":[]},\"added_tokens\":[{\"id\":3}]}"), "no content");
}

/* Tokenizers from the vocabularies of GGUF files. */
#include <stdio.h>
#include <stdlib.h>

#include "host/base/file.h"
#include "host/ckpt/ckpt.h"
#include "tests/tokenizer/golden.h"

static nb_tokenizer *open_gguf(const char *path) {
    nb_ckpt *ckpt = NULL;
    const nb_vocab *vocab = NULL;
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    need(nb_ckpt_open(path, &ckpt, &err), &err, path);
    need(nb_ckpt_vocab(ckpt, &vocab, &err), &err, path);
    need(nb_tokenizer_from_vocab(vocab, path, &tok, &err), &err, path);
    nb_ckpt_close(ckpt); /* the tokenizer borrows nothing */
    return tok;
}

static void check_gguf(const char *name, const char *expected) {
    nb_tokenizer *tok = open_gguf(golden_path(name, "gguf"));
    check_all(tok, expected, true);
    nb_tokenizer_free(tok);
}

Test(gguf, smollm) { check_gguf("smollm", "smollm"); }
Test(gguf, gpt2) { check_gguf("gpt2", "gpt2"); }
Test(gguf, llama3) { check_gguf("llama3", "llama3"); }
Test(gguf, qwen2) { check_gguf("qwen2", "qwen2"); }
/* Scores instead of merges. */
Test(gguf, llama2) { check_gguf("llama2", "llama2-prepend"); }
Test(gguf, gemma) { check_gguf("gemma", "gemma"); }

/* The real vocabulary of SmolLM2. */
Test(gguf, smollm2) {
    const char *given = getenv("NIBBLE_TEST_MODEL");
    const char *path = given && *given ? given : "models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!nb_path_exists(path)) {
        cr_log_warn("not run: no model at %s (NIBBLE_TEST_MODEL or build/%s)", path, path);
        return;
    }
    nb_tokenizer *tok = open_gguf(path);
    cr_assert_eq(nb_tokenizer_size(tok), 49152);
    check_all(tok, "smollm2", true);
    cr_assert_eq(nb_tokenizer_bos(tok), 1);
    cr_assert_eq(nb_tokenizer_eos(tok), 2);
    cr_assert(!nb_tokenizer_adds_bos(tok));
    nb_tokenizer_free(tok);
}

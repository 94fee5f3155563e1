/* Ids and texts against those of Hugging Face's tokenizers package (tests/golden/README.md). */
#include "tests/tokenizer/golden.h"

static void check_json(const char *name) {
    nb_tokenizer *tok = golden_tokenizer(name);
    check_all(tok, name, true);
    nb_tokenizer_free(tok);
}

/* The same vocabulary as a GGUF file describes it, through the pre-tokenizer's name. */
static void check_named(const char *name, const char *pre) {
    made_vocab m = vocab_of_json(golden_path(name, "json"), pre);
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    need(nb_tokenizer_from_vocab(&m.v, name, &tok, &err), &err, pre);
    check_all(tok, name, false);
    nb_tokenizer_free(tok);
    vocab_free(&m);
}

Test(golden, smollm) { check_json("smollm"); }
Test(golden, gpt2) { check_json("gpt2"); }
Test(golden, llama3) { check_json("llama3"); }
Test(golden, qwen2) { check_json("qwen2"); }
Test(golden, added) { check_json("added"); }
Test(golden, llama2_prepend) { check_json("llama2-prepend"); }
Test(golden, llama2_metaspace) { check_json("llama2-metaspace"); }
Test(golden, gemma) { check_json("gemma"); }
Test(golden, named_smollm) { check_named("smollm", "smollm"); }
Test(golden, named_gpt2) { check_named("gpt2", "gpt-2"); }
Test(golden, named_llama3) { check_named("llama3", "llama-bpe"); }
Test(golden, named_qwen2) { check_named("qwen2", "qwen2"); }

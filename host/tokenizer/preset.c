/* What tokenizer.ggml.pre names. The pipelines are those of the models' own tokenizer.json. */
#include <string.h>

#include "host/tokenizer/parts.h"

typedef struct preset {
    const char *name;
    const char *patterns[4]; /* Split(pattern, Isolated) in this order */
    bool digits;             /* Digits(individual_digits) before them */
    bool nfc;
    bool ignore_merges;
} preset;

/* clang-format off */
static const preset presets[] = {
    {"gpt-2",          {NB_PATTERN_GPT2},   false, false, false},
    {"phi-2",          {NB_PATTERN_GPT2},   false, false, false},
    {"smollm",         {NB_PATTERN_GPT2},   true,  false, false},
    {"starcoder",      {NB_PATTERN_GPT2},   true,  false, false},
    {"refact",         {NB_PATTERN_GPT2},   true,  false, false},
    {"codeshell",      {NB_PATTERN_GPT2},   true,  false, false},
    {"llama-bpe",      {NB_PATTERN_LLAMA3}, false, false, true},
    {"llama3",         {NB_PATTERN_LLAMA3}, false, false, true},
    {"llama-v3",       {NB_PATTERN_LLAMA3}, false, false, true},
    {"smaug-bpe",      {NB_PATTERN_LLAMA3}, false, false, false},
    {"dbrx",           {NB_PATTERN_LLAMA3}, false, false, false},
    {"qwen2",          {NB_PATTERN_QWEN2},  false, true,  false},
    {"deepseek-r1-qwen", {NB_PATTERN_QWEN2}, false, true, false},
    {"qwen35",         {NB_PATTERN_QWEN35}, false, true,  false},
};
/* clang-format on */

static nb_status unknown(const char *pre, nb_err *err) {
    nb_str names = {0};
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        NB_TRY(nb_str_addf(&names, err, "%s%s", i ? ", " : "", presets[i].name));
    nb_status status = nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "tokenizer.ggml.pre", "\"%.64s\" is not known; known are %s",
                                  pre, names.data);
    nb_str_free(&names);
    return status;
}

nb_status nb__preset_apply(nb_tokenizer *tok, const char *pre, bool *ignore_merges, nb_err *err) {
    const preset *p = presets, *end = presets + sizeof presets / sizeof *presets;
    while (p < end && strcmp(p->name, pre) != 0)
        p++;
    if (p == end)
        return unknown(pre, err);
    nb__norm_step *norm;
    nb__pre_step *step;
    if (p->nfc)
        NB_TRY(nb__norm_add(&tok->norm, NB_NORM_NFC, &norm, err));
    if (p->digits) {
        NB_TRY(nb__pre_add(&tok->pre, NB_PRE_SPLIT, &step, err));
        step->find.kind = NB_FIND_DIGIT;
    }
    for (size_t i = 0; i < sizeof p->patterns / sizeof *p->patterns && p->patterns[i]; i++)
        NB_TRY(nb__pre_add_pattern(&tok->pre, p->patterns[i], err));
    *ignore_merges = p->ignore_merges;
    return NB_OK;
}

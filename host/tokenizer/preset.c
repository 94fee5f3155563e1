/* What tokenizer.ggml.pre names. The pipelines are those of the models' own tokenizer.json; where llama.cpp simplifies
 * a pattern, or leaves NFC out, the original is taken. A name that is not here is refused. */
#include <string.h>

#include "host/tokenizer/parts.h"

typedef struct preset {
    const char *name;
    const char *patterns[5]; /* Split(pattern, Isolated) in this order */
    bool digits;             /* Digits(individual_digits) before them */
    bool nfc;
    bool ignore_merges;
} preset;

/* clang-format off */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TAIL  "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define OTHER "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* Mistral's tekken, and OpenAI's o200k */
#define TEKKEN "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*|\\p{N}" OTHER
#define O200K  "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" TAIL "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" TAIL \
               "|\\p{N}{1,3}" OTHER
#define HAN_KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define HAN_HANGUL "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define DEEPSEEK3 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" \
                  "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

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
    {"mpt",            {NB_PATTERN_GPT2},   false, false, false},
    {"olmo",           {NB_PATTERN_GPT2},   false, false, false},
    {"glm4",           {NB_PATTERN_LLAMA3}, false, false, false},
    {"chatglm-bpe",    {NB_PATTERN_LLAMA3}, false, false, false},
    {"tekken",         {TEKKEN},            false, false, true},
    {"gpt-4o",         {O200K},             false, false, false},
    {"llama4",         {O200K},             false, false, false},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN_HANGUL, "\\p{N}"}, false, false, false},
    {"deepseek-v3",    {"\\p{N}{1,3}", HAN_KANA, DEEPSEEK3}, false, false, false},
    /* What llama.cpp does with a file that says "default"; no published tokenizer.json has this pipeline. */
    {"default",        {"[\\p{P}\\$\\+<=>\\^~\\|]+", NB_PATTERN_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false, false},
};
/* clang-format on */

static nb_status unknown(const char *pre, nb_err *err) {
    if (!*pre) /* old converters did not write it; a guess would give wrong ids and nobody would see it */
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "tokenizer.ggml.pre",
                          "is missing, so the pre-tokenizer of this BPE vocabulary is not known; convert the model again");
    nb_str names = {0};
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        NB_TRY(nb_str_addf(&names, err, "%s%s", i ? ", " : "", presets[i].name));
    nb_status status = nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "tokenizer.ggml.pre", "\"%.64s\" is not known; known are %s",
                                  pre, names.data);
    nb_str_free(&names);
    return status;
}

static nb_status find_preset(const char *pre, const preset **out, nb_err *err) {
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (!strcmp(presets[i].name, pre)) {
            *out = &presets[i];
            return NB_OK;
        }
    return unknown(pre, err);
}

nb_status nb__preset_apply(nb_tokenizer *tok, const char *pre, bool *ignore_merges, nb_err *err) {
    const preset *p;
    NB_TRY(find_preset(pre, &p, err));
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

nb_status nb__preset_export(const char *pre, json_t **normalizer, json_t **pre_tokenizer, bool *ignore_merges, nb_err *err) {
    const preset *p;
    NB_TRY(find_preset(pre, &p, err));
    json_t *steps = json_array();
    if (p->digits)
        json_array_append_new(steps, json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1));
    for (size_t i = 0; i < sizeof p->patterns / sizeof *p->patterns && p->patterns[i]; i++)
        json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", p->patterns[i],
                                               "behavior", "Isolated", "invert", 0));
    *normalizer = p->nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    *pre_tokenizer = json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
    *ignore_merges = p->ignore_merges;
    return NB_OK;
}

/* ---- the other way ---- */

typedef struct pipeline {
    const char *patterns[8];
    size_t count;
    bool digits, nfc, unknown;
} pipeline;

static void add_pattern(pipeline *p, const char *pattern) {
    p->unknown = p->unknown || !pattern || p->count == sizeof p->patterns / sizeof *p->patterns;
    if (!p->unknown)
        p->patterns[p->count++] = pattern;
}

/* A step of a pre-tokenizer, or a sequence of them. */
static void add_step(pipeline *p, const json_t *step) {
    const char *type = json_string_value(json_object_get(step, "type"));
    const json_t *list = json_object_get(step, "pretokenizers");
    if (type && !strcmp(type, "Sequence")) {
        for (size_t i = 0; i < json_array_size(list); i++)
            add_step(p, json_array_get(list, i));
    } else if (type && !strcmp(type, "Split")) {
        const char *behavior = json_string_value(json_object_get(step, "behavior"));
        p->unknown = p->unknown || !behavior || strcmp(behavior, "Isolated") != 0 || json_is_true(json_object_get(step, "invert"));
        add_pattern(p, json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex")));
    } else if (type && !strcmp(type, "Digits")) {
        p->unknown = p->unknown || p->count || !json_is_true(json_object_get(step, "individual_digits"));
        p->digits = true;
    } else if (type && !strcmp(type, "ByteLevel")) {
        p->unknown = p->unknown || json_is_true(json_object_get(step, "add_prefix_space"));
        if (!json_is_false(json_object_get(step, "use_regex")))
            add_pattern(p, NB_PATTERN_GPT2);
    } else {
        p->unknown = true;
    }
}

static bool is_preset(const pipeline *p, const preset *q, bool ignore_merges) {
    enum { MOST = sizeof q->patterns / sizeof *q->patterns };
    if (p->unknown || p->digits != q->digits || p->nfc != q->nfc || ignore_merges != q->ignore_merges || p->count > MOST)
        return false;
    for (size_t i = 0; i < p->count; i++)
        if (!q->patterns[i] || strcmp(p->patterns[i], q->patterns[i]) != 0)
            return false;
    return p->count == MOST || !q->patterns[p->count];
}

nb_status nb__preset_detect(const json_t *normalizer, const json_t *pre_tokenizer, bool ignore_merges, const char **out,
                            nb_err *err) {
    pipeline p = {0};
    const char *norm = json_string_value(json_object_get(normalizer, "type"));
    p.nfc = norm && !strcmp(norm, "NFC");
    p.unknown = normalizer && !json_is_null(normalizer) && !p.nfc;
    add_step(&p, pre_tokenizer);
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (is_preset(&p, &presets[i], ignore_merges)) {
            *out = presets[i].name;
            return NB_OK;
        }
    return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "pre_tokenizer", "is none that tokenizer.ggml.pre has a name for");
}

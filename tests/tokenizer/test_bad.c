/* Bad tokenizers: each is one clear error, with its status and words that name what is wrong. The numbers are those of
 * the list of bad inputs (30 to 35). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tokenizer/util.h"

typedef struct bad {
    const char *name, *json;
    nb_status status;
    const char *words[3]; /* all stand in the error's line */
} bad;

#define MODEL(vocab, merges) "{\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}}"
#define WITH(rest) "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}," rest "}"
#define ADDED(id, content) WITH("\"added_tokens\":[{\"id\":" id ",\"content\":\"" content "\"}]")
#define PRE(rest) WITH("\"pre_tokenizer\":{" rest "}")
#define SPLIT(pattern) PRE("\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"" pattern "\"}")

static const bad table[] = {
    {"not JSON", "{", NB_E_INPUT, {"tokenizer.json", "JSON"}},
    {"not an object", "[]", NB_E_INPUT, {"object"}},
    {"no model", "{}", NB_E_INPUT, {"model", "missing"}},
    {"unigram", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", NB_E_UNSUPPORTED, {"Unigram", "BPE"}},
    {"no vocab", "{\"model\":{\"merges\":[]}}", NB_E_INPUT, {"model.vocab"}},
    {"no merges", "{\"model\":{\"vocab\":{\"a\":0}}}", NB_E_INPUT, {"model.merges"}},
    {"empty vocab", MODEL("{}", "[]"), NB_E_INPUT, {"0 tokens"}},
    {"vocab a list", MODEL("[\"a\"]", "[]"), NB_E_INPUT, {"model.vocab"}},
    {"30 negative id", MODEL("{\"a\":0,\"b\":-1}", "[]"), NB_E_INPUT, {"\"b\"", "-1"}},
    {"30 id beyond the vocabulary", MODEL("{\"a\":0,\"b\":70000}", "[]"), NB_E_INPUT, {"\"b\"", "70000"}},
    {"30 id 2^53 + 1", MODEL("{\"a\":9007199254740993}", "[]"), NB_E_INPUT, {"9007199254740993"}},
    {"30 id 2^32", MODEL("{\"a\":4294967296}", "[]"), NB_E_INPUT, {"4294967296"}},
    {"30 id beyond 2^63", MODEL("{\"a\":9223372036854775808}", "[]"), NB_E_INPUT, {"tokenizer.json"}},
    {"30 id 1.5", MODEL("{\"a\":1.5}", "[]"), NB_E_INPUT, {"1.5"}},
    {"30 id a string", MODEL("{\"a\":\"0\"}", "[]"), NB_E_INPUT, {"\"a\""}},
    {"30 one id twice", MODEL("{\"a\":0,\"b\":0}", "[]"), NB_E_INPUT, {"\"a\"", "\"b\"", "both"}},
    {"one key twice", MODEL("{\"a\":0,\"a\":1}", "[]"), NB_E_INPUT, {"duplicate"}},
    {"30 added id negative", ADDED("-1", "x"), NB_E_INPUT, {"id", "-1"}},
    {"30 added id too large", ADDED("99999", "x"), NB_E_INPUT, {"\"x\"", "99999"}},
    {"30 added id 2^53 + 1", ADDED("9007199254740993", "x"), NB_E_INPUT, {"9007199254740993"}},
    {"added id of another token", ADDED("1", "x"), NB_E_INPUT, {"\"x\"", "\"b\""}},
    {"added content of another id", ADDED("7", "b"), NB_E_INPUT, {"\"b\"", "7"}},
    {"added token empty", ADDED("3", ""), NB_E_INPUT, {"added token 0", "empty"}},
    {"added token without content", WITH("\"added_tokens\":[{\"id\":3}]"), NB_E_INPUT, {"content"}},
    {"added tokens an object", WITH("\"added_tokens\":{}"), NB_E_INPUT, {"added_tokens"}},
    {"31 merge of an unknown left piece", MODEL("{\"a\":0,\"b\":1,\"xb\":2}", "[\"x b\"]"), NB_E_INPUT, {"merge 0", "\"x\" is not"}},
    {"31 merge of an unknown right piece", MODEL("{\"a\":0,\"ax\":2}", "[[\"a\",\"x\"]]"), NB_E_INPUT, {"merge 0", "\"x\" is not"}},
    {"31 merge to an unknown piece", MODEL("{\"a\":0,\"b\":1}", "[\"a b\"]"), NB_E_INPUT, {"merge 0", "\"ab\" is not"}},
    {"merge of three", MODEL("{\"a\":0}", "[\"a a a\"]"), NB_E_INPUT, {"merge 0"}},
    {"merge of one", MODEL("{\"a\":0}", "[[\"a\"]]"), NB_E_INPUT, {"merge 0"}},
    {"merge of numbers", MODEL("{\"a\":0}", "[[0,1]]"), NB_E_INPUT, {"merge 0"}},
    {"dropout", "{\"model\":{\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}", NB_E_UNSUPPORTED, {"dropout"}},
    {"prefix", "{\"model\":{\"continuing_subword_prefix\":\"##\",\"vocab\":{\"a\":0},\"merges\":[]}}", NB_E_UNSUPPORTED, {"##"}},
    {"suffix", "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0},\"merges\":[]}}", NB_E_UNSUPPORTED, {"</w>"}},
    {"normalizer", WITH("\"normalizer\":{\"type\":\"Lowercase\"}"), NB_E_UNSUPPORTED, {"normalizer", "Lowercase", "NFC"}},
    {"normalizer without type", WITH("\"normalizer\":{}"), NB_E_INPUT, {"normalizer", "type"}},
    {"normalizer a number", WITH("\"normalizer\":3"), NB_E_INPUT, {"normalizer"}},
    {"sequence without list", WITH("\"normalizer\":{\"type\":\"Sequence\"}"), NB_E_INPUT, {"normalizers"}},
    {"replace without pattern", WITH("\"normalizer\":{\"type\":\"Replace\",\"content\":\"\"}"), NB_E_INPUT, {"pattern"}},
    {"replace of nothing", WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}"), NB_E_INPUT, {"empty"}},
    {"pre-tokenizer", PRE("\"type\":\"BertPreTokenizer\""), NB_E_UNSUPPORTED, {"pre_tokenizer", "BertPreTokenizer", "Split"}},
    {"step after ByteLevel", PRE("\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]"),
     NB_E_UNSUPPORTED, {"Digits", "after ByteLevel"}},
    {"behaviour", PRE("\"type\":\"Split\",\"behavior\":\"Odd\",\"pattern\":{\"String\":\"x\"}"), NB_E_INPUT, {"Odd"}},
    {"prepend scheme", PRE("\"type\":\"Metaspace\",\"prepend_scheme\":\"odd\""), NB_E_INPUT, {"odd"}},
    {"replacement of two characters", PRE("\"type\":\"Metaspace\",\"replacement\":\"xy\""), NB_E_INPUT, {"xy"}},
    {"33 pattern that is none", SPLIT("(a"), NB_E_INPUT, {"\"(a\"", "regular expression"}},
    {"33 repeat too large", SPLIT("a{1,999999}"), NB_E_INPUT, {"regular expression"}},
    {"33 property that is none", SPLIT("\\\\p{Odd}"), NB_E_INPUT, {"regular expression"}},
    {"33 nested too deep", NULL, NB_E_INPUT, {"regular expression"}},
    {"33 pattern too long", NULL, NB_E_INPUT, {"65536"}},
    {"decoder", WITH("\"decoder\":{\"type\":\"WordPiece\"}"), NB_E_UNSUPPORTED, {"decoder", "WordPiece"}},
    {"post-processor", WITH("\"post_processor\":{\"type\":\"Odd\"}"), NB_E_UNSUPPORTED, {"post_processor", "Odd"}},
    {"template without A", WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}"), NB_E_INPUT, {"sequence A"}},
    {"template of an unknown token", WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]}"),
     NB_E_INPUT, {"special_tokens"}},
    {"35 template id beyond the vocabulary",
     WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},{\"Sequence\":{\"id\":\"A\"}}],"
          "\"special_tokens\":{\"x\":{\"ids\":[3]}}}"), NB_E_INPUT, {"0 to 2"}},
};

/* The two rows whose JSON is made: a pattern of many parentheses, a very long one. */
static char *made_json(const char *name) {
    bool deep = strstr(name, "deep") != NULL;
    size_t n = deep ? 20000 : 70000;
    nb_str s = {0};
    cr_assert_eq(nb_str_addf(&s, NULL, "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Split\","
                             "\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\""), NB_OK);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(nb_str_add(&s, deep ? "(" : "a", 1, NULL), NB_OK);
    for (size_t i = 0; deep && i < n; i++)
        cr_assert_eq(nb_str_add(&s, ")", 1, NULL), NB_OK);
    cr_assert_eq(nb_str_addf(&s, NULL, "\"}}}"), NB_OK);
    return s.data;
}

static void check(const char *name, nb_status status, nb_status expected, const nb_err *err, const char *const *words) {
    char line[1024];
    nb_err_line(err, line, sizeof line);
    cr_assert_eq(status, expected, "%s: status %d, expected %d (%s)", name, (int)status, (int)expected, line);
    cr_assert_eq(err->status, expected, "%s", name);
    for (int k = 0; k < 3 && words[k]; k++)
        cr_assert(strstr(line, words[k]), "%s: no \"%s\" in \"%s\"", name, words[k], line);
}

Test(bad, tokenizer_json, .timeout = 60) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        nb_tokenizer *tok = NULL;
        nb_err err = {0};
        char *made = table[i].json ? NULL : made_json(table[i].name);
        nb_status status = tokenizer_of_text(made ? made : table[i].json, &tok, &err);
        check(table[i].name, status, table[i].status, &err, table[i].words);
        cr_assert_null(tok, "%s", table[i].name);
        cr_assert(strstr(err.path, "tokenizer.json"), "%s: the error names no file", table[i].name);
        free(made);
    }
}

/* Documents nested 100 000 deep, at the ends of the JSON parser and of our own recursion. */
Test(bad, nesting) {
    for (size_t depth = 20; depth <= 100000; depth *= 5000) {
        nb_str s = {0};
        nb_tokenizer *tok = NULL;
        nb_err err = {0};
        cr_assert_eq(nb_str_addf(&s, NULL, "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]},\"normalizer\":"), NB_OK);
        for (size_t i = 0; i < depth; i++)
            cr_assert_eq(nb_str_addf(&s, NULL, "{\"type\":\"Sequence\",\"normalizers\":["), NB_OK);
        for (size_t i = 0; i < depth; i++)
            cr_assert_eq(nb_str_addf(&s, NULL, "]}"), NB_OK);
        cr_assert_eq(nb_str_addf(&s, NULL, "}"), NB_OK);
        cr_assert_eq(tokenizer_of_text(s.data, &tok, &err), NB_E_INPUT);
        cr_assert(strstr(err.text, "deep") || strstr(err.text, "nesting") || strstr(err.text, "depth"), "%s", err.text);
        nb_str_free(&s);
    }
}

Test(bad, missing_file) {
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    cr_assert_neq(nb_tokenizer_from_json("/nonexistent/tokenizer.json", &tok, &err), NB_OK);
    cr_assert(strstr(err.path, "/nonexistent/"), "%s", err.path);
}

Test(bad, config_names_a_token_that_is_not_there) {
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    cr_assert_eq(tokenizer_with_config("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", "{\"eos_token\":\"<end>\"}", &tok, &err),
                 NB_E_INPUT);
    cr_assert(strstr(err.text, "<end>") && strstr(err.path, "tokenizer_config.json") && strstr(err.item, "eos_token"));
    cr_assert_eq(tokenizer_with_config("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}", "{", &tok, &err), NB_E_INPUT);
    cr_assert(strstr(err.path, "tokenizer_config.json"));
    cr_assert_null(tok);
}

static nb_bytes b(const char *s) {
    return (nb_bytes){s, strlen(s)};
}

/* GGUF vocabularies. The rows change one thing of a sound one. */
typedef enum change {
    SOUND, MANY, NONE_AT_ALL, BYTE_BAD, BOS_BIG, EOS_BIG, UNK_BIG, BOS_UNNAMED, PRE_ODD, PRE_MISSING, MERGE_BAD, MERGE_UNKNOWN,
    SCORES_MISSING, SCORE_NAN, TOKEN_LONG, NOT_UTF8, TWICE, CHANGES
} change;
static const struct {
    nb_vocab_kind kind;
    nb_status status;
    const char *words[3];
} changes[CHANGES] = {
    [SOUND] = {NB_VOCAB_SPM, NB_OK, {NULL}},
    [MANY] = {NB_VOCAB_SPM, NB_E_INPUT, {"4294967296", "2^31"}}, /* 34 */
    [NONE_AT_ALL] = {NB_VOCAB_BPE, NB_E_INPUT, {"0 tokens"}},
    [BYTE_BAD] = {NB_VOCAB_SPM, NB_E_INPUT, {"<0x-1>", "byte"}}, /* 32 */
    [BOS_BIG] = {NB_VOCAB_SPM, NB_E_INPUT, {"bos", "128000", "6 tokens"}}, /* 35 */
    [EOS_BIG] = {NB_VOCAB_BPE, NB_E_INPUT, {"eos", "6"}},
    [UNK_BIG] = {NB_VOCAB_SPM, NB_E_INPUT, {"unk", "6"}},
    [BOS_UNNAMED] = {NB_VOCAB_SPM, NB_E_INPUT, {"add_bos_token"}},
    [PRE_ODD] = {NB_VOCAB_BPE, NB_E_UNSUPPORTED, {"odd-pre", "llama-bpe", "smollm"}},
    [PRE_MISSING] = {NB_VOCAB_BPE, NB_E_UNSUPPORTED, {"tokenizer.ggml.pre", "missing"}},
    [MERGE_BAD] = {NB_VOCAB_BPE, NB_E_INPUT, {"merge 0", "\"ab\""}},
    [MERGE_UNKNOWN] = {NB_VOCAB_BPE, NB_E_INPUT, {"merge 0", "\"z\" is not"}}, /* 31 */
    [SCORES_MISSING] = {NB_VOCAB_SPM, NB_E_INPUT, {"tokenizer.ggml.scores"}},
    [SCORE_NAN] = {NB_VOCAB_SPM, NB_E_INPUT, {"token 3", "NaN"}},
    [TOKEN_LONG] = {NB_VOCAB_SPM, NB_E_INPUT, {"token 2", "4096"}},
    [NOT_UTF8] = {NB_VOCAB_BPE, NB_E_INPUT, {"token 2", "UTF-8"}},
    [TWICE] = {NB_VOCAB_BPE, NB_E_INPUT, {"tokens 2 and 3", "\"a\""}},
};

Test(bad, vocabularies) {
    static char long_token[5000];
    memset(long_token, 'q', sizeof long_token - 1);
    for (int c = 0; c < CHANGES; c++) {
        nb_bytes tokens[] = {b("<unk>"), b("<s>"), b("a"), b("b"), b("ab"), b("<0x41>")}, merge = b("a b");
        int32_t types[] = {NB_TOKEN_UNKNOWN, NB_TOKEN_CONTROL, 1, 1, 1, NB_TOKEN_BYTE};
        float scores[] = {0, 0, -1, -2, -3, 0};
        nb_vocab v = {.kind = changes[c].kind, .pre = "gpt-2", .size = 6, .tokens = tokens, .types = types, .scores = scores,
                      .n_merges = 1, .merges = &merge, .bos = 1, .eos = -1, .unk = 0, .pad = -1, .eot = -1, .add_bos = true};
        switch ((change)c) {
        case MANY: v.size = (size_t)1 << 32; break;
        case NONE_AT_ALL: v.size = 0; break;
        case BYTE_BAD: tokens[5] = b("<0x-1>"); break;
        case BOS_BIG: v.bos = 128000; break;
        case EOS_BIG: v.eos = 6; break;
        case UNK_BIG: v.unk = 6; break;
        case BOS_UNNAMED: v.bos = -1; break;
        case PRE_ODD: v.pre = "odd-pre"; break;
        case PRE_MISSING: v.pre = ""; break;
        case MERGE_BAD: merge = b("ab"); break;
        case MERGE_UNKNOWN: merge = b("z b"); break;
        case SCORES_MISSING: v.scores = NULL; break;
        case SCORE_NAN: scores[3] = NAN; break;
        case TOKEN_LONG: tokens[2] = b(long_token); break;
        case NOT_UTF8: tokens[2] = b("\xFFx"); break;
        case TWICE: tokens[3] = b("a"); break;
        default: break;
        }
        nb_tokenizer *tok = NULL;
        nb_err err = {0};
        char name[32];
        snprintf(name, sizeof name, "change %d", c);
        nb_status status = nb_tokenizer_from_vocab(&v, "some.gguf", &tok, &err);
        if (c == SOUND) {
            need(status, &err, "the sound vocabulary");
            nb_tokenizer_free(tok);
            continue;
        }
        check(name, status, changes[c].status, &err, changes[c].words);
        cr_assert_str_eq(err.path, "some.gguf");
        cr_assert_null(tok);
    }
}

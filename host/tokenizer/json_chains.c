#include "host/tokenizer/json_chains.h"

#include <string.h>

#include "host/tokenizer/utf8.h"

enum { DEPTH_MAX = 16 }; /* Sequences in Sequences */

static bool absent(const json_t *v) {
    return !v || json_is_null(v);
}

static nb_status type_of(const json_t *v, const char *what, const char **out, nb_err *err) {
    *out = NULL;
    if (!json_is_object(v))
        return nb_fail_at(err, NB_E_INPUT, NULL, what, "is not an object");
    NB_TRY(nb_json_get_str(v, "type", out, err));
    return *out ? NB_OK : nb_fail_at(err, NB_E_INPUT, NULL, what, "has no type");
}

static nb_status unsupported(const char *what, const char *type, const char *known, nb_err *err) {
    return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, what, "\"%.64s\" is not supported; supported are Sequence, %s", type, known);
}

/* The items of a Sequence. */
static nb_status items(const json_t *v, const char *key, const char *what, unsigned depth, const json_t **out, nb_err *err) {
    *out = json_object_get(v, key);
    if (!json_is_array(*out))
        return nb_fail_at(err, NB_E_INPUT, NULL, what, "a Sequence without a list \"%s\"", key);
    return depth < DEPTH_MAX ? NB_OK : nb_fail_at(err, NB_E_INPUT, NULL, what, "Sequences nested more than %d deep", DEPTH_MAX);
}

/* A string of one character. */
static nb_status get_char(const json_t *v, const char *key, const char *def, nb_str *out, nb_err *err) {
    const char *s = def;
    uint32_t cp;
    NB_TRY(nb_json_get_str(v, key, &s, err));
    if (*s == 0 || nb__utf8_get(s, &cp) != strlen(s))
        return nb_fail_at(err, NB_E_INPUT, NULL, key, "is \"%.32s\", expected one character", s);
    return nb_str_add(out, s, strlen(s), err);
}

/* {"String": "..."} or {"Regex": "..."} */
static nb_status get_pattern(const json_t *v, nb__finder *out, nb_err *err) {
    const json_t *p = json_object_get(v, "pattern");
    const json_t *s = json_object_get(p, "String"), *r = json_object_get(p, "Regex");
    if (json_is_string(s))
        return nb__finder_string(out, json_string_value(s), json_string_length(s), err);
    if (json_is_string(r))
        return nb__finder_regex(out, json_string_value(r), json_string_length(r), err);
    return nb_fail_at(err, NB_E_INPUT, NULL, "pattern", "is neither a String nor a Regex");
}

static nb_status get_content(const json_t *v, const char *key, nb_str *out, nb_err *err) {
    const json_t *s = json_object_get(v, key);
    if (!json_is_string(s))
        return nb_fail_at(err, NB_E_INPUT, NULL, key, "is missing or not a string");
    return nb_str_add(out, json_string_value(s), json_string_length(s), err);
}

static nb_status one_normalizer(const json_t *v, nb__norm *norm, unsigned depth, nb_err *err) {
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    const char *type;
    nb__norm_step *step = NULL;
    NB_TRY(type_of(v, "normalizer", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list, *item;
        size_t i;
        NB_TRY(items(v, "normalizers", "normalizer", depth, &list, err));
        json_array_foreach(list, i, item)
            NB_TRY(one_normalizer(item, norm, depth + 1, err));
        return NB_OK;
    }
    for (int f = 0; f < 4; f++)
        if (strcmp(type, forms[f]) == 0)
            return nb__norm_add(norm, (nb__norm_kind)(NB_NORM_NFC + f), &step, err);
    if (strcmp(type, "Prepend") == 0) {
        NB_TRY(nb__norm_add(norm, NB_NORM_PREPEND, &step, err));
        return get_content(v, "prepend", &step->text, err);
    }
    if (strcmp(type, "Replace") == 0) {
        NB_TRY(nb__norm_add(norm, NB_NORM_REPLACE, &step, err));
        NB_TRY(get_pattern(v, &step->find, err));
        return get_content(v, "content", &step->text, err);
    }
    return unsupported("normalizer", type, "NFC, NFD, NFKC, NFKD, Prepend, Replace", err);
}

nb_status nb__json_normalizer(const json_t *v, nb__norm *norm, nb_err *err) {
    return absent(v) ? NB_OK : one_normalizer(v, norm, 0, err);
}

static nb_status get_prepend(const json_t *v, nb__prepend *out, nb_err *err) {
    const char *scheme = "always";
    bool add = true, given = !absent(json_object_get(v, "prepend_scheme"));
    NB_TRY(nb_json_get_str(v, "prepend_scheme", &scheme, err));
    NB_TRY(nb_json_get_bool(v, "add_prefix_space", &add, err));
    if (strcmp(scheme, "never") == 0 || (!add && !given))
        *out = NB_PREPEND_NEVER;
    else if (!add)
        return nb_fail_at(err, NB_E_INPUT, NULL, "prepend_scheme", "is \"%.32s\", but add_prefix_space is false", scheme);
    else if (strcmp(scheme, "first") == 0)
        *out = NB_PREPEND_FIRST;
    else if (strcmp(scheme, "always") == 0)
        *out = NB_PREPEND_ALWAYS;
    else
        return nb_fail_at(err, NB_E_INPUT, NULL, "prepend_scheme", "is \"%.32s\", expected always, first or never", scheme);
    return NB_OK;
}

static nb_status pre_metaspace(const json_t *v, nb__pre *pre, nb_err *err) {
    nb__pre_step *step = NULL, *cut = NULL;
    bool split = true;
    NB_TRY(nb__pre_add(pre, NB_PRE_METASPACE, &step, err));
    NB_TRY(get_char(v, "replacement", NB_MARK, &step->text, err));
    NB_TRY(get_prepend(v, &step->prepend, err));
    NB_TRY(nb_json_get_bool(v, "split", &split, err));
    if (!split)
        return NB_OK;
    NB_TRY(nb__pre_add(pre, NB_PRE_SPLIT, &cut, err));
    cut->behaviour = NB_SPLIT_NEXT;
    return nb__finder_string(&cut->find, step->text.data, step->text.len, err);
}

static nb_status pre_split(const json_t *v, nb__pre *pre, nb_err *err) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *behaviour = "";
    nb__pre_step *step = NULL;
    NB_TRY(nb__pre_add(pre, NB_PRE_SPLIT, &step, err));
    NB_TRY(get_pattern(v, &step->find, err));
    NB_TRY(nb_json_get_bool(v, "invert", &step->invert, err));
    NB_TRY(nb_json_get_str(v, "behavior", &behaviour, err));
    for (int i = 0; i < 5; i++)
        if (strcmp(behaviour, names[i]) == 0) {
            step->behaviour = (nb__behaviour)i;
            return NB_OK;
        }
    return nb_fail_at(err, NB_E_INPUT, NULL, "behavior", "is \"%.32s\", expected Isolated, Removed, MergedWithPrevious, "
                      "MergedWithNext or Contiguous", behaviour);
}

static nb_status pre_byte_level(const json_t *v, nb__pre *pre, nb_err *err) {
    bool prefix = true, regex = true;
    nb__pre_step *step = NULL;
    NB_TRY(nb_json_get_bool(v, "add_prefix_space", &prefix, err));
    NB_TRY(nb_json_get_bool(v, "use_regex", &regex, err));
    if (prefix)
        NB_TRY(nb__pre_add(pre, NB_PRE_SPACE, &step, err));
    return regex ? nb__pre_add_pattern(pre, NB_PATTERN_GPT2, err) : NB_OK;
}

static nb_status one_pre(const json_t *v, nb__pre *pre, bool *byte_level, unsigned depth, nb_err *err) {
    const char *type;
    nb__pre_step *step = NULL;
    NB_TRY(type_of(v, "pre_tokenizer", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list, *item;
        size_t i;
        NB_TRY(items(v, "pretokenizers", "pre_tokenizer", depth, &list, err));
        json_array_foreach(list, i, item)
            NB_TRY(one_pre(item, pre, byte_level, depth + 1, err));
        return NB_OK;
    }
    if (*byte_level) /* what follows would see the letters of the byte alphabet */
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "pre_tokenizer", "\"%.64s\" after ByteLevel is not supported", type);
    if (strcmp(type, "ByteLevel") == 0) {
        *byte_level = true;
        return pre_byte_level(v, pre, err);
    }
    if (strcmp(type, "Split") == 0)
        return pre_split(v, pre, err);
    if (strcmp(type, "Metaspace") == 0)
        return pre_metaspace(v, pre, err);
    bool digits = strcmp(type, "Digits") == 0, individual = false;
    if (!digits && strcmp(type, "WhitespaceSplit") != 0)
        return unsupported("pre_tokenizer", type, "ByteLevel, Split, Digits, Metaspace, WhitespaceSplit", err);
    NB_TRY(nb_json_get_bool(v, "individual_digits", &individual, err));
    NB_TRY(nb__pre_add(pre, NB_PRE_SPLIT, &step, err));
    step->find.kind = digits ? NB_FIND_DIGIT : NB_FIND_BLANK;
    step->behaviour = !digits ? NB_SPLIT_REMOVED : individual ? NB_SPLIT_ISOLATED : NB_SPLIT_CONTIGUOUS;
    return NB_OK;
}

nb_status nb__json_pre_tokenizer(const json_t *v, nb__pre *pre, bool *byte_level, nb_err *err) {
    return absent(v) ? NB_OK : one_pre(v, pre, byte_level, 0, err);
}

static nb_status dec_strip(const json_t *v, nb__dec *dec, nb_err *err) {
    nb__dec_step *step = NULL;
    int64_t start = 0, stop = 0;
    NB_TRY(nb__dec_add(dec, NB_DEC_STRIP, &step, err));
    NB_TRY(get_char(v, "content", " ", &step->text, err));
    NB_TRY(nb_json_get_int(v, "start", 0, INT32_MAX, &start, err));
    NB_TRY(nb_json_get_int(v, "stop", 0, INT32_MAX, &stop, err));
    step->start = (size_t)start;
    step->stop = (size_t)stop;
    return NB_OK;
}

static nb_status one_decoder(const json_t *v, nb__dec *dec, unsigned depth, nb_err *err) {
    const char *type;
    nb__dec_step *step = NULL;
    NB_TRY(type_of(v, "decoder", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list, *item;
        size_t i;
        NB_TRY(items(v, "decoders", "decoder", depth, &list, err));
        json_array_foreach(list, i, item)
            NB_TRY(one_decoder(item, dec, depth + 1, err));
        return NB_OK;
    }
    if (strcmp(type, "ByteLevel") == 0)
        return nb__dec_add(dec, NB_DEC_BYTE_LEVEL, &step, err);
    if (strcmp(type, "ByteFallback") == 0)
        return nb__dec_add(dec, NB_DEC_BYTE_FALLBACK, &step, err);
    if (strcmp(type, "Fuse") == 0)
        return nb__dec_add(dec, NB_DEC_FUSE, &step, err);
    if (strcmp(type, "Strip") == 0)
        return dec_strip(v, dec, err);
    if (strcmp(type, "Replace") == 0) {
        NB_TRY(nb__dec_add(dec, NB_DEC_REPLACE, &step, err));
        NB_TRY(get_pattern(v, &step->find, err));
        return get_content(v, "content", &step->text, err);
    }
    if (strcmp(type, "Metaspace") == 0) {
        nb__prepend prepend = NB_PREPEND_ALWAYS;
        NB_TRY(nb__dec_add(dec, NB_DEC_METASPACE, &step, err));
        NB_TRY(get_prepend(v, &prepend, err));
        step->drop_first = prepend != NB_PREPEND_NEVER;
        return get_char(v, "replacement", NB_MARK, &step->text, err);
    }
    return unsupported("decoder", type, "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace", err);
}

nb_status nb__json_decoder(const json_t *v, nb__dec *dec, nb_err *err) {
    return absent(v) ? NB_OK : one_decoder(v, dec, 0, err);
}

static nb_status add_special(const json_t *id, nb_tokenizer *tok, nb_ids *out, nb_err *err) {
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= (json_int_t)tok->size)
        return nb_fail_at(err, NB_E_INPUT, NULL, "post_processor", "a special token's id is no integer from 0 to %zu",
                          tok->size - 1);
    return nb_ids_add(out, (int32_t)json_integer_value(id), err);
}

/* single: special tokens around the sequence A. */
static nb_status post_template(const json_t *v, nb_tokenizer *tok, nb_err *err) {
    const json_t *single = json_object_get(v, "single"), *special = json_object_get(v, "special_tokens"), *item, *id;
    size_t i, k;
    bool seen = false;
    if (!json_is_array(single))
        return nb_fail_at(err, NB_E_INPUT, NULL, "post_processor", "a TemplateProcessing without a list \"single\"");
    json_array_foreach(single, i, item) {
        const char *name = NULL, *sequence = NULL;
        NB_TRY(nb_json_get_str(json_object_get(item, "SpecialToken"), "id", &name, err));
        NB_TRY(nb_json_get_str(json_object_get(item, "Sequence"), "id", &sequence, err));
        if (sequence && strcmp(sequence, "A") == 0 && !seen) {
            seen = true;
            continue;
        }
        const json_t *ids = name ? json_object_get(json_object_get(special, name), "ids") : NULL;
        if (!json_is_array(ids))
            return nb_fail_at(err, NB_E_INPUT, NULL, "post_processor", "item %zu of \"single\" is neither the sequence A "
                              "nor a token of special_tokens", i);
        json_array_foreach(ids, k, id)
            NB_TRY(add_special(id, tok, seen ? &tok->suffix : &tok->prefix, err));
    }
    return seen ? NB_OK : nb_fail_at(err, NB_E_INPUT, NULL, "post_processor", "\"single\" has no sequence A");
}

static nb_status one_post(const json_t *v, nb_tokenizer *tok, bool *has_template, unsigned depth, nb_err *err) {
    const char *type;
    NB_TRY(type_of(v, "post_processor", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list, *item;
        size_t i;
        NB_TRY(items(v, "processors", "post_processor", depth, &list, err));
        json_array_foreach(list, i, item)
            NB_TRY(one_post(item, tok, has_template, depth + 1, err));
        return NB_OK;
    }
    if (strcmp(type, "ByteLevel") == 0) /* moves offsets only */
        return NB_OK;
    bool template = strcmp(type, "TemplateProcessing") == 0;
    if (!template && strcmp(type, "BertProcessing") != 0 && strcmp(type, "RobertaProcessing") != 0)
        return unsupported("post_processor", type, "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing", err);
    if (*has_template)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "post_processor", "more than one template");
    *has_template = true;
    if (template)
        return post_template(v, tok, err);
    NB_TRY(add_special(json_array_get(json_object_get(v, "cls"), 1), tok, &tok->prefix, err));
    return add_special(json_array_get(json_object_get(v, "sep"), 1), tok, &tok->suffix, err);
}

nb_status nb__json_post_processor(const json_t *v, nb_tokenizer *tok, nb_err *err) {
    bool has_template = false;
    return absent(v) ? NB_OK : one_post(v, tok, &has_template, 0, err);
}

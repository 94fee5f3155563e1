/* Per-module overrides, "dynamic" of GPTQModel's config: an ordered object of regular expressions. */
#include <string.h>

#include <oniguruma.h>

#include "host/base/json.h"
#include "host/scheme/impl.h"

/* Enough for any sane rule; a pathological one ends as an error instead of a hang. */
enum { RETRY_LIMIT = 1000000 };

static nb_status compile(const char *rule, regex_t **out, nb_err *err) {
    OnigErrorInfo info;
    const OnigUChar *p = (const OnigUChar *)rule;
    int code = onig_new(out, p, p + strlen(rule), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_PERL_NG, &info);
    if (code == ONIG_NORMAL)
        return NB_OK;
    OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN] = {0};
    onig_error_code_to_str(text, code, &info);
    return nb_fail_at(err, NB_E_INPUT, NULL, rule, "no regular expression that is understood: %s", (const char *)text);
}

/* Does rule match at the start of name, as Python's re.match does? */
static nb_status matches(const char *rule, const char *name, bool *out, nb_err *err) {
    regex_t *regex;
    NB_TRY(compile(rule, &regex, err));
    nb_status status = NB_OK;
    const OnigUChar *p = (const OnigUChar *)name, *end = p + strlen(name);
    OnigMatchParam *param = onig_new_match_param();
    if (!param) {
        onig_free(regex);
        return nb_fail_memory(err, 0, "a regular expression");
    }
    onig_initialize_match_param(param);
    onig_set_retry_limit_in_match_of_match_param(param, RETRY_LIMIT);
    int at = onig_match_with_param(regex, p, end, p, NULL, ONIG_OPTION_NONE, param);
    *out = at >= 0;
    if (at < 0 && at != ONIG_MISMATCH)
        status = nb_fail_at(err, NB_E_INPUT, NULL, rule, "takes too long to match '%.100s'", name);
    onig_free_match_param(param);
    onig_free(regex);
    return status;
}

static nb_status apply(const json_t *values, nb_scheme_config *out, nb_err *err) {
    int64_t bits = out->bits, group = out->group_size;
    NB_TRY(nb_json_get_int(values, "bits", INT64_MIN, INT64_MAX, &bits, err));
    NB_TRY(nb_json_get_int(values, "group_size", INT64_MIN, INT64_MAX, &group, err));
    NB_TRY(nb_json_get_bool(values, "sym", &out->symmetric, err));
    NB_TRY(nb_json_get_bool(values, "desc_act", &out->desc_act, err));
    NB_TRY(nb__gptq_check_bits(bits, err));
    NB_TRY(nb__gptq_check_group(group, err));
    out->bits = (unsigned)bits;
    out->group_size = group;
    return NB_OK;
}

nb_status nb_scheme_for_module(const nb_scheme_config *config, const char *module, nb_scheme_config *out, bool *skip,
                               nb_err *err) {
    nb_scheme_config mine = *config;
    const char *key;
    json_t *values;
    *skip = false;
    mine.dynamic = NULL;
    if (config->dynamic) {
        json_object_foreach((json_t *)(uintptr_t)config->dynamic, key, values) {
            bool hit = false, minus = !strncmp(key, "-:", 2), plus = !strncmp(key, "+:", 2);
            NB_TRY(matches(minus || plus ? key + 2 : key, module, &hit, err));
            if (!hit)
                continue;
            *skip = minus || json_is_false(values);
            if (!*skip) {
                if (!json_is_object(values))
                    return nb_fail_at(err, NB_E_INPUT, NULL, key, "its override is no object");
                NB_TRY(apply(values, &mine, err));
            }
            break;
        }
    }
    *out = mine;
    return NB_OK;
}

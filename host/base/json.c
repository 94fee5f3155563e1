#include "host/base/json.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/str.h"

/* jansson 2.14 does not survive a failed allocation while it parses: it reports an error of syntax, loses a member, or reads
 * freed memory. So a parse is left by longjmp where an allocation fails; the little that it had allocated is lost, which costs less
 * than a list of all blocks in each parse that goes well. Elsewhere the failure is counted, for nb_json_check. */
static _Thread_local unsigned starved;
static _Thread_local jmp_buf *parsing;

static void *json_alloc(size_t bytes) {
    void *p = malloc(bytes);
    if (p)
        return p;
    starved++;
    if (parsing)
        longjmp(*parsing, 1);
    return NULL;
}

static void watch(void) {
    json_set_alloc_funcs(json_alloc, free);
}

void nb_json_watch(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch);
}

nb_status nb_json_check(nb_err *err) {
    return starved ? nb_fail_memory(err, 0, "JSON") : NB_OK;
}

nb_status nb_json_text(const json_t *value, size_t flags, char **out, nb_err *err) {
    NB_TRY(nb_json_check(err));
    char *text = json_dumps(value, flags), *copy = NULL;
    if (!text)
        return nb_fail_memory(err, 0, "JSON");
    nb_status status = nb_json_check(err); /* json_dumps can lose a part and go on */
    if (status == NB_OK)
        status = nb_strdup(text, &copy, err);
    free(text);
    *out = copy;
    return status;
}

/* The integer that a real with its value stands for, or NULL where it is none: exact up to 2^53. */
static json_t *integer_of(const json_t *v) {
    const double exact = 9007199254740992.0;
    double x = json_is_real(v) ? json_real_value(v) : NAN;
    return x >= -exact && x <= exact && x == trunc(x) ? json_integer((json_int_t)x) : NULL;
}

/* Makes reals with the value of an integer integers. jansson nests 2048 deep at most. */
static void restore_integers(json_t *v) {
    const char *key;
    size_t i;
    json_t *child, *whole;
    json_object_foreach(v, key, child) {
        restore_integers(child);
        if ((whole = integer_of(child)))
            json_object_set_new(v, key, whole);
    }
    json_array_foreach(v, i, child) {
        restore_integers(child);
        if ((whole = integer_of(child)))
            json_array_set_new(v, i, whole);
    }
}

/* jansson refuses integers past 64 bits, but transformers writes "model_max_length": 1000000000000000019884624838656 where a
 * tokenizer has no limit. Such a document is read with them as reals. */
static json_t *load(const char *text, size_t len, json_error_t *fault) {
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_t *v = json_loadb(text, len, flags, fault);
    if (v || json_error_code(fault) != json_error_numeric_overflow)
        return v;
    v = json_loadb(text, len, flags | JSON_DECODE_INT_AS_REAL, fault);
    restore_integers(v);
    return v;
}

nb_status nb_json_parse(const char *text, size_t len, const char *path, json_t **out, nb_err *err) {
    json_error_t fault;
    jmp_buf out_of_memory;
    nb_json_watch();
    if (setjmp(out_of_memory)) {
        parsing = NULL;
        return nb_fail_at(err, NB_E_MEMORY, path, NULL, "out of memory while reading JSON");
    }
    parsing = &out_of_memory;
    json_t *v = load(text, len, &fault);
    parsing = NULL;
    if (!v) {
        nb_status status = nb_fail_at(err, NB_E_INPUT, path, NULL, "not valid JSON: %s (line %d, column %d)", fault.text,
                                      fault.line, fault.column);
        if (err && fault.position > 0)
            err->offset = (uint64_t)fault.position;
        return status;
    }
    *out = v;
    return NB_OK;
}

nb_status nb_json_read(const char *path, size_t limit, json_t **out, nb_err *err) {
    char *text;
    size_t len;
    NB_TRY(nb_file_read(path, limit, &text, &len, err));
    nb_status status = nb_json_parse(text, len, path, out, err);
    nb_free(text);
    return status;
}

nb_status nb_json_write(const char *path, const json_t *value, nb_err *err) {
    char *text = NULL;
    NB_TRY(nb_err_at(err, nb_json_text(value, JSON_INDENT(2) | JSON_ENCODE_ANY, &text, err), path, NULL));
    nb_str s = {0};
    nb_status status = nb_str_addf(&s, err, "%s\n", text);
    if (status == NB_OK)
        status = nb_file_write(path, s.data, s.len, err);
    nb_str_free(&s);
    nb_free(text);
    return status;
}

static const char *type_name(const json_t *v) {
    static const char *const names[] = {"an object", "an array", "a string", "an integer", "a number", "true", "false", "null"};
    return names[json_typeof(v)];
}

static nb_status wrong_type(nb_err *err, const char *key, const json_t *v, const char *expected) {
    return nb_fail_at(err, NB_E_INPUT, NULL, key, "is %s, expected %s", type_name(v), expected);
}

nb_status nb_json_get_int(const json_t *obj, const char *key, int64_t lo, int64_t hi, int64_t *out, nb_err *err) {
    const json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v))
        return NB_OK;
    if (!json_is_integer(v))
        return wrong_type(err, key, v, "an integer");
    int64_t i = json_integer_value(v);
    if (i < lo || i > hi)
        return nb_fail_at(err, NB_E_INPUT, NULL, key, "is %lld, expected %lld to %lld", (long long)i, (long long)lo,
                          (long long)hi);
    *out = i;
    return NB_OK;
}

nb_status nb_json_get_number(const json_t *obj, const char *key, double *out, nb_err *err) {
    const json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v))
        return NB_OK;
    if (!json_is_number(v))
        return wrong_type(err, key, v, "a number");
    *out = json_number_value(v);
    return NB_OK;
}

nb_status nb_json_get_bool(const json_t *obj, const char *key, bool *out, nb_err *err) {
    const json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v))
        return NB_OK;
    if (!json_is_boolean(v))
        return wrong_type(err, key, v, "true or false");
    *out = json_is_true(v);
    return NB_OK;
}

nb_status nb_json_get_str(const json_t *obj, const char *key, const char **out, nb_err *err) {
    const json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v))
        return NB_OK;
    if (!json_is_string(v))
        return wrong_type(err, key, v, "a string");
    *out = json_string_value(v);
    return NB_OK;
}

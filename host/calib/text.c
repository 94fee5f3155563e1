/* Text files to ids. */
#include <stdio.h>
#include <string.h>

#include "host/base/file.h"
#include "host/base/json.h"
#include "host/calib/calib.h"
#include "host/tokenizer/utf8.h"

static nb_status at_byte(nb_err *err, size_t offset, const char *path, const char *what) {
    nb_fail_at(err, NB_E_INPUT, path, NULL, "%s", what);
    if (err)
        err->offset = offset;
    return NB_E_INPUT;
}

/* Is it text that can be calibrated on? *skip: bytes of a byte order mark. */
static nb_status check(const nb_map *map, const char *path, size_t *skip, nb_err *err) {
    const unsigned char *d = map->data;
    *skip = 0;
    if (map->size >= 2 && ((d[0] == 0xFF && d[1] == 0xFE) || (d[0] == 0xFE && d[1] == 0xFF)))
        return at_byte(err, 0, path, "is UTF-16; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)");
    if (map->size >= 3 && memcmp(d, "\xEF\xBB\xBF", 3) == 0)
        *skip = 3;
    if (map->size == *skip)
        return nb_fail_at(err, NB_E_INPUT, path, NULL, "is empty, expected text");
    const unsigned char *nul = memchr(d, 0, map->size);
    return nul ? at_byte(err, (size_t)(nul - d), path, "holds a NUL byte, expected text in UTF-8") : NB_OK;
}

static size_t count_ill_formed(const char *text, size_t len) {
    size_t count = 0;
    for (size_t i = 0; i < len;) {
        i += nb__utf8_valid(text + i, len - i);
        if (i < len) {
            uint32_t cp;
            bool ok;
            i += nb__utf8_next(text + i, len - i, &cp, &ok);
            count++;
        }
    }
    return count;
}

/* One line: {"text": "..."}. */
static nb_status one_document(const nb_tokenizer *tok, const char *line, size_t len, const char *path, size_t number,
                              nb_ids *out, nb_err *err) {
    json_t *doc = NULL;
    char item[32];
    snprintf(item, sizeof item, "line %zu", number);
    nb_status status = nb_json_parse(line, len, path, &doc, err);
    if (status != NB_OK) {
        if (err)
            err->offset = UINT64_MAX; /* it counts within the line */
        return nb_err_at(err, status, path, item);
    }
    const json_t *text = json_object_get(doc, "text");
    if (!json_is_string(text)) {
        json_decref(doc);
        return nb_fail_at(err, NB_E_INPUT, path, item, "expected an object with a string \"text\"");
    }
    if (out->len && nb_tokenizer_eos(tok) >= 0)
        status = nb_ids_add(out, nb_tokenizer_eos(tok), err);
    if (status == NB_OK)
        status = nb_tokenize(tok, json_string_value(text), json_string_length(text), false, out, err);
    json_decref(doc);
    return status == NB_OK ? status : nb_err_at(err, status, path, item);
}

static nb_status documents(const nb_tokenizer *tok, const char *text, size_t len, const char *path, nb_ids *out, nb_err *err) {
    for (size_t at = 0, number = 1; at < len; number++) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t end = newline ? (size_t)(newline - text) : len, from = at;
        while (from < end && strchr(" \t\r", text[from]))
            from++;
        if (from < end) /* blank lines are fine */
            NB_TRY(one_document(tok, text + from, end - from, path, number, out, err));
        at = end + 1;
    }
    return NB_OK;
}

nb_status nb_text_ids(const nb_tokenizer *tok, const char *path, nb_ids *out, size_t *replaced, nb_err *err) {
    nb_map map = {0};
    size_t skip = 0, before = out->len;
    NB_TRY(nb_map_open(path, &map, err));
    nb_status status = check(&map, path, &skip, err);
    if (status == NB_OK) {
        const char *text = (const char *)map.data + skip;
        size_t len = map.size - skip;
        if (*text == '{')
            status = documents(tok, text, len, path, out, err);
        else
            status = nb_tokenize(tok, text, len, false, out, err);
        if (status != NB_OK)
            nb_err_at(err, status, path, NULL);
        else if (replaced)
            *replaced = count_ill_formed(text, len);
    }
    nb_map_close(&map);
    if (status != NB_OK)
        out->len = before;
    return status;
}

void nb_text_tell_replaced(const nb_log *log, const char *path, size_t replaced) {
    if (replaced)
        nb_logf(log, NB_LOG_WARN, "%s: %zu places are not UTF-8 and were read as U+FFFD", path, replaced);
}

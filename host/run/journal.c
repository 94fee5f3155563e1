#include "host/run/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/json.h"
#include "host/base/str.h"

enum { MAX_JOURNAL = 1 << 28 };

nb_status nb_journal_part(const nb_journal *j, size_t block, char **out, nb_err *err) {
    char name[48];
    if (j->tuned)
        return nb_journal_tuned_part(j, block, out, err);
    snprintf(name, sizeof name, "part-%05zu.safetensors", block);
    return nb_path_join(j->dir, name, out, err);
}

nb_status nb_journal_tuned_part(const nb_journal *j, size_t block, char **out, nb_err *err) {
    char name[48];
    snprintf(name, sizeof name, "tuned-%05zu.safetensors", block);
    return nb_path_join(j->dir, name, out, err);
}

static nb_status file_hash(const char *path, char hash[NB_HASH_TEXT], nb_err *err) {
    nb_map map;
    NB_TRY(nb_map_open(path, &map, err));
    nb_hash_once(map.data, map.size, hash);
    nb_map_close(&map);
    return NB_OK;
}

static nb_status append_json(nb_journal *j, const json_t *line, nb_err *err) {
    char *text;
    NB_TRY(nb_json_text(line, JSON_COMPACT, &text, err));
    nb_status status = nb_file_append_line(j->path, text, err);
    nb_free(text);
    return status;
}

static nb_status write_head(nb_journal *j, const char *fingerprint, const char *device, const char *recipe, nb_err *err) {
    json_t *head = json_pack("{s:s, s:s, s:s, s:s*}", "nibble", NB_VERSION_STRING, "fingerprint", fingerprint, "device", device, "recipe",
                             recipe);
    if (!head)
        return nb_fail_memory(err, 0, "a journal line");
    nb_status status = append_json(j, head, err);
    json_decref(head);
    return status;
}

static const char *text_of(const json_t *line, const char *key) {
    const char *s = json_string_value(json_object_get(line, key));
    return s ? s : "";
}

static nb_status check_fingerprint(const nb_journal *j, const json_t *head, const char *fingerprint, nb_err *err) {
    if (strcmp(text_of(head, "fingerprint"), fingerprint) != 0)
        return nb_fail_at(err, NB_E_USAGE, j->path, "--resume", "this run differs from the one that was begun (model, calibration, "
                          "options or version); repeat its command, or start afresh with --force in place of --resume");
    return NB_OK;
}

/* Another device than the last recorded one is refused, or recorded. */
static nb_status check_device(nb_journal *j, const char *last, const char *device, bool allow_device_change, nb_err *err) {
    if (!strcmp(last, device))
        return NB_OK;
    if (!allow_device_change)
        return nb_fail_at(err, NB_E_USAGE, j->path, "--resume", "the run was begun on \"%s\", this is \"%s\"; "
                          "--allow-device-change goes on all the same", last, device);
    json_t *line = json_pack("{s:s}", "device", device);
    nb_status status = line ? append_json(j, line, err) : nb_fail_memory(err, 0, "a journal line");
    json_decref(line);
    return status;
}

/* Is line the record of block j->done, and is its part file there and whole? */
static nb_status check_block(const nb_journal *j, const json_t *line, bool *good, nb_err *err) {
    char hash[NB_HASH_TEXT], *part;
    *good = false;
    if (json_integer_value(json_object_get(line, "block")) != (json_int_t)j->done ||
        !json_is_object(json_object_get(line, "report")))
        return NB_OK;
    NB_TRY(nb_journal_part(j, j->done, &part, err));
    nb_status status = nb_path_exists(part) ? file_hash(part, hash, err) : NB_OK;
    *good = status == NB_OK && nb_path_exists(part) && !strcmp(hash, text_of(line, "hash"));
    nb_free(part);
    return status;
}

/* One hash of the hashes of all new part files; *there is false where one is missing. */
static nb_status tuned_hash(const nb_journal *j, char out[NB_HASH_TEXT], bool *there, nb_err *err) {
    char one[NB_HASH_TEXT], *part;
    nb_hash *h;
    *there = true;
    NB_TRY(nb_hash_new(&h, err));
    nb_status status = NB_OK;
    for (size_t i = 0; i < j->done && *there && status == NB_OK; i++) {
        status = nb_journal_tuned_part(j, i, &part, err);
        if (status != NB_OK)
            break;
        *there = nb_path_exists(part);
        if (*there && (status = file_hash(part, one, err)) == NB_OK)
            nb_hash_add_str(h, one);
        nb_free(part);
    }
    if (status == NB_OK)
        nb_hash_text(h, out);
    nb_hash_free(h);
    return status;
}

/* Is line the record of the whole model's learning, and are its part files, if it made any, there and whole? */
static nb_status check_tuned(nb_journal *j, const json_t *line, bool *good, nb_err *err) {
    json_t *report = json_object_get(line, "report");
    bool kept = json_is_string(json_object_get(line, "tuned"));
    char hash[NB_HASH_TEXT];
    *good = json_is_object(report) && !j->tune_report;
    if (*good && kept) {
        NB_TRY(tuned_hash(j, hash, good, err));
        *good = *good && !strcmp(hash, text_of(line, "tuned"));
    }
    if (!*good)
        return NB_OK;
    j->tuned = kept;
    j->tune_report = json_incref(report);
    return NB_OK;
}

/* One line of the journal; *keep is false where it, and all after it, is to be cut off. */
static nb_status take_line(nb_journal *j, const json_t *line, char *device, size_t cap, bool *keep, nb_err *err) {
    if (json_object_get(line, "device"))
        snprintf(device, cap, "%s", text_of(line, "device"));
    *keep = json_object_get(line, "device") != NULL;
    if (json_object_get(line, "tuned"))
        return check_tuned(j, line, keep, err);
    if (!json_object_get(line, "block"))
        return NB_OK;
    NB_TRY(check_block(j, line, keep, err));
    if (!*keep)
        return NB_OK;
    if (json_array_append(j->reports, json_object_get(line, "report")) != 0)
        return nb_fail_memory(err, 0, "the journal");
    j->done++;
    return NB_OK;
}

/* Takes the lines of text that are good; *good is their length. The first one must be this run's head. */
static nb_status take_lines(nb_journal *j, const char *text, const char *fingerprint, char *device, size_t cap, size_t *good,
                            nb_err *err) {
    for (const char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
        json_t *line = NULL;
        bool keep;
        nb_status status = nb_json_parse(at, (size_t)(end - at), j->path, &line, err);
        if (status == NB_E_INPUT || (status == NB_OK && !json_is_object(line))) {
            json_decref(line);
            return NB_OK; /* torn: what stands before it is good */
        }
        if (status == NB_OK && *good == 0)
            status = check_fingerprint(j, line, fingerprint, err);
        if (status == NB_OK)
            status = take_line(j, line, device, cap, &keep, err);
        json_decref(line);
        NB_TRY(status);
        if (!keep)
            return NB_OK;
        *good = (size_t)(end + 1 - text);
    }
    return NB_OK;
}

static nb_status load(nb_journal *j, const char *fingerprint, const char *device, bool allow_device_change, bool *empty,
                      nb_err *err) {
    char *text, last[256] = "";
    size_t size, good = 0;
    NB_TRY(nb_file_read(j->path, MAX_JOURNAL, &text, &size, err));
    nb_status status = take_lines(j, text, fingerprint, last, sizeof last, &good, err);
    *empty = good == 0;
    if (status == NB_OK && good > 0 && good < size)
        status = nb_file_write(j->path, text, good, err);
    nb_free(text);
    if (status == NB_OK && good > 0)
        status = check_device(j, last, device, allow_device_change, err);
    return status;
}

nb_status nb_journal_open(const char *dir, const char *fingerprint, const char *device, const char *recipe, bool resume,
                          bool allow_device_change, nb_journal *out, nb_err *err) {
    nb_journal j = {0};
    nb_status status;
    bool fresh = true;
    NB_GO(nb_strdup(dir, &j.dir, err));
    NB_GO(nb_path_join(dir, "journal.jsonl", &j.path, err));
    j.reports = json_array();
    if (!j.reports) {
        status = nb_fail_memory(err, 0, "the journal");
        goto out;
    }
    if (resume && nb_path_exists(j.path))
        NB_GO(load(&j, fingerprint, device, allow_device_change, &fresh, err));
    if (fresh) {
        NB_GO(nb_journal_clear(dir, err));
        NB_GO(nb_dir_make(dir, err));
        NB_GO(write_head(&j, fingerprint, device, recipe, err));
    }
    *out = j;
out:
    if (status != NB_OK)
        nb_journal_close(&j);
    return status;
}

static bool is_ours(const char *name) {
    static const char *const ours[] = {"journal.jsonl*", "part-*.safetensors*", "tuned-*.safetensors*", "out", "out.partial", "old"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (nb_glob(ours[i], name))
            return true;
    return false;
}

bool nb_journal_owns(const char *dir) {
    nb_err err = {0};
    char **names;
    size_t count, known = 0;
    if (!nb_path_exists(dir))
        return true;
    if (nb_path_is_link(dir) || !nb_path_is_dir(dir) || nb_dir_list(dir, &names, &count, &err) != NB_OK)
        return false;
    bool journal = false;
    for (size_t i = 0; i < count; i++) {
        known += is_ours(names[i]);
        journal = journal || nb_starts_with(names[i], "journal.jsonl");
    }
    nb_names_free(names, count);
    return known == count && (count == 0 || journal);
}

nb_status nb_journal_clear(const char *dir, nb_err *err) {
    char **names;
    size_t count;
    if (!nb_path_exists(dir))
        return NB_OK;
    NB_TRY(nb_dir_list(dir, &names, &count, err));
    nb_status status = NB_OK;
    for (size_t i = 0; i < 2 * count && status == NB_OK; i++) { /* the others, then what is the journal's */
        char *path;
        if (nb_starts_with(names[i % count], "journal.jsonl") != (i >= count))
            continue;
        status = nb_path_join(dir, names[i % count], &path, err);
        if (status == NB_OK) {
            status = nb_dir_remove(path, err);
            nb_free(path);
        }
    }
    nb_names_free(names, count);
    return status;
}

nb_status nb_journal_recipe(const char *dir, char *out, size_t cap, nb_err *err) {
    char *path, *text = NULL;
    size_t size;
    json_t *head = NULL;
    out[0] = 0;
    NB_TRY(nb_path_join(dir, "journal.jsonl", &path, err));
    nb_status status = nb_path_exists(path) ? nb_file_read(path, MAX_JOURNAL, &text, &size, err) : NB_OK;
    if (status == NB_OK && text) {
        nb_err torn = {0}; /* nb_journal_open says what is to be said of it */
        if (nb_json_parse(text, strcspn(text, "\n"), path, &head, &torn) == NB_OK)
            snprintf(out, cap, "%s", text_of(head, "recipe"));
    }
    json_decref(head);
    nb_free(text);
    nb_free(path);
    return status;
}

nb_status nb_journal_block(nb_journal *j, json_t *report, nb_err *err) {
    char hash[NB_HASH_TEXT], *part;
    NB_TRY(nb_journal_part(j, j->done, &part, err));
    nb_status status = file_hash(part, hash, err);
    nb_free(part);
    NB_TRY(status);
    json_t *line = json_pack("{s:I, s:s, s:O}", "block", (json_int_t)j->done, "hash", hash, "report", report);
    if (!line)
        return nb_fail_memory(err, 0, "a journal line");
    status = append_json(j, line, err);
    json_decref(line);
    if (status == NB_OK && json_array_append(j->reports, report) != 0)
        status = nb_fail_memory(err, 0, "the journal");
    if (status == NB_OK)
        j->done++;
    return status;
}

nb_status nb_journal_tuned(nb_journal *j, bool kept, json_t *report, nb_err *err) {
    char hash[NB_HASH_TEXT] = "";
    bool there = true;
    if (kept)
        NB_TRY(tuned_hash(j, hash, &there, err));
    if (!there)
        return nb_fail_at(err, NB_E_FAILED, j->dir, NULL, "a part file of the learned scales is missing");
    json_t *line = json_pack("{s:o, s:O}", "tuned", kept ? json_string(hash) : json_false(), "report", report);
    if (!line)
        return nb_fail_memory(err, 0, "a journal line");
    nb_status status = append_json(j, line, err);
    json_decref(line);
    if (status != NB_OK)
        return status;
    j->tuned = kept;
    j->tune_report = json_incref(report);
    return NB_OK;
}

static const char placed_line[] = "{\"placed\":true}";

nb_status nb_journal_place(nb_journal *j, nb_err *err) {
    return nb_file_append_line(j->path, placed_line, err);
}

nb_status nb_journal_look(const char *dir, nb_journal_state *out, nb_err *err) {
    nb_journal_state seen = {0};
    char *path, *text = NULL;
    NB_TRY(nb_path_join(dir, "journal.jsonl", &path, err));
    seen.there = nb_path_exists(path);
    nb_status status = seen.there ? nb_file_read(path, MAX_JOURNAL, &text, NULL, err) : NB_OK;
    for (const char *at = text, *end; at && (end = strchr(at, '\n')); at = end + 1) {
        seen.blocks += nb_starts_with(at, "{\"block\":");
        seen.placed = nb_starts_with(at, placed_line) && !end[1];
    }
    nb_free(text);
    nb_free(path);
    *out = seen;
    return status;
}

void nb_journal_close(nb_journal *j) {
    json_decref(j->tune_report);
    nb_free(j->dir);
    nb_free(j->path);
    json_decref(j->reports);
    *j = (nb_journal){0};
}

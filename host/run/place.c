/* Where a run writes. Everything appears in OUT.partial, the work folder; when it is whole it takes the name OUT by one rename, and what
 * stood there is OUT.partial/old for that moment. What stands in one of these places and is neither a run's work folder nor, with
 * --force, a model, ends the run before it begins. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/str.h"
#include "host/run/impl.h"

/* The folder in which the output will stand must be there. */
static nb_status check_parent(const char *path, nb_err *err) {
    char *parent;
    NB_TRY(nb_path_parent(path, &parent, err));
    nb_status status = nb_path_is_dir(parent) ? NB_OK
                                              : nb_fail_at(err, NB_E_USAGE, path, "--output",
                                                           "the folder %.200s does not exist; make it first", parent);
    nb_free(parent);
    return status;
}

/* Files of a model's folder may be links to files elsewhere. */
static nb_status check_links(const nb_run_options *o, const char *place, nb_err *err) {
    char **names, *path;
    size_t count;
    bool held = false;
    if (!nb_path_is_dir(o->model))
        return NB_OK;
    NB_TRY(nb_dir_list(o->model, &names, &count, err));
    nb_status status = NB_OK;
    for (size_t i = 0; i < count && !held && status == NB_OK; i++) {
        status = nb_path_join(o->model, names[i], &path, err);
        if (status == NB_OK) {
            held = nb_path_is_link(path) && nb_path_holds(place, path);
            nb_free(path);
        }
    }
    nb_names_free(names, count);
    return held ? nb_fail_at(err, NB_E_USAGE, place, "--output", "holds files of the input model, which would be lost; choose another name") : status;
}

static nb_status check_inputs(const nb_run_options *o, const char *place, nb_err *err) {
    if (nb_path_same(place, o->model))
        return nb_fail_at(err, NB_E_USAGE, place, "--output", "is the input model itself");
    if (nb_path_holds(place, o->model))
        return nb_fail_at(err, NB_E_USAGE, place, "--output", "holds the input model, which would be lost; choose another name");
    if (o->calib && strcmp(o->calib, "self") != 0 && nb_path_holds(place, o->calib))
        return nb_fail_at(err, NB_E_USAGE, place, "--output", "holds the calibration text, which would be lost; choose another name");
    return check_links(o, place, err);
}

/* A folder with config.json and weights in it, or with nothing. */
static nb_status is_model(const char *dir, bool *yes, nb_err *err) {
    char **names;
    size_t count;
    bool config = false, weights = false;
    NB_TRY(nb_dir_list(dir, &names, &count, err));
    for (size_t i = 0; i < count; i++) {
        config = config || !strcmp(names[i], "config.json");
        weights = weights || nb_ends_with(names[i], ".safetensors");
    }
    nb_names_free(names, count);
    *yes = count == 0 || (config && weights);
    return NB_OK;
}

static nb_status is_gguf(const char *path, bool *yes, nb_err *err) {
    nb_map map;
    NB_TRY(nb_map_open(path, &map, err));
    *yes = map.size == 0 || (map.size >= 4 && !memcmp(map.data, "GGUF", 4));
    nb_map_close(&map);
    return NB_OK;
}

/* What may be replaced, if the user says so, is what the output is: a model in a folder, or a GGUF file. */
static nb_status check_kind(const char *place, bool gguf, nb_err *err) {
    bool model;
    if (!nb_path_exists(place))
        return NB_OK;
    if (nb_path_is_dir(place) == gguf)
        return nb_fail_at(err, NB_E_USAGE, place, "--output", gguf ? "exists and is a folder" : "exists and is not a folder");
    NB_TRY(gguf ? is_gguf(place, &model, err) : is_model(place, &model, err));
    return model ? NB_OK
                 : nb_fail_at(err, NB_E_USAGE, place, "--output", "exists and is no model%s, so it is not replaced; choose another name",
                              gguf ? " (GGUF)" : " (config.json, *.safetensors)");
}

/* What the work folder holds. */
typedef struct work_state {
    nb_journal_state journal;
    bool old, placed; /* placed: what stands at OUT is this run's own. Its journal says so before it leaves WORK/out */
} work_state;

/* Is there a `name` in the work folder? */
static nb_status has(const char *work, const char *name, bool *yes, nb_err *err) {
    char *path;
    NB_TRY(nb_path_join(work, name, &path, err));
    *yes = nb_path_exists(path);
    nb_free(path);
    return NB_OK;
}

static nb_status look(const char *work, work_state *out, nb_err *err) {
    bool made;
    NB_TRY(nb_journal_look(work, &out->journal, err));
    NB_TRY(has(work, "old", &out->old, err));
    NB_TRY(has(work, "out", &made, err));
    out->placed = out->journal.placed && !made;
    return NB_OK;
}

/* A run that was stopped between its two renames has the old output in its work folder: a new run, which clears that folder, puts it
 * back first. (Where the new output has its place, and perhaps went on from there, the old one was to be removed.) */
static nb_status put_back(const nb_run_options *o, const char *work, const work_state *w, nb_err *err) {
    char *path;
    if (o->resume || nb_path_exists(o->out) || !w->old || w->placed)
        return NB_OK;
    NB_TRY(nb_path_join(work, "old", &path, err));
    nb_status status = nb_file_rename(path, o->out, err);
    nb_free(path);
    return status;
}

static nb_status check_force(const nb_run_options *o, const work_state *w, nb_err *err) {
    if (!nb_path_exists(o->out) || o->force || (o->resume && w->placed))
        return NB_OK;
    if (o->resume && !w->journal.there)
        return nb_fail_at(err, NB_E_USAGE, o->out, "--resume", "is whole already; there is nothing to resume");
    return nb_fail_at(err, NB_E_USAGE, o->out, "--output", "exists; %s--force replaces it", o->resume ? "--resume with " : "");
}

/* Finished blocks are hours of work: they are dropped where the user says so. */
static nb_status check_begun(const nb_run_options *o, const char *work, const work_state *w, nb_err *err) {
    if (o->resume || o->force || w->journal.blocks == 0)
        return NB_OK;
    return nb_fail_at(err, NB_E_USAGE, work, "--output", "holds %zu finished blocks of a run; --resume goes on with it, --force drops them",
                      w->journal.blocks);
}

/* What can be asked before the work folder is locked. */
static nb_status check_paths(const nb_run_options *o, const char *work, nb_err *err) {
    NB_TRY(check_parent(o->out, err));
    NB_TRY(check_inputs(o, o->out, err));
    NB_TRY(check_inputs(o, work, err));
    return nb_journal_owns(work) ? NB_OK
                                 : nb_fail_at(err, NB_E_USAGE, work, "--output",
                                              "exists and is not the work folder of a run; move it away, or choose another name");
}

static nb_status check_contents(const nb_run_options *o, const char *work, const work_state *w, bool gguf, nb_err *err) {
    NB_TRY(check_kind(o->out, gguf, err));
    NB_TRY(check_force(o, w, err));
    return check_begun(o, work, w, err);
}

nb_status nb__run_check_place(nb_run *r, const char *work, bool gguf, nb_err *err) {
    const nb_run_options *o = r->options;
    work_state w;
    NB_TRY(check_paths(o, work, err));
    NB_TRY(nb_dir_lock(work, &r->lock, err)); /* from here to the end no other run looks into it */
    NB_TRY(look(work, &w, err));
    NB_TRY(put_back(o, work, &w, err));
    NB_TRY(check_contents(o, work, &w, gguf, err));
    r->replaces = o->force || nb_path_exists(o->out);
    return NB_OK;
}

nb_status nb_run_check_output(const nb_run_options *o, bool gguf, nb_err *err) {
    nb_str work = {0};
    work_state w;
    nb_status status;
    NB_GO(nb_str_addf(&work, err, "%s.partial", o->out));
    NB_GO(check_paths(o, work.data, err));
    NB_GO(look(work.data, &w, err));
    status = check_contents(o, work.data, &w, gguf, err);
out:
    nb_str_free(&work);
    return status;
}

nb_status nb__run_check_disk(const nb_run *r, const char *work, nb_err *err) {
    uint64_t room, need = 2 * r->plan->packed_bytes + r->plan->other_bytes;
    NB_TRY(nb_disk_free(work, &room, err));
    if (room < need)
        return nb_fail_at(err, NB_E_FAILED, work, NULL, "the disk has %.1f MB free, this run needs %.1f MB", 1e-6 * (double)room,
                          1e-6 * (double)need);
    return NB_OK;
}

/* Removes the work folder after the output is in place: the run has succeeded, whatever comes of this. */
static void tidy(const nb_run *r, const char *work) {
    nb_err err = {0};
    char line[1400];
    if (nb_journal_clear(work, &err) == NB_OK && nb_dir_remove(work, &err) == NB_OK)
        return;
    nb_err_line(&err, line, sizeof line);
    nb_logf(&r->hooks->log, NB_LOG_WARN, "what is no longer needed stays: %s", line);
}

/* What came into being while the run was on was not there to be asked about. */
static nb_status check_again(const nb_run *r, nb_err *err) {
    const char *out = r->options->out;
    NB_TRY(check_kind(out, r->plan->gguf, err));
    if (nb_path_exists(out) && !r->replaces)
        return nb_fail_at(err, NB_E_FAILED, out, "--output", "came into being during the run; --resume --force replaces it");
    return NB_OK;
}

/* The old output, if there is one, into the work folder. */
static nb_status move_aside(const nb_run *r, const char *old, nb_err *err) {
    if (!nb_path_exists(r->options->out))
        return NB_OK;
    NB_TRY(nb_dir_remove(old, err));
    return nb_file_rename(r->options->out, old, err);
}

nb_status nb__run_put_in_place(nb_run *r, const char *work, const char *made, nb_err *err) {
    char *old = NULL;
    nb_status status;
    NB_GO(nb_path_join(work, "old", &old, err));
    NB_GO(check_again(r, err));
    NB_GO(nb_journal_place(&r->journal, err));
    NB_GO(move_aside(r, old, err));
    status = nb_file_rename(made, r->options->out, err);
    if (status == NB_OK)
        tidy(r, work);
    else if (nb_path_exists(old))
        (void)nb_file_rename(old, r->options->out, NULL); /* where it was */
out:
    nb_free(old);
    return status;
}

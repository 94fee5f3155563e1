/* Where a run writes. Everything appears in OUT.partial, the work folder; when it is whole it takes the name OUT by one rename, and what
 * stood there is OUT.partial/old for that moment. Nothing else is ever removed: what stands in one of these places and is not a
 * run's own, or with --force a model, ends the run before it begins. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/str.h"
#include "host/run/impl.h"

/* The folder in which the output will stand must be there. */
static nb_status check_parent(const char *path, nb_err *err) {
    char *parent;
    NB_TRY(nb_strdup(path, &parent, err));
    char *slash = strrchr(parent, '/');
    if (slash)
        *(slash == parent ? slash + 1 : slash) = 0;
    nb_status status = !slash || nb_path_is_dir(parent) ? NB_OK
                                                        : nb_fail_at(err, NB_E_USAGE, path, "--output",
                                                                     "the folder %.200s does not exist; make it first", parent);
    nb_free(parent);
    return status;
}

/* A folder that may be replaced: one with a model in it, or with nothing. */
static nb_status is_model(const char *dir, bool *yes, nb_err *err) {
    char **names;
    size_t count;
    NB_TRY(nb_dir_list(dir, &names, &count, err));
    *yes = count == 0;
    for (size_t i = 0; i < count; i++)
        *yes = *yes || !strcmp(names[i], "config.json");
    nb_names_free(names, count);
    return NB_OK;
}

static nb_status check_inputs(const nb_run_options *o, const char *place, nb_err *err) {
    if (nb_path_same(place, o->model))
        return nb_fail_at(err, NB_E_USAGE, place, "--output", "is the input model itself");
    if (nb_path_holds(place, o->model))
        return nb_fail_at(err, NB_E_USAGE, place, "--output", "holds the input model, which would be lost; choose another name");
    if (o->calib && strcmp(o->calib, "self") != 0 && nb_path_holds(place, o->calib))
        return nb_fail_at(err, NB_E_USAGE, place, "--output", "holds the calibration text, which would be lost; choose another name");
    return NB_OK;
}

/* What stands in a place must be what the output is, a file or a folder. */
static nb_status check_kind(const char *place, bool gguf, nb_err *err) {
    bool model = true;
    if (!nb_path_exists(place))
        return NB_OK;
    if (nb_path_is_dir(place) == gguf)
        return nb_fail_at(err, NB_E_USAGE, place, "--output", gguf ? "exists and is a folder" : "exists and is not a folder");
    if (!gguf)
        NB_TRY(is_model(place, &model, err));
    return model ? NB_OK
                 : nb_fail_at(err, NB_E_USAGE, place, "--output", "exists and holds no model (config.json), so it is not replaced; "
                              "choose another name");
}

/* WORK/placed is made before the output leaves WORK for its final name: with it and without WORK/out, what stands there is this run's. Of a
 * run that was stopped at its very end WORK may be left empty. */
static nb_status is_placed(const char *work, bool *yes, nb_err *err) {
    char **names;
    size_t count;
    bool mark = false, made = false;
    *yes = false;
    if (!nb_path_is_dir(work))
        return NB_OK;
    NB_TRY(nb_dir_list(work, &names, &count, err));
    for (size_t i = 0; i < count; i++) {
        mark = mark || !strcmp(names[i], "placed");
        made = made || !strcmp(names[i], "out");
    }
    nb_names_free(names, count);
    *yes = count == 0 || (mark && !made);
    return NB_OK;
}

static nb_status check_force(const nb_run_options *o, const char *work, nb_err *err) {
    bool placed;
    if (!nb_path_exists(o->out) || o->force)
        return NB_OK;
    NB_TRY(is_placed(work, &placed, err));
    if (o->resume && placed)
        return NB_OK;
    if (o->resume && !nb_path_exists(work))
        return nb_fail_at(err, NB_E_USAGE, o->out, "--resume", "is whole already; there is nothing to resume");
    return nb_fail_at(err, NB_E_USAGE, o->out, "--output", "exists; --force replaces it");
}

/* A run that was stopped just as it put its output in place has left the old one in its work folder: a new run, which clears that,
 * puts it back first. */
static nb_status put_back(const nb_run_options *o, const char *work, nb_err *err) {
    char *old;
    NB_TRY(nb_path_join(work, "old", &old, err));
    nb_status status = !o->resume && !nb_path_exists(o->out) && nb_path_exists(old) ? nb_file_rename(old, o->out, err) : NB_OK;
    nb_free(old);
    return status;
}

nb_status nb__run_check_place(const nb_run_options *o, const char *work, bool gguf, nb_err *err) {
    NB_TRY(check_parent(o->out, err));
    if (nb_journal_owns(work))
        NB_TRY(put_back(o, work, err));
    NB_TRY(check_inputs(o, o->out, err));
    NB_TRY(check_inputs(o, work, err));
    NB_TRY(check_kind(o->out, gguf, err));
    NB_TRY(check_force(o, work, err));
    return nb_journal_owns(work) ? NB_OK
                                 : nb_fail_at(err, NB_E_USAGE, work, "--output", "exists and is not the work folder of a run; move it "
                                              "away, or choose another name");
}

nb_status nb__run_check_disk(const nb_run *r, const char *work, nb_err *err) {
    uint64_t room, need = 2 * r->plan->packed_bytes + r->plan->other_bytes;
    NB_TRY(nb_disk_free(work, &room, err));
    if (room < need)
        return nb_fail_at(err, NB_E_FAILED, work, NULL, "the disk has %.2f GB free, this run needs %.2f GB", 1e-9 * (double)room,
                          1e-9 * (double)need);
    return NB_OK;
}

static nb_status remove_any(const char *path, nb_err *err) {
    return nb_path_is_dir(path) ? nb_dir_remove(path, err) : nb_file_remove(path, err);
}

/* Removes the work folder after the output is in place: the run has succeeded, whatever comes of this. */
static void tidy(const nb_run *r, const char *path) {
    nb_err err = {0};
    char line[1400];
    if (nb_dir_remove(path, &err) == NB_OK)
        return;
    nb_err_line(&err, line, sizeof line);
    nb_logf(&r->hooks->log, NB_LOG_WARN, "what is no longer needed stays: %s", line);
}

nb_status nb__run_begin_output(const char *work, const char *made, nb_err *err) {
    char *mark;
    NB_TRY(nb_path_join(work, "placed", &mark, err));
    nb_status status = nb_file_remove(mark, err);
    nb_free(mark);
    return status == NB_OK ? remove_any(made, err) : status;
}

nb_status nb__run_put_in_place(const nb_run *r, const char *work, const char *made, nb_err *err) {
    const char *out = r->options->out;
    char *mark = NULL, *old = NULL;
    nb_status status;
    NB_GO(nb_path_join(work, "placed", &mark, err));
    NB_GO(nb_path_join(work, "old", &old, err));
    NB_GO(nb_file_write(mark, "", 0, err));
    if (nb_path_exists(out)) {
        NB_GO(remove_any(old, err));
        NB_GO(nb_file_rename(out, old, err));
    }
    NB_GO(nb_file_rename(made, out, err));
    tidy(r, work);
out:
    nb_free(mark);
    nb_free(old);
    return status;
}

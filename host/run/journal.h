/* The journal of a long run: which blocks are done, and for which run. It stands in the work folder OUT.partial as
 * journal.jsonl: a head line, then a line for each finished block, in order, and where scales are learned a line for the whole model. A line is appended and flushed only after
 * the block's part file is whole under its final name, so a kill at any instant leaves a usable prefix. */
#ifndef NB_JOURNAL_H
#define NB_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>
#include "host/base/err.h"
#include "host/base/hash.h"

typedef struct nb_journal {
    char *dir;    /* the work folder */
    char *path;   /* of journal.jsonl */
    size_t done;  /* blocks finished */
    json_t *reports; /* array: what each finished block reported */
    bool tuned;      /* part files that were made anew stand for the blocks' own */
    json_t *tune_report; /* what the whole model's learning reported; NULL before it */
} nb_journal;

/* Starts a journal in dir (made if missing), or goes on with the one that is there:
 *   resume false and one is there: what is in dir is removed and a new one starts;
 *   resume true and none is there: a new one starts;
 *   resume true and one is there: its fingerprint must be ours, and its device, unless allow_device_change (then the change is
 *   recorded); NB_E_USAGE says what differs. A damaged last line is cut off; part files are checked by their hashes.
 * recipe: what a new journal's head records of --method best, or NULL. */
nb_status nb_journal_open(const char *dir, const char *fingerprint, const char *device, const char *recipe, bool resume,
                          bool allow_device_change, nb_journal *out, nb_err *err);
/* The recipe in the head of the journal in dir, cut to cap; "" where there is no journal, no recipe, or no head that can be read. */
nb_status nb_journal_recipe(const char *dir, char *out, size_t cap, nb_err *err);
/* Is `dir` missing, empty, or a folder (no link to one) with a journal and nothing in it but what a run puts there? */
bool nb_journal_owns(const char *dir);
/* Empties such a folder; the journal goes last, so that what is left by a run stopped here is still known for what it is. */
nb_status nb_journal_clear(const char *dir, nb_err *err);
/* Records that block `done` is finished: its part file's hash, and its report (a new reference is taken). */
nb_status nb_journal_block(nb_journal *j, json_t *report, nb_err *err);
/* Path of the part file of a block: DIR/part-00012.safetensors, or when the model is tuned its new one. Free with nb_free. */
nb_status nb_journal_part(const nb_journal *j, size_t block, char **out, nb_err *err);
/* Path of the part file that is made anew when all blocks are done: DIR/tuned-00012.safetensors. */
nb_status nb_journal_tuned_part(const nb_journal *j, size_t block, char **out, nb_err *err);
/* Records that the whole model was learned: with `kept` all blocks have new part files, which stand for theirs from now on. */
nb_status nb_journal_tuned(nb_journal *j, bool kept, json_t *report, nb_err *err);
/* Records that the output is about to take its final name. Going on with the journal cuts that off. */
nb_status nb_journal_place(nb_journal *j, nb_err *err);
/* What the journal in dir, if there is one, says at a glance: finished blocks; nb_journal_place was the last. */
typedef struct nb_journal_state {
    bool there, placed;
    size_t blocks;
} nb_journal_state;
nb_status nb_journal_look(const char *dir, nb_journal_state *out, nb_err *err);
void nb_journal_close(nb_journal *j);

#endif

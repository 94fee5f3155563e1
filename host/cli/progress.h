/* Progress on standard error: a rewritten line on a terminal, plain lines elsewhere, JSON lines for machines. */
#ifndef NB_PROGRESS_H
#define NB_PROGRESS_H

#include "host/base/log.h"
#include "host/cli/opt.h"

typedef enum nb_progress_mode { NB_PROGRESS_NONE, NB_PROGRESS_PLAIN, NB_PROGRESS_LINE, NB_PROGRESS_JSON } nb_progress_mode;

typedef struct nb_progress {
    nb_progress_mode mode;
    bool verbose, quiet;
    bool open;         /* a rewritten line stands on the terminal */
    const char *what;  /* "quantizing", "evaluating" */
    const char *unit;  /* "block", "window" */
    double last_plain; /* seconds at the last plain line */
} nb_progress;

nb_progress nb_progress_new(const nb_common *common, const char *what, const char *unit);
/* `done` of `total` units after `seconds`; note may be NULL. The time left is estimated from the rate so far. */
void nb_progress_step(nb_progress *p, size_t done, size_t total, double seconds, const char *note);
/* Ends the rewritten line. */
void nb_progress_end(nb_progress *p);
/* A log sink that keeps the rewritten line whole; INFO is shown with -v, WARN unless -q. */
nb_log nb_progress_log(nb_progress *p);

/* "1h02m", "3m20s", "12.3s" into out[24]. */
const char *nb_duration(double seconds, char *out);
/* "1.53 GB", "12.1 MB" into out[24]. */
const char *nb_bytes_text(double bytes, char *out);

#endif

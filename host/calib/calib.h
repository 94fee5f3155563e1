/* Calibration: text to windows of token ids, and statistics of a linear's input. */
#ifndef NB_CALIB_H
#define NB_CALIB_H

#include "host/backend/backend.h"
#include "host/tokenizer/tokenizer.h"

/* samples x seq_len token ids, row-major. */
typedef struct nb_windows {
    int32_t *ids;
    size_t samples, seq_len;
} nb_windows;

typedef struct nb_calib_options {
    size_t samples, seq_len;
    uint64_t seed;
} nb_calib_options;

/* Windows from a file: plain text, or JSON lines with a "text" field each (by its first byte '{'). The text is tokenized as a
 * whole (documents of JSON lines are joined by EOS where there is one), cut into consecutive windows of seq_len; of these
 * `samples` are drawn by seed without repetition, kept in the order of the text. Fewer windows than samples: NB_E_INPUT
 * saying how many tokens there are and how many are needed. */
nb_status nb_calib_file(const nb_tokenizer *tok, const char *path, const nb_calib_options *options, nb_windows *out,
                        nb_err *err);
void nb_windows_free(nb_windows *w);
/* XXH3 of the ids, for fingerprints. */
void nb_windows_hash(const nb_windows *w, char *out);

#endif

/* Calibration: text to windows of token ids, and statistics of a linear's input. */
#ifndef NB_CALIB_H
#define NB_CALIB_H

#include "host/backend/backend.h"
#include "host/base/hash.h"
#include "host/base/log.h"
#include "host/tokenizer/tokenizer.h"

/* samples x seq_len token ids, row-major. */
typedef struct nb_windows {
    int32_t *ids;
    size_t samples, seq_len;
    size_t text_tokens; /* tokens of the whole text */
    size_t replaced;    /* ill-formed UTF-8 subparts of the file, each read as U+FFFD: worth a warning */
} nb_windows;

typedef struct nb_calib_options {
    size_t samples, seq_len;
    uint64_t seed;
} nb_calib_options;

/* The ids of a text file: plain text, or JSON lines with a "text" field each (by its first byte '{'). A UTF-8 byte order
 * mark is passed over; ill-formed UTF-8 in plain text is read as U+FFFD and counted in *replaced (may be NULL); an empty
 * file, a NUL byte and UTF-16 are NB_E_INPUT, as is a line that is not such an object in well-formed UTF-8. Documents of JSON lines are tokenized one by
 * one and joined by EOS where there is one. Added tokens in the text become their ids. No BOS. */
nb_status nb_text_ids(const nb_tokenizer *tok, const char *path, nb_ids *out, size_t *replaced, nb_err *err);
/* Warns of them, if there are any. */
void nb_text_tell_replaced(const nb_log *log, const char *path, size_t replaced);

/* Windows from a file (nb_text_ids). The text is cut into consecutive windows of seq_len; of these `samples` are drawn by
 * seed without repetition, kept in the order of the text. Where the tokenizer puts BOS in front, each window begins
 * with it and holds seq_len - 1 ids of the text. Fewer windows than samples: NB_E_INPUT saying how many tokens there
 * are and how many are needed. The same file, tokenizer and options give the same ids everywhere. */
nb_status nb_calib_file(const nb_tokenizer *tok, const char *path, const nb_calib_options *options, nb_windows *out,
                        nb_err *err);
/* The same from ids. */
nb_status nb_windows_draw(const nb_tokenizer *tok, const int32_t *ids, size_t count, const nb_calib_options *options,
                          nb_windows *out, nb_err *err);
void nb_windows_free(nb_windows *w);
/* XXH3 of shape and ids, for fingerprints. out[NB_HASH_TEXT] */
void nb_windows_hash(const nb_windows *w, char *out);

#endif

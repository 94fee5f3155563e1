#include "host/calib/calib.h"

#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/base/size.h"

static nb_status check_options(const nb_calib_options *o, size_t bos, nb_err *err) {
    if (o->samples == 0 || o->samples > UINT32_MAX)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--samples", "is %zu, expected 1 to 2^32 - 1", o->samples);
    if (o->seq_len <= bos || o->seq_len > UINT32_MAX)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--seq-len", "is %zu, expected %zu to 2^32 - 1", o->seq_len, bos + 1);
    return NB_OK;
}

nb_status nb_windows_draw(const nb_tokenizer *tok, const int32_t *ids, size_t count, const nb_calib_options *o,
                          nb_windows *out, nb_err *err) {
    size_t bos = nb_tokenizer_adds_bos(tok) ? 1 : 0, needed, total;
    NB_TRY(check_options(o, bos, err));
    size_t body = o->seq_len - bos, windows = nb_min(count / body, UINT32_MAX);
    if (!nb_mul(o->samples, o->seq_len, &total) || !nb_mul(o->samples, body, &needed))
        return nb_fail_at(err, NB_E_USAGE, NULL, "--samples", "%zu times %zu tokens are too many", o->samples, o->seq_len);
    if (windows < o->samples)
        return nb_fail(err, NB_E_INPUT, "has %zu tokens, but %zu samples of %zu need %zu; give more text, or ask for fewer "
                       "(--samples) or shorter (--seq-len) ones", count, o->samples, o->seq_len, needed);
    nb_windows w = {.samples = o->samples, .seq_len = o->seq_len, .text_tokens = count};
    NB_TRY(nb_calloc(total, sizeof *w.ids, "calibration windows", &w.ids, err));
    /* Selection sampling (Knuth, TAOCP vol. 2, 3.4.2, algorithm S): each set of windows is equally likely. */
    nb_random random = nb_random_seed(o->seed);
    size_t taken = 0;
    for (size_t i = 0; taken < o->samples; i++) {
        if (nb_random_below(&random, (uint32_t)(windows - i)) >= o->samples - taken)
            continue;
        int32_t *row = w.ids + taken++ * o->seq_len;
        if (bos)
            *row++ = nb_tokenizer_bos(tok);
        memcpy(row, ids + i * body, body * sizeof *row);
    }
    *out = w;
    return NB_OK;
}

nb_status nb_calib_file(const nb_tokenizer *tok, const char *path, const nb_calib_options *options, nb_windows *out,
                        nb_err *err) {
    nb_ids ids = {0};
    size_t replaced = 0;
    nb_status status = check_options(options, nb_tokenizer_adds_bos(tok) ? 1 : 0, err);
    if (status != NB_OK)
        return status;
    NB_GO(nb_text_ids(tok, path, &ids, &replaced, err));
    NB_GO(nb_windows_draw(tok, ids.data, ids.len, options, out, err));
    out->replaced = replaced;
out:
    nb_ids_free(&ids);
    return status == NB_OK ? status : nb_err_at(err, status, path, NULL);
}

void nb_windows_free(nb_windows *w) {
    nb_free(w->ids);
    *w = (nb_windows){0};
}

void nb_windows_hash(const nb_windows *w, char *out) {
    char ids[NB_HASH_TEXT], all[NB_HASH_TEXT + 64];
    nb_hash_once(w->ids, w->samples * w->seq_len * sizeof *w->ids, ids);
    int len = snprintf(all, sizeof all, "%zu %zu %s", w->samples, w->seq_len, ids);
    nb_hash_once(all, (size_t)len, out);
}

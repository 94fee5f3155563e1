/* Building the chains. */
#include "host/tokenizer/parts.h"

static nb_status full(nb_err *err, const char *what) {
    return nb_fail(err, NB_E_UNSUPPORTED, "more than %d %s steps", NB_STEPS_MAX, what);
}

nb_status nb__norm_add(nb__norm *norm, nb__norm_kind kind, nb__norm_step **out, nb_err *err) {
    if (norm->count == NB_STEPS_MAX)
        return full(err, "normalizer");
    *out = &norm->steps[norm->count++];
    **out = (nb__norm_step){.kind = kind};
    return NB_OK;
}

nb_status nb__pre_add(nb__pre *pre, nb__pre_kind kind, nb__pre_step **out, nb_err *err) {
    if (pre->count == NB_STEPS_MAX)
        return full(err, "pre-tokenizer");
    *out = &pre->steps[pre->count++];
    **out = (nb__pre_step){.kind = kind};
    return NB_OK;
}

nb_status nb__dec_add(nb__dec *dec, nb__dec_kind kind, nb__dec_step **out, nb_err *err) {
    if (dec->count == NB_STEPS_MAX)
        return full(err, "decoder");
    *out = &dec->steps[dec->count++];
    **out = (nb__dec_step){.kind = kind};
    return NB_OK;
}

nb_status nb__pre_add_pattern(nb__pre *pre, const char *pattern, nb_err *err) {
    nb__pre_step *s = NULL;
    NB_TRY(nb__pre_add(pre, NB_PRE_SPLIT, &s, err));
    size_t len = 0;
    while (pattern[len])
        len++;
    return nb__finder_regex(&s->find, pattern, len, err);
}

nb_status nb__dec_add_spm(nb__dec *dec, bool strip, nb_err *err) {
    nb__dec_step *s = NULL;
    NB_TRY(nb__dec_add(dec, NB_DEC_REPLACE, &s, err));
    NB_TRY(nb__finder_string(&s->find, NB_MARK, 3, err));
    NB_TRY(nb_str_add(&s->text, " ", 1, err));
    NB_TRY(nb__dec_add(dec, NB_DEC_BYTE_FALLBACK, &s, err));
    NB_TRY(nb__dec_add(dec, NB_DEC_FUSE, &s, err));
    if (!strip)
        return NB_OK;
    NB_TRY(nb__dec_add(dec, NB_DEC_STRIP, &s, err));
    s->start = 1;
    return nb_str_add(&s->text, " ", 1, err);
}

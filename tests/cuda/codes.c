#include "tests/cuda/codes.h"

#include <criterion/criterion.h>

#include "host/base/str.h"
#include "host/ckpt/ckpt.h"

code_count compare_codes(const char *a, const char *b, const char *names) {
    nb_ckpt *x, *y;
    nb_err err = {0};
    code_count c = {0};
    cr_assert_eq(nb_ckpt_open_part(a, &x, &err), NB_OK, "%s: %s", a, err.text);
    cr_assert_eq(nb_ckpt_open_part(b, &y, &err), NB_OK, "%s: %s", b, err.text);
    cr_assert_eq(nb_ckpt_count(x), nb_ckpt_count(y));
    for (size_t i = 0; i < nb_ckpt_count(x); i++) {
        const nb_view *v = nb_ckpt_tensor(x, i), *w = nb_ckpt_find(y, v->name);
        cr_assert(w && w->bytes == v->bytes, "%s", v->name);
        const unsigned char *p = v->data, *q = w->data;
        for (size_t j = 0; nb_glob(names, v->name) && j < v->bytes; j++) {
            c.differ += (size_t)((p[j] ^ q[j]) & 15) != 0;
            c.differ += (size_t)((p[j] ^ q[j]) >> 4) != 0;
            c.all += 2;
        }
    }
    nb_ckpt_close(x);
    nb_ckpt_close(y);
    return c;
}

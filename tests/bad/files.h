/* A temporary folder and byte recipes for the tables of bad files. */
#ifndef TEST_BAD_FILES_H
#define TEST_BAD_FILES_H

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/file.h"
#include "host/base/str.h"

static inline void temp_dir(char out[64]) {
    snprintf(out, 64, "/tmp/nibble-bad-XXXXXX");
    cr_assert(mkdtemp(out));
}

static inline void put(nb_str *s, const void *bytes, size_t len) {
    cr_assert_eq(nb_str_add(s, bytes, len, NULL), NB_OK);
}

static inline void put_zeros(nb_str *s, size_t len) {
    while (len--)
        put(s, "", 1);
}

static inline void put_u32(nb_str *s, uint32_t v) { put(s, &v, 4); }

static inline void put_u64(nb_str *s, uint64_t v) { put(s, &v, 8); }

/* Writes DIR/name and empties s. */
static inline void save(const char *dir, const char *name, nb_str *s) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    cr_assert(f);
    cr_assert_eq(fwrite(s->data ? s->data : "", 1, s->len, f), s->len);
    cr_assert_eq(fclose(f), 0);
    nb_str_free(s);
    *s = (nb_str){0};
}

static inline void save_text(const char *dir, const char *name, const char *text) {
    nb_str s = {0};
    put(&s, text, strlen(text));
    save(dir, name, &s);
}

#endif

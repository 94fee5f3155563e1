#include "process.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "host/base/alloc.h"
#include "host/base/file.h"

char test_dir[64];
char run_out[1 << 16], run_err[1 << 16];

void make_dir(void) {
    strcpy(test_dir, "/tmp/nibble-cli-XXXXXX");
    cr_assert_not_null(mkdtemp(test_dir));
    setenv("N", NB_BIN, 1);
    setenv("M", NB_TEST_DATA "/golden/models", 1);
    setenv("D", test_dir, 1);
}

void drop_dir(void) {
    nb_dir_remove(test_dir, NULL);
}

static void slurp(const char *name, char *out, size_t cap) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", test_dir, name);
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(out, 1, cap - 1, f) : 0;
    out[n] = 0;
    if (f)
        fclose(f);
    remove(path);
}

int shell(const char *fmt, ...) {
    char line[4096], full[4400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    snprintf(full, sizeof full, "cd \"$D\" && { %s\n} >.out 2>.err", line);
    int status = system(full);
    slurp(".out", run_out, sizeof run_out);
    slurp(".err", run_err, sizeof run_err);
    if (WIFSIGNALED(status))
        return 1000 + WTERMSIG(status);
    return WEXITSTATUS(status);
}

const char *folder_hash(const char *name) {
    static char text[128];
    cr_assert_eq(shell("cd %s && { find . -type f | LC_ALL=C sort | xargs sha256sum; find . ! -type f -printf '%%p %%l\\n' | LC_ALL=C sort; } | sha256sum", name), 0, "%s", run_err);
    snprintf(text, sizeof text, "%.64s", run_out);
    return text;
}

void put_file(const char *name, const void *bytes, size_t len) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", test_dir, name);
    cr_assert_eq(nb_file_write(path, bytes, len, NULL), NB_OK);
}

/* Program binaries: kept, taken, and made again when a byte of them is not what was written. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/backend/backend.h"
#include "host/base/alloc.h"
#include "host/base/file.h"

#define OK(call) cr_assert_eq((call), NB_OK, "%s: %s", #call, err.text)

typedef struct counts {
    int taken, made_again;
} counts;

static void count(void *ctx, nb_log_level level, const char *line) {
    counts *c = ctx;
    (void)level;
    c->taken += strstr(line, "is taken from the cache") != NULL;
    c->made_again += strstr(line, "is made again") != NULL;
}

/* Adds 2 and 3 on a device that is opened for it. False where there is no device. */
static bool add_once(const char *cache, counts *c) {
    nb_err err = {0};
    nb_device_options options = {.threads = 1, .cache_dir = cache, .keep_binaries = true, .log = {.write = count, .ctx = c}};
    nb_device *device;
    nb_stream *stream;
    nb_mem x = {0}, y = {0};
    float a = 2.0f, b = 3.0f;
    *c = (counts){0};
    if (nb_device_open("opencl", &options, &device, &err) != NB_OK)
        return false;
    OK(nb_stream_new(device, &stream, &err));
    OK(nb_alloc(device, sizeof a, &x, &err));
    OK(nb_alloc(device, sizeof b, &y, &err));
    OK(nb_upload(stream, x, &a, sizeof a, &err));
    OK(nb_upload(stream, y, &b, sizeof b, &err));
    struct nb_add_args add = {.rows = 1, .n = 1, .x = x, .y = y, .ldx = 1, .ldy = 1};
    OK(nb_launch(stream, NB_OP_add, &add, &err));
    OK(nb_download(stream, &b, y, sizeof b, &err));
    OK(nb_sync(stream, &err));
    cr_expect_eq(b, 5.0f);
    nb_release(device, &x);
    nb_release(device, &y);
    nb_stream_free(stream);
    nb_device_close(device);
    return true;
}

static char folder[64], cache[128], binary[512];

static void setup(void) {
    strcpy(folder, "/tmp/nibble-opencl-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(cache, sizeof cache, "%s/a/b", folder); /* parents are made */
}

static void drop(void) {
    nb_dir_remove(folder, NULL);
}

TestSuite(opencl_cache, .init = setup, .fini = drop);

/* Fills the cache and finds its one file. */
static char *fill(size_t *size) {
    nb_err err = {0};
    counts c;
    char **names, *bytes;
    size_t n;
    if (!add_once(cache, &c))
        cr_skip("no OpenCL device");
    cr_expect(c.taken == 0 && c.made_again == 0);
    OK(nb_dir_list(cache, &names, &n, &err));
    cr_assert_eq(n, 1u);
    cr_expect(!strncmp(names[0], "opencl-add-", 11), "%s", names[0]);
    snprintf(binary, sizeof binary, "%s/%s", cache, names[0]);
    nb_names_free(names, n);
    OK(nb_file_read(binary, 1 << 30, &bytes, size, &err));
    return bytes;
}

Test(opencl_cache, is_taken_by_the_next_device) {
    size_t size;
    counts c;
    nb_free(fill(&size));
    cr_assert(add_once(cache, &c));
    cr_expect(c.taken == 1 && c.made_again == 0);
}

Test(opencl_cache, damage_is_made_good) {
    nb_err err = {0};
    size_t size;
    counts c;
    char *bytes = fill(&size);
    /* the marks, both hashes, and the binary's beginning, middle and end; then cut short */
    const size_t flips[] = {0, 7, 8, 39, 41, 73, 74, 80, size / 2, size - 1};
    for (size_t i = 0; i < sizeof flips / sizeof *flips; i++) {
        bytes[flips[i]] ^= 4;
        OK(nb_file_write(binary, bytes, size, &err));
        bytes[flips[i]] ^= 4;
        cr_assert(add_once(cache, &c));
        cr_expect(c.taken == 0 && c.made_again == 1, "byte %zu", flips[i]);
        cr_assert(add_once(cache, &c));
        cr_expect(c.taken == 1, "after byte %zu", flips[i]);
    }
    const size_t cuts[] = {0, 1, 40, 74, 75, size / 2, size - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        OK(nb_file_write(binary, bytes, cuts[i], &err));
        cr_assert(add_once(cache, &c));
        cr_expect(c.taken == 0 && c.made_again == 1, "cut to %zu", cuts[i]);
    }
    nb_free(bytes);
}

Test(opencl_cache, a_folder_that_cannot_be_is_no_fault) {
    nb_err err = {0};
    counts c;
    char path[160];
    snprintf(path, sizeof path, "%s/file", folder);
    OK(nb_file_write(path, "x", 1, &err));
    snprintf(path, sizeof path, "%s/file/cache", folder);
    if (!add_once(path, &c))
        cr_skip("no OpenCL device");
    cr_expect_eq(c.taken, 0);
}

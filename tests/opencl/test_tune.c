/* The file of `nibble tune`: what is found is taken by devices opened later; a damaged file is as none. Without a device the
 * tests are skipped, and say so. */
#if __has_include(<CL/cl.h>) /* else the build has no backend either */
#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/backend/opencl.h"
#include "host/base/alloc.h"
#include "host/base/file.h"

#define OK(call) cr_assert_eq((call), NB_OK, "%s: %s", #call, err.text)

static nb_device *open_or_skip(const char *cache) {
    nb_device *device = NULL;
    nb_err err = {0};
    if (nb_device_open("opencl", &(nb_device_options){.threads = 1, .cache_dir = cache}, &device, &err) != NB_OK)
        cr_skip("no OpenCL device: %s", err.text);
    return device;
}

/* Does the device take anything from its file? */
static bool takes(nb__cl_device *d) {
    d->tuning = (nb__cl_tuning){77, 77, 77, 77};
    nb__cl_tuning_load(d);
    return d->tuning.wide_items != 77 || d->tuning.slices != 77 || d->tuning.tile_from != 77;
}

Test(tune, a_damaged_file_is_as_none, .timeout = 300) {
    char dir[] = "/tmp/nibble-tune-XXXXXX", pattern[64];
    nb_err err = {0};
    glob_t found;
    char *text;
    size_t size, count;
    nb_tuned tuned[8];
    nb_stream *stream;
    cr_assert_not_null(mkdtemp(dir));
    nb_device *device = open_or_skip(dir);
    nb__cl_device *d = (nb__cl_device *)device;
    cr_expect_not(takes(d), "there is no file yet");
    d->tuning = nb__cl_tuning_default(d->max_group);
    OK(nb_stream_new(device, &stream, &err));
    OK(device->backend->tune(stream, tuned, 8, &count, &err));
    cr_assert_geq(count, 3);
    nb_stream_free(stream);
    nb__cl_tuning best = d->tuning;
    cr_expect(takes(d));
    cr_expect(!memcmp(&best, &d->tuning, sizeof best), "the file says what was found");
    snprintf(pattern, sizeof pattern, "%s/opencl-tune-*.txt", dir);
    cr_assert_eq(glob(pattern, 0, NULL, &found), 0);
    const char *path = found.gl_pathv[0];
    OK(nb_file_read(path, 4096, &text, &size, &err));
    for (size_t i = 0; i < size; i++) {
        text[i] ^= 1;
        OK(nb_file_write(path, text, size, &err));
        cr_expect_not(takes(d), "byte %zu is another, and the file was taken", i);
        text[i] ^= 1;
    }
    for (size_t cut = 0; cut < size; cut += 7) {
        OK(nb_file_write(path, text, cut, &err));
        cr_expect_not(takes(d), "the file is cut at %zu, and was taken", cut);
    }
    OK(nb_file_write(path, text, size, &err));
    cr_expect(takes(d), "whole again");
    nb_free(text);
    remove(path);
    globfree(&found);
    nb_device_close(device);
    remove(dir);
}
#endif

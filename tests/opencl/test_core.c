/* The backend's core on whatever OpenCL device is here: memory, streams, events, launches. Without one every test is
 * skipped, and says so. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "host/backend/backend.h"

static nb_device *open_or_skip(const nb_device_options *options) {
    nb_device *device = NULL;
    nb_err err = {0};
    if (nb_device_open("opencl", options, &device, &err) != NB_OK)
        cr_skip("no OpenCL device: %s", err.text);
    return device;
}

#define OK(call) cr_assert_eq((call), NB_OK, "%s: %s", #call, err.text)

Test(opencl, memory_goes_there_and_back) {
    nb_err err = {0};
    nb_device *device = open_or_skip(&(nb_device_options){.threads = 1});
    nb_stream *stream;
    nb_mem a = {0}, b = {0};
    unsigned char in[1000], out[1000] = {0};
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)(i * 7 + 3);
    OK(nb_stream_new(device, &stream, &err));
    OK(nb_alloc(device, 2000, &a, &err));
    OK(nb_alloc(device, 1500, &b, &err));
    OK(nb_fill(stream, a, 0x5a, 2000, &err));
    OK(nb_upload(stream, nb_mem_at(a, 17), in, sizeof in, &err));
    OK(nb_copy(stream, nb_mem_at(b, 5), nb_mem_at(a, 16), 1002, &err));
    OK(nb_download(stream, out, nb_mem_at(b, 6), sizeof out, &err));
    unsigned char edge[2];
    OK(nb_download(stream, edge, nb_mem_at(b, 5), 1, &err));
    OK(nb_download(stream, edge + 1, nb_mem_at(b, 1006), 1, &err));
    OK(nb_sync(stream, &err));
    cr_expect(!memcmp(in, out, sizeof in));
    cr_expect(edge[0] == 0x5a && edge[1] == 0x5a);
    OK(nb_upload(stream, a, NULL, 0, &err));
    nb_release(device, &a);
    nb_release(device, &b);
    nb_stream_free(stream);
    nb_device_close(device);
}

Test(opencl, the_limit_of_memory_holds) {
    nb_err err = {0};
    nb_device *device = open_or_skip(&(nb_device_options){.threads = 1, .memory_limit = 1 << 20});
    nb_mem a = {0}, b = {0};
    nb_device_info info;
    OK(nb_alloc(device, 600 << 10, &a, &err));
    OK(device->backend->info(device, &info, &err));
    cr_expect_eq(info.memory, 1u << 20);
    cr_expect_eq(info.memory_free, (1u << 20) - (600u << 10));
    cr_expect_eq(nb_alloc(device, 500 << 10, &b, &err), NB_E_MEMORY);
    cr_expect_eq(nb_status_exit_code(NB_E_MEMORY), 4);
    cr_expect_eq(nb_alloc(device, SIZE_MAX, &b, &err), NB_E_MEMORY);
    nb_release(device, &a);
    OK(nb_alloc(device, 1 << 20, &b, &err));
    nb_release(device, &b);
    nb_device_close(device);
}

/* Adds of [3,5] in matrices with longer rows, at an offset; the second stream waits for the first. */
Test(opencl, kernels_run_in_order_and_streams_wait) {
    nb_err err = {0};
    nb_device *device = open_or_skip(&(nb_device_options){.threads = 1});
    nb_stream *first, *second;
    nb_event *from, *to;
    nb_mem x = {0}, y = {0};
    float xs[24], ys[24], out[24];
    double seconds = -1.0;
    for (int i = 0; i < 24; i++) {
        xs[i] = (float)i;
        ys[i] = 100.0f;
    }
    OK(nb_stream_new(device, &first, &err));
    OK(nb_stream_new(device, &second, &err));
    OK(nb_alloc(device, sizeof xs + 4, &x, &err));
    OK(nb_alloc(device, sizeof ys, &y, &err));
    OK(nb_upload(first, nb_mem_at(x, 4), xs, sizeof xs, &err));
    OK(nb_upload(first, y, ys, sizeof ys, &err));
    OK(device->backend->event_new(first, &from, &err));
    struct nb_add_args add = {.rows = 3, .n = 5, .x = nb_mem_at(x, 4), .y = y, .ldx = 8, .ldy = 7};
    for (int i = 0; i < 10; i++)
        OK(nb_launch(first, NB_OP_add, &add, &err));
    OK(device->backend->event_new(first, &to, &err));
    OK(device->backend->stream_wait(second, to, &err));
    OK(nb_download(second, out, y, sizeof out, &err));
    OK(nb_sync(second, &err));
    for (int i = 0; i < 24; i++) {
        bool inside = i / 7 < 3 && i % 7 < 5;
        cr_expect_eq(out[i], inside ? 100.0f + 10.0f * (float)(i / 7 * 8 + i % 7) : 100.0f, "element %d is %g", i, (double)out[i]);
    }
    OK(device->backend->event_elapsed(from, to, &seconds, &err));
    cr_expect(seconds > 0.0 && seconds < 60.0, "%g s", seconds);
    device->backend->event_free(from);
    device->backend->event_free(to);
    device->backend->event_free(NULL);
    nb_release(device, &x);
    nb_release(device, &y);
    nb_stream_free(first);
    nb_stream_free(second);
    nb_device_close(device);
}

Test(opencl, devices_are_found_by_name_and_index) {
    nb_err err = {0};
    nb_device_options options = {.threads = 1};
    nb_device *device = open_or_skip(&options);
    nb_device_info info, same;
    OK(device->backend->info(device, &info, &err));
    cr_expect(info.memory > 0 && info.model[0] && info.detail[0]);
    nb_device_close(device);
    char spec[300];
    snprintf(spec, sizeof spec, "opencl:%s", info.model);
    OK(nb_device_open(spec, &options, &device, &err));
    OK(device->backend->info(device, &same, &err));
    cr_expect_str_eq(same.name, info.name);
    nb_device_close(device);
    static const char *const wrong[] = {"opencl:", "opencl:99", "opencl:no such name", "opencl:99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_expect_eq(nb_device_open(wrong[i], &options, &device, &err), NB_E_DEVICE, "%s", wrong[i]);
}

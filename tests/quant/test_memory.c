/* Device memory: what a method says it takes, and what happens where there is not enough. The CPU's backend with a counter. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/quant/naive.h"

static nb_backend counting;
static size_t held, peak, calls, fail_at;

static nb_status count_alloc(nb_device *device, size_t bytes, nb_mem *out, nb_err *err) {
    calls++;
    if (calls == fail_at) {
        if (err)
            err->status = NB_E_MEMORY;
        return NB_E_MEMORY;
    }
    held += bytes;
    peak = held > peak ? held : peak;
    return nb__backend_cpu.alloc(device, bytes, out, err);
}

static void count_free(nb_device *device, nb_mem mem) {
    held -= mem.bytes;
    nb__backend_cpu.free(device, mem);
}

static nb_status run(const char *method, size_t n, size_t k, const nb_quant_options *o, nb_qtensor *q) {
    static float w[64 * 300], h[300 * 300];
    nb_device_options options = {.threads = 1};
    nb_device *device;
    nb_stream *stream;
    make_weight(w, n, k, 1);
    make_hessian(h, k, 100, 2);
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    counting = nb__backend_cpu;
    counting.alloc = count_alloc;
    counting.free = count_free;
    device->backend = &counting;
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    nb_quant_stats stats = {.hessian = nb_mem_host(h, sizeof h)};
    nb_quant_report report;
    held = peak = calls = 0;
    nb_status status = nb_quantizer_by_name(method)->run(stream, nb_mem_host(w, sizeof w), n, k, &stats, o, q, &report, NULL);
    cr_assert_eq(held, 0, "%s leaks %zu bytes of device memory", method, held);
    nb_stream_free(stream);
    nb_device_close(device);
    return status;
}

Test(quant_memory, scratch_is_what_is_taken) {
    static const size_t shapes[][3] = {{1, 1, 1}, {64, 300, 64}, {3, 130, 130}, {40, 65, 7}};
    for (size_t i = 0; nb_quantizers[i]; i++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            nb_quant_options o = nb_quant_defaults(shapes[s][1]);
            o.group_size = shapes[s][2];
            o.descent = s & 1;
            o.iterations = 2;
            nb_qtensor q;
            fail_at = 0;
            cr_assert_eq(run(nb_quantizers[i]->name, shapes[s][0], shapes[s][1], &o, &q), NB_OK);
            cr_assert_eq(peak, nb_quantizers[i]->scratch(shapes[s][0], shapes[s][1], &o), "%s, shape %zu", nb_quantizers[i]->name, s);
            nb_qtensor_free(&q);
        }
}

Test(quant_memory, each_allocation_may_fail) {
    for (size_t i = 0; nb_quantizers[i]; i++) {
        nb_quant_options o = nb_quant_defaults(70);
        o.descent = 1;
        o.iterations = 2;
        nb_qtensor q;
        size_t failures = 0;
        for (fail_at = 1;; fail_at++, failures++) {
            nb_status status = run(nb_quantizers[i]->name, 5, 70, &o, &q);
            if (status == NB_OK)
                break;
            cr_assert_eq(status, NB_E_MEMORY);
        }
        nb_qtensor_free(&q);
        cr_assert_geq(failures, 4);
    }
}

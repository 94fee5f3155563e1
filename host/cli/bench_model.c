/* nibble bench --model: tokens a second of a prompt and of decoding. */
#include <stdio.h>
#include <stdlib.h>

#include "host/base/alloc.h"
#include "host/cli/bench.h"
#include "host/cli/cli.h"

enum { MAX_SAMPLES = 256 };

typedef struct figures {
    const char *op;
    size_t tokens, past;
    unsigned threads;
    double best, median, spread; /* tokens a second; (90th - 10th percentile) / median of the times */
} figures;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static figures summarize(const char *op, size_t tokens, size_t past, unsigned threads, double *seconds, size_t n) {
    qsort(seconds, n, sizeof *seconds, by_value);
    double median = n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
    return (figures){.op = op, .tokens = tokens, .past = past, .threads = threads, .best = (double)tokens / seconds[0],
                     .median = (double)tokens / median,
                     .spread = (seconds[(n - 1) * 9 / 10] - seconds[(n - 1) / 10]) / median};
}

static const char *mode_name(const nb_speed_options *o) {
    return o->mode == NB_GEMM_FAST ? "fast" : "exact";
}

static const char *embeddings_name(const nb_speed_options *o) {
    return o->embeddings == NB_EMBEDDINGS_Q8 ? "q8" : "f16";
}

static void print_head(void) {
    printf("%-9s %6s %6s %-6s %-5s %2s %12s %12s %6s\n", "operation", "tokens", "past", "mode", "head", "t", "median tok/s",
           "best tok/s", "spread");
}

static nb_status put(const nb_bench_model_options *o, const figures *f, json_t *list, nb_err *err) {
    if (!o->json) {
        printf("%-9s %6zu %6zu %-6s %-5s %2u %12.1f %12.1f %5.0f%%\n", f->op, f->tokens, f->past, mode_name(&o->speed),
               embeddings_name(&o->speed), f->threads, f->median, f->best, 100 * f->spread);
        fflush(stdout);
        return NB_OK;
    }
    json_t *one = json_pack("{s:s, s:I, s:I, s:s, s:s, s:i, s:I, s:f, s:f, s:f}", "op", f->op, "tokens", (json_int_t)f->tokens,
                            "past", (json_int_t)f->past, "mode", mode_name(&o->speed), "embeddings",
                            embeddings_name(&o->speed), "threads", (int)f->threads, "samples", (json_int_t)o->speed.samples,
                            "tokens_per_second", f->median, "best_tokens_per_second", f->best, "spread", f->spread);
    return json_array_append_new(list, one) == 0 ? NB_OK : nb_fail_memory(err, 0, "JSON output");
}

static nb_status time_on(const nb_bench_model_options *o, const nb_model *model, nb_stream *stream, json_t *list, nb_err *err) {
    double prompt[MAX_SAMPLES], decode[MAX_SAMPLES];
    nb_pool *pool = stream->device->pool;
    unsigned threads = pool ? nb_pool_threads(pool) : 1;
    const nb_speed_options *s = &o->speed;
    NB_TRY(nb_generate_time(model, stream, s, prompt, decode, err));
    if (s->prompt) {
        figures f = summarize("prompt", s->prompt, 0, threads, prompt, s->samples);
        NB_TRY(put(o, &f, list, err));
    }
    if (s->tokens) {
        figures f = summarize("decode", s->tokens, s->past, threads, decode, s->samples);
        NB_TRY(put(o, &f, list, err));
    }
    return NB_OK;
}

static nb_status time_threads(const nb_bench_model_options *o, const nb_model *model, int64_t threads, json_t *list,
                              nb_err *err) {
    nb_device_options options = {.threads = (unsigned)threads};
    nb_device *device;
    nb_stream *stream = NULL;
    NB_TRY(nb_device_open(o->device, &options, &device, err));
    nb_status status = nb_stream_new(device, &stream, err);
    if (status == NB_OK)
        status = time_on(o, model, stream, list, err);
    nb_stream_free(stream);
    nb_device_close(device);
    return status;
}

nb_status nb_bench_model(const nb_bench_model_options *o, nb_err *err) {
    nb_model *model;
    size_t count = o->threads->count ? o->threads->count : 1;
    nb_status status;
    NB_TRY(nb_model_open(o->path, &model, err));
    json_t *list = json_array();
    if (!o->json)
        print_head();
    for (size_t i = 0; i < count; i++) {
        int64_t threads = 0;
        if (o->threads->count)
            NB_GO(nb_parse_int("--threads", o->threads->items[i], 1, 1024, &threads, err));
        NB_GO(time_threads(o, model, threads, list, err));
    }
    if (o->json) {
        json_t *report = json_pack("{s:i, s:s, s:s, s:s, s:O}", "schema", 1, "version", nb_version(), "device", o->device,
                                   "model", o->path, "results", list);
        status = nb_cli_json(report, err);
    }
out:
    json_decref(list);
    nb_model_close(model);
    return status;
}

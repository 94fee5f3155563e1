/* nibble bench: times rows of kernels.def beside the read bandwidth and a BLAS, taking turns so
 * that all see the same machine. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/base/str.h"
#include "host/cli/bench.h"
#include "host/cli/cli.h"

enum { MAX_ITEMS = 48, ROOFS = 2, MAX_SAMPLES = 256 };

typedef struct options {
    nb_common common;
    const char *device, *op, *kernel, *peers, *compare, *model, *mode, *embeddings;
    int64_t prompt, tokens, past;
    nb_opt_list shapes, rows, threads;
    int64_t bits, group, samples, ring, sample_ms;
    bool cpu_time, latency;
} options;

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One sample: `repeats` operations in a row, one queued behind the other as in a model; seconds for one. With `latency` each is
 * waited for. */
static nb_status sample(const nb_bench_item *item, const options *o, clockid_t clock, size_t repeats,
                        size_t *iteration, double *seconds, nb_err *err) {
    double start = now(clock);
    for (size_t i = 0; i < repeats; i++) {
        NB_TRY(item->run(item->state, (*iteration)++, err));
        if (item->wait && (o->latency || i + 1 == repeats))
            NB_TRY(item->wait(item->state, err));
    }
    *seconds = (now(clock) - start) / (double)repeats;
    return NB_OK;
}

/* Warms up, and finds how many operations make a sample long enough to time. */
static nb_status calibrate(const nb_bench_item *item, const options *o, clockid_t clock, size_t *iteration, size_t *repeats, nb_err *err) {
    double t, target = 1e-3 * (double)o->sample_ms;
    *repeats = 1;
    NB_TRY(sample(item, o, clock, 1, iteration, &t, err));
    for (;;) {
        NB_TRY(sample(item, o, clock, *repeats, iteration, &t, err));
        if (t * (double)*repeats >= target || *repeats >= 1u << 20)
            return NB_OK;
        double want = target / (t > 1e-9 ? t : 1e-9) * 1.1 + 1;
        *repeats = want < 4.0 * (double)*repeats ? (size_t)want : 4 * *repeats;
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarize(double *t, size_t n, nb_bench_result *r) {
    qsort(t, n, sizeof *t, by_value);
    r->samples = n;
    r->min = t[0];
    r->median = n % 2 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2;
    r->spread = (t[(n - 1) * 9 / 10] - t[(n - 1) / 10]) / r->median;
}

typedef struct bench {
    const options *opt;
    nb_stream *stream;
    nb_device_info info;
    unsigned threads;
    nb_bench_results results;
} bench;

/* What a turn of measurements says about the machine: rates of the roofs before and after, as on a machine that others use too
 * the two change together with what is measured between them. */
static double rate_around(const double *t, size_t s, size_t samples, double amount) {
    return 2 * amount / (t[s] + t[nb_min(s + 1, samples - 1)]);
}

/* Share of the roof that an item reaches, the median over the turns: the longer of what moving its bytes and computing takes at
 * least, of the time taken; 0 where neither roof is among the items. */
static double share_of(const nb_bench_item *items, size_t count, double (*times)[MAX_SAMPLES], size_t samples, size_t i) {
    double share[MAX_SAMPLES];
    for (size_t s = 0; s < samples; s++) {
        double least = 0;
        for (size_t r = 0; r < count; r++) {
            if (!strcmp(items[r].op, "read"))
                least = fmax(least, items[i].bytes / rate_around(times[r], s, samples, items[r].bytes));
            else if (!strcmp(items[r].op, "peak") && !items[i].integer)
                least = fmax(least, items[i].flops / rate_around(times[r], s, samples, items[r].flops));
        }
        share[s] = least / times[i][s];
    }
    qsort(share, samples, sizeof *share, by_value);
    return samples % 2 ? share[samples / 2] : (share[samples / 2 - 1] + share[samples / 2]) / 2;
}

/* Times all items in turns. Those that are the read bandwidth and the arithmetic peak are the roof of the
 * others. */
static nb_status time_items(bench *b, nb_bench_item *items, size_t count,
                            const nb_bench_shape *shape, nb_err *err) {
    static double times[MAX_ITEMS + ROOFS][MAX_SAMPLES];
    clockid_t clock = b->opt->cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    size_t repeats[MAX_ITEMS + ROOFS], iteration[MAX_ITEMS + ROOFS] = {0}, samples = (size_t)b->opt->samples;
    for (size_t i = 0; i < count; i++)
        NB_TRY(calibrate(&items[i], b->opt, clock, &iteration[i],
                         &repeats[i], err));
    for (size_t s = 0; s < samples; s++)
        for (size_t i = 0; i < count; i++)
            NB_TRY(sample(&items[i], b->opt, clock, repeats[i], &iteration[i], &times[i][s], err));
    double share[MAX_ITEMS + ROOFS];
    for (size_t i = 0; i < count; i++) /* before summaries put the times in order */
        share[i] = share_of(items, count, times, samples, i);
    for (size_t i = 0; i < count; i++) {
        nb_bench_result r = {.shape = *shape,
                             .threads = b->threads,
                             .repeats = repeats[i],
                             .bytes = items[i].bytes,
                             .flops = items[i].flops};
        memcpy(r.name, items[i].name, sizeof r.name);
        memcpy(r.op, items[i].op, sizeof r.op);
        memcpy(r.device, b->info.name, sizeof r.device);
        summarize(times[i], samples, &r);
        r.share = share[i];
        if (!b->opt->common.json)
            nb_bench_print(&r);
        NB_TRY(nb_bench_add(&b->results, &r, err));
    }
    return NB_OK;
}

/* Does the comma-separated list hold the word? */
static bool listed(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == len && !memcmp(p, word, len))
            return true;
    return false;
}

/* Adds an item that may not be there. */
static nb_status take(nb_status status, nb_err *err, size_t *count) {
    if (status == NB_OK)
        ++*count;
    else if (status == NB_E_UNSUPPORTED)
        *err = (nb_err){0};
    else
        return status;
    return NB_OK;
}

static bool wanted(const bench *b, const nb_kernel *row, nb_op first, nb_op last) {
    nb_device *d = b->stream->device;
    return row->backend == d->backend->id && row->op >= first && row->op <= last &&
           nb_glob(b->opt->op, nb_op_name(row->op)) && nb_glob(b->opt->kernel, row->name) &&
           d->backend->can_run(d, row);
}

static nb_status add_peers(bench *b, const nb_bench_shape *shape, nb_bench_item *items,
                           size_t *count, nb_err *err) {
    const char *const peers[] = {"openblas", "onednn"};
    for (size_t i = 0; i < 2 && *count < MAX_ITEMS; i++)
        if (listed(b->opt->peers, peers[i])) {
            nb_bench_shape one = *shape;
            one.ring = 1;
            NB_TRY(
                take(nb_bench_peer(peers[i], b->threads, &one, &items[*count], err), err, count));
        }
    return NB_OK;
}

/* Everything to be timed together: the bandwidth over as many bytes as an operation takes, the arithmetic peak where one
 * computes, rows of the operations first to last, peers. */
static nb_status collect(bench *b, const nb_bench_shape *shape, nb_op first, nb_op last,
                         nb_bench_item *items, size_t *count, nb_err *err) {
    nb_bench_item roofs[ROOFS];
    size_t n_rows, n_roofs = 0;
    const nb_kernel *rows = nb_kernels(&n_rows);
    double bytes = 0;
    bool computes = false, product = first == NB_OP_matmul || first == NB_OP_qgemm || first == NB_OP_linear;
    for (size_t i = 0; i < n_rows && *count + ROOFS < MAX_ITEMS; i++)
        if (wanted(b, &rows[i], first, last)) {
            size_t before = *count;
            NB_TRY(take(nb_bench_row(b->stream, &rows[i], shape, &items[*count], err), err, count));
            if (*count == before)
                continue;
            bytes = items[before].bytes > bytes ? items[before].bytes : bytes;
            computes = computes || items[before].flops > 0;
        }
    if (*count == 0)
        return NB_OK;
    if (product)
        NB_TRY(add_peers(b, shape, items, count, err));
    NB_TRY(take(nb_bench_read(b->stream, (size_t)bytes, shape->ring, &roofs[0], err), err, &n_roofs));
    nb_status status = computes ? take(nb_bench_peak(b->stream, &roofs[n_roofs], err), err, &n_roofs) : NB_OK;
    memmove(items + n_roofs, items, *count * sizeof *items);
    memcpy(items, roofs, n_roofs * sizeof *items);
    *count += n_roofs;
    return status;
}

static nb_status bench_ops(bench *b, const nb_bench_shape *shape, nb_op first, nb_op last,
                           nb_err *err) {
    nb_bench_item items[MAX_ITEMS + ROOFS] = {0};
    size_t count = 0;
    nb_status status = collect(b, shape, first, last, items, &count, err);
    if (status == NB_OK && count > 0)
        status = time_items(b, items, count, shape, err);
    for (size_t i = 0; i < count; i++)
        items[i].release(items[i].state);
    return status;
}

/* One operation at a time, so that the operands of one are in memory; the two packed products together. */
static nb_status bench_shape(bench *b, const nb_bench_shape *shape, nb_err *err) {
    for (int op = 0; op < NB_OP_COUNT; op++) {
        nb_op last = op == NB_OP_qgemm ? NB_OP_qgemm_i8 : (nb_op)op;
        NB_TRY(bench_ops(b, shape, (nb_op)op, last, err));
        op = (int)last;
    }
    return NB_OK;
}

/* "NxK". */
static nb_status parse_shape(const char *text, nb_bench_shape *out, nb_err *err) {
    char n[24];
    size_t len = strcspn(text, "x");
    int64_t rows, columns;
    if (len >= sizeof n || !text[len])
        return nb_fail_at(err, NB_E_USAGE, NULL, "--shape", "\"%s\" is not of the form NxK", text);
    snprintf(n, sizeof n, "%.*s", (int)len, text);
    NB_TRY(nb_parse_int("--shape", n, 1, INT32_MAX, &rows, err));
    NB_TRY(nb_parse_int("--shape", text + len + 1, 1, INT32_MAX, &columns, err));
    out->n = (size_t)rows;
    out->k = (size_t)columns;
    return NB_OK;
}

static nb_status bench_threads(bench *b, nb_err *err) {
    static const char *const all_shapes[] = {"4096x4096", "11008x4096", "4096x11008", "576x1536"};
    const options *o = b->opt;
    size_t n_shapes = o->shapes.count ? o->shapes.count : 4,
           n_rows = o->rows.count ? o->rows.count : 1;
    for (size_t s = 0; s < n_shapes; s++)
        for (size_t i = 0; i < n_rows; i++) {
            nb_bench_shape shape = {
                .group = (size_t)o->group, .bits = (unsigned)o->bits, .ring = 1};
            int64_t m = 1;
            NB_TRY(parse_shape(o->shapes.count ? o->shapes.items[s] : all_shapes[s], &shape, err));
            if (o->rows.count)
                NB_TRY(nb_parse_int("--rows", o->rows.items[i], 1, 1 << 20, &m, err));
            shape.m = (size_t)m;
            if (o->group == 0 || shape.group > shape.k)
                shape.group = shape.k;
            size_t weight = shape.n * shape.k * shape.bits / 8;
            if (o->ring)
                shape.ring = nb_max(nb_ceil_div((size_t)o->ring, nb_max(weight, 1)), 1);
            NB_TRY(bench_shape(b, &shape, err));
        }
    return NB_OK;
}

static nb_status run_bench(const options *o, nb_err *err) {
    bench b = {.opt = o};
    size_t n_threads = o->threads.count ? o->threads.count : 1;
    nb_status status = NB_OK;
    if (!o->common.json)
        nb_bench_print_head();
    for (size_t t = 0; t < n_threads && status == NB_OK; t++) {
        int64_t threads = 0;
        nb_device *device = NULL;
        if (o->threads.count)
            NB_GO(nb_parse_int("--threads", o->threads.items[t], 1, 1024, &threads, err));
        nb_device_options device_options = {.threads = (unsigned)threads, .cache_dir = nb_cli_cache_dir()};
        NB_GO(nb_device_open(o->device, &device_options, &device, err));
        status = nb_stream_new(device, &b.stream, err);
        if (status == NB_OK)
            status = device->backend->info(device, &b.info, err);
        b.threads = nb_pool_threads(device->pool);
        if (status == NB_OK)
            status = bench_threads(&b, err);
        nb_stream_free(b.stream);
        b.stream = NULL;
        nb_device_close(device);
    }
    if (status == NB_OK && b.results.count == 0)
        status =
            nb_fail(err, NB_E_USAGE, "nothing to time: no row matches --op %s --kernel %s on %s",
                    o->op, o->kernel, o->device);
    if (status == NB_OK && o->common.json)
        status = nb_bench_json(&b.results, &b.info, err);
out:
    nb_free(b.results.items);
    return status;
}

static const nb_opt opts[] = {
    {"op", 0, NB_OPT_STR, offsetof(options, op), "GLOB", NULL, 0, 0,
     "operations of kernels.def (qgemm*)"},
    {"kernel", 0, NB_OPT_STR, offsetof(options, kernel), "GLOB", NULL, 0, 0, "variants (*)"},
    {"shape", 0, NB_OPT_LIST, offsetof(options, shapes), "NxK", NULL, 0, 0,
     "shape of the weight; may be repeated (4096x4096, 11008x4096, 4096x11008, 576x1536)"},
    {"rows", 'm', NB_OPT_LIST, offsetof(options, rows), "M", NULL, 0, 0,
     "rows of activations; may be repeated (1)"},
    {"bits", 'b', NB_OPT_INT, offsetof(options, bits), "N", NULL, 2, 8, "width of codes (4)"},
    {"group-size", 'g', NB_OPT_INT, offsetof(options, group), "N", NULL, 0, 1 << 30,
     "columns of a group, 0 for a whole row (128)"},
    {"ring", 0, NB_OPT_SIZE, offsetof(options, ring), "SIZE", NULL, 0, 0,
     "use copies of the weight in turn, of this size together, so that none is in cache (0)"},
    {"threads", 'j', NB_OPT_LIST, offsetof(options, threads), "N", NULL, 0, 0,
     "worker threads; may be repeated (all processors)"},
    {"device", 0, NB_OPT_STR, offsetof(options, device), "DEVICE", NULL, 0, 0,
     "cpu, cuda[:N], opencl[:N] (cpu)"},
    {"peers", 0, NB_OPT_STR, offsetof(options, peers), "LIST", NULL, 0, 0,
     "openblas, onednn: time their f32 products beside (none)"},
    {"samples", 0, NB_OPT_INT, offsetof(options, samples), "N", NULL, 1, MAX_SAMPLES,
     "samples of each (15)"},
    {"sample-ms", 0, NB_OPT_INT, offsetof(options, sample_ms), "N", NULL, 0, 10000,
     "least length of a sample (10)"},
    {"cpu-time", 0, NB_OPT_FLAG, offsetof(options, cpu_time), NULL, NULL, 0, 0,
     "count processor time instead of time: for one thread on a machine that others use as well"},
    {"latency", 0, NB_OPT_FLAG, offsetof(options, latency), NULL, NULL, 0, 0,
     "wait for each operation, instead of for a sample of them queued one behind the other"},
    {"model", 0, NB_OPT_STR, offsetof(options, model), "MODEL", NULL, 0, 0,
     "time a whole model instead: tokens a second of a prompt, and of decoding"},
    {"prompt", 0, NB_OPT_INT, offsetof(options, prompt), "N", NULL, 0, 1 << 20,
     "with --model: tokens of the prompt, 0 for none (512)"},
    {"tokens", 0, NB_OPT_INT, offsetof(options, tokens), "N", NULL, 0, 1 << 20,
     "with --model: tokens to decode, 0 for none (128)"},
    {"past", 0, NB_OPT_INT, offsetof(options, past), "N", NULL, 0, 1 << 20,
     "with --model: decode after so many tokens (0)"},
    {"mode", 0, NB_OPT_CHOICE, offsetof(options, mode), NULL, "exact|fast", 0, 0,
     "with --model: packed weights in f32, or with activations in 8 bits (fast)"},
    {"embeddings", 0, NB_OPT_CHOICE, offsetof(options, embeddings), NULL, "f16|q8", 0, 0,
     "with --model: output head as stored, or as 8-bit rows (q8 where fast, else f16)"},
    {"compare", 0, NB_OPT_STR, offsetof(options, compare), "OLD,NEW", NULL, 0, 0,
     "compare two files that --json wrote, and measure nothing"},
};

static nb_status compare(const options *o, nb_err *err) {
    const char *pair = o->compare;
    char before[1024];
    size_t len = strcspn(pair, ",");
    if (o->common.json)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--json", "does not go with --compare, which prints a table");
    if (!pair[len] || len >= sizeof before)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--compare", "\"%s\" is not of the form OLD,NEW",
                          pair);
    snprintf(before, sizeof before, "%.*s", (int)len, pair);
    return nb_bench_compare(before, pair + len + 1, err);
}

static nb_status model(const options *o, nb_err *err) {
    bool fast = !strcmp(o->mode, "fast"), q8 = o->embeddings ? !strcmp(o->embeddings, "q8") : fast;
    nb_bench_model_options m = {
        .path = o->model,
        .device = o->device,
        .threads = &o->threads,
        .json = o->common.json,
        .speed = {.prompt = (size_t)o->prompt,
                  .tokens = (size_t)o->tokens,
                  .past = (size_t)o->past,
                  .samples = (size_t)o->samples,
                  .mode = fast ? NB_GEMM_FAST : NB_GEMM_EXACT,
                  .embeddings = q8 ? NB_EMBEDDINGS_Q8 : NB_EMBEDDINGS_STORED}};
    return nb_bench_model(&m, err);
}

static int run(int argc, char **argv) {
    options o = {.common.progress = "auto",
                 .device = "cpu",
                 .op = "qgemm*",
                 .kernel = "*",
                 .peers = "",
                 .mode = "fast",
                 .prompt = 512,
                 .tokens = 128,
                 .bits = 4,
                 .group = 128,
                 .samples = 15,
                 .sample_ms = 10};
    bool done;
    int code;
    nb_cli_parse(&nb_cmd_bench, argc, argv, &o, NULL, &done, &code);
    if (done)
        return code;
    nb_err err = {0};
    nb_status status = o.compare ? compare(&o, &err)
                       : o.model ? model(&o, &err)
                                 : run_bench(&o, &err);
    if (status == NB_OK)
        status = nb_cli_flush(&err);
    return status == NB_OK ? 0 : nb_cli_fail(&err);
}

static const char *const examples[] = {
    "# GEMV out of cache, beside the read bandwidth",
    "nibble bench --shape 4096x4096 --ring 256M -j 1",
    "# GEMM beside OpenBLAS",
    "nibble bench --shape 4096x4096 -m 512 --peers openblas",
    "# a whole model: prompt and decoding",
    "nibble bench --model SmolLM2-w4 -j 1 -j 2",
    "nibble bench --compare before.json,after.json",
    NULL,
};

const nb_cmd nb_cmd_bench = {
    .name = "bench",
    .about = "time the kernels",
    .operands = "",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .examples = examples,
    .run = run,
};

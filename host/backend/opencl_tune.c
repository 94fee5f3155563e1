/* What the OpenCL backend chooses by measurement: work-group sizes and tiles of packed products. The result is a small file
 * in the cache folder, named by platform, device, driver and library; one that is missing, damaged or out of its domain
 * leaves the defaults. A choice changes speed alone (and with `slices` and `tile_from` the order of sums). */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <nibble/version.h>
#include "host/backend/opencl_ops.h"
#include "host/backend/packed.h"
#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/hash.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "host/base/str.h"

/* The weight that is timed, [SIDE, SIDE], and the time that a candidate gets. */
enum { SIDE = 2048, GROUP = 128, MAX_FILE = 4096, MAX_ROWS = 128, ROUNDS = 5, TILE_ITEMS = 256 };

nb__cl_tuning nb__cl_tuning_default(size_t max_group) {
    nb__cl_tuning t = {.wide_items = 1, .slices = 8, .tile_from = max_group >= TILE_ITEMS ? 32 : 0};
    while (t.slices > 1 && NB_CL_PANEL_ITEMS * t.slices > max_group)
        t.slices /= 2;
    return t;
}

nb__cl_tuning nb__cl_tuning_now(nb__cl_device *d) {
    pthread_mutex_lock(&d->lock);
    nb__cl_tuning t = d->tuning;
    pthread_mutex_unlock(&d->lock);
    return t;
}

static void set_tuning(nb__cl_device *d, const nb__cl_tuning *t) {
    pthread_mutex_lock(&d->lock);
    d->tuning = *t;
    pthread_mutex_unlock(&d->lock);
}

/* ---- the file ---- */

static nb_status tuning_path(const nb__cl_device *d, char **out, nb_err *err) {
    static const cl_device_info parts[] = {CL_DEVICE_NAME, CL_DEVICE_VENDOR, CL_DEVICE_VERSION, CL_DRIVER_VERSION};
    char text[1024], name[64], key[NB_HASH_TEXT];
    nb_hash *hash;
    NB_TRY(nb_hash_new(&hash, err));
    nb_hash_add_str(hash, NB_VERSION_STRING);
    nb__cl_platform_text(d->api, d->place.platform, CL_PLATFORM_VERSION, text, sizeof text);
    nb_hash_add_str(hash, text);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        nb__cl_device_text(d->api, d->place.device, parts[i], text, sizeof text);
        nb_hash_add_str(hash, text);
    }
    nb_hash_text(hash, key);
    nb_hash_free(hash);
    snprintf(name, sizeof name, "opencl-tune-%s.txt", key);
    return nb_path_join(d->cache_dir, name, out, err);
}

static void body_text(const nb__cl_tuning *t, char out[256]) {
    snprintf(out, 256, "nibble opencl tuning 2\nwide_items %u\nslices %u\ntile_from %u\nclblast %u\n", t->wide_items, t->slices,
             t->tile_from, t->clblast);
}

static bool is_valid(const nb__cl_device *d, const nb__cl_tuning *t) {
    return t->clblast <= 1 && t->wide_items >= 1 && t->wide_items <= 64 && t->slices >= 1 && t->slices <= 16 && (t->tile_from == 0 || d->max_group >= TILE_ITEMS) &&
           NB_CL_PANEL_ITEMS * t->slices <= d->max_group && (t->tile_from == 0 || (t->tile_from > 8 && t->tile_from <= 4096));
}

void nb__cl_tuning_load(nb__cl_device *d) {
    char *path, *text, body[256], sum[NB_HASH_TEXT];
    size_t size;
    nb__cl_tuning t;
    if (!d->cache_dir || tuning_path(d, &path, NULL) != NB_OK)
        return;
    if (nb_path_exists(path) && nb_file_read(path, MAX_FILE, &text, &size, NULL) == NB_OK) {
        /* What was read must give the same text again, with the same sum behind it: nothing else is taken. */
        int members = sscanf(text, "nibble opencl tuning 2\nwide_items %9u\nslices %9u\ntile_from %9u\nclblast %9u\n", &t.wide_items,
                             &t.slices, &t.tile_from, &t.clblast);
        if (members == 4 && is_valid(d, &t)) {
            body_text(&t, body);
            nb_hash_once(body, strlen(body), sum);
            if (nb_starts_with(text, body) && !strncmp(text + strlen(body), sum, strlen(sum)))
                d->tuning = t;
        }
        nb_free(text);
    }
    nb_free(path);
}

static nb_status tuning_save(const nb__cl_device *d, const nb__cl_tuning *t, nb_err *err) {
    char *path, text[256 + NB_HASH_TEXT], sum[NB_HASH_TEXT];
    if (!d->cache_dir)
        return nb_fail(err, NB_E_FAILED, "there is no cache folder to keep the result in");
    body_text(t, text);
    nb_hash_once(text, strlen(text), sum);
    memcpy(text + strlen(text), sum, strlen(sum) + 1);
    NB_TRY(tuning_path(d, &path, err));
    nb_status status = nb__cl_make_folder(d->cache_dir, err);
    if (status == NB_OK)
        status = nb_file_write(path, text, strlen(text), err);
    nb_free(path);
    return status;
}

/* ---- measuring ---- */

typedef struct bench {
    nb_stream *stream;
    nb__cl_device *d;
    nb_packed *packed;
    nb_mem x, y, work;
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static nb_status bench_new(bench *b, nb_err *err) {
    nb_device *device = &b->d->base;
    nb_qtensor q;
    nb_random r = nb_random_seed(1);
    size_t work;
    NB_TRY(nb_qtensor_new(SIDE, SIDE, 4, GROUP, true, false, &q, err));
    for (size_t i = 0; i < (size_t)SIDE * SIDE; i++)
        q.codes[i] = (uint8_t)(nb_random_u32(&r) & 15);
    for (size_t i = 0; i < SIDE * q.groups; i++) {
        q.scales[i] = 0.015625f;
        q.zeros[i] = 8.0f;
    }
    nb_status status = nb_packed_new(b->stream, &q, &b->packed, err);
    nb_qtensor_free(&q);
    NB_TRY(status);
    NB_TRY(nb_packed_workspace(b->packed, MAX_ROWS, NB_GEMM_EXACT, &work, err));
    NB_TRY(nb_alloc(device, work, &b->work, err));
    NB_TRY(nb_alloc_array(device, (size_t)MAX_ROWS * SIDE, sizeof(float), &b->x, err));
    NB_TRY(nb_alloc_array(device, (size_t)MAX_ROWS * SIDE, sizeof(float), &b->y, err));
    return nb_fill(b->stream, b->x, 0, (size_t)MAX_ROWS * SIDE * sizeof(float), err);
}

static void bench_free(bench *b) {
    nb_release(&b->d->base, &b->x);
    nb_release(&b->d->base, &b->y);
    nb_release(&b->d->base, &b->work);
    nb_packed_free(b->packed);
}

/* Seconds of the product for m rows with this tuning: the best of some, after one that builds. */
static nb_status measure(bench *b, const nb__cl_tuning *t, size_t m, double *out, nb_err *err) {
    set_tuning(b->d, t);
    *out = 0.0;
    for (int i = 0; i <= ROUNDS; i++) {
        double start = now();
        NB_TRY(nb_packed_linear(b->stream, b->packed, NB_GEMM_EXACT, m, b->x, SIDE, b->y, SIDE, (nb_mem){0}, false, b->work, err));
        NB_TRY(nb_sync(b->stream, err));
        double seconds = now() - start;
        *out = i <= 1 || seconds < *out ? seconds : *out;
    }
    return NB_OK;
}

/* Tries values of one member of t at m rows, and leaves the fastest there. */
static nb_status choose(bench *b, nb__cl_tuning *t, unsigned *member, const char *name, const unsigned *values, size_t count,
                        size_t m, nb_err *err) {
    unsigned best = *member;
    double least = 0.0, seconds;
    for (size_t i = 0; i < count; i++) {
        *member = values[i];
        if (!is_valid(b->d, t))
            continue;
        nb_status status = measure(b, t, m, &seconds, err);
        if (status == NB_E_UNSUPPORTED) /* the kernel's own limit is below the device's */
            continue;
        NB_TRY(status);
        nb_logf(&b->d->base.log, NB_LOG_INFO, "%s %u: %zu row%s in %.1f us", name, values[i], m, m == 1 ? "" : "s", seconds * 1e6);
        if (least == 0.0 || seconds < least) {
            least = seconds;
            best = values[i];
        }
    }
    *member = best;
    return NB_OK;
}

/* The fewest rows from which the tile is not slower, among a few counts. */
static nb_status choose_tile(bench *b, nb__cl_tuning *t, nb_err *err) {
    static const unsigned rows[] = {16, 32, 64, MAX_ROWS};
    unsigned from = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !from; i++) {
        double with, without;
        t->tile_from = rows[i];
        nb_status status = measure(b, t, rows[i], &with, err);
        if (status == NB_E_UNSUPPORTED) /* the kernel's own limit is below the device's: no tiles */
            break;
        NB_TRY(status);
        t->tile_from = 0;
        NB_TRY(measure(b, t, rows[i], &without, err));
        nb_logf(&b->d->base.log, NB_LOG_INFO, "%u rows: tile %.1f us, lanes %.1f us", rows[i], with * 1e6, without * 1e6);
        if (with <= without)
            from = rows[i];
    }
    t->tile_from = from;
    return NB_OK;
}

static nb_status search(bench *b, nb__cl_tuning *t, nb_err *err) {
    static const unsigned items[] = {1, 2, 4, 8}, slices[] = {4, 8, 16};
    const nb_kernel *row = b->d->base.chosen[NB_OP_qgemm];
    if (row && row->needs & NB_CL_CPU)
        return choose(b, t, &t->wide_items, "wide_items", items, sizeof items / sizeof *items, 1, err);
    NB_TRY(choose(b, t, &t->slices, "slices", slices, sizeof slices / sizeof *slices, 1, err));
    return choose_tile(b, t, err);
}

nb_status nb__cl_tune(nb_stream *stream, nb_tuned *out, size_t cap, size_t *count, nb_err *err) {
    bench b = {.stream = stream, .d = nb__cl_device_of(stream)};
    nb__cl_tuning before = nb__cl_tuning_now(b.d), t = nb__cl_tuning_default(b.d->max_group);
    nb_status status = bench_new(&b, err);
    if (status == NB_OK)
        status = search(&b, &t, err);
    if (status == NB_OK)
        status = nb__cl_blast_tune(stream, &t.clblast, err);
    nb_sync(stream, NULL);
    bench_free(&b);
    set_tuning(b.d, status == NB_OK ? &t : &before);
    if (status == NB_OK)
        status = tuning_save(b.d, &t, err);
    if (status != NB_OK)
        return status;
    const nb_tuned all[] = {{"wide_items", t.wide_items}, {"slices", t.slices}, {"tile_from", t.tile_from}, {"clblast", t.clblast}};
    *count = sizeof all / sizeof *all;
    for (size_t i = 0; i < *count && i < cap; i++)
        out[i] = all[i];
    return NB_OK;
}

/* Decoding with a cache of keys and values, all blocks loaded. */
#include "host/model/generate.h"

#include <string.h>
#include <time.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

/* Tokens of a prompt that go through at once, and sequences of a batch. */
enum { PROMPT_STEP = 512, MAX_GROUP = 64 };

typedef struct decoder {
    const nb_model *model;
    const nb_hparams *hp;
    nb_stream *stream;
    nb_device *device;
    nb_block *blocks; /* [layers]; the first `loaded` are */
    size_t loaded, sequences;
    nb_forward *forward;
    nb_kv *kv;
    nb_mem hidden, logits; /* [rows, hidden], [sequences, vocab] */
    float *host;           /* [sequences, vocab] */
} decoder;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void decoder_close(decoder *d) {
    for (size_t i = 0; i < d->loaded; i++)
        nb_block_free(d->device, &d->blocks[i]);
    nb_free(d->blocks);
    nb_forward_free(d->forward);
    nb_kv_free(d->kv);
    nb_release(d->device, &d->hidden);
    nb_release(d->device, &d->logits);
    nb_free(d->host);
}

static nb_status decoder_parts(decoder *d, size_t rows, size_t context, nb_err *err) {
    size_t floats, states;
    if (!nb_mul(d->sequences, d->hp->vocab, &floats) || !nb_mul(rows, d->hp->hidden, &states))
        return nb_fail_memory(err, SIZE_MAX, "logits");
    NB_TRY(nb_calloc(d->hp->layers, sizeof *d->blocks, "blocks", &d->blocks, err));
    NB_TRY(nb_calloc(floats, sizeof *d->host, "logits", &d->host, err));
    NB_TRY(nb_alloc_array(d->device, floats, sizeof(float), &d->logits, err));
    NB_TRY(nb_alloc_array(d->device, states, sizeof(float), &d->hidden, err));
    NB_TRY(nb_forward_new(d->model, d->stream, rows, &d->forward, err));
    NB_TRY(nb_kv_new(d->model, d->stream, d->sequences, context, &d->kv, err));
    for (; d->loaded < d->hp->layers; d->loaded++)
        NB_TRY(nb_block_load_joined(d->model, d->stream, d->loaded, &d->blocks[d->loaded], err));
    return NB_OK;
}

static nb_status decoder_open(decoder *d, const nb_model *model, nb_stream *stream, size_t sequences, size_t rows,
                              size_t context, nb_err *err) {
    *d = (decoder){.model = model, .hp = nb_model_hparams(model), .stream = stream, .device = stream->device,
                   .sequences = sequences};
    nb_status status = decoder_parts(d, rows, context, err);
    if (status != NB_OK)
        decoder_close(d);
    return status;
}

/* `length` ids of each sequence go in at position past; the logits of the last of each come to host where asked for. Either
 * sequences or length is 1. */
static nb_status decoder_step(decoder *d, const int32_t *ids, size_t length, size_t past, bool want_logits, nb_err *err) {
    size_t rows = d->sequences * length;
    NB_TRY(nb_forward_embed(d->forward, ids, rows, d->hidden, err));
    for (size_t i = 0; i < d->hp->layers; i++)
        NB_TRY(nb_forward_block(d->forward, &d->blocks[i], d->hidden, d->sequences, length, d->kv, past, err));
    if (!want_logits)
        return NB_OK;
    size_t last = (rows - d->sequences) * d->hp->hidden * sizeof(float);
    NB_TRY(nb_forward_logits(d->forward, nb_mem_at(d->hidden, last), d->sequences, d->logits, err));
    NB_TRY(nb_download(d->stream, d->host, d->logits, d->sequences * d->hp->vocab * sizeof(float), err));
    return nb_sync(d->stream, err);
}

static nb_status decode_prompt(decoder *d, const int32_t *prompt, size_t count, nb_err *err) {
    for (size_t at = 0; at < count; at += PROMPT_STEP) {
        size_t length = nb_min(PROMPT_STEP, count - at);
        NB_TRY(decoder_step(d, prompt + at, length, at, at + length == count, err));
    }
    return NB_OK;
}

static bool stops_at(const nb_generate_options *o, int32_t id) {
    for (size_t i = 0; i < o->n_stops; i++)
        if (o->stops[i] == id)
            return true;
    return false;
}

static nb_status decode(decoder *d, const int32_t *prompt, size_t count, const nb_generate_options *o, size_t most,
                        nb_generate_result *out, nb_err *err) {
    nb_random random = nb_random_seed(o->sampling.seed);
    double start = now();
    nb_generate_result r = {.prompt_tokens = count};
    NB_TRY(decode_prompt(d, prompt, count, err));
    r.prompt_seconds = now() - start;
    start = now();
    while (r.tokens < most) {
        int32_t id;
        NB_TRY(nb_sample(d->host, d->hp->vocab, &o->sampling, &random, &id, err));
        r.tokens++;
        r.ended = stops_at(o, id);
        if ((o->token && !o->token(o->ctx, id)) || r.ended || r.tokens == most)
            break;
        NB_TRY(decoder_step(d, &id, 1, count + r.tokens - 1, true, err));
    }
    r.decode_seconds = now() - start;
    *out = r;
    return NB_OK;
}

nb_status nb_generate(const nb_model *model, nb_stream *stream, const int32_t *prompt, size_t count,
                      const nb_generate_options *options, nb_generate_result *out, nb_err *err) {
    size_t context = nb_model_hparams(model)->context;
    if (count == 0)
        return nb_fail(err, NB_E_USAGE, "the prompt is empty");
    if (count >= context)
        return nb_fail(err, NB_E_USAGE, "the prompt has %zu tokens, the model's context %zu", count, context);
    size_t most = nb_min(options->max_tokens, context - count);
    decoder d;
    NB_TRY(decoder_open(&d, model, stream, 1, nb_min(count, PROMPT_STEP), count + most, err));
    nb_forward_set_mode(d.forward, options->mode);
    nb_status status = nb_forward_set_embeddings(d.forward, options->embeddings, err);
    if (status == NB_OK)
        status = decode(&d, prompt, count, options, most, out, err);
    decoder_close(&d);
    return status;
}

/* ---- many sequences ---- */

/* Each sequence's own stream of random numbers; the first token where there is no BOS comes from it. */
static void first_tokens(const nb_batch_options *o, size_t vocab, size_t first, size_t count, nb_random *random, int32_t *ids) {
    for (size_t i = 0; i < count; i++) {
        random[i] = nb_random_seed(o->sampling.seed + (uint64_t)(first + i) * 0x9e3779b97f4a7c15u);
        ids[i] = o->bos >= 0 ? o->bos : (int32_t)nb_random_below(&random[i], (uint32_t)vocab);
    }
}

static nb_status run_group(decoder *d, const nb_batch_options *o, size_t first, int32_t *out, nb_err *err) {
    nb_random random[MAX_GROUP];
    int32_t ids[MAX_GROUP];
    size_t vocab = d->hp->vocab;
    first_tokens(o, vocab, first, d->sequences, random, ids);
    for (size_t t = 0;; t++) {
        for (size_t i = 0; i < d->sequences; i++)
            out[(first + i) * o->length + t] = ids[i];
        if (o->progress && !o->progress(o->ctx, first * o->length + (t + 1) * d->sequences, o->sequences * o->length))
            return nb_fail(err, NB_E_INTERRUPTED, "stopped while text was made");
        if (t + 1 == o->length)
            return NB_OK;
        NB_TRY(decoder_step(d, ids, 1, t, true, err));
        for (size_t i = 0; i < d->sequences; i++)
            NB_TRY(nb_sample(d->host + i * vocab, vocab, &o->sampling, &random[i], &ids[i], err));
    }
}

nb_status nb_generate_batch(const nb_model *model, nb_stream *stream, const nb_batch_options *o, int32_t *out, nb_err *err) {
    size_t ids;
    if (o->sequences == 0 || o->length == 0 || !nb_mul(o->sequences, o->length, &ids))
        return nb_fail(err, NB_E_USAGE, "%zu sequences of %zu tokens", o->sequences, o->length);
    if (o->length > nb_model_hparams(model)->context)
        return nb_fail(err, NB_E_USAGE, "sequences of %zu tokens, the model's context is %zu", o->length,
                       nb_model_hparams(model)->context);
    for (size_t first = 0; first < o->sequences; first += MAX_GROUP) {
        decoder d;
        size_t group = nb_min(MAX_GROUP, o->sequences - first);
        NB_TRY(decoder_open(&d, model, stream, group, group, o->length, err));
        nb_status status = run_group(&d, o, first, out, err);
        decoder_close(&d);
        NB_TRY(status);
    }
    return NB_OK;
}

/* ---- timing ---- */

static nb_status time_prompt(decoder *d, const int32_t *ids, size_t count, double *seconds, nb_err *err) {
    double start = now();
    NB_TRY(decode_prompt(d, ids, count, err));
    *seconds = now() - start;
    return NB_OK;
}

static nb_status time_decode(decoder *d, const int32_t *ids, const nb_speed_options *o, double *seconds, nb_err *err) {
    nb_random random = nb_random_seed(0);
    nb_sampling greedy = {.temperature = 0.0};
    int32_t id = ids[o->past];
    NB_TRY(decode_prompt(d, ids, o->past, err));
    double start = now();
    for (size_t t = 0; t < o->tokens; t++) {
        NB_TRY(decoder_step(d, &id, 1, o->past + t, true, err));
        NB_TRY(nb_sample(d->host, d->hp->vocab, &greedy, &random, &id, err));
    }
    *seconds = now() - start;
    return NB_OK;
}

static nb_status time_samples(decoder *d, const nb_speed_options *o, const int32_t *ids, double *prompt, double *decode,
                              nb_err *err) {
    nb_forward_set_mode(d->forward, o->mode);
    NB_TRY(nb_forward_set_embeddings(d->forward, o->embeddings, err));
    for (size_t i = 0; i <= o->samples; i++) { /* the first one warms up */
        size_t at = i ? i - 1 : 0;
        if (o->prompt)
            NB_TRY(time_prompt(d, ids, o->prompt, &prompt[at], err));
        if (o->tokens)
            NB_TRY(time_decode(d, ids, o, &decode[at], err));
    }
    return NB_OK;
}

nb_status nb_generate_time(const nb_model *model, nb_stream *stream, const nb_speed_options *o, double *prompt_seconds,
                           double *decode_seconds, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(model);
    size_t most = nb_max(o->prompt, o->past + 1), context = nb_max(o->prompt, o->past + o->tokens);
    if (o->past >= hp->context || o->tokens > hp->context - o->past || o->prompt > hp->context || context == 0)
        return nb_fail(err, NB_E_USAGE, "%zu tokens after %zu others and a prompt of %zu, the model's context is %zu", o->tokens,
                       o->past, o->prompt, hp->context);
    decoder d;
    int32_t *ids;
    nb_random random = nb_random_seed(1);
    NB_TRY(nb_calloc(most, sizeof *ids, "tokens", &ids, err));
    for (size_t i = 0; i < most; i++)
        ids[i] = (int32_t)nb_random_below(&random, (uint32_t)hp->vocab);
    nb_status status = decoder_open(&d, model, stream, 1, nb_min(most, PROMPT_STEP), context, err);
    if (status == NB_OK) {
        status = time_samples(&d, o, ids, prompt_seconds, decode_seconds, err);
        decoder_close(&d);
    }
    nb_free(ids);
    return status;
}

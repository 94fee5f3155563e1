#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/size.h"
#include "host/cli/cli.h"
#include "host/cli/progress.h"
#include "host/eval/eval.h"
#include "host/run/calibration.h"

typedef struct eval_values {
    nb_common common;
    const char *text, *reference, *logits, *protocol, *mode, *embeddings, *device, *kernel_filter;
    int64_t seq_len, max_tokens, threads;
} eval_values;

#define AT(field) offsetof(eval_values, field)
/* clang-format off */
static const nb_opt opts[] = {
    {"text", 't', NB_OPT_STR, AT(text), "FILE", NULL, 0, 0, "text to evaluate on, or JSON lines with \"text\"; keep it apart from the calibration text"},
    {"reference", 'r', NB_OPT_STR, AT(reference), "MODEL", NULL, 0, 0, "also measure KL divergence and top-1 agreement to this model"},
    {"logits", 0, NB_OPT_STR, AT(logits), "FILE", NULL, 0, 0, "also write the logits of the first window, raw little-endian f32 [tokens, vocabulary]; --json then lists its token ids as logits_ids"},
    {"seq-len", 0, NB_OPT_INT, AT(seq_len), "L", NULL, 4, 1000000, "tokens in a window (default 1024, or the model's context where that is less)"},
    {"max-tokens", 0, NB_OPT_INT, AT(max_tokens), "N", NULL, 0, INT64_MAX, "use only the first N tokens of the text; 0: all (default 0)"},
    {"protocol", 0, NB_OPT_CHOICE, AT(protocol), NULL, "hf|llama.cpp", 0, 0, "hf: all targets of each window; llama.cpp: those of its second half (default hf)"},
    {"mode", 0, NB_OPT_CHOICE, AT(mode), NULL, "exact|fast", 0, 0, "packed weights: exact computes in f32, fast with activations in 8 bits (default exact)"},
    {"embeddings", 0, NB_OPT_CHOICE, AT(embeddings), NULL, "f16|q8", 0, 0, "output head: f16: as the file stores it, q8: as 8-bit rows in groups of 32 (default f16)"},
    {"device", 'd', NB_OPT_STR, AT(device), "NAME", NULL, 0, 0, "auto, cpu, cuda[:N], opencl[:N] (default auto)"},
    {"threads", 'j', NB_OPT_INT, AT(threads), "T", NULL, 0, 1024, "threads; 0: one per processor (default 0)"},
    {"kernel", 0, NB_OPT_STR, AT(kernel_filter), "GLOBS", NULL, 0, 0, "leave these kernels out (comma-separated globs), for finding faults"},
};
/* clang-format on */

static const char *const examples[] = {
    "nibble eval SmolLM2-135M-w4 --text held-out.txt --reference SmolLM2-135M",
    "# a quick look",
    "nibble eval model.gguf --text held-out.txt --max-tokens 20000 --json",
    "# for a comparison with another program",
    "nibble eval model --text held-out.txt --seq-len 64 --max-tokens 64 --logits logits.f32 --json",
    NULL};

static int run(int argc, char **argv);
const nb_cmd nb_cmd_eval = {
    .name = "eval",
    .about = "perplexity of a model on text, and what it lost against a reference",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .examples = examples,
    .run = run,
};

static bool on_progress(void *ctx, size_t done, size_t total, double seconds) {
    nb_progress_step(ctx, done, total, seconds, NULL);
    return !nb_cli_stop_asked(NULL);
}

static nb_status read_ids(const nb_model *model, const eval_values *v, const nb_log *log, nb_ids *ids, int32_t *bos, nb_err *err) {
    nb_tokenizer *tok = NULL;
    size_t replaced;
    nb_status status;
    NB_GO(nb_model_tokenizer(model, &tok, err));
    *bos = nb_tokenizer_adds_bos(tok) ? nb_tokenizer_bos(tok) : -1;
    NB_GO(nb_text_ids(tok, v->text, ids, &replaced, err));
    if (*bos >= 0 && !strcmp(v->protocol, "llama.cpp")) { /* that tool puts it before the text too, not only into each window */
        NB_GO(nb_ids_add(ids, *bos, err));
        memmove(ids->data + 1, ids->data, (ids->len - 1) * sizeof *ids->data);
        ids->data[0] = *bos;
    }
    nb_text_tell_replaced(log, v->text, replaced);
    if (v->max_tokens && (size_t)v->max_tokens < ids->len)
        ids->len = (size_t)v->max_tokens;
    if (v->max_tokens && v->max_tokens < v->seq_len - (*bos >= 0 && !strcmp(v->protocol, "hf")))
        status = nb_fail_at(err, NB_E_USAGE, NULL, "--max-tokens", "is %lld, less than one window (--seq-len) of %lld",
                            (long long)v->max_tokens, (long long)v->seq_len);
out:
    nb_tokenizer_free(tok);
    return status;
}

/* The first window, as nb_eval_run makes it: BOS in front of the text, or in the place of its first token. */
static nb_status write_logits(const nb_model *model, nb_stream *stream, const eval_values *v, const nb_eval_options *eo, const nb_ids *ids,
                              int32_t bos, nb_out *file, json_t **out, nb_err *err) {
    size_t front = bos >= 0 && !strcmp(v->protocol, "hf"), count = nb_min((size_t)v->seq_len, ids->len + front);
    int32_t *window;
    NB_TRY(nb_calloc(count, sizeof *window, "a window", &window, err));
    memcpy(window + front, ids->data, (count - front) * sizeof *window);
    if (bos >= 0)
        window[0] = bos;
    nb_status status = nb_eval_logits(model, stream, window, count, eo, file, err);
    json_t *list = json_array();
    int bad = !list;
    for (size_t i = 0; i < count; i++)
        bad |= json_array_append_new(list, json_integer(window[i]));
    nb_free(window);
    if (status == NB_OK && bad)
        status = nb_fail_memory(err, 0, "JSON output");
    if (status != NB_OK)
        json_decref(list);
    else
        *out = list;
    return status;
}

static nb_status print_json(const eval_values *v, const nb_eval_result *r, json_t *logits_ids, nb_err *err) {
    json_t *perplexity = isfinite(r->perplexity) ? json_real(r->perplexity) : json_null();
    json_t *o = json_pack("{s:i, s:o, s:f, s:I, s:I, s:f, s:s, s:I}", "schema", 1, "perplexity", perplexity, "nll", r->nll,
                          "tokens", (json_int_t)r->tokens, "windows", (json_int_t)r->windows, "seconds", r->seconds, "protocol",
                          v->protocol, "seq_len", (json_int_t)v->seq_len);
    int bad = !o;
    if (r->has_reference) {
        bad |= json_object_set_new(o, "kl_mean", json_real(r->kl_mean));
        bad |= json_object_set_new(o, "top1_agreement", json_real(r->top1_agreement));
    }
    if (logits_ids)
        bad |= json_object_set(o, "logits_ids", logits_ids);
    if (bad) {
        json_decref(o);
        o = NULL;
    }
    return nb_cli_json(o, err);
}

static nb_status print_result(const eval_values *v, const nb_eval_result *r, json_t *logits_ids, nb_err *err) {
    if (v->common.json)
        return print_json(v, r, logits_ids, err);
    printf("perplexity       %.4f   (%s protocol, windows of %lld, %zu targets)\n", r->perplexity, v->protocol,
           (long long)v->seq_len, r->tokens);
    printf("nll              %.6f nats\n", r->nll);
    if (r->has_reference) {
        printf("KL divergence    %.6f nats, mean over targets, to the reference\n", r->kl_mean);
        printf("top-1 agreement  %.2f %%\n", 100.0 * r->top1_agreement);
    }
    printf("time             %.1f s, %.0f tokens/s\n", r->seconds, (double)r->tokens / r->seconds);
    return nb_cli_flush(err);
}

/* Windows that both models have room for. */
static nb_status settle_window(eval_values *v, const nb_model *model, const nb_model *reference, nb_err *err) {
    size_t context = nb_model_hparams(model)->context;
    if (reference)
        context = nb_min(context, nb_model_hparams(reference)->context);
    if (v->seq_len == 0)
        v->seq_len = (int64_t)nb_min(1024, context);
    return (uint64_t)v->seq_len <= context
               ? NB_OK
               : nb_fail_at(err, NB_E_USAGE, NULL, "--seq-len", "is %lld, the model's context %zu", (long long)v->seq_len, context);
}

/* Neither the file of logits nor the one that it is written as at first may be one that is read, or stand in a folder that is. */
static nb_status check_logits(const eval_values *v, const char *model, nb_err *err) {
    const char *inputs[] = {v->text, model, v->reference};
    nb_str partial = {0};
    char *folder = NULL;
    nb_status status;
    NB_GO(nb_str_addf(&partial, err, "%s.partial", v->logits));
    NB_GO(nb_path_parent(v->logits, &folder, err));
    for (int i = 0; i < 3 && status == NB_OK; i++)
        if (inputs[i] && (nb_path_holds(inputs[i], v->logits) || nb_path_holds(inputs[i], partial.data) || nb_path_holds(inputs[i], folder)))
            status = nb_fail_at(err, NB_E_USAGE, v->logits, "--logits", "would replace or join files of the input %s", inputs[i]);
out:
    nb_str_free(&partial);
    nb_free(folder);
    return status;
}

static nb_status execute(const eval_values *given, const char *path, nb_err *err) {
    eval_values values = *given, *v = &values;
    nb_progress progress = nb_progress_new(&v->common, "evaluating", "window");
    nb_device_options d = {.threads = (unsigned)v->threads, .kernel_filter = v->kernel_filter, .cache_dir = nb_cli_cache_dir(),
                           .log = nb_progress_log(&progress)};
    nb_eval_options eo = {.protocol = strcmp(v->protocol, "hf") ? NB_PROTOCOL_LLAMACPP : NB_PROTOCOL_HF,
                          .mode = strcmp(v->mode, "fast") ? NB_GEMM_EXACT : NB_GEMM_FAST,
                          .embeddings = strcmp(v->embeddings, "q8") ? NB_EMBEDDINGS_STORED : NB_EMBEDDINGS_Q8,
                          .progress = on_progress,
                          .stop = nb_cli_stop_asked,
                          .ctx = &progress};
    nb_model *model = NULL, *reference = NULL;
    nb_device *device = NULL;
    nb_stream *stream = NULL;
    nb_ids ids = {0};
    nb_eval_result result;
    json_t *logits_ids = NULL;
    nb_out *logits = NULL;
    int32_t bos = -1;
    nb_status status;
    if (!v->text)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--text", "is missing: which text should the model be measured on?");
    NB_GO(nb_model_open(path, &model, err));
    if (v->reference)
        NB_GO(nb_model_open(v->reference, &reference, err));
    if (v->logits)
        NB_GO(check_logits(v, path, err));
    NB_GO(settle_window(v, model, reference, err));
    eo.seq_len = (size_t)v->seq_len;
    NB_GO(read_ids(model, v, &d.log, &ids, &bos, err));
    NB_GO(nb_device_open(v->device, &d, &device, err));
    NB_GO(nb_stream_new(device, &stream, err));
    if (v->logits)
        NB_GO(nb_out_open(v->logits, &logits, err));
    NB_GO(nb_eval_run(model, reference, stream, ids.data, ids.len, bos, &eo, &result, err));
    nb_progress_end(&progress);
    if (logits) {
        NB_GO(write_logits(model, stream, v, &eo, &ids, bos, logits, &logits_ids, err));
        status = nb_out_commit(logits, err);
        logits = NULL;
        NB_GO(status);
    }
    NB_GO(print_result(v, &result, logits_ids, err));
out:
    nb_progress_end(&progress);
    nb_out_abort(logits);
    json_decref(logits_ids);
    nb_ids_free(&ids);
    nb_stream_free(stream);
    nb_device_close(device);
    nb_model_close(reference);
    nb_model_close(model);
    return status;
}

static int run(int argc, char **argv) {
    eval_values v = {.common.progress = "auto", .protocol = "hf", .mode = "exact", .embeddings = "f16", .device = "auto"};
    const char *model = NULL;
    bool done;
    int code;
    nb_err err = {0};
    nb_cli_parse(&nb_cmd_eval, argc, argv, &v, &model, &done, &code);
    if (done)
        return code;
    nb_cli_catch_signals();
    return execute(&v, model, &err) == NB_OK ? 0 : nb_cli_fail(&err);
}

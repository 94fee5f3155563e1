#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/cli/cli.h"
#include "host/cli/progress.h"
#include "host/model/generate.h"
#include "host/run/calibration.h"

typedef struct generate_values {
    nb_common common;
    const char *prompt, *device, *mode, *embeddings, *kernel_filter;
    int64_t count, top_k, seed, threads;
    double temperature, top_p;
    bool ignore_eos;
} generate_values;

#define AT(field) offsetof(generate_values, field)
/* clang-format off */
static const nb_opt opts[] = {
    {"prompt", 'p', NB_OPT_STR, AT(prompt), "TEXT", NULL, 0, 0, "text to go on from"},
    {"tokens", 'n', NB_OPT_INT, AT(count), "N", NULL, 1, 1000000, "write at most N tokens (default 128)"},
    {"temp", 0, NB_OPT_NUMBER, AT(temperature), "T", NULL, 0, 100, "temperature; 0: always the most likely token (default 0.7)"},
    {"top-k", 0, NB_OPT_INT, AT(top_k), "K", NULL, 0, NB_TOP_K_MAX, "draw from the K most likely tokens; 0: all (default 50)"},
    {"top-p", 0, NB_OPT_NUMBER, AT(top_p), "P", NULL, 0, 1, "and from the fewest that hold this share of the probability (default 1)"},
    {"seed", 0, NB_OPT_INT, AT(seed), "S", NULL, 0, INT64_MAX, "the same seed gives the same text (default 0)"},
    {"ignore-eos", 0, NB_OPT_FLAG, AT(ignore_eos), NULL, NULL, 0, 0, "go on after an end of text"},
    {"mode", 0, NB_OPT_CHOICE, AT(mode), NULL, "exact|fast", 0, 0, "packed weights: exact computes in f32, fast with activations in 8 bits (default exact)"},
    {"embeddings", 0, NB_OPT_CHOICE, AT(embeddings), NULL, "f16|q8", 0, 0, "output head: f16: as the file stores it, q8: as 8-bit rows in groups of 32 (default: q8 with --mode fast, else f16)"},
    {"device", 'd', NB_OPT_STR, AT(device), "NAME", NULL, 0, 0, "auto, cpu, cuda[:N], opencl[:N] (default auto)"},
    {"threads", 'j', NB_OPT_INT, AT(threads), "T", NULL, 0, 1024, "threads; 0: one per processor (default 0)"},
    {"kernel", 0, NB_OPT_STR, AT(kernel_filter), "GLOBS", NULL, 0, 0, "leave these kernels out (comma-separated globs), for finding faults"},
};
/* clang-format on */

static const char *const examples[] = {
    "nibble generate SmolLM2-135M-w4 -p 'The history of the printing press'",
    "nibble generate model.gguf -p 'def fibonacci(n):' -n 64 --temp 0",
    NULL};

static int run(int argc, char **argv);
const nb_cmd nb_cmd_generate = {
    .name = "generate",
    .about = "write text with a model",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .examples = examples,
    .run = run,
};

typedef struct sink {
    const nb_tokenizer *tok;
    bool print;
    nb_str text;  /* all that was written */
    nb_status status;
    nb_err *err;
} sink;

/* Streams the token's bytes; a character may come in parts, and a terminal puts them together. */
static bool on_token(void *ctx, int32_t id) {
    sink *s = ctx;
    size_t before = s->text.len;
    if (nb_tokenizer_is_special(s->tok, id) || (size_t)id >= nb_tokenizer_size(s->tok)) /* a row of a padded table has no text */
        return !nb_cli_stop_asked(NULL);
    s->status = nb_token_bytes(s->tok, id, false, &s->text, s->err);
    if (s->status == NB_OK && s->print) {
        fwrite(s->text.data + before, 1, s->text.len - before, stdout);
        fflush(stdout);
    }
    return s->status == NB_OK && !ferror(stdout) && !nb_cli_stop_asked(NULL);
}

static double rate(size_t tokens, double seconds) {
    return seconds > 0 ? (double)tokens / seconds : 0.0;
}

static nb_status print_json(const generate_values *v, const sink *s, const nb_generate_result *r, nb_err *err) {
    json_t *prompt = nb_cli_text(v->prompt, strlen(v->prompt)), *text = nb_cli_text(s->text.data, s->text.len);
    return nb_cli_json(json_pack("{s:i, s:o, s:o, s:I, s:I, s:f, s:f, s:b}", "schema", 1, "prompt", prompt, "text",
                                 text, "prompt_tokens", (json_int_t)r->prompt_tokens, "tokens",
                                 (json_int_t)r->tokens, "prompt_tokens_per_second", rate(r->prompt_tokens, r->prompt_seconds),
                                 "tokens_per_second", rate(r->tokens ? r->tokens - 1 : 0, r->decode_seconds), "ended",
                                 (int)r->ended),
                       err);
}

static nb_status write_text(const generate_values *v, const nb_model *model, nb_stream *stream, nb_err *err) {
    nb_generate_options go = {.max_tokens = (size_t)v->count,
                              .sampling = {.temperature = v->temperature, .top_k = (size_t)v->top_k, .top_p = v->top_p,
                                           .seed = (uint64_t)v->seed},
                              .mode = strcmp(v->mode, "fast") ? NB_GEMM_EXACT : NB_GEMM_FAST,
                              .token = on_token};
    bool fast = go.mode == NB_GEMM_FAST && stream->device->chosen[NB_OP_qgemm_i8];
    go.embeddings = (v->embeddings ? !strcmp(v->embeddings, "q8") : fast) ? NB_EMBEDDINGS_Q8 : NB_EMBEDDINGS_STORED;
    nb_tokenizer *tok = NULL;
    nb_ids ids = {0}, stops = {0};
    nb_generate_result result;
    sink s = {.print = !v->common.json, .err = err};
    nb_status status;
    NB_GO(nb_model_tokenizer(model, &tok, err));
    NB_GO(nb_tokenize(tok, v->prompt, strlen(v->prompt), true, &ids, err));
    s.tok = tok;
    go.ctx = &s;
    if (!v->ignore_eos)
        NB_GO(nb_model_stops(model, tok, &stops, err));
    go.stops = stops.data;
    go.n_stops = stops.len;
    if (ids.len == 0)
        NB_GO(nb_fail_at(err, NB_E_USAGE, NULL, "--prompt", "holds no token"));
    NB_GO(nb_generate(model, stream, ids.data, ids.len, &go, &result, err));
    NB_GO(s.status);
    if (v->common.json) {
        NB_GO(print_json(v, &s, &result, err));
    } else {
        putchar('\n');
        NB_GO(nb_cli_flush(err));
    }
    if (!v->common.json && !v->common.quiet)
        fprintf(stderr, "prompt %zu tokens, %.1f tokens/s; text %zu tokens, %.1f tokens/s\n", result.prompt_tokens,
                rate(result.prompt_tokens, result.prompt_seconds), result.tokens,
                rate(result.tokens ? result.tokens - 1 : 0, result.decode_seconds));
    if (nb_cli_stop_asked(NULL))
        status = nb_fail(err, NB_E_INTERRUPTED, "stopped after %zu tokens", result.tokens);
out:
    nb_str_free(&s.text);
    nb_ids_free(&ids);
    nb_ids_free(&stops);
    nb_tokenizer_free(tok);
    return status;
}

static nb_status execute(const generate_values *v, const char *path, nb_err *err) {
    nb_progress progress = nb_progress_new(&v->common, "writing", "token");
    nb_device_options d = {.threads = (unsigned)v->threads, .kernel_filter = v->kernel_filter, .cache_dir = nb_cli_cache_dir(),
                           .log = nb_progress_log(&progress)};
    nb_model *model = NULL;
    nb_device *device = NULL;
    nb_stream *stream = NULL;
    nb_status status;
    if (!v->prompt || !*v->prompt)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--prompt", "is missing: what should the text begin with?");
    NB_GO(nb_model_open(path, &model, err));
    NB_GO(nb_device_open(v->device, &d, &device, err));
    NB_GO(nb_stream_new(device, &stream, err));
    NB_GO(write_text(v, model, stream, err));
out:
    nb_stream_free(stream);
    nb_device_close(device);
    nb_model_close(model);
    return status;
}

static int run(int argc, char **argv) {
    generate_values v = {.common.progress = "auto", .device = "auto", .mode = "exact", .count = 128, .top_k = 50,
                         .temperature = 0.7, .top_p = 1.0};
    const char *model = NULL;
    bool done;
    int code;
    nb_err err = {0};
    nb_cli_parse(&nb_cmd_generate, argc, argv, &v, &model, &done, &code);
    if (done)
        return code;
    nb_cli_catch_signals();
    return execute(&v, model, &err) == NB_OK ? 0 : nb_cli_fail(&err);
}

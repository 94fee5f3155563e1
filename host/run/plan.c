#include "host/run/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <oniguruma.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/size.h"
#include "host/base/str.h"
#include "host/model/forward.h"
#include "host/quant/awq.h"
#include "host/run/learn.h"
#include "host/run/tune.h"

/* Tokens that weigh differently, as with two_sided, are worth fewer alike ones: (sum w)^2 / sum w^2 is 0.57 of them on SmolLM2, and
 * damping as for a third of them measured better than for all (docs/quality.md). */
enum { UNEVEN = 3 };

/* ---- overrides ---- */

/* A pathological pattern ends as "no match" instead of a hang. */
enum { RETRY_LIMIT = 1000000 };

static bool compile(const char *pattern, regex_t **out) {
    const OnigUChar *p = (const OnigUChar *)pattern;
    return onig_new(out, p, p + strlen(pattern), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_PERL_NG, NULL) == ONIG_NORMAL;
}

static bool compiles(const char *pattern) {
    regex_t *re;
    if (!compile(pattern, &re))
        return false;
    onig_free(re);
    return true;
}

static nb_status bad_override(nb_err *err, const char *text, const char *what) {
    return nb_fail_at(err, NB_E_USAGE, NULL, "--override", "\"%s\": %s; expected PATTERN:skip, PATTERN:bits=N, "
                      "PATTERN:group-size=N, or several of these after one PATTERN, with commas", text, what);
}

static bool read_number(const char *s, int64_t *out) {
    char *end;
    long long v = strtoll(s, &end, 10);
    if (*s == 0 || *end != 0)
        return false;
    *out = v;
    return true;
}

static nb_status override_key(nb_override *o, char *key, nb_err *err) {
    char *value = strchr(key, '=');
    int64_t number = 0;
    if (value)
        *value++ = 0;
    if (!strcmp(key, "skip")) {
        o->has_skip = true;
        o->skip = !value || !strcmp(value, "true");
        return o->skip || !strcmp(value, "false") ? NB_OK : bad_override(err, o->text, "skip is true or false");
    }
    if (!value || !read_number(value, &number))
        return bad_override(err, o->text, "a key without a whole number");
    if (!strcmp(key, "bits")) {
        if (number != 2 && number != 3 && number != 4 && number != 8)
            return bad_override(err, o->text, "bits must be 2, 3, 4 or 8");
        o->has_bits = true;
        o->bits = (unsigned)number;
        return NB_OK;
    }
    if (!strcmp(key, "group-size") || !strcmp(key, "group_size")) {
        if (number != -1 && number < 1)
            return bad_override(err, o->text, "a group size is -1 or at least 1");
        o->has_group = true;
        o->group_size = number;
        return NB_OK;
    }
    return bad_override(err, o->text, "an unknown key");
}

/* A regular expression that matches whole names: the first alternative that fits need not be one that reaches the end. Good by itself,
 * too: "a)|(b" is not. */
static nb_status whole_name(nb_override *o, nb_err *err) {
    nb_str whole = {0};
    NB_TRY(nb_str_addf(&whole, err, "(?:%s)\\z", o->pattern));
    bool good = compiles(o->pattern) && compiles(whole.data);
    nb_free(o->pattern);
    o->pattern = whole.data;
    return good ? NB_OK : bad_override(err, o->text, "the regular expression cannot be read");
}

nb_status nb_override_parse(const char *text, nb_override *out, nb_err *err) {
    nb_override o = {.text = text};
    char *copy = NULL;
    nb_status status;
    o.regex = nb_starts_with(text, "re:");
    const char *pattern = o.regex ? text + 3 : text;
    const char *colon = strrchr(pattern, ':');
    if (!colon || colon == pattern || !colon[1])
        return bad_override(err, text, "no PATTERN:key");
    NB_GO(nb_strdup(pattern, &o.pattern, err));
    o.pattern[colon - pattern] = 0;
    NB_GO(nb_strdup(colon + 1, &copy, err));
    if (o.regex)
        NB_GO(whole_name(&o, err));
    for (char *at = copy, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = 0;
        NB_GO(override_key(&o, at, err));
    }
    *out = o;
out:
    nb_free(copy);
    if (status != NB_OK)
        nb_free(o.pattern);
    return status;
}

void nb_override_free(nb_override *o) {
    nb_free(o->pattern);
    *o = (nb_override){0};
}

static bool override_matches(const nb_override *o, const char *name) {
    if (!o->regex)
        return nb_glob(o->pattern, name);
    regex_t *re;
    if (!compile(o->pattern, &re))
        return false;
    const OnigUChar *p = (const OnigUChar *)name, *end = p + strlen(name);
    OnigMatchParam *param = onig_new_match_param();
    int len = ONIG_MISMATCH;
    if (param) {
        onig_initialize_match_param(param);
        onig_set_retry_limit_in_match_of_match_param(param, RETRY_LIMIT);
        len = onig_match_with_param(re, p, end, p, NULL, ONIG_OPTION_NONE, param);
        onig_free_match_param(param);
    }
    onig_free(re);
    return len >= 0;
}

/* ---- items ---- */

/* Settings of one linear; group_size 0 stands for the run's own, filled in later. */
static void plan_item(const nb_hparams *hp, const nb_run_options *o, size_t layer, nb_lin lin, nb_plan_item *item) {
    item->layer = layer;
    item->lin = lin;
    nb_lin_name(hp, layer, lin, item->name, sizeof item->name);
    nb_lin_shape(hp, lin, &item->n, &item->k);
    item->bits = o->bits;
    for (size_t i = 0; i < o->n_overrides; i++) {
        nb_override *ov = &o->overrides[i];
        if (!override_matches(ov, item->name))
            continue;
        ov->hits++;
        if (ov->has_skip)
            item->skip = ov->skip;
        if (ov->has_bits)
            item->bits = ov->bits;
        if (ov->has_group)
            item->group_size = ov->group_size < 0 ? item->k : (size_t)ov->group_size;
    }
}

/* The largest of 128, 64, 32 that divides each K that has no group size of its own; 0 where none does. */
static int64_t auto_group(const nb_plan *plan) {
    static const size_t sizes[] = {128, 64, 32};
    for (size_t s = plan->gguf ? 2 : 0; s < 3; s++) { /* in a GGUF a larger group saves nothing */
        bool fits = true;
        for (size_t i = 0; i < plan->count; i++) {
            const nb_plan_item *it = &plan->items[i];
            fits = fits && (it->skip || it->group_size || it->k % sizes[s] == 0);
        }
        if (fits)
            return (int64_t)sizes[s];
    }
    return 0;
}

/* Group sizes from 16 to 1024 that divide k, as text. */
static void list_divisors(size_t k, char *out, size_t cap) {
    size_t len = 0;
    out[0] = 0;
    for (size_t g = 16; g <= nb_min(k, 1024); g *= 2)
        if (k % g == 0 && len + 8 < cap)
            len += (size_t)snprintf(out + len, cap - len, "%zu, ", g);
    snprintf(out + len, cap - len, "-1");
}

static nb_status check_group(const nb_plan_item *it, bool ragged, nb_err *err) {
    char fits[128];
    if (it->group_size <= it->k && (it->k % it->group_size == 0 || ragged))
        return NB_OK;
    list_divisors(it->k, fits, sizeof fits);
    return nb_fail_at(err, NB_E_USAGE, NULL, it->name,
                      "group size %zu does not divide its K = %zu; sizes that do: %s (or --ragged for a short last group)",
                      it->group_size, it->k, fits);
}

static nb_status settle_scheme(nb_plan *plan, const nb_run_options *o, nb_err *err) {
    plan->scheme = nb_scheme_by_name(o->format);
    if (!plan->scheme)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--format", "\"%s\" is not a format that can be written; gptq, awq and gguf are", o->format);
    plan->gguf = !strcmp(plan->scheme->name, "gguf");
    plan->embed_type = o->embeddings && !strcmp(o->embeddings, "f16") ? NB_F16 : NB_Q8_0;
    if (o->embeddings && !plan->gguf)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--embeddings", "belongs to --format gguf");
    return NB_OK;
}

static nb_status settle_groups(nb_plan *plan, const nb_run_options *o, nb_err *err) {
    plan->group_size = o->group_size ? o->group_size : auto_group(plan);
    if (plan->group_size == 0)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--group-size",
                          "none of 128, 64 and 32 divides every K of this model; choose one, -1, or --ragged with a size");
    for (size_t i = 0; i < plan->count; i++) {
        nb_plan_item *it = &plan->items[i];
        if (it->skip)
            continue;
        if (!it->group_size)
            it->group_size = plan->group_size < 0 ? it->k : (size_t)plan->group_size;
        NB_TRY(check_group(it, o->ragged, err));
    }
    return NB_OK;
}

static nb_status check_overrides(const nb_run_options *o, nb_err *err) {
    for (size_t i = 0; i < o->n_overrides; i++)
        if (!o->overrides[i].hits)
            return nb_fail_at(err, NB_E_USAGE, NULL, "--override", "\"%s\" matches no module of this model; names look like "
                              "model.layers.0.mlp.down_proj (--dry-run lists them)", o->overrides[i].text);
    return NB_OK;
}

/* ---- format ---- */

static nb_status settle_format(nb_plan *plan, const nb_run_options *o, nb_err *err) {
    nb_scheme_config *c = &plan->config;
    const char *version = o->checkpoint_format ? o->checkpoint_format : o->symmetric ? "gptq" : "gptq_v2";
    bool gptq = !strcmp(plan->scheme->name, "gptq");
    if (!gptq && o->checkpoint_format)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--checkpoint-format", "belongs to --format gptq");
    snprintf(c->format, sizeof c->format, "%s", gptq ? version : plan->scheme->name);
    c->bits = o->bits;
    c->group_size = plan->group_size;
    c->symmetric = o->symmetric;
    c->desc_act = plan->method->needs_hessian && o->order == NB_ORDER_ACT;
    c->ragged = o->ragged;
    c->damp = plan->method->needs_hessian ? plan->damp : -1.0;
    c->true_sequential = true;
    c->static_groups = o->order == NB_ORDER_ACT_STATIC;
    for (size_t i = 0; i < plan->count; i++) {
        const nb_plan_item *it = &plan->items[i];
        if (!it->skip)
            NB_TRY(nb_err_at(err, plan->scheme->accepts(c, it->n, it->k, it->bits, it->group_size, o->symmetric, err), NULL,
                             it->name));
    }
    return NB_OK;
}

/* ---- costs ---- */

/* Bytes that a tensor takes in the output: plain floats as they are, block types as F16; in a GGUF tables by their type, and
 * linears that are left alone as they are. */
static uint64_t written_bytes(const nb_plan *plan, const nb_view *v, bool linear) {
    uint64_t count = nb_view_count(v);
    if (plan->gguf && linear)
        return v->bytes;
    if (plan->gguf)
        return v->ndim < 2 ? 4 * count : plan->embed_type == NB_Q8_0 ? count / 32 * 34 : 2 * count;
    bool plain = nb_dtype_get(v->dtype)->block_elems == 1;
    return plain ? v->bytes : 2 * count;
}

static nb_status plan_sizes(nb_plan *plan, const nb_model *model, nb_err *err) {
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    uint64_t all = 0, linears = 0, skipped = 0;
    for (size_t i = 0; i < nb_ckpt_count(ckpt); i++)
        all += written_bytes(plan, nb_ckpt_tensor(ckpt, i), false);
    for (size_t i = 0; i < plan->count; i++) {
        const nb_plan_item *it = &plan->items[i];
        const nb_view *v = nb_model_linear_view(model, it->layer, it->lin);
        linears += v ? written_bytes(plan, v, false) : 0;
        if (it->skip) {
            skipped += v ? written_bytes(plan, v, true) : 0;
            continue;
        }
        nb_packed_tensor shapes[NB_SCHEME_MAX_TENSORS];
        size_t count;
        NB_TRY(plan->scheme->shapes(&plan->config, it->n, it->k, it->bits, it->group_size, shapes, &count, err));
        for (size_t t = 0; t < count; t++)
            plan->packed_bytes += shapes[t].bytes;
        plan->weights += (uint64_t)it->n * it->k;
    }
    plan->other_bytes = all - linears + skipped;
    plan->bits_per_weight = plan->weights ? 8.0 * (double)plan->packed_bytes / (double)plan->weights : 0.0;
    return NB_OK;
}

/* Learned rounding keeps the block's input, and the original's stream where asymmetric calibration does not already. */
static uint64_t plan_learn_memory(const nb_plan *plan, const nb_hparams *hp, const nb_run_options *o) {
    size_t groups[NB_LIN_COUNT] = {0}, tokens = o->samples * o->seq_len;
    for (size_t i = 0; i < nb_min(plan->count, NB_LIN_COUNT); i++)
        groups[plan->items[i].lin] = plan->items[i].group_size;
    uint64_t bytes = nb_learn_bytes(hp, groups, nb_min(plan->learn_batch, o->samples), o->seq_len) + 4 * (uint64_t)tokens * hp->hidden;
    return plan->asym > 0 ? bytes : bytes + 4 * (uint64_t)tokens * hp->hidden + nb_forward_stage_bytes(hp, tokens);
}

/* Learned scales come when all blocks are done: codes and factors of the whole model, two sets of activations and what a step takes. */
static uint64_t plan_tune_memory(const nb_plan *plan, const nb_hparams *hp, const nb_run_options *o) {
    uint64_t bytes = nb_tune_bytes(hp, nb_min(plan->tune_batch, o->samples), o->seq_len) +
                     8 * (uint64_t)o->samples * o->seq_len * hp->hidden;
    for (size_t i = 0; i < plan->count; i++) {
        const nb_plan_item *it = &plan->items[i];
        bytes += it->skip ? 4 * (uint64_t)it->n * it->k : nb_scales_bytes(it->n, it->k, it->group_size);
    }
    return bytes;
}

/* Multiply-adds count two. A step of learned scales: forward twice, back by inputs and by weights; the head forward for both models
 * and back. Before and after them 32 windows at the most go forward. */
static double plan_tune_work(const nb_plan *plan, const nb_hparams *hp, const nb_run_options *o, double weights) {
    double tokens = (double)plan->tune_steps * (double)plan->tune_batch * (double)o->seq_len, head = (double)hp->hidden * (double)hp->vocab;
    return tokens * (8.0 * weights + 6.0 * head) + 2.0 * (double)nb_min(o->samples, 32) * (double)o->seq_len * (2.0 * weights + 4.0 * head);
}

/* Feedback over rows: in each pass all windows go forward, through the head, and back as far as the pass's blocks, each block forward once
 * more on the way. Once: half of n n for each linear's covariance; for each linear half of 2 n n k, and its factor. */
static void plan_outputs(nb_plan *plan, const nb_hparams *hp, const nb_run_options *o, size_t max_weight, size_t max_k) {
    uint64_t block = nb__run_covariance_bytes(plan, hp), fit = o->gradient_memory ? o->gradient_memory / nb_max(block, 1) : hp->layers;
    plan->gather_layers = (size_t)nb_min(nb_max(fit, 1), hp->layers);
    double tokens = (double)o->samples * (double)o->seq_len, passes = (double)nb_ceil_div(hp->layers, plan->gather_layers);
    plan->flop += passes * tokens * 4.0 * (double)hp->hidden * (double)hp->vocab;
    for (size_t i = 0; i < plan->count; i++) {
        double n = (double)plan->items[i].n, k = (double)plan->items[i].k;
        plan->flop += (passes * 2.0 + (double)(plan->items[i].layer / plan->gather_layers + 1) * 4.0) * tokens * n * k;
        plan->flop += plan->items[i].skip ? 0.0 : tokens * n * n + n * n * k + n * n * n * 2.0 / 3.0;
    }
    plan->peak_memory += nb__run_outputs_bytes(hp, o->samples, o->seq_len) + plan->gather_layers * block +
                         16 * (uint64_t)max_weight + 32768 * (uint64_t)max_k;
}

/* Multiply-adds count two. Forward: each linear once over all tokens; Hessian: half of 2 T K^2 for each tap; solve: N K^2 for
 * the updates and 2/3 K^3 for the factor. */
static void plan_work(nb_plan *plan, const nb_model *model, const nb_run_options *o) {
    const nb_hparams *hp = nb_model_hparams(model);
    double tokens = (double)o->samples * (double)o->seq_len;
    size_t max_weight = 0, max_k = 0;
    double weights = 0.0;
    for (size_t i = 0; i < plan->count; i++) {
        const nb_plan_item *it = &plan->items[i];
        double n = (double)it->n, k = (double)it->k;
        max_weight = nb_max(max_weight, it->n * it->k);
        max_k = nb_max(max_k, it->k);
        weights += n * k;
        if (!plan->needs_data)
            continue;
        plan->flop += 2.0 * tokens * n * k;
        if (it->lin != NB_LIN_K && it->lin != NB_LIN_V && it->lin != NB_LIN_UP)
            plan->flop += tokens * k * k;
        plan->flop += it->skip ? 0.0 : n * k * k + k * k * k * 2.0 / 3.0;
        if (plan->descent && !it->skip) /* a gradient, and half of one inside a sweep */
            plan->flop += (double)plan->descent * 3.0 * n * k * k;
        if (plan->smooth)
            plan->flop += NB_AWQ_ALPHAS * 2.0 * n * k * k;
        if (plan->learn) /* forward, and back by inputs and by weights */
            plan->flop += 6.0 * (double)plan->learn_steps * (double)plan->learn_batch * (double)o->seq_len * n * k + 4.0 * tokens * n * k;
        if (plan->tune && plan->asym <= 0) /* a second stream */
            plan->flop += 2.0 * tokens * n * k;
        if (plan->asym > 0) /* a second stream, the cross term once a tap, four products a linear */
            plan->flop += 2.0 * tokens * n * k + 8.0 * n * k * k + (n < k ? 0.0 : 2.0 * tokens * k * k / 2.0);
    }
    plan->peak_memory = 9 * (uint64_t)max_weight + 8 * (uint64_t)max_weight;
    if (plan->needs_data)
        plan->peak_memory += 12 * (uint64_t)max_k * max_k +
                             (uint64_t)(tokens * (double)hp->hidden * 4.0) +
                             nb_forward_stage_bytes(hp, o->samples * o->seq_len) +
                             nb_forward_bytes(hp, nb_min(o->samples * o->seq_len, 4096));
    if (plan->smooth)
        plan->peak_memory += 4 * (uint64_t)max_k * max_k + 25 * (uint64_t)max_weight;
    if (plan->descent)
        plan->peak_memory += 9 * (uint64_t)max_weight;
    if (plan->learn)
        plan->peak_memory += plan_learn_memory(plan, hp, o);
    if (plan->asym > 0)
        plan->peak_memory += 4 * (uint64_t)max_k * max_k + 8 * (uint64_t)max_weight +
                             (uint64_t)(tokens * (double)hp->hidden * 4.0) +
                             nb_forward_stage_bytes(hp, o->samples * o->seq_len);
    if (plan->two_sided)
        plan_outputs(plan, hp, o, max_weight, max_k);
    if (!plan->tune)
        return;
    plan->flop += plan_tune_work(plan, hp, o, weights);
    if (plan->asym <= 0)
        plan->peak_memory += (uint64_t)(tokens * (double)hp->hidden * 4.0) + nb_forward_stage_bytes(hp, o->samples * o->seq_len);
    plan->peak_memory = nb_max(plan->peak_memory, plan_tune_memory(plan, hp, o));
}

/* GPTQModel 7.7 takes group sizes 16, 32, 64, ... 1024, and a whole row. */
static bool usual_group(const nb_plan_item *it) {
    size_t g = it->group_size;
    return g == it->k || (g >= 16 && g <= 1024 && (g & (g - 1)) == 0);
}

/* What of the input goes unused, or will be missing. */
static nb_status note_inputs(const nb_plan *plan, const nb_model *model, const nb_run_options *o, nb_str *s, nb_err *err) {
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    char *path;
    if (plan->needs_data)
        return NB_OK;
    if (o->calib && strcmp(o->calib, "self") != 0)
        NB_TRY(nb_str_addf(s, err, "%s needs no calibration text: --calib is not read\n", plan->method_name));
    if (plan->gguf || nb_ckpt_kind_of(ckpt) == NB_CKPT_GGUF)
        return NB_OK;
    NB_TRY(nb_path_join(nb_ckpt_path(ckpt), "tokenizer.json", &path, err));
    bool there = nb_path_exists(path);
    nb_free(path);
    return there ? NB_OK : nb_str_addf(s, err, "the model has no tokenizer.json, nor will the result: engines, and `nibble eval`, want one\n");
}

/* What engines demand of GPTQ files: the loaders of GPTQModel and Transformers (docs/readers.md), vLLM's Marlin kernel. llama.cpp takes
 * all that a GGUF can hold. */
static nb_status note_engines(const nb_plan *plan, const nb_run_options *o, nb_str *s, nb_err *err) {
    size_t ragged = 0, odd_n = 0, odd_k = 0, mixed = 0, unusual = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const nb_plan_item *it = &plan->items[i];
        size_t own = plan->group_size < 0 ? it->k : (size_t)plan->group_size;
        mixed += !it->skip && (it->bits != plan->config.bits || it->group_size != own);
        unusual += !it->skip && !usual_group(it);
        ragged += !it->skip && it->k % it->group_size != 0;
        odd_n += !it->skip && it->n % 64 != 0;
        odd_k += !it->skip && it->k % 128 != 0;
    }
    if (ragged)
        NB_TRY(nb_str_addf(s, err, "%zu linears have a short last group: GPTQModel, Transformers and vLLM will not load this\n",
                          ragged));
    if (unusual)
        NB_TRY(nb_str_addf(s, err, "%zu linears have a group size that is no power of two from 16 to 1024: GPTQModel and Transformers "
                                   "will not load this\n", unusual));
    if (mixed)
        NB_TRY(nb_str_addf(s, err, "%zu linears have bits or a group size of their own: GPTQModel's own loader reads that, "
                                   "Transformers does not\n", mixed));
    if (!o->symmetric && !strcmp(plan->scheme->name, "gptq"))
        NB_TRY(nb_str_addf(s, err, "asymmetric %s: Transformers with GPTQModel loads it; vLLM's Marlin kernel takes symmetric only\n",
                          plan->config.format));
    if (o->symmetric && o->bits != 4 && o->bits != 8)
        NB_TRY(nb_str_addf(s, err, "%u bits: vLLM's Marlin kernel takes 4 and 8 only\n", o->bits));
    if (odd_n || odd_k)
        NB_TRY(nb_str_addf(s, err, "vLLM's Marlin kernel wants N %% 64 == 0 and K %% 128 == 0: %zu linears miss the first, %zu the "
                                   "second (newer versions pad)\n", odd_n, odd_k));
    if (plan->config.desc_act)
        NB_TRY(nb_str_addf(s, err, "act-order with g_idx is slower in most engines; --order group-aware is not\n"));
    return NB_OK;
}

static nb_status plan_notes(nb_plan *plan, const nb_model *model, const nb_run_options *o, nb_err *err) {
    nb_str s = {0};
    nb_status status = note_inputs(plan, model, o, &s, err);
    if (status == NB_OK && !plan->gguf)
        status = note_engines(plan, o, &s, err);
    plan->notes = s.data; /* plan_free has it */
    return status;
}

/* Settings of what is learned: the user's, or those that docs/quality.md found. */
static void settle_learning(nb_plan *plan, const nb_run_options *o) {
    if (plan->learn) {
        plan->learn_steps = o->iterations ? o->iterations : 200;
        plan->learn_batch = o->batch ? o->batch : 8;
        plan->learn_rate = o->rate;
    }
    if (plan->tune) {
        plan->tune_steps = o->iterations ? o->iterations : 128;
        plan->tune_batch = o->batch ? o->batch : 1;
        plan->tune_rate = o->rate > 0.0 ? o->rate : 0.0003;
    }
}

/* "gptq+autoround+tune" is what comes first, the method, what comes last, and what comes when all blocks are done; each may be absent,
 * though not all. */
static nb_status split_method(nb_plan *plan, const char *name, nb_err *err) {
    static const char last[] = "autoround", whole[] = "+tune";
    char base[32];
    size_t len = strlen(name), tail = sizeof last - 1;
    plan->tune = len >= sizeof whole - 1 && !strcmp(name + len - (sizeof whole - 1), whole);
    if (plan->tune)
        len -= sizeof whole - 1;
    const char *end = name + len, *at = name;
    plan->smooth = len >= 3 && !memcmp(name, "awq", 3) && (len == 3 || name[3] == '+');
    if (plan->smooth)
        at += len == 3 ? 3 : 4;
    plan->learn = (size_t)(end - at) >= tail && !memcmp(end - tail, last, tail) && (end - tail == at || end[-(ptrdiff_t)tail - 1] == '+');
    size_t rest = (size_t)(end - at) - (plan->learn ? tail : 0);
    if (plan->learn && rest > 0)
        rest--; /* the + */
    if (rest >= sizeof base)
        rest = sizeof base - 1;
    memcpy(base, at, rest);
    base[rest] = 0;
    plan->method = plan->smooth && len == 4 ? NULL : nb_quantizer_by_name(rest == 0 && (plan->smooth || plan->learn) ? "rtn" : base);
    return plan->method ? NB_OK : nb_fail_at(err, NB_E_USAGE, NULL, "--method", "\"%s\" is not a method; gptq, rtn, hqq, awq, awq+gptq, awq+hqq, autoround, "
                                                   "gptq+autoround, hqq+autoround, each of them and +tune, and best are", name);
}

static nb_status settle_method(nb_plan *plan, const nb_run_options *o, nb_err *err) {
    plan->method_name = o->method;
    NB_TRY(split_method(plan, o->method, err));
    if (!strcmp(plan->method->name, "hqq") && o->symmetric)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--method", "hqq moves zero points, which --sym has not; add --asym");
    if (plan->smooth && plan->learn)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--method", "awq and autoround do not go together");
    if (plan->learn && plan->method->needs_hessian && o->order == NB_ORDER_ACT)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--order", "act does not go with autoround; group-aware does");
    if (plan->learn && !strcmp(plan->method->name, "autoround"))
        return nb_fail_at(err, NB_E_USAGE, NULL, "--method", "\"%s\" is not a method", o->method);
    if (plan->learn && !strcmp(plan->method->name, "hqq") && o->format && !strcmp(o->format, "gguf"))
        return nb_fail_at(err, NB_E_USAGE, NULL, "--method",
                          "hqq's zero points in a GGUF are not whole numbers, and autoround needs whole ones");
    if (o->descent && !plan->method->needs_hessian)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--descent", "ends GPTQ, which \"%s\" is without", o->method);
    if (plan->tune && plan->method->needs_hessian && o->order == NB_ORDER_ACT)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--order", "act does not go with tune; group-aware does");
    if ((o->iterations || o->batch || o->rate > 0) && !plan->learn && !plan->tune)
        return nb_fail_at(err, NB_E_USAGE, NULL, o->iterations ? "--iters" : o->batch ? "--batch" : "--rate", "belongs to autoround and tune, which \"%s\" is "
                          "without", o->method);
    if (o->rate > 0 && plan->learn && plan->tune)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--rate", "is not the same thing to autoround and tune; leave it out");
    settle_learning(plan, o);
    plan->needs_data = plan->smooth || plan->learn || plan->tune || plan->method->needs_hessian;
    plan->two_sided = o->two_sided && !strcmp(plan->method->name, "gptq");
    if (o->two_sided && !plan->two_sided)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--two-sided", "belongs to --method gptq, and awq+gptq");
    if (plan->two_sided && o->order == NB_ORDER_ACT)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--order", "act does not go with --two-sided; group-aware does");
    plan->descent = o->descent;
    plan->asym = plan->method->needs_hessian ? o->asym_calib : 0.0;
    size_t tokens = o->samples * o->seq_len;
    plan->damp = o->damp < 0.0 ? nb_damp_for(plan->two_sided ? tokens / UNEVEN : tokens) : o->damp;
    plan->output_damp = nb_output_damp_for(tokens);
    bool search = !o->scales || !strcmp(o->scales, "auto") ? plan->needs_data : !strcmp(o->scales, "search");
    plan->scales = search ? NB_SCALES_SEARCH : NB_SCALES_MINMAX;
    return NB_OK;
}

nb_status nb_plan_make(const nb_model *model, const nb_run_options *o, nb_plan *out, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(model);
    nb_plan plan = {0};
    nb_status status;
    NB_TRY(settle_method(&plan, o, err));
    if (nb_model_scheme(model))
        return nb_fail_at(err, NB_E_INPUT, o->model, NULL, "is quantized already (%s); quantize the original model",
                          nb_model_scheme(model)->format);
    plan.count = hp->layers * NB_LIN_COUNT;
    NB_TRY(nb_calloc(plan.count, sizeof *plan.items, "the plan", &plan.items, err));
    for (size_t i = 0; i < plan.count; i++)
        plan_item(hp, o, i / NB_LIN_COUNT, (nb_lin)(i % NB_LIN_COUNT), &plan.items[i]);
    NB_GO(check_overrides(o, err));
    NB_GO(settle_scheme(&plan, o, err));
    NB_GO(settle_groups(&plan, o, err));
    NB_GO(settle_format(&plan, o, err));
    NB_GO(plan_sizes(&plan, model, err));
    plan_work(&plan, model, o);
    NB_GO(plan_notes(&plan, model, o, err));
    *out = plan;
out:
    if (status != NB_OK)
        nb_plan_free(&plan);
    return status;
}

void nb_plan_free(nb_plan *plan) {
    nb_free(plan->items);
    nb_free(plan->notes);
    *plan = (nb_plan){0};
}

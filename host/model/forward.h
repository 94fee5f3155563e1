/* The forward pass, on the device's queue, by operations of kernels.def only. */
#ifndef NB_FORWARD_H
#define NB_FORWARD_H

#include <nibble/gemm.h>
#include "host/model/model.h"

/* Device buffers that a forward pass needs, sized once. `rows` is the most tokens that one call handles. */
typedef struct nb_forward nb_forward;

nb_status nb_forward_new(const nb_model *model, nb_stream *stream, size_t rows, nb_forward **out, nb_err *err);
void nb_forward_free(nb_forward *f);

/* Frees the tables of embeddings and of the head where they take memory of the device; they are loaded again when they are used. */
void nb_forward_drop_tables(nb_forward *f);

/* How activations meet packed weights from here on; NB_GEMM_EXACT at first. */
void nb_forward_set_mode(nb_forward *f, nb_gemm_mode mode);

/* How the output head is held: as the file stores it, or as 8-bit rows (groups of 32, f16 scales) that run by the kernels of
 * packed weights and take about half of the bytes of f16. The look-up of embeddings reads the stored table either way: it
 * costs nothing there. */
typedef enum nb_embeddings { NB_EMBEDDINGS_STORED, NB_EMBEDDINGS_Q8 } nb_embeddings;

/* STORED at first. NB_E_UNSUPPORTED where the device has no packed kernels. */
nb_status nb_forward_set_embeddings(nb_forward *f, nb_embeddings kind, nb_err *err);

/* Device bytes that nb_forward_new takes for `rows` tokens. */
size_t nb_forward_bytes(const nb_hparams *hp, size_t rows);

/* hidden[count, hidden] (f32, device) = embeddings of ids. */
nb_status nb_forward_embed(nb_forward *f, const int32_t *ids, size_t count, nb_mem hidden, nb_err *err);

/* Called when the input of the linears of `tap` is ready: x is f32 [rows, k] on the device, valid until it returns. The
 * callee may replace the block's linears of this tap (quantize them): they are applied afterwards, once. */
typedef nb_status nb_tap_fn(void *ctx, nb_tap tap, nb_mem x, size_t rows, size_t k, nb_block *block, nb_err *err);

/* A KV cache on the device for one or more sequences decoded together; NULL in calls that need none. */
typedef struct nb_kv nb_kv;
nb_status nb_kv_new(const nb_model *model, nb_stream *stream, size_t sequences, size_t context, nb_kv **out, nb_err *err);
void nb_kv_free(nb_kv *kv);
void nb_kv_reset(nb_kv *kv);

/* One block over `sequences` sequences of `length` tokens each (sequences * length <= rows), in place on hidden
 * [sequences * length, hidden]; causal inside each sequence. Without kv, positions start at 0. With kv, `length` tokens are
 * appended to each sequence's cache of this layer at position `past` and attend to all before. */
nb_status nb_forward_block(nb_forward *f, nb_block *block, nb_mem hidden, size_t sequences, size_t length, nb_kv *kv,
                           size_t past, nb_err *err);

/* As nb_forward_block without kv, but in steps with a tap before each group of linears, over all `sequences`: each stage
 * (norm, taps, linears, attention) runs for the whole calibration batch before the next one, in chunks of at most `rows`
 * tokens, so that every linear runs once per pass. hidden is f32 [sequences * length, hidden] on the device; work is
 * another buffer of nb_forward_stage_bytes bytes. The tap sees all rows at once. */
nb_status nb_forward_stages(nb_forward *f, nb_block *block, nb_mem hidden, nb_mem work, size_t sequences, size_t length,
                            nb_tap_fn *tap, void *ctx, nb_err *err);

/* One step of nb_forward_stages, for those who keep several streams of activations in step: goes on from the step before to
 * where the input of `tap`'s linears is ready, x f32 [tokens, k] inside work; NB_TAP_COUNT ends the block. Taps in order, each
 * once; hidden and work belong to the stream and may not change between steps. */
nb_status nb_forward_stage(nb_forward *f, nb_block *block, nb_tap tap, nb_mem hidden, nb_mem work, size_t sequences,
                           size_t length, nb_mem *x, size_t *k, nb_err *err);

/* x [tokens, hidden] = hidden by the norm before `tap` (ATTN_IN or MLP_IN) anew, after the block's norm was changed. */
nb_status nb_forward_norm(nb_forward *f, const nb_block *block, nb_tap tap, nb_mem hidden, size_t tokens, nb_mem x, nb_err *err);

/* Bytes of work. */
size_t nb_forward_stage_bytes(const nb_hparams *hp, size_t tokens);

/* logits[count, vocab] (f32, device) of hidden rows: final norm and head. */
nb_status nb_forward_logits(nb_forward *f, nb_mem hidden, size_t count, nb_mem logits, nb_err *err);

#endif

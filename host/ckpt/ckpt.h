/* A model's files behind one interface: a Hugging Face directory of safetensors, or a GGUF file. Containers know bytes,
 * names, shapes and metadata, never algorithms or disk formats of quantized weights. */
#ifndef NB_CKPT_H
#define NB_CKPT_H

#include <jansson.h>
#include "host/base/err.h"
#include "host/tensor/view.h"
#include "host/tensor/vocab.h"

typedef enum nb_ckpt_kind { NB_CKPT_HF, NB_CKPT_GGUF } nb_ckpt_kind;

typedef struct nb_ckpt nb_ckpt;

/* Opens a directory (config.json beside model.safetensors or an index with shards) or a .gguf file, mapped for reading.
 * Everything in the headers is checked before it returns: spans, shapes, products, duplicates, shards. Tensor data is
 * not read. Immutable afterwards: thread-safe. */
nb_status nb_ckpt_open(const char *path, nb_ckpt **out, nb_err *err);
/* Opens one safetensors file by itself, with the same checks; it has no config. For part files of a run. */
nb_status nb_ckpt_open_part(const char *path, nb_ckpt **out, nb_err *err);
void nb_ckpt_close(nb_ckpt *ckpt);

nb_ckpt_kind nb_ckpt_kind_of(const nb_ckpt *ckpt);
const char *nb_ckpt_path(const nb_ckpt *ckpt);

/* Tensors in the order of the file (shards in order of name). Views borrow from ckpt. */
size_t nb_ckpt_count(const nb_ckpt *ckpt);
const nb_view *nb_ckpt_tensor(const nb_ckpt *ckpt, size_t i);
/* NULL where no tensor has that name. */
const nb_view *nb_ckpt_find(const nb_ckpt *ckpt, const char *name);
/* Tells the kernel that a tensor's pages will not be needed soon. */
void nb_ckpt_drop(const nb_ckpt *ckpt, const nb_view *view);
/* Bytes of all files together, and of all tensors together. */
uint64_t nb_ckpt_file_bytes(const nb_ckpt *ckpt);
uint64_t nb_ckpt_tensor_bytes(const nb_ckpt *ckpt);

/* Hugging Face: config.json and generation_config.json as parsed (the latter NULL where absent). GGUF: NULL. */
const json_t *nb_ckpt_config(const nb_ckpt *ckpt);
const json_t *nb_ckpt_generation_config(const nb_ckpt *ckpt);

/* GGUF metadata. An absent key leaves *out alone and gives NB_OK with *found false (found may be NULL); another type
 * is NB_E_INPUT naming the key. Integers of any width are read; out of [lo, hi] is NB_E_INPUT. On a Hugging Face
 * directory every key is absent. Strings borrow from ckpt and are NUL-terminated copies. */
nb_status nb_ckpt_meta_int(const nb_ckpt *ckpt, const char *key, int64_t lo, int64_t hi, int64_t *out, bool *found, nb_err *err);
nb_status nb_ckpt_meta_float(const nb_ckpt *ckpt, const char *key, double *out, bool *found, nb_err *err);
nb_status nb_ckpt_meta_bool(const nb_ckpt *ckpt, const char *key, bool *out, bool *found, nb_err *err);
nb_status nb_ckpt_meta_str(const nb_ckpt *ckpt, const char *key, const char **out, bool *found, nb_err *err);

/* GGUF: its vocabulary; NB_E_INPUT where it has none. Borrows from ckpt. Hugging Face: NB_E_UNSUPPORTED (its tokenizer
 * is the file tokenizer.json in nb_ckpt_path). */
nb_status nb_ckpt_vocab(const nb_ckpt *ckpt, const nb_vocab **out, nb_err *err);

/* A hash (NB_HASH_TEXT characters) over headers, metadata and tensor data, for a run's fingerprint. Reads the whole
 * model once. */
nb_status nb_ckpt_fingerprint(const nb_ckpt *ckpt, char *out, nb_err *err);

/* ---- writing safetensors (st_write.c) ---- */

/* One file. Tensors are declared first, so that the header is known; then their data comes in the order that
 * nb_st_writer_order gives (dtype rank falling, then name: the reference writer's), each in one or more pieces. */
typedef struct nb_st_writer nb_st_writer;
nb_status nb_st_writer_new(const char *path, nb_st_writer **out, nb_err *err);
/* name and dims are copied. */
nb_status nb_st_declare(nb_st_writer *w, const char *name, nb_dtype dtype, unsigned ndim, const size_t *dims, nb_err *err);
/* Ends the declarations and writes the header. */
nb_status nb_st_begin(nb_st_writer *w, nb_err *err);
/* Index into the order of declaration of the tensor whose data is to come at place i. */
size_t nb_st_order(const nb_st_writer *w, size_t i);
nb_status nb_st_write(nb_st_writer *w, const void *data, size_t bytes, nb_err *err);
/* Commits; data short of what was declared is NB_E_USAGE. Frees w whatever happens. */
nb_status nb_st_commit(nb_st_writer *w, nb_err *err);
void nb_st_abort(nb_st_writer *w);

/* ---- writing GGUF (gguf_write.c) ---- */

/* One file: metadata and tensors are declared first, in the order of the file; then the data of the tensors in that order, each
 * in one or more pieces. Keys and tensor names must not repeat. */
typedef struct nb_gguf_writer nb_gguf_writer;
nb_status nb_gguf_writer_new(const char *path, nb_gguf_writer **out, nb_err *err);
nb_status nb_gguf_put_u32(nb_gguf_writer *w, const char *key, uint32_t value, nb_err *err);
nb_status nb_gguf_put_f32(nb_gguf_writer *w, const char *key, float value, nb_err *err);
nb_status nb_gguf_put_bool(nb_gguf_writer *w, const char *key, bool value, nb_err *err);
nb_status nb_gguf_put_str(nb_gguf_writer *w, const char *key, const char *value, nb_err *err);
nb_status nb_gguf_put_strs(nb_gguf_writer *w, const char *key, const nb_bytes *values, size_t count, nb_err *err);
nb_status nb_gguf_put_f32s(nb_gguf_writer *w, const char *key, const float *values, size_t count, nb_err *err);
nb_status nb_gguf_put_i32s(nb_gguf_writer *w, const char *key, const int32_t *values, size_t count, nb_err *err);
/* Metadata of a GGUF as it stands, but for keys that `keep` refuses. */
nb_status nb_gguf_copy_meta(nb_gguf_writer *w, const nb_ckpt *from, bool (*keep)(const char *key), nb_err *err);
/* dims as in nb_view: the last is the fastest, whole blocks of dtype. */
nb_status nb_gguf_declare(nb_gguf_writer *w, const char *name, nb_dtype dtype, unsigned ndim, const size_t *dims, nb_err *err);
/* Ends the declarations and writes the header. */
nb_status nb_gguf_begin(nb_gguf_writer *w, nb_err *err);
nb_status nb_gguf_write(nb_gguf_writer *w, const void *data, size_t bytes, nb_err *err);
/* Commits; data short of what was declared is NB_E_USAGE. Frees w whatever happens. */
nb_status nb_gguf_commit(nb_gguf_writer *w, nb_err *err);
void nb_gguf_abort(nb_gguf_writer *w); /* NULL is fine */

#endif

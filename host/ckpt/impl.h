/* Private to host/ckpt: what the readers of the two containers fill. */
#ifndef NB_CKPT_IMPL_H
#define NB_CKPT_IMPL_H

#include "host/base/file.h"
#include "host/ckpt/ckpt.h"

/* A growing list of tensors; each view owns its name. */
typedef struct nb__tensors {
    nb_view *items;
    size_t count, room;
} nb__tensors;

/* Appends *view with a copy of its name. */
nb_status nb__tensors_add(nb__tensors *list, const nb_view *view, nb_err *err);
void nb__tensors_free(nb__tensors *list);

/* Value types of GGUF metadata, as the format numbers them. */
typedef enum nb__gguf_type {
    NB__GGUF_U8,
    NB__GGUF_I8,
    NB__GGUF_U16,
    NB__GGUF_I16,
    NB__GGUF_U32,
    NB__GGUF_I32,
    NB__GGUF_F32,
    NB__GGUF_BOOL,
    NB__GGUF_STRING,
    NB__GGUF_ARRAY,
    NB__GGUF_U64,
    NB__GGUF_I64,
    NB__GGUF_F64,
    NB__GGUF_TYPES
} nb__gguf_type;

/* One key of GGUF metadata, checked to lie inside the file. */
typedef struct nb__kv {
    char *key;
    nb__gguf_type type, elem; /* elem: of an array */
    size_t count;             /* elements of an array, bytes of a string */
    const unsigned char *at;  /* the value (of arrays: the first element; of strings: the bytes) */
    char *text;               /* of strings: NUL-terminated copy */
} nb__kv;

typedef struct nb__meta {
    nb__kv *items; /* in the order of the file */
    size_t count, room;
    const nb__kv **by_key; /* sorted */
} nb__meta;

/* NULL where there is none. */
const nb__kv *nb__meta_find(const nb__meta *meta, const char *key);
void nb__meta_free(nb__meta *meta);

struct nb_ckpt {
    nb_ckpt_kind kind;
    char *path;
    nb_map *maps;
    size_t n_maps;
    nb__tensors tensors;
    const nb_view **by_name; /* sorted */
    json_t *config, *generation_config;
    nb__meta meta;
    nb_vocab *vocab; /* NULL where vocab_fault says why */
    nb_err vocab_fault;
};

/* Checks the header of a safetensors file and appends its tensors in the order of their data. */
nb_status nb__st_parse(const nb_map *map, nb__tensors *list, nb_err *err);
/* A Hugging Face directory: config.json, shards. ckpt->path is set. */
nb_status nb__hf_open(nb_ckpt *ckpt, nb_err *err);

/* Checks a whole GGUF header; fills metadata and tensors. Both must be zeroed, and are the caller's to free whatever
 * happens. */
nb_status nb__gguf_parse(const nb_map *map, nb__meta *meta, nb__tensors *list, nb_err *err);
/* The vocabulary in the metadata; free with nb__vocab_free. It borrows from meta and the map. */
nb_status nb__gguf_vocab(const nb__meta *meta, const char *path, nb_vocab **out, nb_err *err);
void nb__vocab_free(nb_vocab *vocab);

/* Sorted copies of pointers into a list; two of the same name are NB_E_INPUT. Free with nb_free. */
nb_status nb__tensors_index(const nb__tensors *list, const nb_view ***out, nb_err *err);

static inline uint16_t nb__u16(const unsigned char *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t nb__u32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t nb__u64(const unsigned char *p) {
    return nb__u32(p) | (uint64_t)nb__u32(p + 4) << 32;
}

#endif

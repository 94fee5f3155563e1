/* The three chains of a tokenizer: normalizers (text to text), pre-tokenizers (text to pieces), decoders (tokens to
 * text). Each is a short list of steps; what each step does is what the class of that name does in Hugging Face's
 * tokenizers. */
#ifndef NB_TOKENIZER_STEPS_H
#define NB_TOKENIZER_STEPS_H

#include "host/base/str.h"
#include "host/tensor/vocab.h"
#include "host/tokenizer/pattern.h"
#include "host/tokenizer/regex.h"

enum { NB_STEPS_MAX = 24 };

/* What splits or is replaced. */
typedef enum nb__find_kind { NB_FIND_STRING, NB_FIND_REGEX, NB_FIND_FAST, NB_FIND_DIGIT, NB_FIND_BLANK } nb__find_kind;
typedef struct nb__finder {
    nb__find_kind kind;
    nb_str string;     /* NB_FIND_STRING */
    nb__regex *regex;  /* NB_FIND_REGEX */
    nb__pattern fast;  /* NB_FIND_FAST */
} nb__finder;

nb_status nb__finder_string(nb__finder *f, const char *s, size_t len, nb_err *err);
/* By hand where the pattern is a published one, by Oniguruma otherwise. */
nb_status nb__finder_regex(nb__finder *f, const char *pattern, size_t len, nb_err *err);
void nb__finder_free(nb__finder *f);
/* The first match at or after `from`. An empty match is possible (regex). */
nb_status nb__find(const nb__finder *f, nb__regex_scratch *scratch, const char *text, size_t len, size_t from,
                   bool *found, size_t *start, size_t *end, nb_err *err);

/* Appends text with each match replaced. An empty match right behind another is not taken. */
nb_status nb__replace(const nb__finder *f, nb__regex_scratch *scratch, const char *text, size_t len, const nb_str *by,
                      nb_str *out, nb_err *err);

typedef enum nb__norm_kind { NB_NORM_NFC, NB_NORM_NFD, NB_NORM_NFKC, NB_NORM_NFKD, NB_NORM_PREPEND, NB_NORM_REPLACE } nb__norm_kind;
typedef struct nb__norm_step {
    nb__norm_kind kind;
    nb__finder find; /* REPLACE */
    nb_str text;     /* PREPEND, REPLACE */
} nb__norm_step;
typedef struct nb__norm {
    nb__norm_step steps[NB_STEPS_MAX];
    size_t count;
} nb__norm;

/* Appends the normalized text to out. */
nb_status nb__normalize(const nb__norm *norm, nb__regex_scratch *scratch, const char *text, size_t len, nb_str *out,
                        nb_err *err);
void nb__norm_free(nb__norm *norm);

typedef enum nb__behaviour {
    NB_SPLIT_ISOLATED,
    NB_SPLIT_REMOVED,
    NB_SPLIT_PREVIOUS, /* MergedWithPrevious */
    NB_SPLIT_NEXT,     /* MergedWithNext */
    NB_SPLIT_CONTIGUOUS
} nb__behaviour;
typedef enum nb__prepend { NB_PREPEND_NEVER, NB_PREPEND_FIRST, NB_PREPEND_ALWAYS } nb__prepend;
typedef enum nb__pre_kind {
    NB_PRE_SPLIT,
    NB_PRE_METASPACE, /* blanks become `text`, which may come in front */
    NB_PRE_SPACE      /* ByteLevel's add_prefix_space: a blank in front of a piece that has none */
} nb__pre_kind;
typedef struct nb__pre_step {
    nb__pre_kind kind;
    nb__finder find; /* SPLIT */
    nb__behaviour behaviour;
    bool invert;
    nb_str text;         /* METASPACE */
    nb__prepend prepend; /* METASPACE */
} nb__pre_step;
typedef struct nb__pre {
    nb__pre_step steps[NB_STEPS_MAX];
    size_t count;
} nb__pre;

typedef nb_status nb__piece_fn(void *arg, const char *piece, size_t len, nb_err *err);
/* What one thread needs. Zero-initialise. */
typedef struct nb__pre_scratch {
    nb__regex_scratch regex[NB_STEPS_MAX];
    nb_str text[NB_STEPS_MAX];
} nb__pre_scratch;
void nb__pre_scratch_free(nb__pre_scratch *scratch);
/* Calls fn for each piece of text[len], in order. first: the text stands at the beginning of the whole input. */
nb_status nb__pretokenize(const nb__pre *pre, nb__pre_scratch *scratch, const char *text, size_t len, bool first,
                          nb__piece_fn *fn, void *arg, nb_err *err);
void nb__pre_free(nb__pre *pre);

typedef enum nb__dec_kind {
    NB_DEC_BYTE_LEVEL,
    NB_DEC_REPLACE,
    NB_DEC_BYTE_FALLBACK,
    NB_DEC_FUSE,
    NB_DEC_STRIP,
    NB_DEC_METASPACE
} nb__dec_kind;
typedef struct nb__dec_step {
    nb__dec_kind kind;
    nb__finder find;    /* REPLACE */
    nb_str text;        /* REPLACE: by what; STRIP: the character; METASPACE: the mark */
    size_t start, stop; /* STRIP: how many at most */
    bool drop_first;    /* METASPACE: marks of the first token vanish */
} nb__dec_step;
typedef struct nb__dec {
    nb__dec_step steps[NB_STEPS_MAX];
    size_t count; /* 0: tokens are joined by blanks */
} nb__dec;

/* A list of strings. Zero-initialise. */
typedef struct nb__list {
    nb_str bytes;
    size_t *ends;
    size_t count, room;
} nb__list;
nb_status nb__list_close(nb__list *list, nb_err *err); /* the bytes added since the last one become an item */
nb_bytes nb__list_item(const nb__list *list, size_t i);
void nb__list_free(nb__list *list);

/* Appends the text of tokens to out. */
nb_status nb__decode(const nb__dec *dec, nb__list *tokens, nb_str *out, nb_err *err);
/* The raw bytes that one token adds. */
nb_status nb__decode_one(const nb__dec *dec, const char *token, size_t len, bool first, nb_str *out, nb_err *err);
void nb__dec_free(nb__dec *dec);

/* GPT-2's alphabet: the character that stands for a byte, and back (-1: none). */
uint32_t nb__byte_to_char(unsigned char byte);
int nb__char_to_byte(uint32_t cp);
/* Appends the bytes that text stands for; false, and nothing appended, where a character is not of the alphabet. */
nb_status nb__from_alphabet(const char *text, size_t len, nb_str *out, bool *all, nb_err *err);
/* The byte of "<0xHH>", or -1. */
int nb__byte_token(const char *text, size_t len);

#endif

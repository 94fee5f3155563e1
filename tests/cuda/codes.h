/* Counts 4-bit fields that differ in the packed codes of two files of tensors. */
#ifndef TESTS_CUDA_CODES_H
#define TESTS_CUDA_CODES_H

#include <stddef.h>

typedef struct code_count {
    size_t differ, all;
} code_count;

/* Both must hold the same tensors; those whose names match the glob are compared. */
code_count compare_codes(const char *a, const char *b, const char *names);

#endif

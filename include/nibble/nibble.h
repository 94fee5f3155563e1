/* nibble: everything public. See status.h, packed.h, gemm.h and quantize.h. */
#ifndef NIBBLE_NIBBLE_H
#define NIBBLE_NIBBLE_H

#include <nibble/version.h>
#include <nibble/status.h>
#include <nibble/packed.h>
#include <nibble/gemm.h>
#include <nibble/quantize.h>

#endif

/* Assembles the output folder: parts of finished blocks and what the model keeps, into a Hugging Face directory. */
#ifndef NB_OUTPUT_H
#define NB_OUTPUT_H

#include "host/run/journal.h"
#include "host/run/plan.h"

/* Writes everything into `dir` (made new). *file_bytes: of the safetensors files. */
nb_status nb_output_assemble(const nb_model *model, const nb_plan *plan, const nb_run_options *options,
                             const nb_journal *journal, const char *dir, uint64_t *file_bytes, nb_err *err);

/* Can a GGUF say all of this model's settings and vocabulary? Asked before work begins; writes nothing. */
nb_status nb_output_gguf_check(const nb_model *model, const nb_plan *plan, const char *path, nb_err *err);
/* The output as one GGUF file at `path` (output_gguf.c); the report is its key nibble.report. */
nb_status nb_output_gguf(const nb_model *model, const nb_plan *plan, const nb_journal *journal, const json_t *report,
                         const char *path, uint64_t *file_bytes, nb_err *err);

/* Opens a finished block's part file. */
nb_status nb_output_open_part(const nb_journal *journal, size_t layer, nb_ckpt **part, nb_err *err);
/* Opens the part files of the blocks that are done, parts[layer]; *open says how many are, also after a failure. The caller
 * closes them. */
nb_status nb_output_open_parts(const nb_journal *journal, nb_ckpt **parts, size_t *open, nb_err *err);

/* Writes packed tensors of a block's linears as its part file. tensors[i] belongs to prefixes[i]. */
nb_status nb_output_part(const char *path, const nb_packed_tensor *tensors, const char *const *prefixes, size_t count,
                         nb_err *err);

/* ---- hfconfig.c ---- */

/* Before a run: can they be written? A GGUF's settings and vocabulary may have no place in such files; files to copy may be unreadable. */
nb_status nb_hf_check(const nb_model *model, nb_err *err);
/* All files beside weights: config.json, quantize_config.json, tokenizer and generation files, the report. */
nb_status nb_hf_files(const nb_model *model, const nb_plan *plan, const json_t *report, const char *dir, nb_err *err);

#endif

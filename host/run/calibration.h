/* Where a run's calibration windows come from. */
#ifndef NB_RUN_CALIBRATION_H
#define NB_RUN_CALIBRATION_H

#include "host/calib/calib.h"
#include "host/run/pipeline.h"

/* The model's own tokenizer: tokenizer.json of its folder, or its GGUF vocabulary. */
nb_status nb_model_tokenizer(const nb_model *model, nb_tokenizer **out, nb_err *err);

/* Appends the tokens that end a text of this model: the tokenizer's, and those that its settings name besides (config.json and
 * generation_config.json: a number or a list; a GGUF's end of turn). A token may be there more than once. */
nb_status nb_model_stops(const nb_model *model, const nb_tokenizer *tok, nb_ids *out, nb_err *err);

/* Windows from options->calib: a file, or "self": text that the model itself writes, for those who have no data. */
nb_status nb_calibration_windows(const nb_model *model, nb_stream *stream, const nb_run_options *options, const nb_run_hooks *hooks,
                                 nb_windows *out, nb_err *err);

#endif

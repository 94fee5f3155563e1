/* Token ids of the windows that `nibble quantize --calib` draws, for programs that are to calibrate on the same ones:
 *     bench_calib_ids MODEL TEXT SAMPLES SEQ_LEN SEED OUT
 * OUT: int32, SAMPLES rows of SEQ_LEN. */
#include <stdio.h>
#include <stdlib.h>

#include "host/calib/calib.h"
#include "host/model/model.h"
#include "host/run/calibration.h"

static int fail(const nb_err *err) {
    char line[1400];
    nb_err_line(err, line, sizeof line);
    fprintf(stderr, "bench_calib_ids: %s\n", line);
    return 1;
}

int main(int argc, char **argv) {
    nb_model *model = NULL;
    nb_tokenizer *tok = NULL;
    nb_windows w = {0};
    nb_err err = {0};
    if (argc != 7) {
        fprintf(stderr, "bench_calib_ids MODEL TEXT SAMPLES SEQ_LEN SEED OUT\n");
        return 2;
    }
    nb_calib_options o = {.samples = strtoul(argv[3], NULL, 10), .seq_len = strtoul(argv[4], NULL, 10),
                          .seed = strtoul(argv[5], NULL, 10)};
    if (nb_model_open(argv[1], &model, &err) != NB_OK || nb_model_tokenizer(model, &tok, &err) != NB_OK ||
        nb_calib_file(tok, argv[2], &o, &w, &err) != NB_OK)
        return fail(&err);
    FILE *f = fopen(argv[6], "wb");
    size_t count = w.samples * w.seq_len;
    if (!f || fwrite(w.ids, sizeof *w.ids, count, f) != count || fclose(f) != 0) {
        fprintf(stderr, "bench_calib_ids: cannot write %s\n", argv[6]);
        return 1;
    }
    nb_windows_free(&w);
    nb_tokenizer_free(tok);
    nb_model_close(model);
    return 0;
}

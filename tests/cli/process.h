/* Runs the command as a user does, in a folder of its own. */
#ifndef NB_TEST_PROCESS_H
#define NB_TEST_PROCESS_H

#include <stddef.h>

/* A new folder, removed by drop_dir; the path is in test_dir. */
extern char test_dir[64];
void make_dir(void);
void drop_dir(void);

/* Runs a shell line in which $N is the command, $M the folder of tiny models and $D the test's folder. Standard output and error
 * are in run_out and run_err (cut at 64 KiB). Returns the exit code, 1000 + signal where it was killed. */
extern char run_out[1 << 16], run_err[1 << 16];
int shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* One hash over names and bytes of all files below a folder of the test, as text. */
const char *folder_hash(const char *name);
/* Writes a file of the test's folder. */
void put_file(const char *name, const void *bytes, size_t len);

#define LONG_RUN "--calib long.txt --samples 1200 --seq-len 64 -j 1 -q -o out"
/* A run in the background that stands still as soon as it has a journal: what comes next happens in its midst, however busy the machine is. */
#define STOPPED_RUN "for i in $(seq 4000); do echo \"Line $i, number $((i * i %% 997)).\"; done >long.txt; $N quantize $M/llama-tied-f16 " LONG_RUN " & p=$!; " \
                    "while [ ! -e out.partial/journal.jsonl ] && kill -0 $p; do :; done; kill -STOP $p; "

#endif

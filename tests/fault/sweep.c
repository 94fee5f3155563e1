/* Fails the n-th allocation, write, fsync, rename, ... of a command, or kills it there, for n = 0, 1, 2, ... until a run ends
 * untouched: sweep NIBBLE PRELOAD MODELS [--deep] [--only COMMAND FAULT] [--seed S].
 *
 * A failed run ends with an exit code of the table and one line on standard error, leaks nothing, and leaves nothing under the
 * final name; the same command with --resume then writes the bytes of an undisturbed run. A killed run leaves nothing or all under
 * the final name, and --resume writes the same bytes too. Allocations are thousands: the default run fails one of each
 * stride of them, drawn by the seed; --deep fails each. */
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host/base/file.h"
#include "host/base/random.h"

enum { HANG_SECONDS = 60, ALLOC_POINTS = 40, MAX_LINE = 4096 };

typedef struct command {
    const char *name, *args; /* args: with %s for the folder of models */
    const char *output;      /* what it writes; NULL for none */
    bool resumes;
    const char *half; /* a fault that leaves half of the work: what is tested is going on after it */
    bool brief;       /* like another, so only a part of the kinds unless --deep */
    bool over;        /* an older output stands where it writes */
} command;

static const command commands[] = {
    {"rtn", "quantize %s/llama-tied-f16 -o out --method rtn -q -j 2 --shard-size 40K --override '*.0.*q_proj:skip'", "out", true, NULL, false, false},
    {"gptq", "quantize %s/llama-tied-f16 -o out --calib text.txt --samples 2 --seq-len 32 -q -j 2", "out", true, NULL, false, false},
    {"resume", "quantize %s/llama-tied-f16 -o out --calib text.txt --samples 2 --seq-len 32 -q -j 2 --resume", "out", true, "rename:2", true, false},
    {"force", "quantize %s/llama-tied-f16 -o out --method rtn -q -j 1 --force", "out", true, NULL, true, true},
    {"gguf", "quantize %s/../gguf/llama-tied-f16.gguf -o out --method rtn -q -j 1 --asym", "out", true, NULL, true, false},
    {"eval", "eval %s/llama-tied-f16 --text text.txt --seq-len 16 --max-tokens 32 --logits out --json -q -j 2", "out", false, NULL, false, false},
    {"generate", "generate %s/llama-tied-f16 -p Hello -n 3 --json -q -j 2", NULL, false, NULL, false, false},
    {"inspect", "inspect %s/llama-untied-bf16 --tensors", NULL, false, NULL, false, false},
};

static const struct {
    const char *name;
    bool dies, survives, brief; /* survives: the run is to end well, with the same bytes */
} kinds[] = {{"alloc", 0, 0, 1}, {"write", 0, 0, 1}, {"short", 0, 1, 0},  {"fsync", 0, 0, 0}, {"rename", 0, 0, 1}, {"open", 0, 0, 0},
             {"read", 0, 0, 0},  {"mmap", 0, 0, 0},  {"thread", 0, 0, 0}, {"mkdir", 0, 0, 0}, {"kill", 1, 0, 1},   {"torn", 1, 0, 0}};

static const char *nibble, *preload, *models, *only_command, *only_fault;
static bool deep;
static uint64_t seed = 1;
static size_t runs, problems;
static long clean_live;

static void complain(const command *c, const char *fault, const char *what) {
    char text[600] = "";
    FILE *f = fopen("err.txt", "r");
    size_t len = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    while (len && text[len - 1] == '\n')
        text[--len] = 0;
    if (problems++ < 60)
        printf("%s %s: %s [%s]\n", c->name, fault, what, text);
}

/* Runs the command, with a fault where it is not NULL. The exit code, or 1000 + the signal that ended it. */
static int run(const command *c, const char *fault, const char *more) {
    char args[MAX_LINE], line[MAX_LINE + 512];
    const char *argv[] = {"sh", "-c", line, NULL};
    snprintf(args, sizeof args, c->args, models);
    snprintf(line, sizeof line, "exec env LD_PRELOAD='%s' NB_FAULT_REPORT=report %s%s '%s' %s %s >out.txt 2>err.txt", preload,
             fault ? "NB_FAULT=" : "", fault ? fault : "", nibble, args, more);
    runs++;
    unlink("report");
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(HANG_SECONDS);
        execv("/bin/sh", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        exit(99);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static long reported(const char *key) {
    char line[128];
    long value = -1;
    FILE *f = fopen("report", "r");
    size_t len = strlen(key);
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, len) && line[len] == ' ')
            value = strtol(line + len, NULL, 10);
    if (f)
        fclose(f);
    return value;
}

static bool same_file(const char *a, const char *b) {
    nb_map x, y;
    if (nb_map_open(a, &x, NULL) != NB_OK)
        return false;
    bool same = nb_map_open(b, &y, NULL) == NB_OK;
    if (same) {
        same = x.size == y.size && (!x.size || !memcmp(x.data, y.data, x.size));
        nb_map_close(&y);
    }
    nb_map_close(&x);
    return same;
}

/* Two files, or two folders of files. */
static bool same(const char *a, const char *b) {
    char **x, **y, p[512], q[512];
    size_t n = 0, m = 0;
    if (!nb_path_is_dir(a))
        return same_file(a, b);
    if (nb_dir_list(a, &x, &n, NULL) != NB_OK)
        return false;
    bool equal = nb_dir_list(b, &y, &m, NULL) == NB_OK;
    if (equal) {
        equal = n == m;
        for (size_t i = 0; i < n && equal; i++) {
            snprintf(p, sizeof p, "%s/%s", a, x[i]);
            snprintf(q, sizeof q, "%s/%s", b, y[i]);
            equal = !strcmp(x[i], y[i]) && same_file(p, q);
        }
        nb_names_free(y, m);
    }
    nb_names_free(x, n);
    return equal;
}

/* The state before a run: nothing, an older output, or the work folder of half a run. */
static void clear(const command *c) {
    nb_dir_remove("out", NULL);
    nb_dir_remove("out.partial", NULL);
    if (c->over && system("cp -r older out") != 0)
        complain(c, "no fault", "there is no older output to begin with");
    if (c->half && system("cp -r half out.partial 2>/dev/null") != 0)
        nb_dir_remove("out.partial", NULL); /* not made yet */
}

static bool said(const char *what) {
    char text[4096];
    FILE *f = fopen("err.txt", "r");
    size_t len = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[len] = 0;
    return strstr(text, what) != NULL;
}

/* One line "nibble: ..." and no more. */
static bool one_line(void) {
    char text[4096];
    FILE *f = fopen("err.txt", "r");
    size_t len = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[len] = 0;
    return !strncmp(text, "nibble: ", 8) && len > 20 && strchr(text, '\n') == text + len - 1;
}

/* A run that is killed at its very beginning or end may leave its work folder empty. */
static bool works(void) {
    return nb_path_exists("out.partial") && rmdir("out.partial") != 0;
}

/* Goes on after a failure or a kill: the bytes of an undisturbed run, and no debris. */
static void check_resumed(const command *c, const char *fault) {
    if (c->over && !same("out", "older") && !same("out", "whole") && !(same("out.partial/old", "older") && same("out.partial/out", "whole")))
        complain(c, fault, "neither the older output nor the new one is whole");
    bool whole = nb_path_exists("out") && !works() && !(c->over && same("out", "older"));
    if (whole ? !same("out", "whole") : false)
        complain(c, fault, "what stands under the final name is not whole");
    if (!whole && run(c, NULL, c->resumes && !c->half ? "--resume" : "") != 0)
        complain(c, fault, "cannot go on");
    else if (!same("out", "whole"))
        complain(c, fault, "other bytes than an undisturbed run");
    if (nb_path_exists("out.partial"))
        complain(c, fault, "debris is left");
}

static void check_failed(const command *c, const char *fault, int code) {
    char text[64];
    bool memory = !strncmp(fault, "alloc", 5);
    snprintf(text, sizeof text, "ends with %d", code);
    if (memory ? code != 4 : code != 1 && code != 3 && code != 4)
        complain(c, fault, text);
    else if (!one_line())
        complain(c, fault, "not one line");
    long leak = reported("live") - clean_live;
    snprintf(text, sizeof text, "leaks %ld allocations", leak);
    if (leak > 0 && !said("while reading JSON")) /* host/base/json.c says why */
        complain(c, fault, text);
    if (c->output && nb_path_exists("out") && (c->over ? !same("out", "older") : c->resumes || !same("out", "whole")))
        complain(c, fault, "failed, but stands under the final name");
    if (!c->resumes && nb_path_exists("out.partial"))
        complain(c, fault, "debris is left");
}

/* One run with a fault. False where the fault never came. */
static bool one(const command *c, size_t k, const char *fault) {
    clear(c);
    int code = run(c, fault, "");
    if (kinds[k].dies) {
        if (code != 1000 + SIGKILL)
            return false;
    } else {
        if (code < 1000 && reported("fired") == 0)
            return false;
        if (kinds[k].survives && code != 0)
            complain(c, fault, "a short write is no failure");
        if (code != 0)
            check_failed(c, fault, code);
        else if (c->output && !same("out", "whole"))
            complain(c, fault, "ends well, with other bytes");
    }
    if (c->output && code != 0)
        check_resumed(c, fault);
    return true;
}

static size_t sweep(const command *c, size_t k, size_t step, bool after) {
    nb_random random = nb_random_seed(seed + 100 * k);
    char fault[64];
    size_t points = 0;
    for (size_t n = 0;; n += step) {
        size_t at = n + (step > 1 ? nb_random_below(&random, (uint32_t)step) : 0);
        snprintf(fault, sizeof fault, "%s:%zu%s", kinds[k].name, at, after ? "+" : "");
        if (!one(c, k, fault))
            return points;
        points++;
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void sweep_command(const command *c) {
    double t0 = now();
    clear(c);
    nb_dir_remove("whole", NULL);
    nb_dir_remove("half", NULL);
    if (c->half) {
        if (run(c, c->half, "") == 0 || nb_file_rename("out.partial", "half", NULL) != NB_OK)
            complain(c, c->half, "leaves no half of the work");
        clear(c);
    }
    if (run(c, NULL, "") != 0) {
        complain(c, "no fault", "fails");
        return;
    }
    clean_live = reported("live");
    if (c->output)
        nb_file_rename("out", "whole", NULL);
    if (only_fault) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            if (!strncmp(only_fault, kinds[k].name, strlen(kinds[k].name)))
                one(c, k, only_fault);
        return;
    }
    long counts[sizeof kinds / sizeof *kinds];
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        counts[k] = reported(kinds[k].name);
    printf("%-9s", c->name);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        bool memory = k == 0;
        if (c->brief && !kinds[k].brief && !deep)
            continue;
        size_t step = memory && !deep ? (size_t)counts[k] / ALLOC_POINTS + 1 : 1;
        size_t points = sweep(c, k, step, false);
        printf("  %s %zu of %ld", kinds[k].name, points, counts[k]);
        if (memory || !strcmp(kinds[k].name, "write")) /* memory, or the disk, stays full */
            printf(" + %zu", sweep(c, k, memory ? 4 * step : step, true));
        fflush(stdout);
    }
    printf("  (%.1f s)\n", now() - t0);
}

static void put_text(void) {
    FILE *f = fopen("text.txt", "w");
    for (int i = 0; f && i < 40; i++)
        fprintf(f, "Line %d of some prose with words, number %d, and more of them here.\n", i, i * i % 997);
    if (!f || fclose(f) != 0)
        exit(99);
}

int main(int argc, char **argv) {
    char dir[] = "/dev/shm/nibble-fault-XXXXXX", slow[] = "/tmp/nibble-fault-XXXXXX"; /* memory, where fsync is quick */
    if (argc < 4) {
        fprintf(stderr, "usage: sweep NIBBLE PRELOAD MODELS [--deep] [--only COMMAND FAULT] [--seed S]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    nibble = argv[1];
    preload = argv[2];
    models = argv[3];
    for (int i = 4; i < argc; i++) {
        if (!strcmp(argv[i], "--deep"))
            deep = true;
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--only") && i + 2 < argc) {
            only_command = argv[++i];
            only_fault = strcmp(argv[i + 1], "all") ? argv[i + 1] : NULL;
            i++;
        }
    }
    const char *work = mkdtemp(dir);
    if (!work)
        work = mkdtemp(slow);
    if (!work || chdir(work) != 0)
        return 99;
    put_text();
    char older[MAX_LINE];
    snprintf(older, sizeof older, "cp -r '%s/llama-tied-f32' older", models);
    if (system(older) != 0)
        return 99;
    printf("seed %llu; points of calls of each kind, + where it stays full\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!only_command || !strcmp(only_command, commands[i].name))
            sweep_command(&commands[i]);
    printf("%zu runs, %zu problems\n", runs, problems);
    if (chdir("/") == 0)
        nb_dir_remove(work, NULL);
    return problems ? 1 : 0;
}

/* Mutation check of synchronisation: every barrier, wait, fence and lock of a kernel is taken away
 * singly, and a command that runs the kernel on the simulator must fail each time.
 *
 *   cuda_sim_mutate --ptx FILE [--kernel NAME] [--equivalent FILE] [--list] [--timeout S] --
 * COMMAND...
 *
 * The mutation is done by the simulator when it loads the kernel (CUDA_SIM_DELETE), so COMMAND may
 * be any program, its PTX embedded or not; FILE is the same PTX, read here for the sites. Without a
 * mutation COMMAND must succeed. A site is one of delete  bar/barrier (also bar.warp.sync),
 * cp.async.wait_*, cp.async.commit_group, fence/membar, the backward branch of a loop that polls
 * with a volatile, relaxed or acquiring load or atomic weaken  .acquire, .release and .acq_rel of
 * ld, st, red and atom become .relaxed and has a name that survives recompilation:
 * kernel:mode:opcode:k (k-th of its kind in the kernel). A survivor must stand in the file of
 * equivalent mutants, "name reason" a line. Exit status: 0 all caught or equivalent, 5 a mutant
 * survived, 2 usage, 1 trouble. A mutant listed as equivalent that is caught is reported too: the
 * list is stale (status 5). */
#define _POSIX_C_SOURCE 200809L
#include "ptx.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct site {
    const ptx_func *f;
    const ptx_insn *in;
    const char *mode;
    char name[256];
} site;

typedef struct tool {
    const char *ptx, *kernel, *equivalent;
    char **command;
    int timeout;
    bool list;
    site *s;
    int n, cap;
} tool;

static char *read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    size_t n = 0, cap = 1 << 16;
    char *t = malloc(cap);
    if (!f || !t) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    for (size_t got; (got = fread(t + n, 1, cap - n - 1, f)) > 0;) {
        n += got;
        if (cap - n < 4096) {
            cap *= 2;
            t = realloc(t, cap);
            if (!t)
                exit(1);
        }
    }
    t[n] = 0;
    fclose(f);
    return t;
}

static bool strong(const ptx_insn *in) {
    return ptx_has(in, "acquire") || ptx_has(in, "release") || ptx_has(in, "acq_rel");
}
static bool memory_op(const ptx_insn *in) {
    return ptx_is(in, "ld") || ptx_is(in, "st") || ptx_is(in, "red") || ptx_is(in, "atom");
}
static bool polls(const ptx_insn *in) {
    return ptx_is(in, "atom") ||
           (ptx_is(in, "ld") &&
            (ptx_has(in, "volatile") || ptx_has(in, "relaxed") || ptx_has(in, "acquire")));
}

static bool is_wait(const ptx_insn *in) {
    if (ptx_is(in, "bar") || ptx_is(in, "barrier") || ptx_is(in, "fence") || ptx_is(in, "membar"))
        return true;
    return ptx_is(in, "cp") &&
           (ptx_has(in, "wait_group") || ptx_has(in, "wait_all") || ptx_has(in, "commit_group"));
}

static bool tainted(const bool *set, const ptx_operand *o) {
    if (o->kind == OP_REG)
        return set[o->reg];
    for (int i = 0; i < o->nv; i++)
        if (tainted(set, &o->v[i]))
            return true;
    return false;
}
static void taint(bool *set, const ptx_operand *o) {
    if (o->kind == OP_REG)
        set[o->reg] = true;
    for (int i = 0; i < o->nv; i++)
        taint(set, &o->v[i]);
}

/* A short loop backwards whose condition comes from memory that it polls. */
static bool is_spin(const ptx_func *f, int i) {
    const ptx_insn *in = &f->insns[i];
    if (!ptx_is(in, "bra") || in->guard < 0 || !in->nopd || !in->opd[0].name)
        return false;
    int t = ptx_find_label(f, in->opd[0].name, in->scope);
    if (t < 0 || t > i || i - t > 24)
        return false;
    bool *set = calloc((size_t)f->nregs + 1, 1);
    if (!set)
        exit(1);
    for (int k = t; k < i; k++) {
        const ptx_insn *q = &f->insns[k];
        bool hit = polls(q);
        for (int j = 1; j < q->nopd; j++)
            hit |= tainted(set, &q->opd[j]);
        if (hit && q->nopd)
            taint(set, &q->opd[0]);
    }
    bool spin = set[in->guard];
    free(set);
    return spin;
}

static void add(tool *t, const ptx_func *f, const ptx_insn *in, const char *mode,
                const char *kind) {
    char head[240];
    int k = 0;
    if (t->n == t->cap) {
        t->cap = t->cap * 2 + 16;
        t->s = realloc(t->s, (size_t)t->cap * sizeof *t->s);
        if (!t->s)
            exit(1);
    }
    snprintf(head, sizeof head, "%.100s:%s:%.100s:", f->name, mode, kind);
    for (int i = 0; i < t->n; i++)
        k += !strncmp(t->s[i].name, head, strlen(head));
    site *s = &t->s[t->n++];
    *s = (site){.f = f, .in = in, .mode = mode};
    snprintf(s->name, sizeof s->name, "%s%d", head, k);
}

static void find_sites(tool *t, ptx_module *m) {
    for (const ptx_func *f = m->funcs; f; f = f->next) {
        if (!f->is_entry || (t->kernel && strcmp(f->name, t->kernel)))
            continue;
        for (int i = 0; i < f->ninsns; i++) {
            const ptx_insn *in = &f->insns[i];
            if (is_wait(in))
                add(t, f, in, "delete", in->op);
            else if (is_spin(f, i))
                add(t, f, in, "delete", "spin");
            else if (memory_op(in) && strong(in))
                add(t, f, in, "weaken", in->op);
        }
    }
}

/* Exit status of the command, -1 when it ran out of time, 128 + signal when it was killed. */
static int run(const tool *t, const site *s) {
    char value[400];
    if (s)
        snprintf(value, sizeof value, "%s:%d:%s", s->f->name, s->in->line, s->mode);
    pid_t pid = fork();
    if (pid < 0)
        return 1;
    if (!pid) {
        if (s) {
            setenv("CUDA_SIM_DELETE", value, 1);
            int null = open("/dev/null", O_WRONLY);
            dup2(null, 1);
            dup2(null, 2);
        }
        execvp(t->command[0], t->command);
        _exit(127);
    }
    struct timespec nap = {.tv_nsec = 2000000};
    for (long k = 0;; k++) {
        int st;
        pid_t r = waitpid(pid, &st, WNOHANG);
        if (r == pid)
            return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
        if (k * 2 > (long)t->timeout * 1000) {
            kill(pid, SIGKILL);
            waitpid(pid, &st, 0);
            return -1;
        }
        nanosleep(&nap, NULL);
    }
}

/* The reason of an equivalent mutant, NULL when it is not listed. */
static const char *reason(const char *list, const char *name, char *buf, size_t n) {
    size_t len = strlen(name);
    for (const char *p = list; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (!strncmp(p, name, len) && p[len] == ' ') {
            snprintf(buf, n, "%.*s", (int)strcspn(p + len + 1, "\n"), p + len + 1);
            return buf;
        }
    return NULL;
}

static int check(tool *t, const ptx_module *m) {
    char *list = t->equivalent ? read_file(t->equivalent) : NULL, why[300];
    int caught = 0, equal = 0, bad = 0;
    int base = run(t, NULL);
    if (base) {
        fprintf(stderr, "the command fails without a mutation (status %d)\n", base);
        return 1;
    }
    for (int i = 0; i < t->n; i++) {
        const site *s = &t->s[i];
        const char *file =
            s->in->loc_file > 0 && s->in->loc_file < m->nfiles ? m->files[s->in->loc_file] : "?";
        const char *slash = file ? strrchr(file, '/') : NULL;
        int rc = run(t, s);
        const char *r = reason(list, s->name, why, sizeof why);
        const char *verdict = rc && !r ? "caught"
                              : rc     ? "CAUGHT BUT LISTED AS EQUIVALENT"
                              : r      ? "equivalent"
                                       : "SURVIVED";
        caught += rc && !r;
        equal += !rc && r;
        bad += (rc && r) || (!rc && !r);
        printf("%-52s PTX line %5d %s:%d: %s%s%s\n", s->name, s->in->line,
               slash  ? slash + 1
               : file ? file
                      : "?",
               s->in->loc_line, verdict,
               r && !rc   ? ": "
               : rc == -1 ? " (ran out of time)"
                          : "",
               r && !rc ? r : "");
        fflush(stdout);
    }
    printf("%d sites: %d caught, %d equivalent, %d wrong\n", t->n, caught, equal, bad);
    free(list);
    return bad ? 5 : 0;
}

int main(int argc, char **argv) {
    tool t = {.timeout = 60};
    char err[512];
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--list"))
            t.list = true;
        else if (!strcmp(argv[i], "--") && i + 1 < argc) {
            t.command = argv + i + 1;
            break;
        } else if (!strcmp(argv[i], "--ptx") && i + 1 < argc)
            t.ptx = argv[++i];
        else if (!strcmp(argv[i], "--kernel") && i + 1 < argc)
            t.kernel = argv[++i];
        else if (!strcmp(argv[i], "--equivalent") && i + 1 < argc)
            t.equivalent = argv[++i];
        else if (!strcmp(argv[i], "--timeout") && i + 1 < argc)
            t.timeout = atoi(argv[++i]);
        else
            t.ptx = NULL, i = argc;
    }
    if (!t.ptx || (!t.command && !t.list)) {
        fprintf(stderr,
                "usage: cuda_sim_mutate --ptx FILE [--kernel NAME] [--equivalent FILE] [--list]"
                " [--timeout S] -- COMMAND...\n");
        return 2;
    }
    char *text = read_file(t.ptx);
    ptx_module *m = ptx_parse(text, err, sizeof err);
    free(text);
    if (!m) {
        fprintf(stderr, "%s: %s\n", t.ptx, err);
        return 1;
    }
    find_sites(&t, m);
    int rc = 0;
    if (t.list)
        for (int i = 0; i < t.n; i++)
            printf("%s\n", t.s[i].name);
    else
        rc = check(&t, m);
    if (!t.n) {
        fprintf(stderr, "no synchronisation in %s\n", t.ptx);
        rc = 1;
    }
    free(t.s);
    ptx_free(m);
    return rc;
}

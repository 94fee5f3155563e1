/* Rows of a verification shared by processes. Processes, and not threads: drivers compile under one lock of their process, and
 * most of a first run is compiling; and a kernel that takes its process down is one row that failed. */
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/cli/verify.h"

enum { MAX_PROCESSES = 16 };

typedef enum event { ROW_BEGINS, ROW_FOUND, WORK_ENDS } event;

/* What a process says to the one that started it; short enough that a pipe takes it whole. */
typedef struct message {
    event event;
    unsigned process;
    nb_status status; /* WORK_ENDS */
    nb_row_found found;
    nb_err err;
} message;
_Static_assert(sizeof(message) <= PIPE_BUF, "messages of processes do not mix");

/* The side of a process that works. */
typedef struct worker {
    atomic_size_t *left; /* rows that nobody has begun: the next is the last of them */
    unsigned process;
    int out;
} worker;

/* The side of the one that waits. */
typedef struct boss {
    atomic_size_t *left;
    unsigned processes;
    pid_t pids[MAX_PROCESSES];
    bool busy[MAX_PROCESSES]; /* with which row: */
    size_t row[MAX_PROCESSES];
    int in;
    nb_status status;
    nb_err *err;
    nb_found_fn *found;
    void *to;
} boss;

/* Where nobody listens any more there is nothing left to do. */
static void tell(const worker *w, const message *m) {
    if (write(w->out, m, sizeof *m) != (ssize_t)sizeof *m)
        _exit(1);
}

static bool next_row(void *from, size_t *row) {
    worker *w = from;
    size_t left = atomic_load(w->left);
    do {
        if (left == 0)
            return false;
    } while (!atomic_compare_exchange_weak(w->left, &left, left - 1));
    *row = left - 1;
    message m = {.event = ROW_BEGINS, .process = w->process, .found.row = *row};
    tell(w, &m);
    return true;
}

static void send_found(void *to, const nb_row_found *f) {
    worker *w = to;
    message m = {.event = ROW_FOUND, .process = w->process, .found = *f};
    tell(w, &m);
}

static void work_and_exit(worker *w, nb_rows_fn *work, void *ctx) {
    message m = {.event = WORK_ENDS, .process = w->process};
    signal(SIGPIPE, SIG_IGN);
    m.status = work(ctx, next_row, w, send_found, w, &m.err);
    tell(w, &m);
    _exit(0);
}

static void stop_others(boss *b) {
    for (unsigned i = 0; i < b->processes; i++)
        kill(b->pids[i], SIGTERM);
}

static void hear(boss *b, const message *m) {
    if (m->process >= b->processes)
        return;
    b->busy[m->process] = m->event == ROW_BEGINS;
    b->row[m->process] = m->found.row;
    if (m->event == ROW_FOUND)
        b->found(b->to, &m->found);
    if (m->event == WORK_ENDS && m->status != NB_OK && b->status == NB_OK) {
        b->status = m->status;
        if (b->err)
            *b->err = m->err;
        stop_others(b);
    }
}

/* Until every process has closed its end. */
static void hear_all(boss *b) {
    message m;
    size_t have = 0;
    for (ssize_t got; (got = read(b->in, (char *)&m + have, sizeof m - have)) > 0;) {
        have += (size_t)got;
        if (have == sizeof m) {
            hear(b, &m);
            have = 0;
        }
    }
}

/* A process that ended before its time has failed the row that it was at. */
static void bury(boss *b, unsigned i) {
    int how = 0;
    nb_row_found f = {.row = b->row[i], .result = NB_ROW_FAILED};
    waitpid(b->pids[i], &how, 0);
    if (b->status != NB_OK || !b->busy[i])
        return;
    snprintf(f.why, sizeof f.why, "the process that ran it ended by signal %d", WIFSIGNALED(how) ? WTERMSIG(how) : 0);
    b->found(b->to, &f);
}

static nb_status start(boss *b, int out, nb_rows_fn *work, void *ctx, unsigned processes) {
    fflush(NULL); /* or a process would print it again */
    for (unsigned i = 0; i < processes; i++) {
        worker w = {b->left, i, out};
        pid_t pid = fork();
        if (pid == 0) {
            close(b->in);
            work_and_exit(&w, work, ctx);
        }
        if (pid < 0)
            return nb_fail(b->err, NB_E_FAILED, "a process could not be started");
        b->pids[b->processes++] = pid;
    }
    return NB_OK;
}

nb_status nb_verify_share(unsigned processes, size_t rows, nb_rows_fn *work, void *ctx, nb_found_fn *found, void *to, nb_err *err) {
    boss b = {.found = found, .to = to, .err = err};
    int ends[2];
    if (pipe(ends) != 0)
        return nb_fail(err, NB_E_FAILED, "a pipe could not be made");
    b.in = ends[0];
    b.left = mmap(NULL, sizeof *b.left, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b.left == MAP_FAILED) {
        close(ends[0]);
        close(ends[1]);
        return nb_fail_memory(err, sizeof *b.left, "a count of rows");
    }
    atomic_init(b.left, rows);
    b.status = start(&b, ends[1], work, ctx, processes < MAX_PROCESSES ? processes : MAX_PROCESSES);
    close(ends[1]);
    if (b.status != NB_OK)
        stop_others(&b);
    hear_all(&b);
    for (unsigned i = 0; i < b.processes; i++)
        bury(&b, i);
    size_t left = atomic_load(b.left);
    munmap(b.left, sizeof *b.left);
    close(ends[0]);
    if (b.status == NB_OK && left > 0)
        return nb_fail(err, NB_E_FAILED, "%zu rows of kernels.def were not reached: every process has ended before", left);
    return b.status;
}

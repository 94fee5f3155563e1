/* Rows shared by processes: each is found once, what a process says arrives, and one that dies is no row that passed. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/cli/verify.h"

enum { ROWS = 57 };

typedef struct heard {
    unsigned times[ROWS];
    size_t failed;
    char why[512];
} heard;

static void hear(void *to, const nb_row_found *f) {
    heard *h = to;
    cr_assert_lt(f->row, ROWS);
    h->times[f->row]++;
    if (f->result == NB_ROW_FAILED) {
        h->failed++;
        snprintf(h->why, sizeof h->why, "%s", f->why);
    } else {
        cr_expect_eq(f->cases, 3 * f->row);
        cr_expect_eq(f->worst, 0.5);
    }
}

/* ctx: the row at which a process kills itself, then the row at which it fails; ROWS: none. */
static nb_status work(void *ctx, nb_next_row_fn *next, void *from, nb_found_fn *found, void *to, nb_err *err) {
    const size_t *at = ctx;
    size_t row;
    while (next(from, &row)) {
        if (row == at[0] || at[0] > ROWS) {
            raise(SIGKILL);
        }
        if (row == at[1])
            return nb_fail(err, NB_E_DEVICE, "row %zu cannot be run", row);
        nb_row_found f = {.row = row, .result = NB_ROW_PASSED, .cases = 3 * row, .worst = 0.5};
        found(to, &f);
        usleep(200);
    }
    return NB_OK;
}

Test(share, every_row_is_found_once) {
    for (unsigned processes = 1; processes <= 5; processes += 2) {
        heard h = {0};
        nb_err err = {0};
        size_t at[] = {ROWS, ROWS};
        cr_assert_eq(nb_verify_share(processes, ROWS, work, at, hear, &h, &err), NB_OK, "%s", err.text);
        for (size_t i = 0; i < ROWS; i++)
            cr_expect_eq(h.times[i], 1, "row %zu was found %u times by %u processes", i, h.times[i], processes);
        cr_expect_eq(h.failed, 0);
    }
}

Test(share, a_process_that_dies_has_failed_its_row) {
    heard h = {0};
    nb_err err = {0};
    size_t at[] = {40, ROWS};
    cr_assert_eq(nb_verify_share(2, ROWS, work, at, hear, &h, &err), NB_OK, "%s", err.text);
    for (size_t i = 0; i < ROWS; i++)
        cr_expect_eq(h.times[i], 1, "row %zu: %u times", i, h.times[i]);
    cr_expect_eq(h.failed, 1);
    cr_expect(strstr(h.why, "signal 9"), "%s", h.why);
}

Test(share, rows_that_nobody_reached_are_an_error) {
    heard h = {0};
    nb_err err = {0};
    size_t at[] = {ROWS + 1, ROWS}; /* every process dies at its first row */
    cr_assert_eq(nb_verify_share(2, ROWS, work, at, hear, &h, &err), NB_E_FAILED);
    cr_expect(strstr(err.text, "not reached"), "%s", err.text);
    cr_expect_eq(h.failed, 2);
}

Test(share, an_error_of_a_process_is_the_error) {
    heard h = {0};
    nb_err err = {0};
    size_t at[] = {ROWS, 50};
    cr_assert_eq(nb_verify_share(3, ROWS, work, at, hear, &h, &err), NB_E_DEVICE);
    cr_expect_str_eq(err.text, "row 50 cannot be run");
    cr_expect_eq(h.times[50], 0);
}

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/run/journal.h"

static char dir[64], work[96], log_path[128];
static nb_err err;

static void make_dir(void) {
    strcpy(dir, "/tmp/nibble-journal-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(work, sizeof work, "%s/out.partial", dir);
    snprintf(log_path, sizeof log_path, "%s/journal.jsonl", work);
}

static void drop_dir(void) {
    nb_dir_remove(dir, NULL);
}

TestSuite(journal, .init = make_dir, .fini = drop_dir);

static nb_status open_it(bool resume, const char *print, const char *device, bool allow, nb_journal *j) {
    return nb_journal_open(work, print, device, NULL, resume, allow, j, &err);
}

static void add_block(nb_journal *j) {
    char *path;
    json_t *report = json_pack("{s:i}", "n", (int)j->done);
    cr_assert_eq(nb_journal_part(j, j->done, &path, NULL), NB_OK);
    cr_assert_eq(nb_file_write(path, "part", 4, NULL), NB_OK);
    cr_assert_eq(nb_journal_block(j, report, NULL), NB_OK);
    json_decref(report);
    nb_free(path);
}

static void run_two_blocks(void) {
    nb_journal j;
    cr_assert_eq(open_it(false, "f", "cpu x", false, &j), NB_OK);
    add_block(&j);
    add_block(&j);
    nb_journal_close(&j);
}

static void append(const char *text) {
    FILE *f = fopen(log_path, "a");
    fputs(text, f);
    fclose(f);
}

Test(journal, resume_finds_the_blocks) {
    nb_journal j;
    run_two_blocks();
    cr_assert_eq(open_it(true, "f", "cpu x", false, &j), NB_OK);
    cr_assert_eq(j.done, 2);
    cr_assert_eq(json_array_size(j.reports), 2);
    add_block(&j);
    nb_journal_close(&j);
    cr_assert_eq(open_it(true, "f", "cpu x", false, &j), NB_OK);
    cr_assert_eq(j.done, 3);
    nb_journal_close(&j);
}

Test(journal, without_resume_it_starts_afresh) {
    nb_journal j;
    run_two_blocks();
    cr_assert_eq(open_it(false, "f", "cpu x", false, &j), NB_OK);
    cr_assert_eq(j.done, 0);
    nb_journal_close(&j);
}

Test(journal, another_run_is_refused) {
    nb_journal j;
    run_two_blocks();
    cr_assert_eq(open_it(true, "g", "cpu x", false, &j), NB_E_USAGE);
    cr_assert_not_null(strstr(err.text, "differs"));
}

Test(journal, another_device_is_refused_unless_allowed_and_then_recorded) {
    nb_journal j;
    char *text;
    run_two_blocks();
    cr_assert_eq(open_it(true, "f", "cuda", false, &j), NB_E_USAGE);
    cr_assert_eq(open_it(true, "f", "cuda", true, &j), NB_OK);
    cr_assert_eq(j.done, 2);
    nb_journal_close(&j);
    cr_assert_eq(nb_file_read(log_path, 1 << 20, &text, NULL, NULL), NB_OK);
    cr_assert_not_null(strstr(text, "{\"device\":\"cuda\"}"));
    cr_assert_eq(open_it(true, "f", "cuda", false, &j), NB_OK, "the device recorded last is the one to compare");
    nb_journal_close(&j);
    nb_free(text);
}

/* A kill leaves a line cut short, or a part without its line. */
Test(journal, a_damaged_tail_is_cut) {
    static const char *const tails[] = {"{\"block\":2,\"ha", "garbage\n", "{\"block\":2,\"hash\":\"x\",\"report\":{}}\n",
                                        "{\"block\":7}\n", "\n"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        nb_journal j;
        run_two_blocks();
        append(tails[i]);
        cr_assert_eq(open_it(true, "f", "cpu x", false, &j), NB_OK);
        cr_assert_eq(j.done, 2, "tail %zu", i);
        add_block(&j);
        nb_journal_close(&j);
        cr_assert_eq(open_it(true, "f", "cpu x", false, &j), NB_OK);
        cr_assert_eq(j.done, 3, "after tail %zu", i);
        nb_journal_close(&j);
    }
}

Test(journal, a_damaged_part_is_done_again) {
    nb_journal j;
    char *part;
    run_two_blocks();
    cr_assert_eq(open_it(true, "f", "cpu x", false, &j), NB_OK);
    cr_assert_eq(nb_journal_part(&j, 1, &part, NULL), NB_OK);
    nb_journal_close(&j);
    cr_assert_eq(nb_file_write(part, "torn", 4, NULL), NB_OK);
    cr_assert_eq(open_it(true, "f", "cpu x", false, &j), NB_OK);
    cr_assert_eq(j.done, 1);
    nb_journal_close(&j);
    nb_free(part);
}

Test(journal, a_journal_without_a_head_starts_afresh) {
    nb_journal j;
    cr_assert_eq(nb_dir_make(work, NULL), NB_OK);
    cr_assert_eq(nb_file_write(log_path, "{\"nibb", 6, NULL), NB_OK);
    cr_assert_eq(open_it(true, "f", "cpu x", false, &j), NB_OK);
    cr_assert_eq(j.done, 0);
    nb_journal_close(&j);
}

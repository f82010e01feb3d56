#include "services/shardhost/lsm/files.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>

#include "tests/sim/fs.h"

TestSuite(lsm_files, .timeout = 10);

#define FILES 5

static struct sim_fs *sim;
static struct nk_fs fs;
static struct lsm_files files;
static struct lsm_open_file *open_files[FILES];

static void setup(void)
{
    sim = sim_fs_new(1);
    fs = sim_fs_handle(sim);
    lsm_files_init(&files, &fs, 2);
    for (size_t i = 0; i < FILES; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        sim_fs_put(sim, name, nk_bytes_of(name, 1));
        open_files[i] = lsm_open_file_new();
    }
}

static void teardown(void)
{
    for (size_t i = 0; i < FILES; i++) {
        if (open_files[i] != NULL) {
            lsm_files_remove(&files, &open_files[i]);
        }
    }
    cr_expect_eq(files.count, 0);
    lsm_files_deinit(&files);
    sim_fs_free(&sim); /* asserts that all files are closed */
}

static void open_file(size_t i)
{
    char name[2] = {(char)('a' + i), '\0'};
    struct nk_file *file = NULL;
    cr_assert_eq(nk_fs_open(&fs, name, NK_FS_READ, &file), NK_OK);
    struct nk_file *pinned = lsm_files_add(&files, open_files[i], &file);
    cr_assert_not_null(pinned);
    cr_expect_null(file);
}

static bool is_open(size_t i)
{
    bool open = lsm_open_file_pin(open_files[i]) != NULL;
    if (open) {
        lsm_open_file_unpin(open_files[i]);
    }
    return open;
}

Test(lsm_files, those_that_are_too_many_are_closed, .init = setup, .fini = teardown)
{
    for (size_t i = 0; i < FILES; i++) {
        open_file(i);
        lsm_open_file_unpin(open_files[i]);
        cr_expect(is_open(i));
        cr_expect_leq(files.count, 2);
    }
    cr_expect_not(is_open(0));
}

Test(lsm_files, one_that_is_read_stays_open, .init = setup, .fini = teardown)
{
    open_file(0); /* pinned */
    for (size_t i = 1; i < FILES; i++) {
        open_file(i);
        lsm_open_file_unpin(open_files[i]);
    }
    cr_expect(is_open(0));
    lsm_open_file_unpin(open_files[0]);
}

Test(lsm_files, if_all_are_read_there_are_more, .init = setup, .fini = teardown)
{
    for (size_t i = 0; i < FILES; i++) {
        open_file(i);
    }
    cr_expect_eq(files.count, FILES);
    for (size_t i = 0; i < FILES; i++) {
        lsm_open_file_unpin(open_files[i]);
    }
    lsm_files_remove(&files, &open_files[0]);
    cr_expect_null(open_files[0]);
    open_files[0] = lsm_open_file_new();
    open_file(0);
    lsm_open_file_unpin(open_files[0]);
    cr_expect_leq(files.count, 2, "and they go when they can");
}

Test(lsm_files, of_two_that_open_one_wins, .init = setup, .fini = teardown)
{
    open_file(0);
    open_file(0);
    cr_expect_eq(files.count, 1);
    lsm_open_file_unpin(open_files[0]);
    lsm_open_file_unpin(open_files[0]);
}

/* ---- While another thread is at the list ---- */

Test(lsm_files, where_the_list_is_busy_a_file_stays_with_who_opened_it, .init = setup,
     .fini = teardown)
{
    struct nk_file *file = NULL;
    cr_assert_eq(nk_fs_open(&fs, "a", NK_FS_READ, &file), NK_OK);
    cr_assert_not(atomic_flag_test_and_set(&files.latch));
    cr_expect_null(lsm_files_add(&files, open_files[0], &file));
    atomic_flag_clear(&files.latch);
    cr_assert_not_null(file);
    nk_fs_close(&fs, &file);
    cr_expect_not(is_open(0));
    cr_expect_eq(files.count, 0);
}

Test(lsm_files, one_that_leaves_while_the_list_is_busy_goes_with_the_next_call, .init = setup,
     .fini = teardown)
{
    for (size_t i = 0; i < 2; i++) {
        open_file(i);
        lsm_open_file_unpin(open_files[i]);
    }
    /* Not the one that the clock would close next: that one would make room, too. */
    cr_assert_not(atomic_flag_test_and_set(&files.latch));
    lsm_files_remove(&files, &open_files[1]);
    atomic_flag_clear(&files.latch);
    cr_expect_null(open_files[1]);
    cr_expect_eq(files.count, 2);
    open_file(2);
    lsm_open_file_unpin(open_files[2]);
    cr_expect_eq(files.count, 2);
    cr_expect(is_open(0), "its place was free");
}

Test(lsm_files, those_that_were_left_go_at_the_end, .init = setup, .fini = teardown)
{
    open_file(0);
    lsm_open_file_unpin(open_files[0]);
    cr_assert_not(atomic_flag_test_and_set(&files.latch));
    lsm_files_remove(&files, &open_files[0]);
    for (size_t i = 1; i < FILES; i++) {
        lsm_files_remove(&files, &open_files[i]); /* never opened: no list */
    }
    atomic_flag_clear(&files.latch);
    lsm_files_deinit(&files);
    lsm_files_init(&files, &fs, 2);
}

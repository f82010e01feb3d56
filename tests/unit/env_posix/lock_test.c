/* One process per data directory. */

#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "place.h"

TestSuite(env_posix_lock, .timeout = 20);

#define NAME "run/shardhost.lock"

Test(env_posix_lock, a_held_lock_is_refused_and_names_its_holder)
{
    struct place place;
    place_open(&place);
    struct env_posix_lock *first = NULL;
    struct env_posix_lock *second = NULL;
    struct reason reason;
    cr_assert_eq(env_posix_lock(place.posix, NAME, &first, reason_init(&reason)), NK_OK);
    cr_expect_eq(env_posix_lock(place.posix, NAME, &second, reason_init(&reason)), NK_CONFLICT);
    cr_expect_null(second);
    char expected[256];
    (void)snprintf(expected, sizeof expected,
                   "the data directory %s is in use: " NAME " is locked by process %ld", place.root,
                   (long)getpid());
    cr_expect_str_eq(reason.memory, expected);

    env_posix_unlock(&first);
    cr_expect_null(first);
    cr_expect_eq(env_posix_lock(place.posix, NAME, &second, reason_init(&reason)), NK_OK);
    env_posix_unlock(&second);
    env_posix_unlock(&second);
    place_close(&place);
}

Test(env_posix_lock, locks_of_different_names_do_not_meet)
{
    struct place place;
    place_open(&place);
    struct env_posix_lock *first = NULL;
    struct env_posix_lock *second = NULL;
    struct reason reason;
    cr_expect_eq(env_posix_lock(place.posix, NAME, &first, reason_init(&reason)), NK_OK);
    cr_expect_eq(env_posix_lock(place.posix, "gossip.lock", &second, reason_init(&reason)), NK_OK);
    env_posix_unlock(&first);
    env_posix_unlock(&second);
    place_close(&place);
}

/* The child dies by a signal it cannot see, with the lock in its hands. */
Test(env_posix_lock, a_killed_process_leaves_no_lock)
{
    struct place place;
    place_open(&place);
    int ready[2];
    cr_assert_eq(pipe(ready), 0);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    struct env_posix_lock *lock = NULL;
    struct reason reason;
    if (child == 0) {
        enum nk_err err = env_posix_lock(place.posix, NAME, &lock, reason_init(&reason));
        char byte = err == NK_OK ? 'y' : 'n';
        if (write(ready[1], &byte, 1) == 1) {
            (void)pause();
        }
        _exit(1);
    }
    char byte = 0;
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_assert_eq(byte, 'y');
    cr_expect_eq(env_posix_lock(place.posix, NAME, &lock, reason_init(&reason)), NK_CONFLICT);
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_expect_eq(env_posix_lock(place.posix, NAME, &lock, reason_init(&reason)), NK_OK);
    env_posix_unlock(&lock);
    (void)close(ready[0]);
    (void)close(ready[1]);
    place_close(&place);
}

Test(env_posix_lock, a_lock_that_cannot_be_opened_is_explained)
{
    struct place place;
    place_open(&place);
    struct env_posix_lock *lock = NULL;
    struct reason reason;
    cr_assert_eq(nk_fs_mkdir(&place.fs, "dir"), NK_OK);
    cr_expect_eq(env_posix_lock(place.posix, "dir", &lock, reason_init(&reason)), NK_IO);
    char expected[256];
    (void)snprintf(expected, sizeof expected, "%s: cannot open the lock file dir: Is a directory",
                   place.root);
    cr_expect_str_eq(reason.memory, expected);
    place_close(&place);
}

Test(env_posix_lock, a_directory_that_cannot_be_made_is_explained)
{
    struct place place;
    place_open(&place);
    struct nk_file *file = NULL;
    struct env_posix_lock *lock = NULL;
    struct reason reason;
    cr_assert_eq(nk_fs_open(&place.fs, "run", NK_FS_CREATE, &file), NK_OK);
    nk_fs_close(&place.fs, &file);
    cr_expect_eq(env_posix_lock(place.posix, "run/below/x.lock", &lock, reason_init(&reason)),
                 NK_IO);
    char expected[256];
    (void)snprintf(expected, sizeof expected, "%s: mkdir run/below: Not a directory", place.root);
    cr_expect_str_eq(reason.memory, expected);
    place_close(&place);
}

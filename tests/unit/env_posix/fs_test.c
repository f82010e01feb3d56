/* The contract of common/env/fs.h on a real directory. */

#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/limits.h"

#include "place.h"

TestSuite(env_posix_fs, .timeout = 20);

static struct nk_file *file_open(struct place *place, const char *name, enum nk_fs_open mode)
{
    struct nk_file *file = NULL;
    cr_assert_eq(nk_fs_open(&place->fs, name, mode, &file), NK_OK, "%s", name);
    return file;
}

static void file_make(struct place *place, const char *name, const char *contents)
{
    struct nk_file *file = file_open(place, name, NK_FS_CREATE);
    cr_assert_eq(nk_fs_pwrite(&place->fs, file, 0, nk_bytes_of_string(contents)), NK_OK);
    nk_fs_close(&place->fs, &file);
    cr_assert_null(file);
}

static void expect_contents(struct place *place, const char *name, struct nk_bytes expected)
{
    uint8_t data[256];
    size_t size = 0;
    struct nk_file *file = file_open(place, name, NK_FS_READ);
    cr_assert_eq(nk_fs_pread(&place->fs, file, 0, data, sizeof data, &size), NK_OK);
    cr_expect(nk_bytes_equal(nk_bytes_of(data, size), expected), "%s", name);
    nk_fs_close(&place->fs, &file);
}

Test(env_posix_fs, what_is_written_is_read)
{
    struct place place;
    place_open(&place);
    struct nk_file *file = file_open(&place, "a", NK_FS_CREATE);
    cr_assert_eq(nk_fs_pwrite(&place.fs, file, 0, nk_bytes_of_string("hello")), NK_OK);
    cr_assert_eq(nk_fs_pwrite(&place.fs, file, 3, nk_bytes_of_string("XY")), NK_OK);
    cr_assert_eq(nk_fs_pwrite(&place.fs, file, 8, nk_bytes_of_string("z")), NK_OK);
    cr_assert_eq(nk_fs_pwrite(&place.fs, file, 0, nk_bytes_of(NULL, 0)), NK_OK);
    cr_assert_eq(nk_fs_sync(&place.fs, file), NK_OK);
    uint64_t size = 0;
    cr_assert_eq(nk_fs_size(&place.fs, file, &size), NK_OK);
    cr_expect_eq(size, 9);
    nk_fs_close(&place.fs, &file);
    cr_assert_eq(nk_fs_sync_dir(&place.fs, ""), NK_OK);
    expect_contents(&place, "a", nk_bytes_of("helXY\0\0\0z", 9));
    place_close(&place);
}

Test(env_posix_fs, a_read_is_short_only_at_the_end)
{
    struct place place;
    place_open(&place);
    file_make(&place, "a", "0123456789");
    struct nk_file *file = file_open(&place, "a", NK_FS_READ);
    char data[8];
    size_t size = 99;
    cr_assert_eq(nk_fs_pread(&place.fs, file, 0, data, 8, &size), NK_OK);
    cr_expect_eq(size, 8);
    cr_assert_eq(nk_fs_pread(&place.fs, file, 8, data, 8, &size), NK_OK);
    cr_expect_eq(size, 2);
    cr_assert_eq(nk_fs_pread(&place.fs, file, 10, data, 8, &size), NK_OK);
    cr_expect_eq(size, 0);
    cr_assert_eq(nk_fs_pread(&place.fs, file, 1000, data, 8, &size), NK_OK);
    cr_expect_eq(size, 0);
    nk_fs_close(&place.fs, &file);
    place_close(&place);
}

Test(env_posix_fs, open_modes_say_what_must_be_there)
{
    struct place place;
    place_open(&place);
    struct nk_file *file = NULL;
    cr_expect_eq(nk_fs_open(&place.fs, "a", NK_FS_READ, &file), NK_NOT_FOUND);
    cr_expect_eq(nk_fs_open(&place.fs, "a", NK_FS_WRITE, &file), NK_NOT_FOUND);
    cr_expect_eq(nk_fs_open(&place.fs, "no/a", NK_FS_CREATE, &file), NK_NOT_FOUND);
    file_make(&place, "a", "x");
    cr_expect_eq(nk_fs_open(&place.fs, "a", NK_FS_CREATE, &file), NK_CONFLICT);
    cr_expect_null(file);
    file = file_open(&place, "a", NK_FS_WRITE);
    cr_assert_eq(nk_fs_pwrite(&place.fs, file, 1, nk_bytes_of_string("y")), NK_OK);
    nk_fs_close(&place.fs, &file);
    nk_fs_close(&place.fs, &file);
    expect_contents(&place, "a", nk_bytes_of_string("xy"));
    place_close(&place);
}

Test(env_posix_fs, truncation_goes_both_ways)
{
    struct place place;
    place_open(&place);
    file_make(&place, "a", "abcdef");
    struct nk_file *file = file_open(&place, "a", NK_FS_WRITE);
    cr_assert_eq(nk_fs_truncate(&place.fs, file, 2), NK_OK);
    cr_assert_eq(nk_fs_truncate(&place.fs, file, 4), NK_OK);
    nk_fs_close(&place.fs, &file);
    expect_contents(&place, "a", nk_bytes_of("ab\0\0", 4));
    place_close(&place);
}

Test(env_posix_fs, rename_replaces_and_link_does_not)
{
    struct place place;
    place_open(&place);
    file_make(&place, "a", "A");
    file_make(&place, "b", "B");
    cr_expect_eq(nk_fs_link(&place.fs, "a", "b"), NK_CONFLICT);
    cr_expect_eq(nk_fs_link(&place.fs, "no", "c"), NK_NOT_FOUND);
    cr_expect_eq(nk_fs_link(&place.fs, "a", "c"), NK_OK);
    cr_expect_eq(nk_fs_rename(&place.fs, "a", "b"), NK_OK);
    cr_expect_eq(nk_fs_rename(&place.fs, "a", "b"), NK_NOT_FOUND);
    expect_contents(&place, "b", nk_bytes_of_string("A"));
    expect_contents(&place, "c", nk_bytes_of_string("A"));
    place_close(&place);
}

static void note_name(void *visitor, const char *name)
{
    char *names = visitor;
    cr_assert_eq(strlen(name), 1);
    strcat(names, name);
}

Test(env_posix_fs, directories_are_made_listed_and_removed)
{
    struct place place;
    place_open(&place);
    cr_expect_eq(nk_fs_mkdir(&place.fs, "d"), NK_OK);
    cr_expect_eq(nk_fs_mkdir(&place.fs, "d"), NK_CONFLICT);
    cr_expect_eq(nk_fs_mkdir(&place.fs, "no/d"), NK_NOT_FOUND);
    file_make(&place, "d/x", "");
    file_make(&place, "d/y", "");
    cr_expect_eq(nk_fs_sync_dir(&place.fs, "d"), NK_OK);
    cr_expect_eq(nk_fs_sync_dir(&place.fs, "no"), NK_NOT_FOUND);

    char names[8] = "";
    cr_expect_eq(nk_fs_list(&place.fs, "d", note_name, names), NK_OK);
    cr_expect(strcmp(names, "xy") == 0 || strcmp(names, "yx") == 0, "%s", names);
    char root_names[8] = "";
    cr_expect_eq(nk_fs_list(&place.fs, "", note_name, root_names), NK_OK);
    cr_expect_str_eq(root_names, "d");
    cr_expect_eq(nk_fs_list(&place.fs, "no", note_name, names), NK_NOT_FOUND);

    cr_expect_eq(nk_fs_remove(&place.fs, "d"), NK_CONFLICT);
    cr_expect_eq(nk_fs_remove(&place.fs, "d/x"), NK_OK);
    cr_expect_eq(nk_fs_remove(&place.fs, "d/y"), NK_OK);
    cr_expect_eq(nk_fs_remove(&place.fs, "d"), NK_OK);
    cr_expect_eq(nk_fs_remove(&place.fs, "d"), NK_NOT_FOUND);
    place_close(&place);
}

Test(env_posix_fs, free_space_is_known)
{
    struct place place;
    place_open(&place);
    uint64_t bytes = 0;
    cr_expect_eq(nk_fs_free_bytes(&place.fs, &bytes), NK_OK);
    cr_expect_gt(bytes, 0);
    place_close(&place);
}

Test(env_posix_fs, missing_parents_of_the_root_are_made)
{
    struct place place;
    place_open(&place);
    char deep[128];
    (void)snprintf(deep, sizeof deep, "%s/x//y/z", place.root);
    struct env_posix_fs *inner = NULL;
    struct reason reason;
    cr_assert_eq(env_posix_fs_open(deep, &inner, reason_init(&reason)), NK_OK);
    struct stat status;
    cr_expect_eq(stat(deep, &status), 0);
    cr_expect_eq(status.st_mode & 0007, 0, "others must not read the data");
    env_posix_fs_close(&inner);
    place_close(&place);
}

struct root_case {
    const char *root;
    enum nk_err err;
    const char *reason;
};

Test(env_posix_fs, a_root_that_cannot_be_is_explained)
{
    static const struct root_case cases[] = {
        {"", NK_INVALID, "cannot make the directory : No such file or directory"},
        {"/dev/null/data", NK_IO, "cannot make the directory /dev/null/data: Not a directory"},
        {"/dev/null", NK_IO, "cannot open the directory /dev/null: Not a directory"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct env_posix_fs *fs = NULL;
        struct reason reason;
        cr_expect_eq(env_posix_fs_open(cases[i].root, &fs, reason_init(&reason)), cases[i].err,
                     "case %zu", i);
        cr_expect_str_eq(reason.memory, cases[i].reason, "case %zu", i);
        cr_expect_null(fs, "case %zu", i);
    }
}

/* /dev/full takes nothing, and cannot be synced. */
Test(env_posix_fs, a_full_disk_is_no_space_and_a_failed_sync_is_a_fault)
{
    struct env_posix_fs *posix = NULL;
    struct reason reason;
    cr_assert_eq(env_posix_fs_open("/dev", &posix, reason_init(&reason)), NK_OK);
    struct nk_fs fs = env_posix_fs(posix);
    struct nk_file *file = NULL;
    cr_assert_eq(nk_fs_open(&fs, "full", NK_FS_WRITE, &file), NK_OK);
    env_posix_fs_last_fault(posix, reason_init(&reason));
    cr_expect_str_eq(reason.memory, "");

    cr_expect_eq(nk_fs_pwrite(&fs, file, 0, nk_bytes_of_string("x")), NK_NO_SPACE);
    env_posix_fs_last_fault(posix, reason_init(&reason));
    cr_expect_str_eq(reason.memory, "write full: No space left on device");

    cr_expect_eq(nk_fs_sync(&fs, file), NK_IO);
    env_posix_fs_last_fault(posix, reason_init(&reason));
    cr_expect_str_eq(reason.memory, "sync full: Invalid argument");
    nk_fs_close(&fs, &file);
    env_posix_fs_close(&posix);
}

/* Nobody writes to the FIFO, so to wait for it were for ever. */
Test(env_posix_fs, what_is_no_file_is_not_read)
{
    struct place place;
    struct reason reason;
    struct nk_file *file = NULL;
    char path[128];
    place_open(&place);
    (void)snprintf(path, sizeof path, "%s/fifo", place.root);
    cr_assert_eq(mkfifo(path, 0600), 0);
    (void)snprintf(path, sizeof path, "%s/device", place.root);
    cr_assert_eq(symlink("/dev/zero", path), 0);
    cr_assert_eq(nk_fs_mkdir(&place.fs, "directory"), NK_OK);
    static const char *const cases[][2] = {
        {"fifo", "open fifo: not a regular file"},
        {"device", "open device: not a regular file"},
        {"directory", "open directory: Is a directory"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(nk_fs_open(&place.fs, cases[i][0], NK_FS_READ, &file), NK_IO, "case %zu", i);
        cr_expect_null(file, "case %zu", i);
        env_posix_fs_last_fault(place.posix, reason_init(&reason));
        cr_expect_str_eq(reason.memory, cases[i][1], "case %zu", i);
    }
    cr_expect_eq(nk_fs_remove(&place.fs, "fifo"), NK_OK);
    place_close(&place);
}

/* The kernel takes what fits and says so; the rest meets the limit. */
Test(env_posix_fs, a_short_write_goes_on_until_it_fails)
{
    struct place place;
    place_open(&place);
    struct nk_file *file = file_open(&place, "a", NK_FS_CREATE);
    cr_assert_neq(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    struct rlimit low = {100, limit.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    char data[150];
    memset(data, 'x', sizeof data);
    enum nk_err err = nk_fs_pwrite(&place.fs, file, 0, nk_bytes_of(data, sizeof data));
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect_eq(err, NK_NO_SPACE);
    uint64_t size = 0;
    cr_assert_eq(nk_fs_size(&place.fs, file, &size), NK_OK);
    cr_expect_eq(size, 100);
    nk_fs_close(&place.fs, &file);
    place_close(&place);
}

/* These end by SIGABRT and tidy nothing up, so they are about what is there anyway. */
static struct nk_fs fs_of(const char *root)
{
    struct env_posix_fs *posix = NULL;
    struct reason reason;
    cr_assert_eq(env_posix_fs_open(root, &posix, reason_init(&reason)), NK_OK);
    return env_posix_fs(posix);
}

static void touch_name(const char *name)
{
    struct nk_fs fs = fs_of("/tmp");
    (void)!nk_fs_sync_dir(&fs, name);
}

Test(env_posix_fs, an_absolute_name_is_a_programming_error, .signal = SIGABRT)
{
    touch_name("/etc/passwd");
}

Test(env_posix_fs, a_name_does_not_begin_above_the_root, .signal = SIGABRT)
{
    touch_name("../a");
}

Test(env_posix_fs, a_name_does_not_pass_above_the_root, .signal = SIGABRT)
{
    touch_name("a/../../b");
}

Test(env_posix_fs, a_name_does_not_end_above_the_root, .signal = SIGABRT)
{
    touch_name("a/..");
}

Test(env_posix_fs, a_name_is_not_empty, .signal = SIGABRT)
{
    struct nk_fs fs = fs_of("/tmp");
    (void)!nk_fs_remove(&fs, "");
}

Test(env_posix_fs, a_file_for_reading_is_not_written, .signal = SIGABRT)
{
    struct nk_fs fs = fs_of("/etc");
    struct nk_file *file = NULL;
    cr_assert_eq(nk_fs_open(&fs, "passwd", NK_FS_READ, &file), NK_OK);
    (void)!nk_fs_pwrite(&fs, file, 0, nk_bytes_of_string("y"));
}

Test(env_posix_fs, a_root_to_read_must_be_there_and_is_not_made)
{
    struct place place;
    struct reason reason;
    struct env_posix_fs *reading = NULL;
    struct nk_file *file = NULL;
    char path[128];
    place_open(&place);
    file_make(&place, "a", "hello");
    cr_assert_eq(env_posix_fs_open_to_read(place.root, &reading, reason_init(&reason)), NK_OK);
    struct nk_fs fs = env_posix_fs(reading);
    cr_assert_eq(nk_fs_open(&fs, "a", NK_FS_READ, &file), NK_OK);
    nk_fs_close(&fs, &file);
    env_posix_fs_close(&reading);

    (void)snprintf(path, sizeof path, "%s/missing", place.root);
    cr_expect_eq(env_posix_fs_open_to_read(path, &reading, reason_init(&reason)), NK_NOT_FOUND);
    cr_expect_neq(access(path, F_OK), 0);
    cr_expect_gt(reason.text.size, 0);
    (void)snprintf(path, sizeof path, "%s/a", place.root);
    cr_expect_eq(env_posix_fs_open_to_read(path, &reading, reason_init(&reason)), NK_IO);
    cr_expect_null(reading);
    place_close(&place);
}

static struct nk_fs root_to_read(void)
{
    struct reason reason;
    struct env_posix_fs *reading = NULL;
    cr_assert_eq(env_posix_fs_open_to_read("/tmp", &reading, reason_init(&reason)), NK_OK);
    return env_posix_fs(reading);
}

Test(env_posix_fs, no_file_is_made_in_a_root_to_read, .signal = SIGABRT)
{
    struct nk_fs fs = root_to_read();
    struct nk_file *file = NULL;
    (void)!nk_fs_open(&fs, "a", NK_FS_CREATE, &file);
}

Test(env_posix_fs, nothing_is_removed_in_a_root_to_read, .signal = SIGABRT)
{
    struct nk_fs fs = root_to_read();
    (void)!nk_fs_remove(&fs, "a");
}

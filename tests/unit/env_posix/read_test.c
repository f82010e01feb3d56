/* Whole files of the system. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/units.h"

#include "place.h"

TestSuite(env_posix_read, .timeout = 10);

static void path_in(const struct place *place, const char *name, char *out, size_t size)
{
    (void)snprintf(out, size, "%s/%s", place->root, name);
}

static void write_file(struct place *place, const char *name, size_t size)
{
    struct nk_file *file = NULL;
    cr_assert_eq(nk_fs_open(&place->fs, name, NK_FS_CREATE, &file), NK_OK);
    struct nk_buf bytes = {0};
    memset(nk_buf_extend(&bytes, size), 'x', size);
    cr_assert_eq(nk_fs_pwrite(&place->fs, file, 0, nk_buf_bytes(&bytes)), NK_OK);
    nk_buf_deinit(&bytes);
    nk_fs_close(&place->fs, &file);
}

Test(env_posix_read, a_file_is_appended_whole_up_to_the_limit)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 200000};
    struct place place;
    place_open(&place);
    for (size_t i = 0; i < NK_COUNT_OF(sizes); i++) {
        char name[16];
        char path[128];
        (void)snprintf(name, sizeof name, "f%zu", i);
        write_file(&place, name, sizes[i]);
        path_in(&place, name, path, sizeof path);
        struct nk_buf out = {0};
        nk_buf_append_string(&out, "> ");
        struct reason reason;
        cr_expect_eq(env_posix_read_file(path, sizes[i], &out, reason_init(&reason)), NK_OK,
                     "case %zu", i);
        cr_expect_eq(out.size, 2 + sizes[i], "case %zu", i);
        if (sizes[i] > 0) {
            nk_buf_clear(&out);
            cr_expect_eq(env_posix_read_file(path, sizes[i] - 1, &out, reason_init(&reason)),
                         NK_INVALID, "case %zu", i);
            cr_expect_not_null(strstr(reason.memory, "the file is larger than "), "case %zu", i);
            cr_expect_not_null(strstr(reason.memory, path), "case %zu", i);
        }
        nk_buf_deinit(&out);
    }
    place_close(&place);
}

Test(env_posix_read, what_cannot_be_read_is_told_with_its_path)
{
    struct place place;
    place_open(&place);
    static const struct {
        const char *name;
        const char *why;
    } cases[] = {{"missing", "No such file or directory"}, {".", "Is a directory"}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char path[128];
        path_in(&place, cases[i].name, path, sizeof path);
        struct nk_buf out = {0};
        struct reason reason;
        cr_expect_eq(env_posix_read_file(path, 10, &out, reason_init(&reason)), NK_INVALID,
                     "case %zu", i);
        cr_expect_not_null(strstr(reason.memory, path), "case %zu", i);
        cr_expect_not_null(strstr(reason.memory, cases[i].why), "case %zu", i);
        nk_buf_deinit(&out);
    }
    place_close(&place);
}

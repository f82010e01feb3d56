/* The durable facts of a process, on a real disk. */

#include <criterion/criterion.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/codec.h"
#include "common/base/prng.h"
#include "common/base/units.h"
#include "common/meta_lmdb/meta_lmdb.h"

TestSuite(meta_lmdb, .timeout = 120);

#define VALUE_BYTES_MAX ((size_t)(64 * NK_KIB))

/* An environment in a directory of its own. */
struct keeping {
    char directory[64];
    struct nk_meta_lmdb *lmdb;
    struct nk_meta meta;
    char reason[512];
};

static enum nk_err try_open(struct keeping *keeping)
{
    struct nk_text reason;
    nk_text_init(&reason, keeping->reason, sizeof keeping->reason);
    enum nk_err err = nk_meta_lmdb_open(keeping->directory, &keeping->lmdb, &reason);
    if (err == NK_OK) {
        keeping->meta = nk_meta_lmdb_contract(keeping->lmdb);
    }
    return err;
}

static void make_directory(struct keeping *keeping)
{
    (void)snprintf(keeping->directory, sizeof keeping->directory, "meta_lmdb_test.XXXXXX");
    cr_assert_not_null(mkdtemp(keeping->directory));
}

static void open_meta(struct keeping *keeping)
{
    make_directory(keeping);
    cr_assert_eq(try_open(keeping), NK_OK, "%s", keeping->reason);
}

static void reopen(struct keeping *keeping)
{
    nk_meta_lmdb_close(&keeping->lmdb);
    cr_assert_eq(try_open(keeping), NK_OK, "%s", keeping->reason);
}

static void unlink_files(const struct keeping *keeping)
{
    static const char *const files[] = {"data.mdb", "lock.mdb"};
    char path[96];
    for (size_t i = 0; i < NK_COUNT_OF(files); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", keeping->directory, files[i]);
        (void)unlink(path);
    }
    cr_expect_eq(rmdir(keeping->directory), 0);
}

static void remove_directory(struct keeping *keeping)
{
    nk_meta_lmdb_close(&keeping->lmdb);
    unlink_files(keeping);
}

static enum nk_err put(struct keeping *keeping, const char *key, struct nk_bytes value)
{
    return keeping->meta.ops->put(keeping->meta.ctx, nk_bytes_of_string(key), value);
}

static enum nk_err get(struct keeping *keeping, const char *key, struct nk_buf *out)
{
    return keeping->meta.ops->get(keeping->meta.ctx, nk_bytes_of_string(key), out);
}

Test(meta_lmdb, what_was_put_is_there_after_a_restart)
{
    struct keeping keeping;
    open_meta(&keeping);
    cr_assert_eq(put(&keeping, "a", nk_bytes_of_string("1")), NK_OK);
    cr_assert_eq(put(&keeping, "a", nk_bytes_of_string("two")), NK_OK);
    cr_assert_eq(put(&keeping, "empty", nk_bytes_of(NULL, 0)), NK_OK);
    reopen(&keeping);
    struct nk_buf value = {0};
    nk_buf_append_string(&value, "what was there");
    cr_assert_eq(get(&keeping, "a", &value), NK_OK);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&value), nk_bytes_of_string("two")));
    cr_assert_eq(get(&keeping, "empty", &value), NK_OK);
    cr_expect_eq(value.size, 0);
    cr_expect_eq(get(&keeping, "b", &value), NK_NOT_FOUND);
    nk_buf_deinit(&value);
    remove_directory(&keeping);
}

Test(meta_lmdb, a_removed_key_is_gone_and_a_missing_one_no_error)
{
    struct keeping keeping;
    open_meta(&keeping);
    cr_assert_eq(put(&keeping, "a", nk_bytes_of_string("1")), NK_OK);
    const struct nk_meta *meta = &keeping.meta;
    cr_expect_eq(meta->ops->remove(meta->ctx, nk_bytes_of_string("a")), NK_OK);
    cr_expect_eq(meta->ops->remove(meta->ctx, nk_bytes_of_string("a")), NK_OK);
    struct nk_buf value = {0};
    cr_expect_eq(get(&keeping, "a", &value), NK_NOT_FOUND);
    nk_buf_deinit(&value);
    remove_directory(&keeping);
}

static void note_key(void *visitor, struct nk_bytes key, struct nk_bytes value)
{
    struct nk_buf *out = visitor;
    nk_buf_append(out, key);
    nk_buf_append_u8(out, '=');
    nk_buf_append(out, value);
    nk_buf_append_u8(out, ';');
}

Test(meta_lmdb, a_list_has_the_keys_of_its_prefix_in_their_order)
{
    static const struct {
        const char *prefix;
        const char *listed;
    } cases[] = {
        {"", "a=1;member/a=2;member/b=3;memo=4;z=5;"},
        {"member/", "member/a=2;member/b=3;"},
        {"mem", "member/a=2;member/b=3;memo=4;"},
        {"z", "z=5;"},
        {"zz", ""},
        {"b", ""},
    };
    struct keeping keeping;
    open_meta(&keeping);
    static const char *const keys[] = {"z", "member/b", "a", "memo", "member/a"};
    static const char *const values[] = {"5", "3", "1", "4", "2"};
    for (size_t i = 0; i < NK_COUNT_OF(keys); i++) {
        cr_assert_eq(put(&keeping, keys[i], nk_bytes_of_string(values[i])), NK_OK);
    }
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_buf listed = {0};
        const struct nk_meta *meta = &keeping.meta;
        cr_expect_eq(
            meta->ops->list(meta->ctx, nk_bytes_of_string(cases[i].prefix), note_key, &listed),
            NK_OK);
        cr_expect(nk_bytes_equal(nk_buf_bytes(&listed), nk_bytes_of_string(cases[i].listed)),
                  "case %zu: %.*s", i, (int)listed.size, (const char *)listed.data);
        nk_buf_deinit(&listed);
    }
    remove_directory(&keeping);
}

Test(meta_lmdb, keys_and_values_may_be_as_long_as_their_limits)
{
    struct keeping keeping;
    open_meta(&keeping);
    uint8_t key[255];
    memset(key, 0xff, sizeof key);
    uint8_t *bytes = calloc(1, VALUE_BYTES_MAX + 1);
    const struct nk_meta *meta = &keeping.meta;
    struct nk_bytes name = nk_bytes_of(key, sizeof key);
    cr_expect_eq(meta->ops->put(meta->ctx, name, nk_bytes_of(bytes, VALUE_BYTES_MAX)), NK_OK);
    cr_expect_eq(meta->ops->put(meta->ctx, name, nk_bytes_of(bytes, VALUE_BYTES_MAX + 1)),
                 NK_TOO_LARGE);
    struct nk_buf value = {0};
    cr_expect_eq(meta->ops->get(meta->ctx, name, &value), NK_OK);
    cr_expect_eq(value.size, VALUE_BYTES_MAX);
    nk_buf_deinit(&value);
    free(bytes);
    remove_directory(&keeping);
}

Test(meta_lmdb, the_map_grows_with_what_is_put)
{
    struct keeping keeping;
    open_meta(&keeping);
    uint8_t *bytes = malloc(VALUE_BYTES_MAX);
    memset(bytes, 'x', VALUE_BYTES_MAX);
    for (size_t i = 0; i < 64; i++) { /* 4 MiB in a map of one */
        char key[8];
        (void)snprintf(key, sizeof key, "k%02u", (unsigned)i);
        cr_assert_eq(put(&keeping, key, nk_bytes_of(bytes, VALUE_BYTES_MAX)), NK_OK, "%s", key);
    }
    reopen(&keeping);
    struct nk_buf value = {0};
    cr_expect_eq(get(&keeping, "k00", &value), NK_OK);
    cr_expect_eq(get(&keeping, "k63", &value), NK_OK);
    cr_expect_eq(value.size, VALUE_BYTES_MAX);
    cr_expect_eq(put(&keeping, "more", nk_bytes_of(bytes, VALUE_BYTES_MAX)), NK_OK);
    nk_buf_deinit(&value);
    free(bytes);
    remove_directory(&keeping);
}

#define MODEL_KEYS ((size_t)40)

/* Any order of puts and removes, with a restart after each: what was last put is there. */
Test(meta_lmdb, random_use_with_restarts_agrees_with_a_plain_table)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct keeping keeping;
        open_meta(&keeping);
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        uint32_t model[MODEL_KEYS] = {0}; /* size + 1 of the value; 0: none */
        static uint8_t bytes[VALUE_BYTES_MAX];
        for (size_t step = 0; step < 150; step++) {
            size_t i = nk_prng_below(&prng, MODEL_KEYS);
            char key[16];
            (void)snprintf(key, sizeof key, "key%zu", i % MODEL_KEYS);
            if (nk_prng_below(&prng, 3) == 0) {
                cr_assert_eq(keeping.meta.ops->remove(keeping.meta.ctx, nk_bytes_of_string(key)),
                             NK_OK);
                model[i] = 0;
            } else {
                static const size_t sizes[] = {10, 300, 3000, 20000, VALUE_BYTES_MAX};
                size_t size = nk_prng_below(&prng, sizes[nk_prng_below(&prng, 5)]);
                memset(bytes, (int)(size % 251), size);
                cr_assert_eq(put(&keeping, key, nk_bytes_of(bytes, size)), NK_OK);
                model[i] = (uint32_t)size + 1;
            }
            nk_meta_lmdb_close(&keeping.lmdb);
            cr_assert_eq(try_open(&keeping), NK_OK, "seed %llu, step %zu: %s",
                         (unsigned long long)seed, step, keeping.reason);
        }
        for (size_t i = 0; i < MODEL_KEYS; i++) {
            char key[16];
            (void)snprintf(key, sizeof key, "key%zu", i);
            struct nk_buf value = {0};
            enum nk_err err = get(&keeping, key, &value);
            cr_expect_eq(err, model[i] == 0 ? NK_NOT_FOUND : NK_OK, "seed %llu, %s",
                         (unsigned long long)seed, key);
            cr_expect(model[i] == 0 || value.size + 1 == model[i], "seed %llu, %s",
                      (unsigned long long)seed, key);
            nk_buf_deinit(&value);
        }
        remove_directory(&keeping);
    }
}

/* Writes `format` as another version of this program would. */
static void set_format(const struct keeping *keeping, const void *data, size_t size)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi about;
    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_set_maxdbs(env, 1), 0);
    cr_assert_eq(mdb_env_open(env, keeping->directory, 0, 0640), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &about), 0);
    MDB_val key = {6, (void *)(uintptr_t) "format"};
    MDB_val value = {size, (void *)(uintptr_t)data};
    cr_assert_eq(mdb_put(txn, about, &key, &value, 0), 0);
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

Test(meta_lmdb, another_format_is_refused_and_left_as_it_is)
{
    static const struct {
        const char *format;
        size_t size;
        enum nk_err err;
        const char *words;
    } cases[] = {
        {"\x02\x00\x00\x00", 4, NK_FORMAT_TOO_NEW, "newer version"},
        {"\x00\x00\x00\x00", 4, NK_CORRUPT, "damaged"},
        {"\x01\x00\x00", 3, NK_CORRUPT, "damaged"},
        {"\x01\x00\x00\x00", 4, NK_OK, ""},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct keeping keeping;
        open_meta(&keeping);
        cr_assert_eq(put(&keeping, "a", nk_bytes_of_string("1")), NK_OK);
        nk_meta_lmdb_close(&keeping.lmdb);
        set_format(&keeping, cases[i].format, cases[i].size);
        cr_expect_eq(try_open(&keeping), cases[i].err, "case %zu", i);
        cr_expect_not_null(strstr(keeping.reason, cases[i].words), "case %zu: %s", i,
                           keeping.reason);
        if (cases[i].err != NK_OK) {
            cr_expect_null(keeping.lmdb, "case %zu", i);
            set_format(&keeping, "\x01\x00\x00\x00", 4);
            cr_assert_eq(try_open(&keeping), NK_OK);
        }
        struct nk_buf value = {0};
        cr_expect_eq(get(&keeping, "a", &value), NK_OK, "case %zu", i);
        nk_buf_deinit(&value);
        remove_directory(&keeping);
    }
}

static void write_data(const struct keeping *keeping, const void *data, size_t size)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/data.mdb", keeping->directory);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(data, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
}

Test(meta_lmdb, what_is_no_environment_is_corrupt_and_not_overwritten)
{
    struct keeping keeping;
    make_directory(&keeping);
    static char garbage[32768];
    memset(garbage, 'g', sizeof garbage);
    write_data(&keeping, garbage, sizeof garbage);
    cr_expect_eq(try_open(&keeping), NK_CORRUPT);
    cr_expect_not_null(strstr(keeping.reason, "data.mdb: damaged"), "%s", keeping.reason);
    char path[96];
    (void)snprintf(path, sizeof path, "%s/data.mdb", keeping.directory);
    FILE *file = fopen(path, "rb");
    char first = (char)fgetc(file);
    (void)fclose(file);
    cr_expect_eq(first, 'g');
    keeping.lmdb = NULL;
    remove_directory(&keeping);
}

/* Reading a page that is not there would be SIGBUS, at any time later. */
Test(meta_lmdb, a_file_that_was_cut_is_corrupt_at_open)
{
    struct keeping keeping;
    open_meta(&keeping);
    static uint8_t bytes[VALUE_BYTES_MAX];
    cr_assert_eq(put(&keeping, "a", nk_bytes_of(bytes, sizeof bytes)), NK_OK);
    nk_meta_lmdb_close(&keeping.lmdb);
    char path[96];
    (void)snprintf(path, sizeof path, "%s/data.mdb", keeping.directory);
    cr_assert_eq(truncate(path, 16384), 0);
    cr_expect_eq(try_open(&keeping), NK_CORRUPT);
    keeping.lmdb = NULL;
    remove_directory(&keeping);
}

Test(meta_lmdb, a_directory_that_is_not_there_is_told)
{
    struct keeping keeping = {.directory = "meta_lmdb_test.missing"};
    cr_expect_eq(try_open(&keeping), NK_IO);
    cr_expect_not_null(strstr(keeping.reason, "meta_lmdb_test.missing/data.mdb: cannot be opened"),
                       "%s", keeping.reason);
    cr_expect_null(keeping.lmdb);
}

Test(meta_lmdb, an_empty_key_is_a_programmer_error, .signal = SIGABRT)
{
    struct keeping keeping;
    open_meta(&keeping);
    unlink_files(&keeping); /* nobody comes back to do it */
    (void)put(&keeping, "", nk_bytes_of(NULL, 0));
}

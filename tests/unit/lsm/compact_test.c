#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "common/base/prng.h"
#include "common/base/units.h"
#include "services/shardhost/lsm/key.h"
#include "services/shardhost/lsm/names.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_compact, .timeout = 60);

/* Four flushes make a compaction due. */
#define TRIGGER 4

static struct rig rig;
static uint64_t last_index;

static void setup(void)
{
    struct lsm_options options = rig_options();
    options.table_bytes = 4 * NK_KIB;
    rig_init(&rig, 1, &options);
    rig_must_open(&rig);
    last_index = 0;
}

static void teardown(void)
{
    rig_deinit(&rig);
}

static void put(const char *key, const char *value)
{
    rig_put(&rig, ++last_index, key, value);
}

static void put_expiring(const char *key, const char *value, uint64_t expire_at_ms, uint64_t now_ms)
{
    struct lsm_record record = {
        .key = nk_bytes_of_string(key),
        .value = nk_bytes_of_string(value),
        .version = {1, ++last_index},
        .expire_at_ms = expire_at_ms,
    };
    lsm_write(rig.db, &record);
    lsm_commit(rig.db, record.version, now_ms, nk_bytes_of(NULL, 0));
}

static void pass_time(uint64_t now_ms)
{
    lsm_commit(rig.db, (struct lsm_version){1, ++last_index}, now_ms, nk_bytes_of(NULL, 0));
}

/* A table that overlaps all others of these tests. */
static void flush_wide(void)
{
    put("a", "first");
    put("z", "last");
    rig_flush(&rig);
}

static size_t table_files(void)
{
    struct nk_buf names = {0};
    size_t count = 0;
    sim_fs_list(rig.sim, RIG_DIRECTORY, &names);
    for (size_t i = 0; i + 4 < names.size; i++) {
        count += memcmp(names.data + i, ".sst\n", 5) == 0;
    }
    nk_buf_deinit(&names);
    return count;
}

static size_t level_tables(size_t level)
{
    struct lsm_shape shape;
    lsm_get_shape(rig.db, &shape);
    return shape.levels[level].table_count;
}

/* How many records an iterator over everything meets. */
static size_t records(void)
{
    size_t count = 0;
    struct lsm_view *view = lsm_view_acquire(rig.db);
    struct lsm_iter *iter = NULL;
    struct nk_bytes key;
    struct lsm_entry entry;
    struct nk_bytes value;
    lsm_iter_open(view, nk_bytes_of(NULL, 0), nk_bytes_of(NULL, 0), &iter);
    while (lsm_iter_next(iter, &key, &entry, &value) == NK_OK) {
        count++;
    }
    lsm_iter_close(&iter);
    lsm_view_release(&view);
    return count;
}

/* ---- What is kept and what is not ---- */

Test(lsm_compact, level_0_becomes_one_run_in_the_last_level, .init = setup, .fini = teardown)
{
    for (size_t i = 0; i < TRIGGER; i++) {
        cr_expect_eq(level_tables(0), i);
        flush_wide();
    }
    cr_expect_eq(level_tables(0), 0);
    cr_expect_eq(level_tables(6), 1);
    cr_expect_eq(table_files(), 1, "the inputs are gone from the disk");
    cr_expect_str_eq(rig_get(&rig, "a"), "first");
    cr_expect_eq(nk_counter_get(&lsm_engine_stats(rig.engine)->compactions), 1);
}

Test(lsm_compact, tombstones_leave_where_nothing_lies_below, .init = setup, .fini = teardown)
{
    for (size_t i = 0; i < TRIGGER; i++) {
        if (i == TRIGGER - 1) {
            rig_delete(&rig, ++last_index, "m");
        } else {
            put("m", "there");
        }
        flush_wide();
    }
    cr_expect_str_eq(rig_get(&rig, "m"), "");
    cr_expect_eq(records(), 2);
}

Test(lsm_compact, what_has_expired_leaves_too, .init = setup, .fini = teardown)
{
    put_expiring("m", "short", 100, 50);
    put_expiring("n", "long", 1000, 50);
    for (size_t i = 0; i < TRIGGER; i++) {
        pass_time(100);
        struct lsm_record record = {.key = nk_bytes_of_string("a"), .version = {1, ++last_index}};
        lsm_write(rig.db, &record);
        lsm_commit(rig.db, record.version, 100, nk_bytes_of(NULL, 0));
        rig_flush(&rig);
    }
    cr_expect_eq(level_tables(0), 0);
    cr_expect_str_eq(rig_get(&rig, "m"), "");
    cr_expect_str_eq(rig_get(&rig, "n"), "long");
}

/* The owner that comes back after a crash stands at the durable position: there the record lives,
 * and entries that he applies again must find it. */
Test(lsm_compact, the_time_that_counts_is_the_durable_one, .init = setup, .fini = teardown)
{
    put_expiring("m", "short", 100, 50);
    for (size_t i = 0; i < TRIGGER; i++) {
        struct lsm_record record = {.key = nk_bytes_of_string("a"), .version = {1, ++last_index}};
        lsm_write(rig.db, &record);
        lsm_commit(rig.db, record.version, 50, nk_bytes_of(NULL, 0));
        lsm_request_flush(rig.db);
        if (i == TRIGGER - 1) {
            pass_time(100);
        }
        cr_assert_eq(rig_work(&rig, SIZE_MAX), NK_OK);
    }
    cr_expect_eq(level_tables(0), 0);
    cr_expect_str_eq(rig_get(&rig, "m"), "short");
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    rig_close(&rig);
    sim_fs_crash(rig.sim, &prng);
    rig_must_open(&rig);
    cr_expect_str_eq(rig_get(&rig, "m"), "short");
}

/* Tables of half dead records are compacted although nothing else is due. */
Test(lsm_compact, deleting_everything_empties_the_tree, .init = setup, .fini = teardown)
{
    char key[16];
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < 400; i++) {
            (void)snprintf(key, sizeof key, "key-%04zu", i);
            if (round == 0) {
                put(key, "some value that takes room");
            } else {
                rig_delete(&rig, ++last_index, key);
            }
        }
        rig_flush(&rig);
    }
    cr_expect_eq(records(), 0);
    cr_expect_eq(table_files(), 0);
    rig_reopen(&rig);
    cr_expect_eq(records(), 0);
}

Test(lsm_compact, tables_in_key_order_move_and_are_not_written_again, .init = setup,
     .fini = teardown)
{
    char key[16];
    for (size_t i = 0; i < 20; i++) {
        for (size_t n = 0; n < 3; n++) {
            (void)snprintf(key, sizeof key, "key-%02zu-%zu", i, n);
            put(key, "value");
        }
        rig_flush(&rig);
    }
    cr_expect_eq(nk_counter_get(&lsm_engine_stats(rig.engine)->compacted_bytes), 0);
    cr_expect_lt(level_tables(0), TRIGGER);
    cr_expect_eq(table_files(), 20);
    cr_expect_eq(records(), 60);
    rig_reopen(&rig);
    cr_expect_eq(records(), 60);
}

Test(lsm_compact, tables_are_closed_at_their_size)
{
    struct lsm_options options = rig_options();
    options.table_bytes = 32 * NK_KIB;
    options.memtable_bytes = NK_MIB;
    options.write_buffer_total_bytes = NK_MIB;
    rig_init(&rig, 1, &options);
    rig_must_open(&rig);
    last_index = 0;
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    char key[16];
    char value[200] = {0};
    for (size_t i = 0; i < 2000; i++) {
        (void)snprintf(key, sizeof key, "key-%04zu", i * 7 % 2000);
        for (size_t at = 0; at < sizeof value - 1; at++) {
            value[at] = (char)nk_prng_between(&prng, 33, 126);
        }
        put(key, value);
        if (i % 500 == 499) {
            rig_flush(&rig);
        }
    }
    struct lsm_shape shape;
    lsm_get_shape(rig.db, &shape);
    cr_expect_eq(shape.levels[0].table_count, 0);
    uint64_t bytes = shape.levels[6].bytes / shape.levels[6].table_count;
    cr_expect_gt(bytes, options.table_bytes * 8 / 10);
    cr_expect_lt(bytes, options.table_bytes * 12 / 10);
    rig_deinit(&rig);
}

/* Long keys that hardly differ make much index of little data, and a top index is one block. */
Test(lsm_compact, tables_are_closed_when_their_index_is_full)
{
    enum { RECORDS = 66000 };
    static uint8_t key[LSM_KEY_BYTES_MAX];
    static uint8_t value[3100]; /* so that a data block has one record */
    struct lsm_options options = rig_options();
    options.table_bytes = NK_GIB;
    options.filter_bits_per_key = 0;
    options.memtable_bytes = 128 * NK_MIB;
    options.write_buffer_total_bytes = 256 * NK_MIB;
    rig_init(&rig, 1, &options);
    rig_must_open(&rig);
    for (uint64_t i = 0; i < RECORDS; i++) {
        uint64_t round = i / (RECORDS / TRIGGER);
        uint64_t number = i % (RECORDS / TRIGGER) * TRIGGER + round;
        for (size_t at = 0; at < 4; at++) {
            key[at] = (uint8_t)(number >> (24 - 8 * at));
        }
        struct lsm_record record = {
            .key = nk_bytes_of(key, sizeof key),
            .value = nk_bytes_of(value, sizeof value),
            .version = {1, i + 1},
        };
        lsm_write(rig.db, &record);
        lsm_commit(rig.db, record.version, 0, nk_bytes_of(NULL, 0));
        if ((i + 1) % (RECORDS / TRIGGER) == 0) {
            rig_flush(&rig);
        }
    }
    cr_expect_eq(level_tables(0), 0);
    cr_expect_eq(level_tables(6), 2);
    cr_expect_eq(records(), RECORDS);
    rig_deinit(&rig);
}

/* ---- Readers ---- */

Test(lsm_compact, a_view_keeps_its_tables_until_it_is_released, .init = setup, .fini = teardown)
{
    put("m", "old");
    rig_flush(&rig);
    struct lsm_view *view = lsm_view_acquire(rig.db);
    for (size_t i = 0; i < TRIGGER; i++) {
        put("m", "new");
        flush_wide();
    }
    cr_expect_geq(table_files(), 2);
    struct lsm_entry entry;
    struct nk_buf value = {0};
    cr_expect_eq(lsm_view_get(view, nk_bytes_of_string("m"), LSM_DISK, &entry, &value), NK_OK);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&value), nk_bytes_of_string("old")));
    nk_buf_deinit(&value);
    size_t before = table_files();
    lsm_view_release(&view);
    cr_expect_eq(table_files(), before, "the loop does not touch the disk");
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_OK);
    cr_expect_lt(table_files(), before);
    cr_expect_str_eq(rig_get(&rig, "m"), "new");
}

/* ---- Jobs ---- */

Test(lsm_compact, a_flush_comes_between_the_slices_of_a_compaction, .init = setup, .fini = teardown)
{
    for (size_t i = 0; i < TRIGGER - 1; i++) {
        flush_wide();
    }
    put("a", "first");
    put("m", "middle");
    put("z", "last");
    lsm_request_flush(rig.db);
    bool more = true;
    while (more) {
        cr_assert_eq(lsm_engine_pick(rig.engine, 0), rig.db);
        cr_assert_eq(lsm_work(rig.db, SIZE_MAX, &more), NK_OK);
        lsm_work_ended(rig.db, 0);
    }
    cr_assert_eq(level_tables(0), TRIGGER);
    cr_assert_eq(lsm_engine_pick(rig.engine, 0), rig.db);
    cr_assert_eq(lsm_work(rig.db, 1, &more), NK_OK);
    cr_expect(more);
    uint64_t durable = lsm_durable_index(rig.db);
    put("n", "later");
    lsm_request_flush(rig.db);
    /* Another permit while the first one is out: the flush. */
    cr_assert_eq(lsm_engine_pick(rig.engine, 0), rig.db);
    cr_expect_null(lsm_engine_pick(rig.engine, 0), "two permits is what there are");
    cr_assert_eq(lsm_work(rig.db, SIZE_MAX, &more), NK_OK);
    lsm_work_ended(rig.db, 0);
    cr_expect_gt(lsm_durable_index(rig.db), durable);
    lsm_work_ended(rig.db, 0);
    cr_expect_eq(rig_work(&rig, 1), NK_OK);
    cr_expect_eq(level_tables(0), 1);
    cr_expect_str_eq(rig_get(&rig, "m"), "middle");
    cr_expect_str_eq(rig_get(&rig, "n"), "later");
}

Test(lsm_compact, one_more_call_under_a_permit_whose_job_is_done_does_nothing, .init = setup,
     .fini = teardown)
{
    bool more = true;
    put("a", "value");
    lsm_request_flush(rig.db);
    cr_assert_eq(lsm_engine_pick(rig.engine, 0), rig.db);
    while (more) {
        cr_assert_eq(lsm_work(rig.db, SIZE_MAX, &more), NK_OK);
    }
    more = true;
    cr_expect_eq(lsm_work(rig.db, SIZE_MAX, &more), NK_OK);
    cr_expect_not(more);
    lsm_work_ended(rig.db, 0);
    cr_expect_eq(level_tables(0), 1);
    cr_expect_not(lsm_flush_pending(rig.db));
}

Test(lsm_compact, one_more_call_after_a_failure_does_nothing, .init = setup, .fini = teardown)
{
    bool more = true;
    put("a", "value");
    lsm_request_flush(rig.db);
    cr_assert_eq(lsm_engine_pick(rig.engine, 0), rig.db);
    sim_fs_limit_space(rig.sim, sim_fs_used(rig.sim));
    cr_assert_eq(lsm_work(rig.db, SIZE_MAX, &more), NK_NO_SPACE);
    cr_expect_not(more);
    cr_expect_eq(lsm_work(rig.db, SIZE_MAX, &more), NK_OK);
    cr_expect_not(more);
    lsm_work_ended(rig.db, 0);
    cr_expect(lsm_flush_pending(rig.db), "the failure is not forgotten");
    sim_fs_limit_space(rig.sim, UINT64_MAX);
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_OK);
    cr_expect_str_eq(rig_get(&rig, "a"), "value");
}

/* Until level 0 has enough for a compaction, which nobody begins. */
static void flush_until_due(struct lsm_db *db, const char *key)
{
    for (size_t i = 0; i < TRIGGER; i++) {
        struct lsm_record record = {
            .key = nk_bytes_of_string(key),
            .version = {1, ++last_index},
        };
        lsm_write(db, &record);
        record.key = nk_bytes_of_string("z");
        lsm_write(db, &record);
        lsm_commit(db, record.version, 0, nk_bytes_of(NULL, 0));
        lsm_request_flush(db);
        bool more = true;
        while (more) {
            cr_assert_eq(lsm_engine_pick(rig.engine, rig.now_us), db);
            cr_assert_eq(lsm_work(db, SIZE_MAX, &more), NK_OK);
            lsm_work_ended(db, rig.now_us);
        }
        cr_assert_not(lsm_flush_pending(db));
    }
}

Test(lsm_compact, two_databases_are_compacted_side_by_side, .init = setup, .fini = teardown)
{
    struct lsm_fault fault;
    struct lsm_db *other;
    bool more;
    cr_assert_eq(lsm_open(rig.engine, "other", &other, &fault), NK_OK);
    lsm_hold_work(rig.db); /* till both are due */
    flush_until_due(other, "a");
    lsm_hold_work(other);
    lsm_resume_work(rig.db);
    flush_until_due(rig.db, "a");
    lsm_resume_work(other);
    for (int i = 0; i < 2; i++) { /* both are begun, neither is over */
        struct lsm_db *picked = lsm_engine_pick(rig.engine, rig.now_us);
        cr_assert_not_null(picked, "%d", i);
        cr_assert_eq(lsm_work(picked, 1, &more), NK_OK);
        cr_expect(more, "%d", i);
    }
    struct lsm_shape shape;
    lsm_get_shape(other, &shape);
    cr_expect_eq(shape.levels[0].table_count, TRIGGER);
    cr_expect_eq(level_tables(0), TRIGGER);
    lsm_work_ended(rig.db, rig.now_us);
    lsm_work_ended(other, rig.now_us);
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_OK);
    cr_expect_eq(level_tables(0), 0);
    while (lsm_engine_pick(rig.engine, rig.now_us) == other) {
        cr_assert_eq(lsm_work(other, SIZE_MAX, &more), NK_OK);
        lsm_work_ended(other, rig.now_us);
    }
    lsm_get_shape(other, &shape);
    cr_expect_eq(shape.levels[0].table_count, 0);
    lsm_close(&other);
}

static void put_many_random(void)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    for (size_t i = 0; i < 300; i++) {
        char key[16];
        char value[200] = {0};
        (void)snprintf(key, sizeof key, "key-%03zu", i);
        for (size_t at = 0; at < sizeof value - 1; at++) {
            value[at] = (char)nk_prng_between(&prng, 33, 126);
        }
        put(key, value);
    }
}

Test(lsm_compact, two_workers_do_the_parts_of_a_large_one, .init = setup, .fini = teardown)
{
    put_many_random();
    do {
        flush_wide();
    } while (level_tables(0) > 0);
    cr_assert_gt(level_tables(6), 10);
    flush_until_due(rig.db, "a");
    bool more;
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(lsm_engine_pick(rig.engine, rig.now_us), rig.db, "%d", i);
        cr_assert_eq(lsm_work(rig.db, 1, &more), NK_OK);
        cr_expect(more, "%d", i);
    }
    lsm_work_ended(rig.db, rig.now_us);
    lsm_work_ended(rig.db, rig.now_us);
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_OK);
    cr_expect_eq(level_tables(0), 0);
    cr_expect_eq(records(), 302);
}

static void write_large_tree(void)
{
    put_many_random();
    do {
        flush_wide();
    } while (level_tables(0) > 0);
}

/* Writes a large tree anew under a view and lets go of the old one; returns how many tables stay.
 */
static size_t let_many_go(void)
{
    write_large_tree();
    struct lsm_view *view = lsm_view_acquire(rig.db);
    write_large_tree();
    lsm_view_release(&view);
    size_t kept = level_tables(6);
    cr_assert_gt(table_files(), kept + 12);
    return kept;
}

/* Does one slice of what is picked; returns whether there is more. */
static bool work_once(void)
{
    bool more = false;
    cr_assert_eq(lsm_engine_pick(rig.engine, rig.now_us), rig.db);
    cr_assert_eq(lsm_work(rig.db, SIZE_MAX, &more), NK_OK);
    lsm_work_ended(rig.db, rig.now_us);
    return more;
}

/* Of many that go together, which may be all of a shard. */
Test(lsm_compact, a_flush_comes_between_the_slices_of_a_clean_up, .init = setup, .fini = teardown)
{
    size_t kept = let_many_go();
    size_t before = table_files();
    cr_expect(work_once());
    cr_expect_eq(table_files(), before - 8);
    put("m", "middle");
    lsm_request_flush(rig.db);
    while (work_once()) {
    }
    cr_expect_not(lsm_flush_pending(rig.db));
    cr_expect_eq(table_files(), before - 8 + 1);
    cr_assert_eq(rig_work(&rig, SIZE_MAX), NK_OK);
    cr_expect_eq(table_files(), kept + 1);
    cr_expect_eq(records(), 303);
}

Test(lsm_compact, a_clean_up_that_is_not_over_ends_with_the_database, .init = setup,
     .fini = teardown)
{
    size_t kept = let_many_go();
    cr_expect(work_once());
    rig_reopen(&rig);
    cr_expect_eq(table_files(), kept, "what was left was orphans");
    cr_expect_eq(records(), 302);
}

Test(lsm_compact, the_rate_limit_holds_compaction_back_and_not_flushes)
{
    struct lsm_options options = rig_options();
    options.table_bytes = 4 * NK_KIB;
    options.rate_limit_bytes_per_s = 8 * NK_KIB;
    rig_init(&rig, 1, &options);
    rig_must_open(&rig);
    last_index = 0;
    uint64_t now_us = 1000;
    size_t waits = 0;
    bool more = false;
    for (size_t i = 0; i < 12; i++) {
        char value[400];
        for (size_t at = 0; at < sizeof value - 1; at++) {
            value[at] = (char)('a' + (last_index * 31 + at * at * 7) % 26);
        }
        value[sizeof value - 1] = '\0';
        put("a", value);
        put("m", value);
        put("z", value);
        lsm_request_flush(rig.db);
        for (;;) {
            struct lsm_db *db = lsm_engine_pick(rig.engine, now_us);
            if (db != NULL) {
                cr_assert_eq(lsm_work(db, SIZE_MAX, &more), NK_OK);
                lsm_work_ended(db, now_us);
                continue;
            }
            cr_expect_eq(lsm_durable_index(rig.db), last_index);
            uint64_t next_us = lsm_engine_next_us(rig.engine);
            if (next_us == UINT64_MAX) {
                break;
            }
            cr_assert_gt(next_us, now_us);
            cr_expect_null(lsm_engine_pick(rig.engine, next_us - 2));
            now_us = next_us;
            waits++;
        }
    }
    uint64_t written = nk_counter_get(&lsm_engine_stats(rig.engine)->compacted_bytes);
    cr_expect_gt(waits, 0);
    cr_expect_gt(written, 2 * NK_KIB);
    uint64_t earned = (now_us - 1000) * options.rate_limit_bytes_per_s / NK_US_PER_SEC;
    cr_expect_geq(earned + 2 * NK_KIB, written, "waited for, but for the last slice");
    rig_deinit(&rig);
}

/* ---- Faults ---- */

static void fill_level_0(void)
{
    for (size_t i = 0; i < TRIGGER - 1; i++) {
        put("m", "value");
        flush_wide();
    }
    put("n", "value");
    put("a", "first");
    put("z", "last");
    lsm_request_flush(rig.db);
}

Test(lsm_compact, damage_of_an_input_is_told_and_nothing_is_installed, .init = setup,
     .fini = teardown)
{
    fill_level_0();
    rig_close(&rig); /* so that no block is in the cache, as its name goes with the table */
    char name[LSM_FILE_NAME_BYTES_MAX];
    char path[NK_PATH_BYTES_MAX];
    lsm_table_name(2, name);
    lsm_path(RIG_DIRECTORY, name, path);
    sim_fs_flip(rig.sim, path, 3, 0x10);
    rig_must_open(&rig);
    last_index = lsm_durable_index(rig.db);
    put("n", "value");
    put("a", "first");
    put("z", "last");
    lsm_request_flush(rig.db);
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_CORRUPT);
    const struct lsm_fault *fault = lsm_last_fault(rig.db);
    cr_expect_eq(fault->err, NK_CORRUPT);
    cr_expect_str_eq(fault->file, path);
    cr_expect_eq(fault->offset, 0);
    cr_expect_eq(level_tables(0), TRIGGER);
    cr_expect_eq(level_tables(6), 0);
    /* It is held: what the failed compaction wrote is removed, and no more. */
    while (lsm_engine_pick(rig.engine, 0) != NULL) {
        bool more;
        cr_assert_eq(lsm_work(rig.db, SIZE_MAX, &more), NK_OK);
        lsm_work_ended(rig.db, 0);
    }
    cr_expect_eq(table_files(), TRIGGER);
    cr_expect_str_eq(rig_get(&rig, "n"), "value");
}

Test(lsm_compact, a_full_disk_stops_compaction_and_it_goes_on_when_there_is_room, .init = setup,
     .fini = teardown)
{
    fill_level_0();
    bool more = true;
    while (more) { /* the flush */
        cr_assert_eq(lsm_engine_pick(rig.engine, 0), rig.db);
        cr_assert_eq(lsm_work(rig.db, SIZE_MAX, &more), NK_OK);
        lsm_work_ended(rig.db, 0);
    }
    sim_fs_limit_space(rig.sim, 100);
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_NO_SPACE);
    cr_expect_eq(level_tables(0), TRIGGER);
    cr_expect_null(lsm_engine_pick(rig.engine, 0), "held");
    cr_expect_str_eq(rig_get(&rig, "m"), "value");
    sim_fs_limit_space(rig.sim, UINT64_MAX);
    cr_expect_eq(rig_work(&rig, SIZE_MAX), NK_OK);
    cr_expect_eq(level_tables(0), 0);
    cr_expect_eq(table_files(), 1);
    cr_expect_str_eq(rig_get(&rig, "m"), "value");
}

Test(lsm_compact, what_was_written_in_vain_is_an_orphan_and_goes_at_the_next_open, .init = setup,
     .fini = teardown)
{
    fill_level_0();
    bool more = true;
    size_t slices = 0;
    while (level_tables(6) == 0 && slices++ < 3) {
        (void)lsm_engine_pick(rig.engine, 0);
        cr_assert_eq(lsm_work(rig.db, 1, &more), NK_OK);
        lsm_work_ended(rig.db, 0);
    }
    rig_close(&rig);
    rig_must_open(&rig);
    struct lsm_shape shape;
    lsm_get_shape(rig.db, &shape);
    cr_expect_eq(table_files(), shape.table_count);
    cr_expect_str_eq(rig_get(&rig, "m"), "value");
}

/* It may lie there still: the call that should remove it may fail, and a crash may bring it back.
 */
Test(lsm_compact, the_number_of_an_orphan_is_not_used_again)
{
    static const char orphan[] = RIG_DIRECTORY "/0000000002.sst";
    size_t stayed = 0;
    for (uint64_t nth = 0; nth < 10; nth++) { /* the call of the open that fails; 0: none does */
        setup();
        put("m", "value");
        rig_flush(&rig);
        rig_close(&rig);
        sim_fs_put(rig.sim, orphan, nk_bytes_of_string("left over"));
        sim_fs_fail_at(rig.sim, nth, NK_IO);
        enum nk_err err = rig_open(&rig, NULL);
        sim_fs_fail_at(rig.sim, 0, NK_IO);
        if (err != NK_OK) {
            rig_must_open(&rig);
        }
        stayed += sim_fs_exists(rig.sim, orphan);
        put("n", "other");
        rig_flush(&rig);
        cr_expect(sim_fs_exists(rig.sim, RIG_DIRECTORY "/0000000003.sst"), "call %u",
                  (unsigned)nth);
        rig_reopen(&rig);
        cr_expect_str_eq(rig_get(&rig, "m"), "value");
        cr_expect_str_eq(rig_get(&rig, "n"), "other");
        cr_expect_eq(table_files(), 2);
        teardown();
    }
    cr_expect_gt(stayed, 0);
}

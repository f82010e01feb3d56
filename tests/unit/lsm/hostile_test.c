/* Files that no code of ours wrote, with good checksums: they are refused, and nothing stops. */

#include <criterion/criterion.h>

#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "services/shardhost/lsm/manifest.h"
#include "services/shardhost/lsm/names.h"
#include "services/shardhost/lsm/table_format.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_hostile, .timeout = 20);

static void put_table(struct nk_buf *payload, uint32_t level, uint64_t number, const char *smallest,
                      const char *largest)
{
    const struct lsm_table_meta meta = {
        .number = number,
        .size_bytes = 100,
        .record_count = 2,
        .index_min = 10 * number,
        .index_max = 10 * number + 1,
        .smallest = nk_bytes_of_string(smallest),
        .largest = nk_bytes_of_string(largest),
    };
    lsm_catalog_put_add(payload, level, &meta);
}

/* A manifest of one record and two slots, as FORMAT.md has it; 0 for `promised` is all of it. */
static void put_manifest(struct rig *rig, struct nk_bytes payload, uint64_t promised)
{
    struct nk_buf file = {0};
    memset(nk_buf_extend(&file, 1024), 0, 1024);
    uint8_t *record = nk_buf_extend(&file, 8);
    nk_put_u32(record + 4, (uint32_t)payload.size);
    nk_buf_append(&file, payload);
    uint8_t place[8];
    nk_put_u64(place, 1024);
    uint32_t crc = nk_crc32c(nk_bytes_of(file.data + 1028, 4 + payload.size));
    nk_put_u32(file.data + 1024, nk_crc32c_extend(crc, nk_bytes_of(place, sizeof place)));
    for (size_t i = 0; i < 2; i++) {
        uint8_t *slot = file.data + 512 * i;
        memcpy(slot, "mnifest1", 8);
        nk_put_u32(slot + 8, 1);
        nk_put_u64(slot + 16, 1);
        nk_put_u64(slot + 24, promised != 0 ? promised : file.size);
        crc = nk_crc32c(nk_bytes_of(slot, 12));
        nk_put_u32(slot + 12, nk_crc32c_extend(crc, nk_bytes_of(slot + 16, 16)));
    }
    sim_fs_put(rig->sim, RIG_DIRECTORY "/manifest", nk_buf_bytes(&file));
    nk_buf_deinit(&file);
}

static void put_table_file(struct rig *rig, uint64_t number)
{
    char name[LSM_FILE_NAME_BYTES_MAX];
    char path[NK_PATH_BYTES_MAX];
    lsm_table_name(number, name);
    lsm_path(RIG_DIRECTORY, name, path);
    sim_fs_put(rig->sim, path, nk_bytes_of_string("no table"));
}

/* Opens a database of three table files whose manifest has this payload. */
static enum nk_err open_with(const struct nk_buf *payload, struct lsm_fault *out_fault)
{
    struct rig rig;
    struct lsm_options options = rig_options();
    rig_init(&rig, 1, &options);
    for (uint64_t number = 1; number <= 3; number++) {
        put_table_file(&rig, number);
    }
    put_manifest(&rig, nk_buf_bytes(payload), 0);
    enum nk_err err = rig_open(&rig, out_fault);
    rig_deinit(&rig);
    return err;
}

Test(lsm_hostile, tables_of_one_level_overlap)
{
    static const struct {
        uint32_t level;
        const char *second[2];
        enum nk_err err;
    } cases[] = {
        {1, {"d", "f"}, NK_OK},      {1, {"a", "a"}, NK_OK},      {1, {"c", "d"}, NK_CORRUPT},
        {1, {"a", "b"}, NK_CORRUPT}, {1, {"a", "z"}, NK_CORRUPT}, {6, {"b", "c"}, NK_CORRUPT},
        {0, {"b", "c"}, NK_OK},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_buf payload = {0};
        struct lsm_fault fault = {0};
        lsm_catalog_put_number_next(&payload, 4);
        put_table(&payload, cases[i].level, 1, "b", "c");
        put_table(&payload, cases[i].level, 2, cases[i].second[0], cases[i].second[1]);
        put_table(&payload, cases[i].level, 3, "x", "y");
        cr_expect_eq(open_with(&payload, &fault), cases[i].err, "case %zu", i);
        cr_expect_eq(fault.err, cases[i].err, "case %zu", i);
        nk_buf_deinit(&payload);
    }
}

Test(lsm_hostile, table_numbers_leave_room_for_more)
{
    struct nk_buf payload = {0};
    struct lsm_fault fault = {0};
    lsm_catalog_put_number_next(&payload, UINT64_MAX);
    cr_expect_eq(open_with(&payload, &fault), NK_CORRUPT);
    cr_expect_eq(fault.offset, 1024);
    nk_buf_deinit(&payload);
}

Test(lsm_hostile, a_manifest_promises_at_least_its_first_record)
{
    static const uint64_t promises[] = {1, 1023, 1024, 1025};
    struct nk_buf payload = {0};
    lsm_catalog_put_number_next(&payload, 1);
    for (size_t i = 0; i < NK_COUNT_OF(promises); i++) {
        struct rig rig;
        struct lsm_options options = rig_options();
        rig_init(&rig, 1, &options);
        put_manifest(&rig, nk_buf_bytes(&payload), promises[i]);
        cr_expect_eq(rig_open(&rig, NULL), promises[i] > 1024 ? NK_OK : NK_CORRUPT, "case %zu", i);
        rig_deinit(&rig);
    }
    nk_buf_deinit(&payload);
}

/* The next number is above those of all files; that of this one has none above it. */
Test(lsm_hostile, a_file_with_the_highest_number_is_not_ours)
{
    struct rig rig;
    struct lsm_options options = rig_options();
    rig_init(&rig, 1, &options);
    struct nk_buf payload = {0};
    lsm_catalog_put_number_next(&payload, 1);
    put_manifest(&rig, nk_buf_bytes(&payload), 0);
    put_table_file(&rig, UINT64_MAX);
    rig_must_open(&rig);
    rig_put(&rig, 1, "key", "value");
    rig_flush(&rig);
    rig_reopen(&rig);
    cr_expect_str_eq(rig_get(&rig, "key"), "value");
    cr_expect(sim_fs_exists(rig.sim, RIG_DIRECTORY "/18446744073709551615.sst"));
    nk_buf_deinit(&payload);
    rig_deinit(&rig);
}

/* A get of "key" comes to the table file of that name, and it is not the manifest's. */
static void expect_another_table(struct rig *rig, const char *name)
{
    struct lsm_entry entry;
    cr_expect_eq(lsm_get(rig->db, nk_bytes_of_string("key"), LSM_DISK, &entry, NULL), NK_CORRUPT);
    cr_expect_str_eq(lsm_last_fault(rig->db)->file, name);
    cr_expect_str_eq(lsm_last_fault(rig->db)->what, "another table's file");
}

/* Files of the same size, each in itself whole, in each other's place. */
Test(lsm_hostile, tables_are_exchanged)
{
    struct rig rig;
    struct lsm_options options = rig_options();
    rig_init(&rig, 1, &options);
    rig_must_open(&rig);
    rig_put(&rig, 1, "key", "old");
    rig_flush(&rig);
    rig_put(&rig, 2, "key", "new");
    rig_flush(&rig);
    rig_close(&rig);
    struct nk_buf files[2] = {{0}, {0}};
    sim_fs_read(rig.sim, RIG_DIRECTORY "/0000000001.sst", &files[0]);
    sim_fs_read(rig.sim, RIG_DIRECTORY "/0000000002.sst", &files[1]);
    cr_assert_eq(files[0].size, files[1].size);
    sim_fs_put(rig.sim, RIG_DIRECTORY "/0000000001.sst", nk_buf_bytes(&files[1]));
    sim_fs_put(rig.sim, RIG_DIRECTORY "/0000000002.sst", nk_buf_bytes(&files[0]));
    rig_must_open(&rig);
    expect_another_table(&rig, RIG_DIRECTORY "/0000000002.sst");
    nk_buf_deinit(&files[0]);
    nk_buf_deinit(&files[1]);
    rig_deinit(&rig);
}

/* Makes a file of version 1 of the same size, which holds the same: its footer has no digest. */
static void make_version_1(struct nk_buf *file)
{
    uint8_t *footer = file->data + file->size - LSM_FOOTER_BYTES;
    struct lsm_footer decoded;
    memmove(footer + 4, footer, 56);
    nk_put_u32(footer + 60, 1);
    nk_put_u32(footer + 64, nk_crc32c(nk_bytes_of(footer + 4, 60)));
    cr_assert_eq(lsm_footer_decode(footer, file->size, &decoded), NK_OK);
    cr_assert_eq(decoded.version, 1);
}

/* The manifest knows the digest of its table: a file that cannot tell its own is another one. */
Test(lsm_hostile, a_table_of_version_1_is_in_the_place_of_a_later_one)
{
    struct rig rig;
    struct lsm_options options = rig_options();
    rig_init(&rig, 1, &options);
    rig_must_open(&rig);
    rig_put(&rig, 1, "key", "value");
    rig_flush(&rig);
    rig_close(&rig);
    struct nk_buf file = {0};
    sim_fs_read(rig.sim, RIG_DIRECTORY "/0000000001.sst", &file);
    make_version_1(&file);
    sim_fs_put(rig.sim, RIG_DIRECTORY "/0000000001.sst", nk_buf_bytes(&file));
    rig_must_open(&rig);
    expect_another_table(&rig, RIG_DIRECTORY "/0000000001.sst");
    nk_buf_deinit(&file);
    rig_deinit(&rig);
}

/* Opens, writes and opens twice beside a stray file of that number. */
static void live_beside(uint64_t number, bool ours)
{
    struct rig rig;
    struct lsm_options options = rig_options();
    struct nk_buf payload = {0};
    char name[LSM_FILE_NAME_BYTES_MAX];
    char path[NK_PATH_BYTES_MAX];
    rig_init(&rig, 1, &options);
    lsm_catalog_put_number_next(&payload, 7);
    put_manifest(&rig, nk_buf_bytes(&payload), 0);
    put_table_file(&rig, number);
    lsm_table_name(number, name);
    lsm_path(RIG_DIRECTORY, name, path);
    rig_must_open(&rig);
    cr_expect_neq(sim_fs_exists(rig.sim, path), ours, "%s", name);
    rig_put(&rig, 1, "key", "value");
    rig_flush(&rig);
    lsm_table_name(ours ? number + 1 : 7, name);
    lsm_path(RIG_DIRECTORY, name, path);
    cr_expect(sim_fs_exists(rig.sim, path), "%s", name);
    for (size_t i = 0; i < 2; i++) {
        rig_reopen(&rig);
        cr_expect_str_eq(rig_get(&rig, "key"), "value", "%s", name);
    }
    nk_buf_deinit(&payload);
    rig_deinit(&rig);
}

/* A number that was seen is not used again; one that leads beyond all numbers is nobody's. */
Test(lsm_hostile, a_file_far_above_the_next_number_is_not_ours)
{
    const uint64_t reach = (uint64_t)1 << 32;
    live_beside(7, true);
    live_beside(7 + reach - 1, true);
    live_beside(7 + reach, false);
    live_beside(((uint64_t)1 << 62) - 1, false);
}

Test(lsm_hostile, tables_without_a_manifest_count_whatever_their_number)
{
    struct rig rig;
    struct lsm_options options = rig_options();
    rig_init(&rig, 1, &options);
    put_table_file(&rig, ((uint64_t)1 << 62) - 1);
    cr_expect_eq(rig_open(&rig, NULL), NK_CORRUPT);
    rig_deinit(&rig);
}

/* A table that goes hands its place to another one, which must be found there. */
Test(lsm_hostile, tables_come_and_go_in_any_order)
{
    struct nk_prng prng;
    struct lsm_catalog catalog;
    uint32_t levels[64] = {0}; /* by number; 0: not there */
    size_t count = 0;
    nk_prng_init(&prng, 5);
    lsm_catalog_init(&catalog);
    struct nk_buf payload = {0};
    lsm_catalog_put_number_next(&payload, NK_COUNT_OF(levels));
    cr_assert_eq(lsm_catalog_apply(&catalog, nk_buf_bytes(&payload)), NK_OK);
    for (size_t i = 0; i < 20000; i++) {
        uint64_t number = nk_prng_below(&prng, NK_COUNT_OF(levels));
        nk_buf_clear(&payload);
        if (levels[number] == 0) {
            levels[number] = 1 + (uint32_t)nk_prng_below(&prng, LSM_LEVEL_COUNT - 1);
            put_table(&payload, levels[number], number, "a", "b");
            count++;
        } else {
            lsm_catalog_put_remove(&payload, levels[number], number);
            levels[number] = 0;
            count--;
        }
        cr_assert_eq(lsm_catalog_apply(&catalog, nk_buf_bytes(&payload)), NK_OK);
        cr_assert_eq(lsm_catalog_has(&catalog, number), levels[number] != 0);
        cr_assert_eq(catalog.table_count, count);
        for (size_t t = 0; t < count; t++) {
            cr_assert_eq(catalog.tables[t].level, levels[catalog.tables[t].meta.number]);
        }
    }
    nk_buf_deinit(&payload);
    lsm_catalog_deinit(&catalog);
}

Test(lsm_hostile, tables_of_one_number_exclude_each_other)
{
    struct nk_buf payload = {0};
    struct lsm_fault fault = {0};
    lsm_catalog_put_number_next(&payload, 4);
    put_table(&payload, 1, 1, "a", "b");
    put_table(&payload, 2, 1, "c", "d");
    cr_expect_eq(open_with(&payload, &fault), NK_CORRUPT);
    nk_buf_clear(&payload);
    lsm_catalog_put_number_next(&payload, 4);
    put_table(&payload, 1, 1, "a", "b");
    lsm_catalog_put_remove(&payload, 2, 1);
    cr_expect_eq(open_with(&payload, &fault), NK_CORRUPT);
    nk_buf_deinit(&payload);
}

Test(lsm_hostile, numbers_of_a_table_contradict_each_other)
{
    static const struct lsm_table_meta good = {
        .number = 1, .size_bytes = 100, .record_count = 2, .index_min = 1, .index_max = 2};
    struct lsm_table_meta metas[] = {good, good, good, good, good, good, good};
    metas[0].record_count = 0;
    metas[1].tombstone_count = 3;
    metas[2].index_min = 3;
    metas[3].size_bytes = 0;
    metas[4].size_bytes = UINT64_MAX;
    metas[5].expire_count = 3;
    metas[6].expire_min_ms = 1;
    for (size_t i = 0; i < NK_COUNT_OF(metas); i++) {
        struct lsm_fault fault = {0};
        struct nk_buf payload = {0};
        metas[i].smallest = nk_bytes_of_string("a");
        metas[i].largest = nk_bytes_of_string("b");
        lsm_catalog_put_number_next(&payload, 4);
        lsm_catalog_put_add(&payload, 0, &metas[i]);
        cr_expect_eq(open_with(&payload, &fault), NK_CORRUPT, "case %zu", i);
        nk_buf_deinit(&payload);
    }
}

/* A table may have only so many keys, or so much index, as fit its blocks. */

#include "services/shardhost/lsm/table_builder.h"

#include <criterion/criterion.h>

#include "common/base/codec.h"
#include "services/shardhost/lsm/table_format.h"
#include "tests/sim/fs.h"

TestSuite(lsm_table_builder, .timeout = 120);

struct bed {
    struct sim_fs *sim;
    struct nk_fs fs;
    struct lsm_stats stats;
    struct lsm_io io;
    struct lsm_files files;
    struct lsm_fault_box faults;
    struct lsm_table_builder *builder;
    uint64_t records;
};

static struct bed bed;

static void open_bed(const struct lsm_options *options)
{
    memset(&bed, 0, sizeof bed);
    bed.sim = sim_fs_new(1);
    bed.fs = sim_fs_handle(bed.sim);
    bed.io = (struct lsm_io){.fs = &bed.fs, .files = &bed.files, .stats = &bed.stats};
    lsm_files_init(&bed.files, &bed.fs, 2);
    lsm_cache_open(64 * NK_KIB, &bed.stats, &bed.io.cache);
    lsm_fault_init(&bed.faults);
    cr_assert_eq(nk_fs_mkdir(&bed.fs, "db"), NK_OK);
    cr_assert_eq(lsm_table_builder_open(&bed.io, "db", &bed.faults, 1, options, &bed.builder),
                 NK_OK);
}

static void close_bed(void)
{
    lsm_table_builder_close(&bed.builder);
    lsm_cache_close(&bed.io.cache);
    lsm_files_deinit(&bed.files);
    sim_fs_free(&bed.sim);
}

/* Keys rise: their last eight bytes count. */
static void add_record(size_t key_size)
{
    uint8_t key[LSM_KEY_BYTES_MAX] = {0};
    bed.records++;
    for (size_t i = 0; i < 8; i++) {
        key[key_size - 1 - i] = (uint8_t)(bed.records >> 8 * i);
    }
    struct lsm_entry entry = {.version = {1, bed.records}};
    cr_assert_eq(lsm_table_builder_add(bed.builder, nk_bytes_of(key, key_size), &entry,
                                       nk_bytes_of(NULL, 0)),
                 NK_OK);
}

static void expect_full(size_t key_size, uint64_t records_max)
{
    while (!lsm_table_builder_full(bed.builder)) {
        cr_assert_lt(bed.records, records_max);
        add_record(key_size);
    }
    struct lsm_table *table = NULL;
    add_record(key_size);
    cr_assert_eq(lsm_table_builder_finish(&bed.builder, &table), NK_OK);
    cr_expect_eq(lsm_table_meta(table)->record_count, bed.records);
    lsm_table_release(&table);
}

Test(lsm_table_builder, a_full_filter_ends_a_table)
{
    struct lsm_options options = {.filter_bits_per_key = LSM_FILTER_BITS_MAX,
                                  .compression = LSM_COMPRESSION_LZ4};
    open_bed(&options);
    expect_full(8, LSM_BLOCK_RAW_BYTES_MAX * 8 / LSM_FILTER_BITS_MAX);
    close_bed();
}

Test(lsm_table_builder, a_full_index_ends_a_table)
{
    struct lsm_options options = {.compression = LSM_COMPRESSION_LZ4};
    open_bed(&options);
    expect_full(LSM_KEY_BYTES_MAX, 2000000);
    close_bed();
}

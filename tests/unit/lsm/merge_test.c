#include "services/shardhost/lsm/merge.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/prng.h"
#include "common/base/units.h"
#include "services/shardhost/lsm/names.h"
#include "services/shardhost/lsm/table_builder.h"
#include "tests/sim/fs.h"

TestSuite(lsm_merge, .timeout = 60);

#define KEYS       300
#define RUNS_MAX   6
#define TABLES_MAX 4

/* Runs of tables on files in memory; a key's record in run r has the index 1000 * (RUNS_MAX - r).
 */
struct bed {
    struct sim_fs *sim;
    struct nk_fs fs;
    struct lsm_stats stats;
    struct lsm_io io;
    struct lsm_files files;
    struct lsm_fault_box faults;
    struct nk_prng prng;
    struct lsm_table *tables[RUNS_MAX][TABLES_MAX];
    size_t table_count[RUNS_MAX];
    bool present[RUNS_MAX][KEYS];
    size_t run_count;
};

static struct bed bed;

static void setup(void)
{
    memset(&bed, 0, sizeof bed);
    bed.sim = sim_fs_new(1);
    bed.fs = sim_fs_handle(bed.sim);
    bed.io = (struct lsm_io){.fs = &bed.fs, .files = &bed.files, .stats = &bed.stats};
    lsm_files_init(&bed.files, &bed.fs, 2);
    lsm_cache_open(64 * NK_KIB, &bed.stats, &bed.io.cache);
    lsm_fault_init(&bed.faults);
    cr_assert_eq(nk_fs_mkdir(&bed.fs, "db"), NK_OK);
}

static void release_tables(void)
{
    for (size_t run = 0; run < RUNS_MAX; run++) {
        for (size_t i = 0; i < bed.table_count[run]; i++) {
            lsm_table_release(&bed.tables[run][i]);
        }
        bed.table_count[run] = 0;
    }
    memset(bed.present, 0, sizeof bed.present);
}

static void teardown(void)
{
    release_tables();
    lsm_cache_close(&bed.io.cache);
    lsm_files_deinit(&bed.files);
    lsm_fault_deinit(&bed.faults);
    sim_fs_free(&bed.sim);
}

/* Keys of two lengths, many of which share more than eight bytes. */
static struct nk_bytes key_of(size_t key, char memory[32])
{
    int size = snprintf(memory, 32, key % 3 == 0 ? "k%06zu" : "k%06zu-and-more", key);
    return nk_bytes_of(memory, (size_t)size);
}

static struct lsm_table_builder *begin_table(uint64_t number, enum lsm_compression compression)
{
    struct lsm_options options = {.filter_bits_per_key = 10, .compression = compression};
    struct lsm_table_builder *builder = NULL;
    cr_assert_eq(lsm_table_builder_open(&bed.io, "db", &bed.faults, number, &options, &builder),
                 NK_OK);
    return builder;
}

static void add_record(struct lsm_table_builder *builder, size_t run, size_t key)
{
    char memory[32];
    char value[200];
    int size = snprintf(value, sizeof value, "run %zu key %zu %0*d", run, key, (int)(key % 150), 7);
    struct lsm_entry entry = {.version = {1, 1000 * (RUNS_MAX - run)}};
    cr_assert_eq(lsm_table_builder_add(builder, key_of(key, memory), &entry,
                                       nk_bytes_of(value, (size_t)size)),
                 NK_OK);
    bed.present[run][key] = true;
}

static void finish_table(size_t run, struct lsm_table_builder **builder)
{
    if (*builder != NULL) {
        cr_assert_lt(bed.table_count[run], TABLES_MAX);
        cr_assert_eq(lsm_table_builder_finish(builder, &bed.tables[run][bed.table_count[run]++]),
                     NK_OK);
    }
}

/* One run: each key with some probability, cut into tables somewhere. */
static void make_run(size_t run, uint64_t *number)
{
    uint32_t density = (uint32_t)nk_prng_between(&bed.prng, 10000, 900000);
    enum lsm_compression compression = (enum lsm_compression)nk_prng_below(&bed.prng, 3);
    struct lsm_table_builder *builder = NULL;
    for (size_t key = 0; key < KEYS; key++) {
        if (bed.table_count[run] + 1 < TABLES_MAX && nk_prng_chance(&bed.prng, 5000)) {
            finish_table(run, &builder);
        }
        if (nk_prng_chance(&bed.prng, density)) {
            if (builder == NULL) {
                builder = begin_table((*number)++, compression);
            }
            add_record(builder, run, key);
        }
    }
    finish_table(run, &builder);
}

static void merge_and_compare(size_t start_key)
{
    struct lsm_merge merge;
    struct nk_bytes key;
    struct lsm_entry entry;
    struct nk_bytes value;
    char memory[32];
    lsm_merge_init(&merge, bed.run_count, nk_prng_between(&bed.prng, 1, 20000));
    for (size_t run = 0; run < bed.run_count; run++) {
        merge.runs[run].tables = bed.tables[run];
        merge.runs[run].count = bed.table_count[run];
    }
    bool from_start = start_key == 0;
    cr_assert_eq(
        lsm_merge_start(&merge, from_start ? nk_bytes_of("", 0) : key_of(start_key, memory)),
        NK_OK);
    for (size_t expected = start_key; expected < KEYS; expected++) {
        size_t run = 0;
        while (run < bed.run_count && !bed.present[run][expected]) {
            run++;
        }
        if (run == bed.run_count) {
            continue;
        }
        cr_assert_eq(lsm_merge_next(&merge, &key, &entry, &value), NK_OK);
        cr_assert(nk_bytes_equal(key, key_of(expected, memory)));
        cr_assert_eq(entry.version.index, 1000 * (RUNS_MAX - run), "the newest of key %zu",
                     expected);
        char prefix[32];
        int size = snprintf(prefix, sizeof prefix, "run %zu key %zu ", run, expected);
        cr_assert(nk_bytes_starts_with(value, nk_bytes_of(prefix, (size_t)size)));
    }
    cr_assert_eq(lsm_merge_next(&merge, &key, &entry, &value), NK_NOT_FOUND);
    lsm_merge_deinit(&merge);
}

Test(lsm_merge, each_key_comes_once_with_its_newest_record, .init = setup, .fini = teardown)
{
    uint64_t number = 1;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        nk_prng_init(&bed.prng, seed);
        bed.run_count = nk_prng_between(&bed.prng, 1, RUNS_MAX);
        for (size_t run = 0; run < bed.run_count; run++) {
            make_run(run, &number);
        }
        merge_and_compare(0);
        merge_and_compare(nk_prng_below(&bed.prng, KEYS));
        release_tables();
    }
}

/* Any flipped byte of an input is found, or was of no account. */
Test(lsm_merge, damage_is_told_with_file_and_place, .init = setup, .fini = teardown)
{
    nk_prng_init(&bed.prng, 5);
    struct lsm_table_builder *builder = begin_table(1, LSM_COMPRESSION_LZ4);
    for (size_t key = 0; key < KEYS; key++) {
        add_record(builder, 0, key);
    }
    finish_table(0, &builder);
    bed.run_count = 1;
    struct lsm_table_meta meta = *lsm_table_meta(bed.tables[0][0]);
    char smallest[32];
    char largest[32];
    meta.smallest = key_of(0, smallest);
    meta.largest = key_of(KEYS - 1, largest);
    size_t found = 0;
    for (uint64_t offset = 0; offset < meta.size_bytes; offset += 7) {
        release_tables();
        sim_fs_flip(bed.sim, "db/0000000001.sst", offset, 0x04);
        lsm_table_new(&bed.io, "db", &bed.faults, &meta, &bed.tables[0][0]);
        bed.table_count[0] = 1;
        struct lsm_merge merge;
        lsm_merge_init(&merge, 1, 4096);
        merge.runs[0].tables = bed.tables[0];
        merge.runs[0].count = 1;
        enum nk_err err = lsm_merge_start(&merge, nk_bytes_of("", 0));
        size_t count = 0;
        while (err == NK_OK) {
            struct nk_bytes key;
            struct lsm_entry entry;
            struct nk_bytes value;
            char memory[32];
            err = lsm_merge_next(&merge, &key, &entry, &value);
            if (err == NK_OK) {
                cr_assert(nk_bytes_equal(key, key_of(count, memory)));
                count++;
            }
        }
        lsm_merge_deinit(&merge);
        if (err == NK_NOT_FOUND) {
            cr_assert_eq(count, KEYS, "offset %u", (unsigned)offset);
        } else {
            cr_assert(err == NK_CORRUPT || err == NK_FORMAT_TOO_NEW);
            const struct lsm_fault *fault = lsm_fault_get(&bed.faults);
            cr_assert_str_eq(fault->file, "db/0000000001.sst");
            cr_assert_leq(fault->offset, offset);
            found++;
        }
        sim_fs_flip(bed.sim, "db/0000000001.sst", offset, 0x04);
    }
    cr_expect_gt(found, meta.size_bytes / 7 / 2);
}

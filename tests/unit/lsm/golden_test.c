/* tests/golden/lsm: databases that each version of the formats wrote, one for each way of
 * compression.  They must be read for ever, and writing the uncompressed one again gives the bytes
 * of the newest.  (What LZ4 and zstd make of a block is theirs to
 * change.) */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/crc32c.h"
#include "services/shardhost/lsm/table_format.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_golden, .timeout = 20);

static const char *const names[] = {"manifest", "0000000001.sst", "0000000002.sst"};

static const char *const versions[] = {"v1", "v2"};

#define NEWEST "v2"

struct way {
    const char *name;
    enum lsm_compression compression;
    uint32_t filter_bits_per_key;
};

static const struct way ways[] = {
    {"none", LSM_COMPRESSION_NONE, 10},
    {"lz4", LSM_COMPRESSION_LZ4, 0},
    {"zstd", LSM_COMPRESSION_ZSTD, 4},
};

/* ---- What they hold ---- */

#define ENTRIES      40u
#define FLUSHED_ONCE 28u /* the first table reaches to here, the second to the end */

struct golden_record {
    uint8_t key[LSM_KEY_BYTES_MAX];
    size_t key_size;
    uint8_t value[6000];
    size_t value_size;
    uint64_t expire_at_ms;
    bool tombstone;
};

/* Record of log entry `n`, 1..ENTRIES: long keys, so that there are several index blocks; some of
 * the first table come again in the second. */
static void make_record(uint64_t n, struct golden_record *record)
{
    memset(record, 0, sizeof *record);
    uint64_t number = n > 36 ? n - 30 : n;
    int size = snprintf((char *)record->key, sizeof record->key, "golden/%02u", (unsigned)number);
    record->key_size = number % 3 == 0 || number >= 14 ? sizeof record->key : (size_t)size;
    memset(record->key + size, (int)(0xF0 + number % 8), record->key_size - (size_t)size);
    record->tombstone = n % 7 == 0;
    record->value_size = record->tombstone ? 0 : n == 5 ? sizeof record->value : n % 4 * 25;
    for (size_t i = 0; i < record->value_size; i++) {
        record->value[i] = (uint8_t)(n + i / 7);
    }
    record->expire_at_ms = n % 5 == 0 ? 1800000000000 + n : 0;
}

static void make_state(uint64_t n, uint8_t out[9])
{
    memcpy(out, "at entry", 8);
    out[8] = (uint8_t)n;
}

static uint64_t last_of(const uint8_t *key, size_t key_size)
{
    static struct golden_record record;
    uint64_t last = 0;
    for (uint64_t n = 1; n <= ENTRIES; n++) {
        make_record(n, &record);
        if (nk_bytes_equal(nk_bytes_of(record.key, record.key_size), nk_bytes_of(key, key_size))) {
            last = n;
        }
    }
    return last;
}

/* ---- Writing and reading ---- */

static void rig_of(struct rig *rig, const struct way *way)
{
    struct lsm_options options = rig_options();
    options.compression = way->compression;
    options.filter_bits_per_key = way->filter_bits_per_key;
    options.memtable_bytes = NK_MIB;
    options.write_buffer_total_bytes = NK_MIB;
    rig_init(rig, 1, &options);
}

static void write_database(struct rig *rig)
{
    static struct golden_record record;
    rig_must_open(rig);
    for (uint64_t n = 1; n <= ENTRIES; n++) {
        make_record(n, &record);
        struct lsm_record written = {
            .key = nk_bytes_of(record.key, record.key_size),
            .value = nk_bytes_of(record.value, record.value_size),
            .version = {1 + n / 16, n},
            .expire_at_ms = record.expire_at_ms,
            .tombstone = record.tombstone,
        };
        uint8_t state[9];
        make_state(n, state);
        lsm_write(rig->db, &written);
        lsm_commit(rig->db, written.version, n * 1000, nk_bytes_of(state, sizeof state));
        if (n == FLUSHED_ONCE || n == ENTRIES) {
            rig_flush(rig);
        }
    }
}

static void read_golden(const char *version, const char *way, const char *name, struct nk_buf *out)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s/%s/%s", GOLDEN_DIRECTORY, version, way, name);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    static uint8_t bytes[1 << 17];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    nk_buf_clear(out);
    nk_buf_append(out, nk_bytes_of(bytes, size));
}

static void path_of(const char *name, char out[128])
{
    (void)snprintf(out, 128, RIG_DIRECTORY "/%s", name);
}

static void load_golden(struct rig *rig, const char *version, const struct way *way)
{
    struct nk_buf file = {0};
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        char path[128];
        path_of(names[i], path);
        read_golden(version, way->name, names[i], &file);
        sim_fs_put(rig->sim, path, nk_buf_bytes(&file));
    }
    nk_buf_deinit(&file);
}

static void check_record(uint64_t n, const struct lsm_entry *entry, struct nk_bytes value)
{
    static struct golden_record record;
    make_record(n, &record);
    cr_expect_eq(entry->version.index, n);
    cr_expect_eq(entry->version.term, 1 + n / 16, "entry %u", (unsigned)n);
    cr_expect_eq(entry->expire_at_ms, record.expire_at_ms, "entry %u", (unsigned)n);
    cr_expect_eq(entry->tombstone, record.tombstone, "entry %u", (unsigned)n);
    cr_expect(nk_bytes_equal(value, nk_bytes_of(record.value, record.value_size)), "entry %u",
              (unsigned)n);
}

static void check_gets(struct rig *rig)
{
    static struct golden_record record;
    struct nk_buf value = {0};
    for (uint64_t n = 1; n <= ENTRIES; n++) {
        struct lsm_entry entry;
        make_record(n, &record);
        cr_assert_eq(
            lsm_get(rig->db, nk_bytes_of(record.key, record.key_size), LSM_DISK, &entry, &value),
            NK_OK);
        check_record(last_of(record.key, record.key_size), &entry, nk_buf_bytes(&value));
    }
    nk_buf_deinit(&value);
}

static void check_walk(struct rig *rig)
{
    struct lsm_view *view = lsm_view_acquire(rig->db);
    struct lsm_iter *iter = NULL;
    struct nk_bytes key;
    struct lsm_entry entry;
    struct nk_bytes value;
    size_t count = 0;
    lsm_iter_open(view, nk_bytes_of(NULL, 0), nk_bytes_of(NULL, 0), &iter);
    while (lsm_iter_next(iter, &key, &entry, &value) == NK_OK) {
        check_record(last_of(key.data, key.size), &entry, value);
        count++;
    }
    cr_expect_eq(count, 36);
    lsm_iter_close(&iter);
    lsm_view_release(&view);
}

/* ---- Tests ---- */

static void check_read(const char *version)
{
    for (size_t i = 0; i < NK_COUNT_OF(ways); i++) {
        struct rig rig;
        rig_of(&rig, &ways[i]);
        load_golden(&rig, version, &ways[i]);
        rig_must_open(&rig);
        struct lsm_version applied;
        struct nk_bytes state;
        uint8_t expected[9];
        make_state(ENTRIES, expected);
        lsm_applied(rig.db, &applied, &state);
        cr_expect_eq(applied.index, ENTRIES, "%s", ways[i].name);
        cr_expect_eq(applied.term, 1 + ENTRIES / 16, "%s", ways[i].name);
        cr_expect(nk_bytes_equal(state, nk_bytes_of(expected, sizeof expected)));
        check_gets(&rig);
        check_walk(&rig);
        rig_deinit(&rig);
    }
}

Test(lsm_golden, every_version_is_read)
{
    for (size_t i = 0; i < NK_COUNT_OF(versions); i++) {
        check_read(versions[i]);
    }
}

/* Opened, changed and opened again, an old database is one of the newest version. */
Test(lsm_golden, an_old_version_is_written_on)
{
    struct rig rig;
    rig_of(&rig, &ways[0]);
    load_golden(&rig, versions[0], &ways[0]);
    rig_must_open(&rig);
    struct lsm_record record = {
        .key = nk_bytes_of_string("new"),
        .value = nk_bytes_of_string("value"),
        .version = {9, ENTRIES + 1},
    };
    lsm_write(rig.db, &record);
    lsm_commit(rig.db, record.version, (ENTRIES + 1) * 1000, nk_bytes_of(NULL, 0));
    rig_flush(&rig);
    rig_reopen(&rig);
    cr_expect_str_eq(rig_get(&rig, "new"), "value");
    check_gets(&rig);
    rig_deinit(&rig);
}

Test(lsm_golden, the_newest_version_is_what_we_write)
{
    cr_assert_eq(LSM_TABLE_VERSION, 2);
    struct rig rig;
    struct nk_buf golden = {0};
    struct nk_buf written = {0};
    rig_of(&rig, &ways[0]);
    write_database(&rig);
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        char path[128];
        path_of(names[i], path);
        read_golden(NEWEST, ways[0].name, names[i], &golden);
        sim_fs_read(rig.sim, path, &written);
        cr_expect(nk_bytes_equal(nk_buf_bytes(&golden), nk_buf_bytes(&written)), "%s", names[i]);
    }
    nk_buf_deinit(&golden);
    nk_buf_deinit(&written);
    rig_deinit(&rig);
}

/* A file of a version that is not known yet is refused and left as it is. */
Test(lsm_golden, a_later_version_is_refused)
{
    struct rig rig;
    struct nk_buf before = {0};
    struct nk_buf after = {0};
    rig_of(&rig, &ways[0]);
    load_golden(&rig, NEWEST, &ways[0]);
    sim_fs_read(rig.sim, RIG_DIRECTORY "/manifest", &before);
    for (size_t slot = 0; slot < 2; slot++) {
        uint8_t *at = before.data + slot * 512;
        nk_put_u32(at + 8, 3);
        uint32_t crc = nk_crc32c(nk_bytes_of(at, 12));
        nk_put_u32(at + 12, nk_crc32c_extend(crc, nk_bytes_of(at + 16, 16)));
    }
    sim_fs_put(rig.sim, RIG_DIRECTORY "/manifest", nk_buf_bytes(&before));
    struct lsm_fault fault = {0};
    cr_expect_eq(rig_open(&rig, &fault), NK_FORMAT_TOO_NEW);
    cr_expect_str_eq(fault.file, RIG_DIRECTORY "/manifest");
    sim_fs_read(rig.sim, RIG_DIRECTORY "/manifest", &after);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&before), nk_buf_bytes(&after)));
    nk_buf_deinit(&before);
    nk_buf_deinit(&after);
    rig_deinit(&rig);
}

/* Writes the seeds of the fuzz targets that read files of the storage engine: real blocks, filters,
 * tables and manifests, made by the code that makes them.  Usage: fuzz_seeds CORPUS_DIRECTORY, by
 * hand, after a change of a format; the files are committed. */

#include <stdio.h>
#include <stdlib.h>

#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/shardhost/lsm/block_builder.h"
#include "services/shardhost/lsm/filter.h"
#include "services/shardhost/lsm/manifest.h"
#include "services/shardhost/lsm/table_builder.h"
#include "tests/sim/fs.h"

static const char *corpus;

/* `mode` is the first byte of an input; -1: none. */
static void write_seed(const char *target, const char *name, int mode, struct nk_bytes bytes)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s/%s", corpus, target, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    bool good = (mode < 0 || fputc(mode, file) == mode) &&
                fwrite(bytes.data, 1, bytes.size, file) == bytes.size;
    good = fclose(file) == 0 && good;
    NK_ASSERT(good);
}

/* ---- Blocks and filters ---- */

static void block_seeds(void)
{
    struct lsm_block_builder builder;
    lsm_block_builder_init(&builder, 4);
    for (int i = 0; i < 30; i++) {
        char key[32];
        int size = snprintf(key, sizeof key, "key/%d/%d", i / 10, 100 + i);
        lsm_block_builder_add(&builder, nk_bytes_of(key, (size_t)size), nk_bytes_of("head", 4),
                              nk_bytes_of(key, (size_t)i % 8));
    }
    struct nk_bytes block = lsm_block_builder_finish(&builder);
    write_seed("block", "thirty_entries", 0, block);
    lsm_block_builder_add(&builder, nk_bytes_of("k", 1), nk_bytes_of("", 0), nk_bytes_of("v", 1));
    write_seed("block", "one_entry", 0, lsm_block_builder_finish(&builder));
    for (size_t i = 0; i < 6; i++) {
        uint8_t key[LSM_KEY_BYTES_MAX];
        memset(key, 'k', sizeof key);
        key[170 * (5 - i) + 160] = 'l'; /* the first differs last */
        size_t size = i % 2 == 0 ? sizeof key : 900;
        lsm_block_builder_add(&builder, nk_bytes_of(key, size), nk_bytes_of("v", 1),
                              nk_bytes_of("", 0));
    }
    write_seed("block", "long_keys", 0, lsm_block_builder_finish(&builder));
    lsm_block_builder_deinit(&builder);
    static const char entries[] = "\3\0\3key\5value\2\2ya\0\1\1z\3abc\0\5later\1v";
    write_seed("block", "built", 1, nk_bytes_of(entries, sizeof entries - 1));
}

static void filter_seeds(void)
{
    struct nk_buf seed = {0};
    uint64_t hashes[40];
    for (size_t i = 0; i < NK_COUNT_OF(hashes); i++) {
        hashes[i] = lsm_filter_hash(nk_bytes_of(&i, 1));
    }
    nk_buf_append(&seed, nk_bytes_of(&hashes[3], sizeof hashes[3]));
    lsm_filter_build(hashes, NK_COUNT_OF(hashes), 10, &seed);
    write_seed("filter", "forty_keys", 0, nk_buf_bytes(&seed));
    nk_buf_clear(&seed);
    nk_buf_append(&seed, nk_bytes_of("\11\0", 2));
    nk_buf_append(&seed, nk_bytes_of(hashes, sizeof hashes));
    write_seed("filter", "built", 1, nk_buf_bytes(&seed));
    nk_buf_deinit(&seed);
}

/* ---- Tables ---- */

struct rig {
    struct sim_fs *sim;
    struct nk_fs fs;
    struct lsm_stats stats;
    struct lsm_io io;
    struct lsm_files files;
    struct lsm_fault_box faults;
};

static void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    rig->sim = sim_fs_new(1);
    rig->fs = sim_fs_handle(rig->sim);
    rig->io = (struct lsm_io){.fs = &rig->fs, .files = &rig->files, .stats = &rig->stats};
    lsm_files_init(&rig->files, &rig->fs, 4);
    lsm_cache_open(NK_MIB, &rig->stats, &rig->io.cache);
    lsm_fault_init(&rig->faults);
    enum nk_err err = nk_fs_mkdir(&rig->fs, "d");
    NK_ASSERT(err == NK_OK);
}

static void rig_deinit(struct rig *rig)
{
    lsm_cache_close(&rig->io.cache);
    lsm_files_deinit(&rig->files);
    lsm_fault_deinit(&rig->faults);
    sim_fs_free(&rig->sim);
}

/* `count` records of long keys that compress well: so a small file has two levels of index. */
static struct lsm_table *write_table(struct rig *rig, uint64_t number, int count, size_t key_size,
                                     const struct lsm_options *options)
{
    struct lsm_table_builder *builder = NULL;
    struct lsm_table *table = NULL;
    enum nk_err err =
        lsm_table_builder_open(&rig->io, "d", &rig->faults, number, options, &builder);
    for (int i = 0; i < count; i++) {
        char key[LSM_KEY_BYTES_MAX + 1];
        int size = snprintf(key, sizeof key, "%c%d", 'a' + (int)number, 1000 + i);
        NK_ASSERT((size_t)size <= key_size);
        memset(key + size, 'k', key_size - (size_t)size);
        struct lsm_entry entry = {.version = {2, 1000 * number + (uint64_t)i},
                                  .tombstone = i % 5 == 4,
                                  .expire_at_ms = i % 3 == 0 ? 1000 : 0};
        struct nk_bytes value = nk_bytes_of(key, entry.tombstone ? 0 : 40);
        if (err == NK_OK) {
            err = lsm_table_builder_add(builder, nk_bytes_of(key, key_size), &entry, value);
        }
    }
    if (err == NK_OK) {
        err = lsm_table_builder_finish(&builder, &table);
    }
    NK_ASSERT(err == NK_OK);
    return table;
}

static void table_seed(const char *name, int count, size_t key_size, enum lsm_compression way,
                       uint32_t filter_bits_per_key)
{
    struct rig rig;
    rig_init(&rig);
    const struct lsm_options options = {.compression = way,
                                        .filter_bits_per_key = filter_bits_per_key};
    struct lsm_table *table = write_table(&rig, 1, count, key_size, &options);
    lsm_table_release(&table);
    struct nk_buf file = {0};
    char sealed[64];
    (void)snprintf(sealed, sizeof sealed, "%s_sealed", name);
    sim_fs_read(rig.sim, "d/0000000001.sst", &file);
    write_seed("table", name, 0, nk_buf_bytes(&file));
    write_seed("table", sealed, 1, nk_buf_bytes(&file));
    nk_buf_deinit(&file);
    rig_deinit(&rig);
}

static void table_seeds(void)
{
    table_seed("plain", 12, 48, LSM_COMPRESSION_NONE, 10);
    table_seed("no_filter", 5, 60, LSM_COMPRESSION_NONE, 0);
    table_seed("lz4", 200, 500, LSM_COMPRESSION_LZ4, 10);
    table_seed("zstd", 200, 500, LSM_COMPRESSION_ZSTD, 1);
    static const char records[] = "\x11\x0A"
                                  "\0\0\1\1"
                                  "\1\1\2\2"
                                  "\2\310\377\7"
                                  "\377\0\0\11"
                                  "\5\5\100\3";
    write_seed("table", "records", 2, nk_bytes_of(records, sizeof records - 1));
    static const char changed[] = "\x02\x03"
                                  "\0\0\1\1"
                                  "\1\1\2\2"
                                  "\2\310\377\7"
                                  "\5\100\0\0\0\1"
                                  "\0\200\0\0\0\0";
    write_seed("table", "records_changed", 2, nk_bytes_of(changed, sizeof changed - 1));
}

/* ---- Manifests ---- */

static void add_table(struct rig *rig, struct lsm_levels **levels, uint32_t level, uint64_t number)
{
    const struct lsm_options options = {.filter_bits_per_key = 10};
    struct lsm_table *table = write_table(rig, number, 2, 48, &options);
    struct lsm_levels *next = NULL;
    const struct lsm_level_table added = {level, table};
    const struct lsm_change change = {.added = &added, .added_count = 1};
    lsm_levels_apply(*levels, &change, &next);
    lsm_table_release(&table);
    lsm_levels_release(levels);
    *levels = next;
}

static void manifest_seed(struct rig *rig, const char *name)
{
    struct nk_buf file = {0};
    char sealed[64];
    (void)snprintf(sealed, sizeof sealed, "%s_sealed", name);
    sim_fs_read(rig->sim, "d/manifest", &file);
    write_seed("manifest", name, 0, nk_buf_bytes(&file));
    write_seed("manifest", sealed, 1, nk_buf_bytes(&file));
    nk_buf_deinit(&file);
}

static void manifest_seeds(void)
{
    struct rig rig;
    rig_init(&rig);
    struct lsm_manifest manifest;
    struct lsm_position position = {.applied = {3, 40}, .state_size = 5, .state = "state"};
    struct lsm_levels *levels = NULL;
    lsm_manifest_init(&manifest, &rig.fs, "d", &rig.faults);
    lsm_levels_new(&levels);
    enum nk_err err = lsm_manifest_rewrite(&manifest, &position, 1, levels);
    NK_ASSERT(err == NK_OK);
    manifest_seed(&rig, "empty");
    add_table(&rig, &levels, 0, 1);
    add_table(&rig, &levels, 0, 2);
    add_table(&rig, &levels, 1, 3);
    add_table(&rig, &levels, 1, 5);
    add_table(&rig, &levels, 6, 4);
    err = lsm_manifest_rewrite(&manifest, &position, 6, levels);
    NK_ASSERT(err == NK_OK);
    manifest_seed(&rig, "levels");

    struct nk_buf edit = {0};
    position.applied.index = 50;
    lsm_catalog_put_position(&edit, &position);
    lsm_catalog_put_number_next(&edit, 9);
    lsm_catalog_put_remove(&edit, 0, 2);
    lsm_catalog_put_add(&edit, 2, lsm_table_meta(levels->levels[0].tables[0]));
    err = lsm_manifest_install(&manifest, nk_buf_bytes(&edit), &position, 9, levels);
    NK_ASSERT(err == NK_OK);
    nk_buf_clear(&edit);
    position.applied.index = 60;
    lsm_catalog_put_position(&edit, &position);
    err = lsm_manifest_install(&manifest, nk_buf_bytes(&edit), &position, 9, levels);
    NK_ASSERT(err == NK_OK);
    manifest_seed(&rig, "edits");

    /* What is refused although every checksum is right. */
    struct lsm_table_meta meta = *lsm_table_meta(levels->levels[1].tables[0]);
    meta.number = 7;
    nk_buf_clear(&edit);
    lsm_catalog_put_add(&edit, 1, &meta);
    err = lsm_manifest_install(&manifest, nk_buf_bytes(&edit), &position, 9, levels);
    NK_ASSERT(err == NK_OK);
    manifest_seed(&rig, "overlap");
    nk_buf_clear(&edit);
    lsm_catalog_put_number_next(&edit, UINT64_MAX);
    err = lsm_manifest_install(&manifest, nk_buf_bytes(&edit), &position, 9, levels);
    NK_ASSERT(err == NK_OK);
    manifest_seed(&rig, "last_number");
    nk_buf_deinit(&edit);
    lsm_levels_release(&levels);
    lsm_manifest_deinit(&manifest);
    rig_deinit(&rig);

    static const char history[] = "\x0C\x03\x0B\x00\x13\x02\x00\x01\x1B\x03\x00\x2B\x00";
    write_seed("manifest", "history", 2, nk_bytes_of(history, sizeof history - 1));
    static const char changed[] = "\x06\x03\x0B\x00\x13\x00\x00"
                                  "\5\x40\x04\x01";
    write_seed("manifest", "history_changed", 2, nk_bytes_of(changed, sizeof changed - 1));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
        return 2;
    }
    corpus = argv[1];
    block_seeds();
    filter_seeds();
    table_seeds();
    manifest_seeds();
    return 0;
}

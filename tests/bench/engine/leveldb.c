/* LevelDB through its C interface.  As it comes, but for what is like for all three (rocksdb.c):
 * bloom filters, cache, the size of a memtable; it has Snappy and no LZ4.  Tables of 32 MiB instead
 * of 2 and files enough to keep all of them open, since it was made for smaller databases: with its
 * defaults it is slower. */

#include <leveldb/c.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/units.h"
#include "tests/bench/engine/engine.h"

#define BLOOM_BITS     10
#define TABLE_BYTES    (32 * NK_MIB)
#define OPEN_FILES_MAX 4096

struct engine {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_filterpolicy_t *filter;
    leveldb_cache_t *cache;
    leveldb_writeoptions_t *writing;
    leveldb_readoptions_t *reading;
};

static void check(const char *what, char *error)
{
    if (error != NULL) {
        bench_fail("leveldb: %s: %s", what, error);
    }
}

static struct engine *open_engine(const struct engine_options *options)
{
    struct engine *engine = nk_alloc_zero(1, sizeof *engine);
    engine->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
    engine->cache = leveldb_cache_create_lru(options->cache_bytes);
    engine->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(engine->options, 1);
    leveldb_options_set_write_buffer_size(engine->options, options->write_buffer_bytes);
    leveldb_options_set_max_file_size(engine->options, (size_t)TABLE_BYTES);
    leveldb_options_set_max_open_files(engine->options, OPEN_FILES_MAX);
    leveldb_options_set_compression(engine->options, leveldb_snappy_compression);
    leveldb_options_set_cache(engine->options, engine->cache);
    leveldb_options_set_filter_policy(engine->options, engine->filter);
    engine->writing = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(engine->writing, options->sync);
    engine->reading = leveldb_readoptions_create();
    char *error = NULL;
    engine->db = leveldb_open(engine->options, options->directory, &error);
    check("open", error);
    return engine;
}

static void close_engine(struct engine *engine)
{
    leveldb_close(engine->db);
    leveldb_readoptions_destroy(engine->reading);
    leveldb_writeoptions_destroy(engine->writing);
    leveldb_options_destroy(engine->options);
    leveldb_cache_destroy(engine->cache);
    leveldb_filterpolicy_destroy(engine->filter);
    nk_free(engine);
}

static void put(struct engine *engine, struct nk_bytes key, struct nk_bytes value)
{
    char *error = NULL;
    leveldb_put(engine->db, engine->writing, (const char *)key.data, key.size,
                (const char *)value.data, value.size, &error);
    check("put", error);
}

static bool get(struct engine *engine, struct nk_bytes key, struct nk_buf *out_value)
{
    char *error = NULL;
    size_t size = 0;
    char *value =
        leveldb_get(engine->db, engine->reading, (const char *)key.data, key.size, &size, &error);
    check("get", error);
    if (value == NULL) {
        return false;
    }
    nk_buf_clear(out_value);
    nk_buf_append(out_value, nk_bytes_of(value, size));
    leveldb_free(value);
    return true;
}

static size_t scan(struct engine *engine, struct nk_bytes start, size_t count,
                   void (*visit)(void *visitor, struct nk_bytes key, struct nk_bytes value),
                   void *visitor)
{
    leveldb_iterator_t *iter = leveldb_create_iterator(engine->db, engine->reading);
    size_t seen = 0;
    leveldb_iter_seek(iter, (const char *)start.data, start.size);
    while (seen < count && leveldb_iter_valid(iter)) {
        struct nk_bytes key;
        struct nk_bytes value;
        key.data = (const uint8_t *)leveldb_iter_key(iter, &key.size);
        value.data = (const uint8_t *)leveldb_iter_value(iter, &value.size);
        visit(visitor, key, value);
        seen++;
        leveldb_iter_next(iter);
    }
    char *error = NULL;
    leveldb_iter_get_error(iter, &error);
    check("iterator", error);
    leveldb_iter_destroy(iter);
    return seen;
}

static bool is_log(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && strcmp(dot, ".log") == 0;
}

static void describe(struct engine *engine)
{
    char *text = leveldb_property_value(engine->db, "leveldb.stats");
    (void)fprintf(stderr, "leveldb\n%s", text != NULL ? text : "");
    leveldb_free(text);
}

const struct engine_ops engine_leveldb = {
    .name = "leveldb",
    .open = open_engine,
    .close = close_engine,
    .put = put,
    .get = get,
    .scan = scan,
    .is_log = is_log,
    .describe = describe,
};

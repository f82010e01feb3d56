/* RocksDB through its C interface.  As it comes, but for what is like for all three: bloom filters
 * of 10 bits a key over whole keys, LZ4, one LRU block cache, the size of a memtable, as many
 * background jobs as cores.  Two memtables at most is its default.  Index and filter blocks stay
 * outside of the cache, its default too, so its memory is above what the cache may have. */

#include <rocksdb/c.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "tests/bench/engine/engine.h"

#define BLOOM_BITS 10

struct engine {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *tables;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *writing;
    rocksdb_readoptions_t *reading;
};

static void check(const char *what, char *error)
{
    if (error != NULL) {
        bench_fail("rocksdb: %s: %s", what, error);
    }
}

static struct engine *open_engine(const struct engine_options *options)
{
    struct engine *engine = nk_alloc_zero(1, sizeof *engine);
    engine->tables = rocksdb_block_based_options_create();
    engine->cache = rocksdb_cache_create_lru(options->cache_bytes);
    rocksdb_block_based_options_set_block_cache(engine->tables, engine->cache);
    rocksdb_block_based_options_set_filter_policy(
        engine->tables, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS)); /* taken */
    engine->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(engine->options, 1);
    rocksdb_options_set_write_buffer_size(engine->options, options->write_buffer_bytes);
    rocksdb_options_set_compression(engine->options, rocksdb_lz4_compression);
    rocksdb_options_set_max_background_jobs(engine->options, (int)sysconf(_SC_NPROCESSORS_ONLN));
    rocksdb_options_set_block_based_table_factory(engine->options, engine->tables);
    engine->writing = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(engine->writing, options->sync);
    engine->reading = rocksdb_readoptions_create();
    char *error = NULL;
    engine->db = rocksdb_open(engine->options, options->directory, &error);
    check("open", error);
    return engine;
}

static void close_engine(struct engine *engine)
{
    rocksdb_close(engine->db);
    rocksdb_readoptions_destroy(engine->reading);
    rocksdb_writeoptions_destroy(engine->writing);
    rocksdb_options_destroy(engine->options);
    rocksdb_block_based_options_destroy(engine->tables);
    rocksdb_cache_destroy(engine->cache);
    nk_free(engine);
}

static void put(struct engine *engine, struct nk_bytes key, struct nk_bytes value)
{
    char *error = NULL;
    rocksdb_put(engine->db, engine->writing, (const char *)key.data, key.size,
                (const char *)value.data, value.size, &error);
    check("put", error);
}

static bool get(struct engine *engine, struct nk_bytes key, struct nk_buf *out_value)
{
    char *error = NULL;
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned(engine->db, engine->reading, (const char *)key.data, key.size, &error);
    check("get", error);
    if (found == NULL) {
        return false;
    }
    size_t size = 0;
    const char *value = rocksdb_pinnableslice_value(found, &size);
    nk_buf_clear(out_value);
    nk_buf_append(out_value, nk_bytes_of(value, size));
    rocksdb_pinnableslice_destroy(found);
    return true;
}

static size_t scan(struct engine *engine, struct nk_bytes start, size_t count,
                   void (*visit)(void *visitor, struct nk_bytes key, struct nk_bytes value),
                   void *visitor)
{
    rocksdb_iterator_t *iter = rocksdb_create_iterator(engine->db, engine->reading);
    size_t seen = 0;
    rocksdb_iter_seek(iter, (const char *)start.data, start.size);
    while (seen < count && rocksdb_iter_valid(iter)) {
        struct nk_bytes key;
        struct nk_bytes value;
        key.data = (const uint8_t *)rocksdb_iter_key(iter, &key.size);
        value.data = (const uint8_t *)rocksdb_iter_value(iter, &value.size);
        visit(visitor, key, value);
        seen++;
        rocksdb_iter_next(iter);
    }
    char *error = NULL;
    rocksdb_iter_get_error(iter, &error);
    check("iterator", error);
    rocksdb_iter_destroy(iter);
    return seen;
}

static bool is_log(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && strcmp(dot, ".log") == 0;
}

static void describe(struct engine *engine)
{
    char *text = rocksdb_property_value(engine->db, "rocksdb.levelstats");
    (void)fprintf(stderr, "rocksdb\n%s", text != NULL ? text : "");
    rocksdb_free(text);
}

const struct engine_ops engine_rocksdb = {
    .name = "rocksdb",
    .open = open_engine,
    .close = close_engine,
    .put = put,
    .get = get,
    .scan = scan,
    .is_log = is_log,
    .describe = describe,
};

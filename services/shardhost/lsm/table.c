#include "services/shardhost/lsm/table.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "services/shardhost/lsm/compress.h"
#include "services/shardhost/lsm/names.h"
#include "services/shardhost/lsm/table_format.h"

#define READ_BYTES_ON_STACK 8192 /* a compressed block of the usual size is read without malloc */

struct lsm_table {
    _Atomic uint32_t references;
    const struct lsm_io *io;
    const char *directory;
    struct lsm_fault_box *faults;
    uint64_t cache_name;
    struct lsm_trash *trash; /* NULL: the file stays */
    struct nk_mpsc_node trash_node;
    struct lsm_open_file *file;
    _Atomic(struct lsm_cached *) kept[LSM_KEPT_COUNT]; /* NULL, or held for the life of the table */
    _Atomic(struct lsm_footer *) footer; /* NULL until somebody had to read; then constant */
    struct lsm_table_meta meta;          /* its keys are in `keys` */
    uint8_t keys[];
};

/* ---- Life ---- */

void lsm_table_new(const struct lsm_io *io, const char *directory, struct lsm_fault_box *faults,
                   const struct lsm_table_meta *meta, struct lsm_table **out_table)
{
    size_t key_bytes = meta->smallest.size + meta->largest.size;
    struct lsm_table *table = nk_alloc_zero(1, sizeof *table + key_bytes);
    atomic_init(&table->references, 1);
    atomic_init(&table->footer, NULL);
    for (size_t i = 0; i < LSM_KEPT_COUNT; i++) {
        atomic_init(&table->kept[i], NULL);
    }
    table->file = lsm_open_file_new();
    table->io = io;
    table->directory = directory;
    table->faults = faults;
    table->cache_name = lsm_cache_name(io->cache);
    table->meta = *meta;
    memcpy(table->keys, meta->smallest.data, meta->smallest.size);
    memcpy(table->keys + meta->smallest.size, meta->largest.data, meta->largest.size);
    table->meta.smallest = nk_bytes_of(table->keys, meta->smallest.size);
    table->meta.largest = nk_bytes_of(table->keys + meta->smallest.size, meta->largest.size);
    *out_table = table;
}

struct lsm_table *lsm_table_hold(struct lsm_table *table)
{
    atomic_fetch_add_explicit(&table->references, 1, memory_order_relaxed);
    return table;
}

static void close_table(struct lsm_table *table)
{
    for (size_t i = 0; i < LSM_KEPT_COUNT; i++) {
        struct lsm_cached *block = atomic_load_explicit(&table->kept[i], memory_order_relaxed);
        if (block != NULL) {
            lsm_cache_unreserve(table->io->cache, block->size);
            lsm_cached_release(&block);
        }
    }
    lsm_files_remove(table->io->files, &table->file);
    nk_free(atomic_load_explicit(&table->footer, memory_order_relaxed));
}

void lsm_table_release(struct lsm_table **table)
{
    struct lsm_table *t = *table;
    if (t == NULL) {
        return;
    }
    *table = NULL;
    uint32_t before = atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel);
    NK_ASSERT(before > 0);
    if (before > 1) {
        return;
    }
    if (t->trash != NULL) {
        (void)nk_mpsc_push(&t->trash->tables, &t->trash_node);
    } else {
        close_table(t);
        nk_free(t);
    }
}

void lsm_table_discard(struct lsm_table *table, struct lsm_trash *trash)
{
    NK_ASSERT(table->trash == NULL);
    table->trash = trash;
}

bool lsm_trash_any(struct lsm_trash *trash)
{
    return trash->taken != NULL || !nk_mpsc_empty(&trash->tables);
}

void lsm_trash_empty(struct lsm_trash *trash, size_t count_max, bool remove)
{
    for (size_t i = 0; i < count_max && lsm_trash_any(trash); i++) {
        if (trash->taken == NULL) {
            trash->taken = nk_mpsc_take_all(&trash->tables);
        }
        struct lsm_table *table = NK_CONTAINER_OF(trash->taken, struct lsm_table, trash_node);
        trash->taken = trash->taken->next;
        close_table(table);
        if (remove) {
            char path[NK_PATH_BYTES_MAX];
            char name[LSM_FILE_NAME_BYTES_MAX];
            lsm_table_name(table->meta.number, name);
            lsm_path(table->directory, name, path);
            (void)!nk_fs_remove(table->io->fs, path);
        }
        nk_free(table);
    }
}

const struct lsm_table_meta *lsm_table_meta(const struct lsm_table *table)
{
    return &table->meta;
}

struct lsm_stats *lsm_table_stats(const struct lsm_table *table)
{
    return table->io->stats;
}

/* ---- Opening ---- */

enum nk_err lsm_table_fault(struct lsm_table *table, enum nk_err err, uint64_t offset,
                            const char *what)
{
    char name[LSM_FILE_NAME_BYTES_MAX];
    lsm_table_name(table->meta.number, name);
    return lsm_fault_set(table->faults, err, table->directory, name, offset, what);
}

/* Opens the file, unless it is; pinned, or *out_own, which end_reading closes. */
static enum nk_err begin_reading(struct lsm_table *table, struct nk_file **out_file,
                                 struct nk_file **out_own)
{
    *out_own = NULL;
    *out_file = lsm_open_file_pin(table->file);
    if (*out_file != NULL) {
        return NK_OK;
    }
    char path[NK_PATH_BYTES_MAX];
    char name[LSM_FILE_NAME_BYTES_MAX];
    lsm_table_name(table->meta.number, name);
    lsm_path(table->directory, name, path);
    enum nk_err err = nk_fs_open(table->io->fs, path, NK_FS_READ, out_own);
    if (err != NK_OK) {
        return lsm_table_fault(table, err == NK_NOT_FOUND ? NK_CORRUPT : NK_IO, 0,
                               "cannot open table");
    }
    *out_file = lsm_files_add(table->io->files, table->file, out_own);
    if (*out_file == NULL) {
        *out_file = *out_own;
    }
    return NK_OK;
}

static void end_reading(struct lsm_table *table, struct nk_file **own)
{
    if (*own != NULL) {
        nk_fs_close(table->io->fs, own);
    } else {
        lsm_open_file_unpin(table->file);
    }
}

/* All of `size` bytes at `offset`; a shorter file is damaged. */
static enum nk_err read_exactly(struct lsm_table *table, uint64_t offset, uint8_t *out, size_t size)
{
    size_t got = 0;
    struct nk_file *file = NULL;
    struct nk_file *own = NULL;
    enum nk_err err = begin_reading(table, &file, &own);
    if (err != NK_OK) {
        return err;
    }
    err = nk_fs_pread(table->io->fs, file, offset, out, size, &got);
    end_reading(table, &own);
    if (err != NK_OK) {
        return lsm_table_fault(table, NK_IO, offset, "cannot read table");
    }
    return got == size ? NK_OK : lsm_table_fault(table, NK_CORRUPT, offset, "table is cut short");
}

static enum nk_err read_footer(struct lsm_table *table, struct lsm_footer *footer)
{
    uint64_t size = table->meta.size_bytes;
    if (size < LSM_FOOTER_BYTES) {
        return lsm_table_fault(table, NK_CORRUPT, 0, "table is too short");
    }
    uint8_t bytes[LSM_FOOTER_BYTES];
    uint64_t offset = size - LSM_FOOTER_BYTES;
    enum nk_err err = read_exactly(table, offset, bytes, sizeof bytes);
    if (err != NK_OK) {
        return err;
    }
    err = lsm_footer_decode(bytes, size, footer);
    if (err != NK_OK) {
        return lsm_table_fault(table, err, offset, "bad footer");
    }
    return footer->digest == table->meta.digest
               ? NK_OK
               : lsm_table_fault(table, NK_CORRUPT, offset, "another table's file");
}

/* Several threads may read it at once: the first one's result is everybody's. */
static const struct lsm_footer *set_footer(struct lsm_table *table, const struct lsm_footer *footer)
{
    struct lsm_footer *mine = nk_alloc(sizeof *mine);
    struct lsm_footer *present = NULL;
    *mine = *footer;
    if (atomic_compare_exchange_strong_explicit(&table->footer, &present, mine,
                                                memory_order_acq_rel, memory_order_acquire)) {
        return mine;
    }
    nk_free(mine);
    return present;
}

enum nk_err lsm_table_footer(struct lsm_table *table, enum lsm_reach reach,
                             const struct lsm_footer **out_footer)
{
    *out_footer = atomic_load_explicit(&table->footer, memory_order_acquire);
    if (*out_footer != NULL) {
        return NK_OK;
    }
    if (reach == LSM_MEMORY) {
        return NK_WOULD_BLOCK;
    }
    struct lsm_footer footer;
    enum nk_err err = read_footer(table, &footer);
    if (err == NK_OK) {
        *out_footer = set_footer(table, &footer);
    }
    return err;
}

/* ---- Blocks ---- */

/* Checks and decompresses `stored`, `handle.size` bytes with their trailer. */
static enum nk_err unpack(struct lsm_table *table, struct lsm_handle handle, const uint8_t *stored,
                          struct lsm_cached **out_block)
{
    uint8_t way = 0;
    uint32_t raw_size = 0;
    if (!lsm_trailer_decode(stored, handle.size, handle.offset, &way, &raw_size)) {
        return lsm_table_fault(table, NK_CORRUPT, handle.offset, "bad checksum");
    }
    struct lsm_cached *block = lsm_cached_new(raw_size);
    if (lsm_decompress(way, nk_bytes_of(stored, handle.size), block->data, raw_size) != NK_OK) {
        lsm_cached_release(&block);
        return lsm_table_fault(table, NK_CORRUPT, handle.offset, "cannot decompress");
    }
    *out_block = block;
    return NK_OK;
}

static enum nk_err read_block(struct lsm_table *table, struct lsm_handle handle,
                              struct lsm_cached **out_block)
{
    uint8_t on_stack[READ_BYTES_ON_STACK];
    size_t size = handle.size + LSM_TRAILER_BYTES;
    uint8_t *stored = size <= sizeof on_stack ? on_stack : nk_alloc(size);
    enum nk_err err = read_exactly(table, handle.offset, stored, size);
    if (err == NK_OK) {
        err = unpack(table, handle, stored, out_block);
        nk_counter_add(&table->io->stats->read_blocks, 1);
    }
    if (stored != on_stack) {
        nk_free(stored);
    }
    return err;
}

enum nk_err lsm_table_block(struct lsm_table *table, struct lsm_handle handle,
                            enum lsm_cache_class class, struct lsm_lookup *lookup,
                            struct lsm_cached **out_block)
{
    struct lsm_cache *cache = table->io->cache;
    struct lsm_cached *block = lsm_cache_find(cache, table->cache_name, handle.offset);
    if (block != NULL) {
        lookup->hits++;
        *out_block = block;
        return NK_OK;
    }
    if (lookup->reach == LSM_MEMORY) {
        return NK_WOULD_BLOCK;
    }
    enum nk_err err = read_block(table, handle, &block);
    if (err == NK_OK) {
        lookup->misses++;
        lsm_cache_offer(cache, table->cache_name, handle.offset, class, &block);
        *out_block = block;
    }
    return err;
}

/* Keeps the block if there is room; then the caller's hold is the table's. */
static bool keep(struct lsm_table *table, enum lsm_kept which, struct lsm_cached *block)
{
    struct lsm_cached *nothing = NULL;
    if (!lsm_cache_reserve(table->io->cache, block->size)) {
        return false;
    }
    if (atomic_compare_exchange_strong_explicit(&table->kept[which], &nothing, block,
                                                memory_order_acq_rel, memory_order_relaxed)) {
        return true;
    }
    lsm_cache_unreserve(table->io->cache, block->size); /* somebody was quicker */
    return false;
}

enum nk_err lsm_table_kept(struct lsm_table *table, enum lsm_kept which, struct lsm_handle handle,
                           struct lsm_lookup *lookup, struct lsm_cached **out_block,
                           struct lsm_cached **out_held)
{
    *out_held = NULL;
    *out_block = atomic_load_explicit(&table->kept[which], memory_order_acquire);
    if (*out_block != NULL) {
        lookup->hits++;
        return NK_OK;
    }
    enum nk_err err = lsm_table_block(table, handle, LSM_CACHE_KEEP, lookup, out_held);
    if (err != NK_OK) {
        return err;
    }
    *out_block = *out_held;
    if (keep(table, which, *out_held)) {
        *out_held = NULL;
        lsm_cache_forget(table->io->cache, table->cache_name, handle.offset);
    }
    return NK_OK;
}

enum nk_err lsm_table_block_aside(struct lsm_table *table, struct lsm_handle handle,
                                  struct lsm_cached **out_block)
{
    *out_block = lsm_cache_find(table->io->cache, table->cache_name, handle.offset);
    return *out_block != NULL ? NK_OK : read_block(table, handle, out_block);
}

enum nk_err lsm_table_top_aside(struct lsm_table *table, struct lsm_handle handle,
                                struct lsm_cached **out_block)
{
    struct lsm_cached *kept =
        atomic_load_explicit(&table->kept[LSM_KEPT_TOP], memory_order_acquire);
    if (kept == NULL) {
        return lsm_table_block_aside(table, handle, out_block);
    }
    *out_block = lsm_cached_hold(kept);
    return NK_OK;
}

enum nk_err lsm_table_read(struct lsm_table *table, uint64_t offset, uint8_t *out, size_t size)
{
    return read_exactly(table, offset, out, size);
}

enum nk_err lsm_table_unpack(struct lsm_table *table, struct lsm_handle handle,
                             const uint8_t *stored, struct nk_buf *room, struct nk_bytes *out_raw)
{
    uint8_t way = 0;
    uint32_t raw_size = 0;
    struct nk_bytes bytes = nk_bytes_of(stored, (size_t)handle.size);
    if (!lsm_trailer_decode(stored, bytes.size, handle.offset, &way, &raw_size)) {
        return lsm_table_fault(table, NK_CORRUPT, handle.offset, "bad checksum");
    }
    if (way == LSM_COMPRESSION_NONE && raw_size == bytes.size) {
        *out_raw = bytes;
        return NK_OK;
    }
    nk_buf_clear(room);
    uint8_t *raw = nk_buf_extend(room, raw_size);
    if (lsm_decompress(way, bytes, raw, raw_size) != NK_OK) {
        return lsm_table_fault(table, NK_CORRUPT, handle.offset, "cannot decompress");
    }
    *out_raw = nk_buf_bytes(room);
    return NK_OK;
}

void lsm_table_adopt(struct lsm_table *table, struct nk_file **file,
                     const struct lsm_footer *footer)
{
    (void)lsm_files_add(table->io->files, table->file, file);
    end_reading(table, file); /* pinned, or not taken */
    (void)set_footer(table, footer);
}

static struct lsm_cached *copy_block(struct nk_bytes raw)
{
    struct lsm_cached *block = lsm_cached_new(raw.size);
    memcpy(block->data, raw.data, raw.size);
    return block;
}

void lsm_table_warm(struct lsm_table *table, struct lsm_handle handle, struct nk_bytes raw)
{
    struct lsm_cached *block = copy_block(raw);
    lsm_cache_offer(table->io->cache, table->cache_name, handle.offset, LSM_CACHE_KEEP, &block);
    lsm_cached_release(&block);
}

void lsm_table_warm_kept(struct lsm_table *table, enum lsm_kept which, struct lsm_handle handle,
                         struct nk_bytes raw)
{
    struct lsm_cached *block = copy_block(raw);
    if (!keep(table, which, block)) {
        lsm_cache_offer(table->io->cache, table->cache_name, handle.offset, LSM_CACHE_KEEP, &block);
        lsm_cached_release(&block);
    }
}

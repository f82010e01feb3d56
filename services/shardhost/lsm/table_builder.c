/* The order in the file: data blocks, filter, index blocks, top index, properties, footer.
 *
 * Index blocks and the filter are kept in memory until the data is written; they also go to the
 * cache, because the first reads of a new table come at once. */

#include "services/shardhost/lsm/table_builder.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/plant.h"
#include "services/shardhost/lsm/block_builder.h"
#include "services/shardhost/lsm/compress.h"
#include "services/shardhost/lsm/filter.h"
#include "services/shardhost/lsm/names.h"
#include "services/shardhost/lsm/table_format.h"

#define WRITE_BYTES     ((size_t)(512 * NK_KIB)) /* what one pwrite takes */
#define PART_BYTES_FULL (LSM_BLOCK_RAW_BYTES_MAX / 4)

struct lsm_table_builder {
    const struct lsm_io *io;
    const char *directory;
    struct lsm_fault_box *faults;
    struct lsm_options options;
    char path[NK_PATH_BYTES_MAX];
    struct nk_file *file;
    uint64_t written; /* bytes in the file; `output` follows */
    struct nk_buf output;
    struct lsm_block_builder data;
    struct lsm_block_builder index;
    struct lsm_block_builder top;
    struct nk_buf hashes;        /* u64 each, of all keys */
    struct nk_buf index_blocks;  /* raw, one after the other */
    struct nk_buf index_entries; /* struct index_block, one each */
    size_t top_bytes;            /* of the top index, at most */
    struct nk_buf separator;
    struct nk_buf smallest;
    struct lsm_handle data_block; /* finished, its index entry waits for the next key */
    struct lsm_table_meta meta;
};

/* A finished index block that waits in index_blocks. */
struct index_block {
    size_t start;
    size_t size;
    size_t key_start; /* its last key, in index_blocks too */
    size_t key_size;
};

static struct nk_bytes nothing(void)
{
    return nk_bytes_of(NULL, 0);
}

/* NK_NO_SPACE is passed on as it is: an outcome, not a fault. */
static enum nk_err check_write(struct lsm_table_builder *builder, enum nk_err err, const char *what)
{
    if (err == NK_OK || err == NK_NO_SPACE) {
        return err;
    }
    char name[LSM_FILE_NAME_BYTES_MAX];
    lsm_table_name(builder->meta.number, name);
    return lsm_fault_set(builder->faults, NK_IO, builder->directory, name, builder->written, what);
}

/* ---- Blocks to the file ---- */

static enum nk_err write_output(struct lsm_table_builder *builder)
{
    enum nk_err err = nk_fs_pwrite(builder->io->fs, builder->file, builder->written,
                                   nk_buf_bytes(&builder->output));
    if (err == NK_OK) {
        builder->written += builder->output.size;
        nk_buf_clear(&builder->output);
    }
    return check_write(builder, err, "cannot write table");
}

/* Stores a block behind what is there. */
static enum nk_err put_block(struct lsm_table_builder *builder, struct nk_bytes raw,
                             enum lsm_compression wanted, struct lsm_handle *out_handle)
{
    NK_ASSERT(raw.size <= LSM_BLOCK_RAW_BYTES_MAX);
    size_t start = builder->output.size;
    enum lsm_compression way = lsm_compress(wanted, raw, &builder->output);
    size_t size = builder->output.size - start;
    *out_handle = (struct lsm_handle){.offset = builder->written + start, .size = size};
    uint8_t *trailer = nk_buf_extend(&builder->output, LSM_TRAILER_BYTES);
    lsm_trailer_encode(nk_bytes_of(builder->output.data + start, size), out_handle->offset,
                       (uint8_t)way, (uint32_t)raw.size, trailer);
    builder->meta.digest = lsm_digest_extend(builder->meta.digest, trailer);
    return builder->output.size >= WRITE_BYTES ? write_output(builder) : NK_OK;
}

static void finish_index_block(struct lsm_table_builder *builder)
{
    struct nk_buf *blocks = &builder->index_blocks;
    struct index_block entry = {.start = blocks->size};
    struct nk_bytes last = nk_buf_bytes(&builder->index.last_key);
    struct nk_bytes raw = lsm_block_builder_finish(&builder->index);
    nk_buf_append(blocks, raw);
    entry.size = raw.size;
    entry.key_start = blocks->size;
    entry.key_size = last.size;
    nk_buf_append(blocks, last);
    builder->top_bytes += last.size + 2 * LSM_HANDLE_BYTES_MAX;
    nk_buf_append(&builder->index_entries, nk_bytes_of(&entry, sizeof entry));
}

/* The index entry of the finished data block, under a key at or after its last one. */
static void add_index_entry(struct lsm_table_builder *builder, struct nk_bytes key)
{
    uint8_t handle[LSM_HANDLE_BYTES_MAX];
    size_t size = lsm_handle_encode(builder->data_block, handle);
    lsm_block_builder_add(&builder->index, key, nk_bytes_of(handle, size), nothing());
    builder->data_block.size = 0;
    if (lsm_block_builder_size(&builder->index) >= LSM_BLOCK_BYTES) {
        finish_index_block(builder);
    }
}

static enum nk_err finish_data_block(struct lsm_table_builder *builder)
{
    struct nk_bytes raw = lsm_block_builder_finish(&builder->data);
    return put_block(builder, raw, builder->options.compression, &builder->data_block);
}

/* ---- Records ---- */

static void count_record(struct lsm_table_builder *builder, const struct lsm_entry *entry)
{
    struct lsm_table_meta *meta = &builder->meta;
    uint64_t index = entry->version.index;
    meta->index_min = meta->record_count == 0 ? index : nk_min_u64(meta->index_min, index);
    meta->index_max = nk_max_u64(meta->index_max, index);
    meta->record_count++;
    meta->tombstone_count += entry->tombstone;
    if (entry->expire_at_ms != 0 && !entry->tombstone) {
        uint64_t expire = entry->expire_at_ms;
        bool first = meta->expire_count == 0;
        meta->expire_min_ms = first ? expire : nk_min_u64(meta->expire_min_ms, expire);
        meta->expire_max_ms = nk_max_u64(meta->expire_max_ms, expire);
        meta->expire_count++;
    }
}

enum nk_err lsm_table_builder_add(struct lsm_table_builder *builder, struct nk_bytes key,
                                  const struct lsm_entry *entry, struct nk_bytes value)
{
    NK_ASSERT(key.size > 0);
    if (builder->data_block.size > 0) {
        lsm_key_separator(nk_buf_bytes(&builder->data.last_key), key, &builder->separator);
        add_index_entry(builder, nk_buf_bytes(&builder->separator));
    }
    if (builder->meta.record_count == 0) {
        nk_buf_append(&builder->smallest, key);
    }
    uint8_t head[LSM_ENTRY_BYTES_MAX];
    size_t head_size = lsm_entry_encode(entry, head);
    lsm_block_builder_add(&builder->data, key, nk_bytes_of(head, head_size), value);
    count_record(builder, entry);
    if (builder->options.filter_bits_per_key > 0) {
        uint64_t hash = lsm_filter_hash(key);
        nk_buf_append(&builder->hashes, nk_bytes_of(&hash, sizeof hash));
    }
    return lsm_block_builder_size(&builder->data) >= LSM_BLOCK_BYTES ? finish_data_block(builder)
                                                                     : NK_OK;
}

uint64_t lsm_table_builder_bytes(const struct lsm_table_builder *builder)
{
    return builder->written + builder->output.size + lsm_block_builder_size(&builder->data);
}

bool lsm_table_builder_full(const struct lsm_table_builder *builder)
{
    size_t key_count = builder->hashes.size / sizeof(uint64_t);
    return key_count * builder->options.filter_bits_per_key / 8 >= PART_BYTES_FULL ||
           builder->top_bytes >= PART_BYTES_FULL;
}

/* ---- The end of the file ---- */

/* What the table is given at birth, so that reading it at once needs no disk. */
struct warm {
    struct lsm_handle filter;
    struct nk_buf filter_bytes;
    struct nk_buf index_handles; /* struct lsm_handle, one for each of index_entries */
    struct lsm_handle top;
    struct nk_bytes top_bytes;
    struct lsm_footer footer;
};

static enum nk_err put_filter(struct lsm_table_builder *builder, struct warm *warm)
{
    if (builder->hashes.size == 0) {
        return NK_OK;
    }
    lsm_filter_build((const uint64_t *)(const void *)builder->hashes.data,
                     builder->hashes.size / sizeof(uint64_t), builder->options.filter_bits_per_key,
                     &warm->filter_bytes);
    return put_block(builder, nk_buf_bytes(&warm->filter_bytes), LSM_COMPRESSION_NONE,
                     &warm->filter);
}

static const struct index_block *index_block_at(const struct lsm_table_builder *builder, size_t i)
{
    return (const struct index_block *)(const void *)builder->index_entries.data + i;
}

static enum nk_err put_index(struct lsm_table_builder *builder, struct warm *warm)
{
    const uint8_t *blocks = builder->index_blocks.data;
    size_t count = builder->index_entries.size / sizeof(struct index_block);
    for (size_t i = 0; i < count; i++) {
        const struct index_block *block = index_block_at(builder, i);
        struct lsm_handle handle;
        enum nk_err err = put_block(builder, nk_bytes_of(blocks + block->start, block->size),
                                    builder->options.compression, &handle);
        if (err != NK_OK) {
            return err;
        }
        nk_buf_append(&warm->index_handles, nk_bytes_of(&handle, sizeof handle));
        uint8_t bytes[LSM_HANDLE_BYTES_MAX];
        size_t size = lsm_handle_encode(handle, bytes);
        lsm_block_builder_add(&builder->top,
                              nk_bytes_of(blocks + block->key_start, block->key_size),
                              nk_bytes_of(bytes, size), nothing());
    }
    warm->top_bytes = lsm_block_builder_finish(&builder->top);
    return put_block(builder, warm->top_bytes, builder->options.compression, &warm->top);
}

static enum nk_err put_properties_and_footer(struct lsm_table_builder *builder, struct warm *warm)
{
    struct nk_buf properties = {0};
    struct lsm_footer footer = {.index = warm->top, .filter = warm->filter};
    lsm_properties_encode(&builder->meta, &properties);
    enum nk_err err =
        put_block(builder, nk_buf_bytes(&properties), LSM_COMPRESSION_NONE, &footer.properties);
    nk_buf_deinit(&properties);
    if (err != NK_OK) {
        return err;
    }
    footer.file_size = builder->written + builder->output.size + LSM_FOOTER_BYTES;
    footer.start = footer.file_size - LSM_FOOTER_BYTES;
    footer.version = LSM_TABLE_VERSION;
    footer.digest = builder->meta.digest;
    builder->meta.size_bytes = footer.file_size;
    lsm_footer_encode(&footer, nk_buf_extend(&builder->output, LSM_FOOTER_BYTES));
    warm->footer = footer;
    return write_output(builder);
}

static void warm_table(struct lsm_table_builder *builder, const struct warm *warm,
                       struct lsm_table *table)
{
    lsm_table_adopt(table, &builder->file, &warm->footer);
    if (warm->filter.size > 0) {
        lsm_table_warm_kept(table, LSM_KEPT_FILTER, warm->filter,
                            nk_buf_bytes(&warm->filter_bytes));
    }
    const struct lsm_handle *handles = (const void *)warm->index_handles.data;
    for (size_t i = 0; i < warm->index_handles.size / sizeof *handles; i++) {
        const struct index_block *block = index_block_at(builder, i);
        lsm_table_warm(table, handles[i],
                       nk_bytes_of(builder->index_blocks.data + block->start, block->size));
    }
    lsm_table_warm_kept(table, LSM_KEPT_TOP, warm->top, warm->top_bytes);
}

static enum nk_err write_rest(struct lsm_table_builder *builder, struct warm *warm)
{
    enum nk_err err = NK_OK;
    if (builder->data.count > 0) {
        err = finish_data_block(builder);
    }
    if (err == NK_OK) {
        add_index_entry(builder, nk_buf_bytes(&builder->data.last_key));
        if (builder->index.count > 0) {
            finish_index_block(builder);
        }
        err = put_filter(builder, warm);
    }
    if (err == NK_OK) {
        err = put_index(builder, warm);
    }
    if (err == NK_OK) {
        err = put_properties_and_footer(builder, warm);
    }
    if (err == NK_OK && !NK_PLANTED(NK_PLANT_MANIFEST_BEFORE_TABLES)) {
        err = check_write(builder, nk_fs_sync(builder->io->fs, builder->file), "cannot sync table");
    }
    return err;
}

enum nk_err lsm_table_builder_finish(struct lsm_table_builder **builder,
                                     struct lsm_table **out_table)
{
    struct lsm_table_builder *b = *builder;
    NK_ASSERT(b->meta.record_count > 0);
    b->meta.smallest = nk_buf_bytes(&b->smallest);
    b->meta.largest = nk_buf_bytes(&b->data.last_key);
    struct warm warm = {.filter = {0}};
    enum nk_err err = write_rest(b, &warm);
    if (err == NK_OK) {
        struct lsm_table *table = NULL;
        lsm_table_new(b->io, b->directory, b->faults, &b->meta, &table);
        warm_table(b, &warm, table);
        lsm_table_builder_close(builder);
        *out_table = table;
    }
    nk_buf_deinit(&warm.filter_bytes);
    nk_buf_deinit(&warm.index_handles);
    return err;
}

/* ---- Life ---- */

enum nk_err lsm_table_builder_open(const struct lsm_io *io, const char *directory,
                                   struct lsm_fault_box *faults, uint64_t number,
                                   const struct lsm_options *options,
                                   struct lsm_table_builder **out_builder)
{
    struct lsm_table_builder *builder = nk_alloc_zero(1, sizeof *builder);
    builder->io = io;
    builder->directory = directory;
    builder->faults = faults;
    builder->options = *options;
    builder->meta.number = number;
    char name[LSM_FILE_NAME_BYTES_MAX];
    lsm_table_name(number, name);
    lsm_path(directory, name, builder->path);
    lsm_block_builder_init(&builder->data, LSM_RESTARTS_DATA);
    builder->data.restart_bytes = LSM_RESTART_BYTES;
    lsm_block_builder_init(&builder->index, LSM_RESTARTS_INDEX);
    lsm_block_builder_init(&builder->top, LSM_RESTARTS_INDEX);
    enum nk_err err = nk_fs_open(io->fs, builder->path, NK_FS_CREATE, &builder->file);
    err = check_write(builder, err, "cannot create table");
    if (err != NK_OK) {
        lsm_table_builder_close(&builder);
        return err;
    }
    *out_builder = builder;
    return NK_OK;
}

void lsm_table_builder_close(struct lsm_table_builder **builder)
{
    struct lsm_table_builder *b = *builder;
    if (b == NULL) {
        return;
    }
    nk_fs_close(b->io->fs, &b->file);
    nk_buf_deinit(&b->output);
    lsm_block_builder_deinit(&b->data);
    lsm_block_builder_deinit(&b->index);
    lsm_block_builder_deinit(&b->top);
    nk_buf_deinit(&b->hashes);
    nk_buf_deinit(&b->index_blocks);
    nk_buf_deinit(&b->index_entries);
    nk_buf_deinit(&b->separator);
    nk_buf_deinit(&b->smallest);
    nk_free(b);
    *builder = NULL;
}

void lsm_table_builder_abandon(struct lsm_table_builder **builder)
{
    if (*builder == NULL) {
        return;
    }
    nk_fs_close((*builder)->io->fs, &(*builder)->file);
    /* A file that stays is an orphan and goes at the next open. */
    (void)!nk_fs_remove((*builder)->io->fs, (*builder)->path);
    lsm_table_builder_close(builder);
}

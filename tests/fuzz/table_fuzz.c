/* Tables (services/shardhost/lsm/FORMAT.md, "Table"), through files in memory.
 *
 * First byte 0: the rest are the bytes of a table file.  First byte 1: the same with the checksums
 * put right, so that what lies behind them is reached.  Whatever they are, opening, getting and
 * walking end with an answer or NK_CORRUPT, and an inspection tells damage wherever they met it.
 * First byte 2: records, from which a table is written, and then changes of its file.  Every record
 * that still can be read is the one that was written, and none is missing: it is that or
 * NK_CORRUPT. */

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/shardhost/lsm/compress.h"
#include "services/shardhost/lsm/filter.h"
#include "services/shardhost/lsm/inspect/inspect.h"
#include "services/shardhost/lsm/table_builder.h"
#include "services/shardhost/lsm/table_format.h"
#include "tests/sim/fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NUMBER            7
#define FILE_NAME         "d/0000000007.sst"
#define STEPS_MAX         5000 /* of one walk: a block may name another one for ever */
#define BLOCKS_MAX        64   /* read from one hostile file: a few bytes may make megabytes */

#define INSPECT_BYTES_MAX 1024 /* what a search for lost blocks costs grows with the square */

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
    lsm_cache_open(256 * NK_KIB, &rig->stats, &rig->io.cache);
    lsm_fault_init(&rig->faults);
}

static void rig_deinit(struct rig *rig)
{
    lsm_cache_close(&rig->io.cache);
    lsm_files_deinit(&rig->files);
    lsm_fault_deinit(&rig->faults);
    sim_fs_free(&rig->sim);
}

/* What went wrong was written down. */
static void check_fault(struct rig *rig, enum nk_err err)
{
    NK_ASSERT(err == NK_CORRUPT || err == NK_FORMAT_TOO_NEW);
    const struct lsm_fault *fault = lsm_fault_get(&rig->faults);
    NK_ASSERT(fault->err == err);
    NK_ASSERT(fault->what[0] != '\0');
    NK_ASSERT(strcmp(fault->file, FILE_NAME) == 0);
}

/* The answer without the disk is that from the disk, or none. */
static enum nk_err get(struct rig *rig, struct lsm_table *table, struct nk_bytes key,
                       struct lsm_entry *out_entry, struct nk_buf *out_value)
{
    uint64_t hash = lsm_filter_hash(key);
    struct lsm_entry entry = {0};
    struct nk_buf value = {0};
    struct lsm_lookup memory = {.reach = LSM_MEMORY};
    struct lsm_lookup disk = {.reach = LSM_DISK};
    enum nk_err quick = lsm_table_get(table, key, hash, &memory, &entry, &value);
    enum nk_err err = lsm_table_get(table, key, hash, &disk, out_entry, out_value);
    NK_ASSERT(memory.misses == 0);
    if (quick != NK_WOULD_BLOCK) {
        NK_ASSERT(quick == err);
        if (err == NK_OK) {
            NK_ASSERT(entry.version.index == out_entry->version.index);
            NK_ASSERT(nk_bytes_equal(nk_buf_bytes(&value), nk_buf_bytes(out_value)));
        }
    }
    nk_buf_deinit(&value);
    if (err != NK_OK && err != NK_NOT_FOUND) {
        check_fault(rig, err);
    }
    return err;
}

/* --- Bytes. */

static void walk_hostile(struct rig *rig, struct lsm_table *table, bool forward)
{
    static struct lsm_table_cursor cursor;
    struct lsm_entry entry;
    struct nk_buf value = {0};
    uint64_t blocks_max = nk_counter_get(&rig->stats.read_blocks) + BLOCKS_MAX;
    lsm_table_cursor_init(&cursor, table);
    enum nk_err err = forward ? lsm_table_cursor_seek(&cursor, nk_bytes_of(NULL, 0))
                              : lsm_table_cursor_seek_back(&cursor, NULL, false);
    for (size_t i = 0;
         err == NK_OK && i < STEPS_MAX && nk_counter_get(&rig->stats.read_blocks) < blocks_max;
         i++) {
        struct nk_bytes key = lsm_table_cursor_key(&cursor);
        NK_ASSERT(key.size <= LSM_KEY_BYTES_MAX);
        if (i % 16 == 0) {
            (void)get(rig, table, key, &entry, &value);
        }
        err = forward ? lsm_table_cursor_next(&cursor) : lsm_table_cursor_prev(&cursor);
    }
    if (err != NK_OK && err != NK_NOT_FOUND) {
        check_fault(rig, err);
    }
    lsm_table_cursor_close(&cursor);
    nk_buf_deinit(&value);
}

static void read_hostile(struct rig *rig, struct lsm_table *table)
{
    struct lsm_entry entry;
    struct nk_buf value = {0};
    (void)get(rig, table, nk_bytes_of("k", 1), &entry, &value);
    nk_buf_deinit(&value);
    walk_hostile(rig, table, true);
    walk_hostile(rig, table, false);
}

static void drop_text(void *ctx, struct nk_bytes text)
{
    uint64_t *size = ctx;
    *size += text.size;
    NK_ASSERT(text.data[text.size - 1] == '\n');
}

static void inspect_hostile(struct rig *rig)
{
    uint64_t damages = 0;
    uint64_t text_size = 0;
    struct lsm_inspect inspect = {
        .fs = &rig->fs,
        .prefix = "",
        .write = drop_text,
        .ctx = &text_size,
        .entries = true,
        .full_keys = true,
    };
    enum nk_err err = lsm_inspect_table(&inspect, FILE_NAME, &damages);
    NK_ASSERT(err == NK_OK || err == NK_FORMAT_TOO_NEW);
    NK_ASSERT(text_size > 0);
    switch (lsm_fault_get(&rig->faults)->err) {
    case NK_CORRUPT:
        NK_ASSERT(damages > 0);
        break;
    case NK_FORMAT_TOO_NEW:
        NK_ASSERT(err == NK_FORMAT_TOO_NEW);
        break;
    default:
        break;
    }
}

/* What the manifest would have to say for the file to be read: its own word. */
static uint32_t digest_of(struct nk_bytes file)
{
    struct lsm_footer footer;
    return file.size >= LSM_FOOTER_BYTES &&
                   lsm_footer_decode(file.data + file.size - LSM_FOOTER_BYTES, file.size,
                                     &footer) == NK_OK
               ? footer.digest
               : 0;
}

static void fuzz_file(struct nk_bytes file)
{
    struct rig rig;
    rig_init(&rig);
    sim_fs_put(rig.sim, FILE_NAME, file);
    uint8_t last[LSM_KEY_BYTES_MAX];
    memset(last, 0xFF, sizeof last);
    struct lsm_table_meta meta = {
        .number = NUMBER,
        .size_bytes = file.size,
        .digest = digest_of(file),
        .record_count = 1,
        .smallest = nk_bytes_of("", 1),
        .largest = nk_bytes_of(last, sizeof last),
    };
    struct lsm_table *table = NULL;
    lsm_table_new(&rig.io, "d", &rig.faults, &meta, &table);
    read_hostile(&rig, table);
    if (file.size <= INSPECT_BYTES_MAX) {
        inspect_hostile(&rig);
    }
    lsm_table_release(&table);
    rig_deinit(&rig);
}

/* --- Sealed bytes: checksums are put right from the footer down. */

struct sealing {
    uint8_t *file;
    uint64_t limit; /* where the footer starts */
    size_t left;    /* blocks that may still be sealed */
};

static bool seal(struct sealing *sealing, struct lsm_handle handle)
{
    if (sealing->left == 0 || handle.size == 0 || handle.offset > sealing->limit ||
        handle.size > sealing->limit - handle.offset ||
        LSM_TRAILER_BYTES > sealing->limit - handle.offset - handle.size) {
        return false;
    }
    sealing->left--;
    uint8_t *stored = sealing->file + handle.offset;
    uint8_t *trailer = stored + handle.size;
    lsm_trailer_encode(nk_bytes_of(stored, handle.size), handle.offset, trailer[0],
                       nk_get_u32(trailer + 1), trailer);
    return true;
}

/* Seals the blocks that an index block names, `depth` levels down. */
static void seal_below(struct sealing *sealing, struct lsm_handle handle, int depth)
{
    if (!seal(sealing, handle) || depth == 0) {
        return;
    }
    const uint8_t *stored = sealing->file + handle.offset;
    const uint8_t *trailer = stored + handle.size;
    uint32_t raw_size = nk_get_u32(trailer + 1);
    if (raw_size > NK_MIB) {
        return;
    }
    uint8_t *raw = nk_alloc(raw_size + 1);
    struct lsm_block_cursor *cursor = nk_alloc(sizeof *cursor);
    if (lsm_decompress(trailer[0], nk_bytes_of(stored, handle.size), raw, raw_size) == NK_OK &&
        lsm_block_open(cursor, nk_bytes_of(raw, raw_size)) == NK_OK) {
        while (sealing->left > 0 && lsm_block_next(cursor) == NK_OK) {
            struct lsm_handle below;
            if (lsm_handle_decode(cursor->value, sealing->limit, &below)) {
                seal_below(sealing, below, depth - 1);
            }
        }
    }
    nk_free(cursor);
    nk_free(raw);
}

static void fuzz_sealed_file(struct nk_bytes bytes)
{
    if (bytes.size < LSM_FOOTER_BYTES) {
        fuzz_file(bytes);
        return;
    }
    uint8_t *file = nk_alloc(bytes.size);
    memcpy(file, bytes.data, bytes.size);
    uint8_t *end = file + bytes.size - LSM_FOOTER_BYTES;
    struct lsm_footer footer = {
        .index = {nk_get_u64(end), nk_get_u64(end + 8)},
        .filter = {nk_get_u64(end + 16), nk_get_u64(end + 24)},
        .properties = {nk_get_u64(end + 32), nk_get_u64(end + 40)},
        .file_size = bytes.size,
    };
    struct sealing sealing = {file, bytes.size - LSM_FOOTER_BYTES, BLOCKS_MAX};
    (void)seal(&sealing, footer.filter);
    (void)seal(&sealing, footer.properties);
    seal_below(&sealing, footer.index, 2);
    lsm_footer_encode(&footer, end);
    fuzz_file(nk_bytes_of(file, bytes.size));
    nk_free(file);
}

/* --- Records and changes. */

#define RECORDS_MAX 256

struct record {
    uint8_t key[LSM_KEY_BYTES_MAX];
    size_t key_size;
    uint8_t value[2048];
    size_t value_size;
    struct lsm_entry entry;
};

static struct record records[RECORDS_MAX];

/* Four bytes make a record: how far its key is from the last one, how long key and value are. */
static void make_record(struct nk_reader *input, uint32_t *counter, uint64_t index,
                        struct record *record)
{
    *counter += 1 + (uint32_t)nk_read_u8(input);
    uint8_t key_class = nk_read_u8(input);
    uint8_t value_class = nk_read_u8(input);
    uint8_t flags = nk_read_u8(input);
    record->key[0] = 'k';
    record->key[1] = (uint8_t)(*counter >> 8);
    record->key[2] = (uint8_t)*counter;
    record->key_size = nk_min_size(3 + (size_t)key_class * 5, sizeof record->key);
    memset(record->key + 3, key_class, record->key_size - 3);
    record->entry = (struct lsm_entry){
        .version = {1 + flags % 3, index},
        .tombstone = flags % 8 == 7,
        .expire_at_ms = flags % 4 == 1 ? 1000 + (uint64_t)flags * flags * flags : 0,
    };
    record->value_size = record->entry.tombstone ? 0 : (size_t)value_class * 8;
    for (size_t i = 0; i < record->value_size; i++) {
        record->value[i] = (uint8_t)(i % 16 < 8 ? flags : i * index); /* half of it compresses */
    }
}

static struct lsm_table *write_table(struct rig *rig, const struct lsm_options *options,
                                     size_t count)
{
    struct lsm_table_builder *builder = NULL;
    struct lsm_table *table = NULL;
    enum nk_err err = nk_fs_mkdir(&rig->fs, "d");
    NK_ASSERT(err == NK_OK);
    err = lsm_table_builder_open(&rig->io, "d", &rig->faults, NUMBER, options, &builder);
    NK_ASSERT(err == NK_OK);
    for (size_t i = 0; i < count; i++) {
        const struct record *record = &records[i];
        err = lsm_table_builder_add(builder, nk_bytes_of(record->key, record->key_size),
                                    &record->entry, nk_bytes_of(record->value, record->value_size));
        NK_ASSERT(err == NK_OK);
    }
    err = lsm_table_builder_finish(&builder, &table);
    NK_ASSERT(err == NK_OK);
    return table;
}

/* The properties in the file say what the manifest is told. */
static void check_properties(struct rig *rig, const struct lsm_table_meta *meta)
{
    struct nk_buf file = {0};
    sim_fs_read(rig->sim, FILE_NAME, &file);
    struct lsm_footer footer;
    enum nk_err err =
        lsm_footer_decode(file.data + file.size - LSM_FOOTER_BYTES, file.size, &footer);
    NK_ASSERT(err == NK_OK);
    NK_ASSERT(footer.digest == meta->digest);
    struct lsm_table_meta read = {.number = meta->number, .size_bytes = meta->size_bytes};
    err = lsm_properties_decode(
        nk_bytes_of(file.data + footer.properties.offset, footer.properties.size), &read);
    NK_ASSERT(err == NK_OK);
    NK_ASSERT(read.record_count == meta->record_count);
    NK_ASSERT(read.tombstone_count == meta->tombstone_count);
    NK_ASSERT(read.index_min == meta->index_min);
    NK_ASSERT(read.index_max == meta->index_max);
    NK_ASSERT(read.expire_count == meta->expire_count);
    NK_ASSERT(read.expire_min_ms == meta->expire_min_ms);
    NK_ASSERT(read.expire_max_ms == meta->expire_max_ms);
    NK_ASSERT(nk_bytes_equal(read.smallest, meta->smallest));
    NK_ASSERT(nk_bytes_equal(read.largest, meta->largest));
    nk_buf_deinit(&file);
}

/* True if the file is another one now. */
static bool change_file(struct rig *rig, struct nk_reader *input)
{
    struct nk_buf before = {0};
    struct nk_buf file = {0};
    sim_fs_read(rig->sim, FILE_NAME, &before);
    nk_buf_append(&file, nk_buf_bytes(&before));
    while (nk_reader_left(input) >= 6 && file.size > 0) {
        uint8_t kind = nk_read_u8(input);
        size_t at = nk_read_u32(input) % file.size;
        uint8_t byte = nk_read_u8(input);
        switch (kind % 8) {
        case 0: /* the end is lost */
            file.size = at;
            break;
        case 1: /* something is behind it */
            nk_buf_append(&file, nk_bytes_of("behind", byte % 7));
            break;
        case 2: /* a sector was never written */
            at -= at % 512;
            memset(file.data + at, 0, nk_min_size(512, file.size - at));
            break;
        case 3: { /* a sector is in the wrong place */
            size_t to = (size_t)byte * 512 % file.size;
            size_t from = at - at % 512;
            memmove(file.data + to, file.data + from,
                    nk_min_size(512, file.size - nk_max_size(to, from)));
            break;
        }
        case 4: /* a run is turned over */
            for (size_t i = at; i < nk_min_size(at + byte, file.size); i++) {
                file.data[i] = (uint8_t)~file.data[i];
            }
            break;
        default:
            file.data[at] ^= byte;
            break;
        }
    }
    bool changed = !nk_bytes_equal(nk_buf_bytes(&before), nk_buf_bytes(&file));
    if (changed) {
        sim_fs_put(rig->sim, FILE_NAME, nk_buf_bytes(&file));
    }
    nk_buf_deinit(&before);
    nk_buf_deinit(&file);
    return changed;
}

static void check_same(const struct record *record, const struct lsm_entry *entry,
                       struct nk_bytes value)
{
    NK_ASSERT(entry->version.term == record->entry.version.term);
    NK_ASSERT(entry->version.index == record->entry.version.index);
    NK_ASSERT(entry->expire_at_ms == record->entry.expire_at_ms);
    NK_ASSERT(entry->tombstone == record->entry.tombstone);
    NK_ASSERT(nk_bytes_equal(value, nk_bytes_of(record->value, record->value_size)));
}

/* The bare next number after a record's: nobody's key, or just the next record's. */
struct probe {
    uint8_t key[3];
};

static struct probe probe_after(const struct record *record)
{
    uint32_t number = (uint32_t)(record->key[1] << 8 | record->key[2]) + 1;
    struct probe probe = {{'k', (uint8_t)(number >> 8), (uint8_t)number}};
    return probe;
}

static void check_gets(struct rig *rig, struct lsm_table *table, size_t count, bool changed)
{
    struct nk_buf value = {0};
    for (size_t i = 0; i < count; i++) {
        const struct record *record = &records[i];
        struct lsm_entry entry;
        enum nk_err err =
            get(rig, table, nk_bytes_of(record->key, record->key_size), &entry, &value);
        NK_ASSERT(err == NK_OK || (changed && err == NK_CORRUPT));
        if (err == NK_OK) {
            check_same(record, &entry, nk_buf_bytes(&value));
        }
        struct probe probe = probe_after(record);
        struct nk_bytes bare = nk_bytes_of(probe.key, sizeof probe.key);
        err = get(rig, table, bare, &entry, &value);
        bool is_next = i + 1 < count && nk_bytes_equal(bare, nk_bytes_of(records[i + 1].key,
                                                                         records[i + 1].key_size));
        NK_ASSERT(err == (is_next ? NK_OK : NK_NOT_FOUND) || (changed && err == NK_CORRUPT));
    }
    nk_buf_deinit(&value);
}

/* Walks from where the cursor is to the end in its direction.  `left` records are to come, the next
 * of them number `at`. */
static void check_way(struct rig *rig, struct lsm_table_cursor *cursor, enum nk_err err,
                      bool forward, size_t at, size_t left, bool changed)
{
    for (; left > 0 && err == NK_OK; left--) {
        const struct record *record = &records[at];
        NK_ASSERT(nk_bytes_equal(lsm_table_cursor_key(cursor),
                                 nk_bytes_of(record->key, record->key_size)));
        check_same(record, &cursor->entry, cursor->value);
        err = forward ? lsm_table_cursor_next(cursor) : lsm_table_cursor_prev(cursor);
        at += forward ? 1 : (size_t)-1;
    }
    /* The end comes when it should, and nothing is left out silently. */
    NK_ASSERT(err == (left == 0 ? NK_NOT_FOUND : NK_CORRUPT) || (changed && err == NK_CORRUPT));
    if (err == NK_CORRUPT) {
        check_fault(rig, err);
    }
}

/* From `start` on and from it back, where record `first` is the first at or after it. */
static void check_walk(struct rig *rig, struct lsm_table *table, struct nk_bytes start,
                       size_t first, size_t count, bool changed)
{
    static struct lsm_table_cursor cursor;
    enum nk_err err = lsm_table_cursor_open(&cursor, table, start);
    check_way(rig, &cursor, err, true, first, count - first, changed);
    err = lsm_table_cursor_seek_back(&cursor, &start, false);
    check_way(rig, &cursor, err, false, first - 1, first, changed);
    bool is_first = first < count &&
                    nk_bytes_equal(start, nk_bytes_of(records[first].key, records[first].key_size));
    size_t before = first + is_first;
    err = lsm_table_cursor_seek_back(&cursor, &start, true);
    check_way(rig, &cursor, err, false, before - 1, before, changed);
    lsm_table_cursor_close(&cursor);
}

static void fuzz_records(struct nk_reader *input)
{
    uint8_t how = nk_read_u8(input);
    size_t wanted = 1 + (size_t)nk_read_u8(input);
    struct lsm_options options = {
        .compression = (enum lsm_compression)(how % 3),
        .filter_bits_per_key = how & 0x10 ? 10 : 0,
    };
    size_t count = 0;
    uint32_t counter = 0;
    while (count < wanted && nk_reader_left(input) >= 4 && counter + 256 <= UINT16_MAX) {
        make_record(input, &counter, 1 + count, &records[count]);
        count++;
    }
    if (count == 0) {
        return;
    }
    struct rig rig;
    rig_init(&rig);
    struct lsm_table *table = write_table(&rig, &options, count);
    struct lsm_table_meta meta = *lsm_table_meta(table);
    check_properties(&rig, &meta);
    check_gets(&rig, table, count, false);

    /* As after a restart: nothing of it is in memory. */
    struct lsm_table *reread = NULL;
    bool changed = change_file(&rig, input);
    lsm_table_new(&rig.io, "d", &rig.faults, &meta, &reread);
    lsm_table_release(&table);
    check_walk(&rig, reread, nk_bytes_of(NULL, 0), 0, count, changed);
    for (size_t i = how % 16; i < count; i += 16) {
        struct probe probe = probe_after(&records[i]);
        struct nk_bytes key = nk_bytes_of(records[i].key, records[i].key_size);
        check_walk(&rig, reread, key, i, count, changed);
        check_walk(&rig, reread, nk_bytes_of(probe.key, sizeof probe.key), i + 1, count, changed);
    }
    check_gets(&rig, reread, count, changed);
    lsm_table_release(&reread);
    rig_deinit(&rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nk_reader input = nk_reader_of(nk_bytes_of(data, size));
    uint8_t mode = nk_read_u8(&input);
    if (input.failed || mode > 2) {
        return 0;
    }
    struct nk_bytes rest = nk_bytes_of(input.next, nk_reader_left(&input));
    if (mode == 0) {
        fuzz_file(rest);
    } else if (mode == 1) {
        fuzz_sealed_file(rest);
    } else {
        fuzz_records(&input);
    }
    return 0;
}

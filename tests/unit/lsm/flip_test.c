/* One byte of one file is not what was written: whatever is asked is answered rightly, or with
 * NK_CORRUPT (NK_FORMAT_TOO_NEW, where the byte is a version), which names the file and where in it
 * the block or record begins that has the byte.  NK_FLIPS=N tries N bytes of large files instead of
 * the usual few; the CTest unit.lsm.flips does so with 100,000. */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/prng.h"
#include "common/base/units.h"
#include "services/shardhost/lsm/compress.h"
#include "services/shardhost/lsm/manifest.h"
#include "services/shardhost/lsm/table_format.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_flip, .timeout = 86400);

#define FILES_MAX 40
#define KEYS_MAX  8000

struct file {
    char name[64];
    struct nk_buf bytes;
    struct nk_buf places; /* uint64_t, in any order: where its parts begin */
};

/* A database as it lies on disk. */
struct picture {
    struct lsm_options options;
    unsigned keys;
    uint64_t entries;        /* entry n wrote or deleted key n * 7 % keys */
    uint64_t last[KEYS_MAX]; /* entry that wrote the key, 0: none */
    struct file files[FILES_MAX];
    size_t file_count;
};

static struct picture picture;

static unsigned key_of(uint64_t entry)
{
    return (unsigned)(entry * 7 % picture.keys);
}

static void make_value(uint64_t entry, char out[160])
{
    (void)snprintf(out, 160, "value of entry %u %0*u", (unsigned)entry, (int)(entry % 90),
                   (unsigned)entry);
}

static uint64_t expiry_of(uint64_t entry)
{
    return entry % 4 == 0 ? UINT64_C(1) << 40 | entry : 0;
}

static void write_entry(struct rig *rig, uint64_t entry)
{
    char key[24];
    char value[160];
    (void)snprintf(key, sizeof key, "some/key/%05u", key_of(entry));
    make_value(entry, value);
    struct lsm_record record = {
        .key = nk_bytes_of_string(key),
        .version = {1, entry},
        .expire_at_ms = expiry_of(entry),
        .tombstone = entry % 9 == 0,
    };
    if (!record.tombstone) {
        record.value = nk_bytes_of_string(value);
    } else {
        record.expire_at_ms = 0;
    }
    lsm_write(rig->db, &record);
    rig_commit(rig, entry);
}

/* ---- Where the parts of a file begin ---- */

static void note_place(struct file *file, uint64_t offset)
{
    nk_buf_append(&file->places, nk_bytes_of(&offset, sizeof offset));
}

/* Of an index, with what it leads to: `height` is 0 for a data block. */
static void note_blocks(struct file *file, struct lsm_handle handle, unsigned height)
{
    note_place(file, handle.offset);
    if (height == 0) {
        return;
    }
    struct nk_bytes stored = nk_bytes_of(file->bytes.data + handle.offset, (size_t)handle.size);
    uint8_t way = 0;
    uint32_t raw_size = 0;
    struct nk_buf raw = {0};
    cr_assert(lsm_trailer_decode(stored.data, stored.size, handle.offset, &way, &raw_size));
    cr_assert_eq(lsm_decompress(way, stored, nk_buf_extend(&raw, raw_size), raw_size), NK_OK);
    struct lsm_block_cursor at;
    cr_assert_eq(lsm_block_open(&at, nk_buf_bytes(&raw)), NK_OK);
    while (lsm_block_next(&at) == NK_OK) {
        struct lsm_handle lower;
        cr_assert(lsm_handle_decode(at.value, file->bytes.size - LSM_FOOTER_BYTES, &lower));
        note_blocks(file, lower, height - 1);
    }
    nk_buf_deinit(&raw);
}

static void note_table(struct file *file)
{
    uint64_t footer_at = file->bytes.size - LSM_FOOTER_BYTES;
    struct lsm_footer footer;
    cr_assert_eq(lsm_footer_decode(file->bytes.data + footer_at, file->bytes.size, &footer), NK_OK);
    note_blocks(file, footer.index, 2);
    note_place(file, footer.filter.offset);
    note_place(file, footer.properties.offset);
    note_place(file, footer_at);
}

static void note_manifest(struct file *file)
{
    struct nk_bytes payload;
    note_place(file, 0);
    for (uint64_t offset = LSM_RECORDS_AT;
         lsm_record_decode(nk_buf_bytes(&file->bytes), offset, &payload);
         offset += LSM_RECORD_HEAD_BYTES + payload.size) {
        note_place(file, offset);
    }
}

/* Of the part that the byte at `offset` is in. */
static uint64_t place_of(const struct file *file, uint64_t offset)
{
    const uint64_t *places = (const void *)file->places.data;
    uint64_t nearest = 0;
    for (size_t i = 0; i < file->places.size / sizeof *places; i++) {
        if (places[i] <= offset) {
            nearest = nk_max_u64(nearest, places[i]);
        }
    }
    return nearest;
}

/* ---- The picture ---- */

static void take_picture(unsigned keys, uint64_t entries, uint64_t entries_per_flush,
                         enum lsm_compression compression)
{
    struct rig rig;
    picture.options = rig_options();
    picture.options.memtable_bytes = NK_MIB;
    picture.options.write_buffer_total_bytes = NK_MIB;
    picture.options.table_bytes = entries_per_flush * 20;
    picture.options.block_cache_bytes = 0;
    picture.options.compression = compression;
    cr_assert_leq(keys, KEYS_MAX);
    picture.keys = keys;
    picture.entries = entries;
    rig_init(&rig, 1, &picture.options);
    rig_must_open(&rig);
    for (uint64_t entry = 1; entry <= entries; entry++) {
        write_entry(&rig, entry);
        picture.last[key_of(entry)] = entry;
        if (entry % entries_per_flush == 0 || entry == entries) {
            rig_flush(&rig);
        }
    }
    struct nk_buf names = {0};
    sim_fs_list(rig.sim, RIG_DIRECTORY, &names);
    nk_buf_append_u8(&names, 0);
    char *at = (char *)names.data;
    for (char *name = strsep(&at, "\n"); name != NULL && *name != '\0'; name = strsep(&at, "\n")) {
        cr_assert_lt(picture.file_count, FILES_MAX);
        struct file *file = &picture.files[picture.file_count++];
        (void)snprintf(file->name, sizeof file->name, RIG_DIRECTORY "/%s", name);
        sim_fs_read(rig.sim, file->name, &file->bytes);
        if (strcmp(name, "manifest") == 0) {
            note_manifest(file);
        } else {
            note_table(file);
        }
    }
    nk_buf_deinit(&names);
    rig_deinit(&rig);
}

static void drop_picture(void)
{
    for (size_t i = 0; i < picture.file_count; i++) {
        nk_buf_deinit(&picture.files[i].bytes);
        nk_buf_deinit(&picture.files[i].places);
    }
    memset(&picture, 0, sizeof picture);
}

static bool is_damage(enum nk_err err)
{
    return err == NK_CORRUPT || err == NK_FORMAT_TOO_NEW;
}

/* Of the picture and of what was written behind it, up to `entries`. */
static uint64_t last_writer(unsigned key, uint64_t entries)
{
    for (uint64_t entry = entries; entry > picture.entries; entry--) {
        if (key_of(entry) == key) {
            return entry;
        }
    }
    return picture.last[key];
}

static void check_record(unsigned key, const struct lsm_entry *entry, struct nk_bytes value,
                         uint64_t entries)
{
    uint64_t last = last_writer(key, entries);
    bool tombstone = last % 9 == 0;
    char expected[160];
    make_value(last, expected);
    cr_assert(entry->version.index == last && entry->version.term == 1 &&
                  entry->tombstone == tombstone &&
                  entry->expire_at_ms == (tombstone ? 0 : expiry_of(last)) &&
                  nk_bytes_equal(value, nk_bytes_of_string(tombstone ? "" : expected)),
              "key %u: entry %u", key, (unsigned)entry->version.index);
}

static void check_gets(struct rig *rig, uint64_t entries, unsigned stride)
{
    struct nk_buf value = {0};
    for (unsigned key = 0; key < picture.keys; key += stride) {
        char name[24];
        struct lsm_entry entry;
        (void)snprintf(name, sizeof name, "some/key/%05u", key);
        enum nk_err err = lsm_get(rig->db, nk_bytes_of_string(name), LSM_DISK, &entry, &value);
        uint64_t last = last_writer(key, entries);
        if (err == NK_OK) {
            check_record(key, &entry, nk_buf_bytes(&value), entries);
        } else {
            cr_assert(is_damage(err) || (err == NK_NOT_FOUND && (last == 0 || last % 9 == 0)),
                      "key %u: %s", key, nk_err_name(err));
        }
    }
    nk_buf_deinit(&value);
}

/* What an iterator meets is right, and it leaves nothing out before it says that it cannot go on.
 */
static void check_walk(struct rig *rig, uint64_t entries, bool forward)
{
    struct lsm_view *view = lsm_view_acquire(rig->db);
    struct lsm_iter *iter = NULL;
    unsigned seen = 0; /* keys that are behind */
    lsm_iter_open(view, nk_bytes_of("", 0), nk_bytes_of("", 0), &iter);
    if (!forward) {
        lsm_iter_seek_end(iter);
    }
    for (;;) {
        struct nk_bytes key;
        struct lsm_entry entry;
        struct nk_bytes value;
        enum nk_err err = forward ? lsm_iter_next(iter, &key, &entry, &value)
                                  : lsm_iter_prev(iter, &key, &entry, &value);
        if (is_damage(err)) {
            break;
        }
        unsigned found = picture.keys;
        if (err == NK_OK) {
            char digits[8] = {0};
            memcpy(digits, key.data + 9, 5);
            found = (unsigned)strtoul(digits, NULL, 10);
            found = forward ? found : picture.keys - 1 - found;
        }
        cr_assert(err == NK_OK || err == NK_NOT_FOUND);
        for (; seen < found; seen++) {
            uint64_t last = last_writer(forward ? seen : picture.keys - 1 - seen, entries);
            cr_assert(last == 0 || last % 9 == 0);
        }
        if (err == NK_NOT_FOUND) {
            break;
        }
        check_record(forward ? found : picture.keys - 1 - found, &entry, value, entries);
        seen++;
    }
    lsm_iter_close(&iter);
    lsm_view_release(&view);
}

static void check_fault(const struct lsm_fault *fault, const struct file *flipped, uint64_t offset)
{
    cr_assert_str_eq(fault->file, flipped->name);
    cr_assert_eq(fault->offset, place_of(flipped, offset), "%s %zu: told %zu", flipped->name,
                 (size_t)offset, (size_t)fault->offset);
}

/* Returns whether anything was told. */
static bool try_flip(const struct file *flipped, uint64_t offset, uint8_t mask, unsigned stride)
{
    struct rig rig;
    rig_init(&rig, 1, &picture.options);
    for (size_t i = 0; i < picture.file_count; i++) {
        sim_fs_put(rig.sim, picture.files[i].name, nk_buf_bytes(&picture.files[i].bytes));
    }
    sim_fs_flip(rig.sim, flipped->name, offset, mask);
    struct lsm_fault fault = {0};
    enum nk_err err = rig_open(&rig, &fault);
    if (err != NK_OK) {
        cr_assert(is_damage(err), "%s", nk_err_name(err));
        check_fault(&fault, flipped, offset);
        rig_deinit(&rig);
        return true;
    }
    check_gets(&rig, picture.entries, stride);
    check_walk(&rig, picture.entries, true);
    if (stride == 1) {
        check_walk(&rig, picture.entries, false);
        /* Compaction passes nothing on that it cannot read. */
        uint64_t entries = picture.entries;
        for (size_t i = 0; err == NK_OK && i < 4; i++) {
            write_entry(&rig, ++entries);
            write_entry(&rig, ++entries);
            lsm_request_flush(rig.db);
            err = rig_work(&rig, SIZE_MAX);
        }
        cr_assert(err == NK_OK || is_damage(err), "%s", nk_err_name(err));
        check_gets(&rig, entries, 1);
    }
    const struct lsm_fault *told = lsm_last_fault(rig.db);
    bool any = told->err != NK_OK;
    if (any) {
        check_fault(told, flipped, offset);
    }
    rig_deinit(&rig);
    return any;
}

Test(lsm_flip, every_byte_of_small_files)
{
    for (enum lsm_compression way = LSM_COMPRESSION_NONE; way <= LSM_COMPRESSION_ZSTD; way++) {
        /* zstd takes its time for each block. */
        unsigned keys = way == LSM_COMPRESSION_ZSTD ? 20 : 30;
        take_picture(keys, 3 * keys - 10, 15, way);
        cr_assert_gt(picture.file_count, 3);
        size_t tried = 0;
        size_t told = 0;
        for (size_t i = 0; i < picture.file_count; i++) {
            for (uint64_t offset = 0; offset < picture.files[i].bytes.size; offset++) {
                uint8_t mask = offset % 3 == 0 ? 0xff : (uint8_t)(1u << (offset % 8));
                told += try_flip(&picture.files[i], offset, mask, 1);
                tried++;
            }
        }
        cr_expect_gt(told, tried / 2, "%zu of %zu", told, tried);
        drop_picture();
    }
}

Test(lsm_flip, some_bytes_of_large_files)
{
    const char *text = getenv("NK_FLIPS");
    size_t flips = text != NULL ? strtoull(text, NULL, 10) : 150;
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    take_picture(KEYS_MAX, 20000, 2500, LSM_COMPRESSION_LZ4);
    for (size_t i = 0; i < flips; i++) {
        const struct file *file = &picture.files[nk_prng_below(&prng, picture.file_count)];
        uint64_t offset = nk_prng_below(&prng, file->bytes.size);
        (void)try_flip(file, offset, (uint8_t)nk_prng_between(&prng, 1, 255), 97);
    }
    drop_picture();
}

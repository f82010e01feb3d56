/* One block of a table (services/shardhost/lsm/FORMAT.md, "Block").
 *
 * First byte even: the rest are the bytes of a block.  Whatever they are, nothing outside of them
 * is read; and if its keys rise and its restarts stand at whole keys, then seek and walk agree.
 * First byte odd: the rest are entries, in order of their keys.  What a builder was given comes
 * back, and every key of it is found. */

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/units.h"
#include "services/shardhost/lsm/block.h"
#include "services/shardhost/lsm/block_builder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SOUGHT_MAX 64 /* keys that are looked for in one block */

/* --- Bytes. */

static bool shares_nothing(struct nk_bytes entries, size_t offset)
{
    struct nk_reader reader =
        nk_reader_of(nk_bytes_of(entries.data + offset, entries.size - offset));
    return nk_read_varint(&reader) == 0 && !reader.failed;
}

/* Walks it all.  True if keys rise and every restart is the start of an entry with a whole key, in
 * their order: what a builder makes, and more. */
static bool well_formed(struct nk_bytes raw, size_t *out_count)
{
    static struct lsm_block_cursor cursor;
    static struct nk_buf last;
    *out_count = 0;
    nk_buf_clear(&last);
    if (lsm_block_open(&cursor, raw) != NK_OK) {
        return false;
    }
    bool good = true;
    uint32_t restart = 0;
    for (;;) {
        size_t at = cursor.next_offset;
        bool whole = at < cursor.entries.size && shares_nothing(cursor.entries, at);
        enum nk_err err = lsm_block_next(&cursor);
        if (err != NK_OK) {
            NK_ASSERT(err == NK_NOT_FOUND || err == NK_CORRUPT);
            return good && err == NK_NOT_FOUND && restart == cursor.restart_count;
        }
        NK_ASSERT(cursor.key_size <= LSM_KEY_BYTES_MAX);
        if (restart < cursor.restart_count && nk_get_u32(cursor.restarts + 4 * restart) == at) {
            good &= whole;
            restart++;
        }
        struct nk_bytes key = lsm_block_key(&cursor);
        good &= *out_count == 0 || nk_bytes_compare(nk_buf_bytes(&last), key) < 0;
        nk_buf_clear(&last);
        nk_buf_append(&last, key);
        (*out_count)++;
    }
}

/* Where the entries of a good block are, in order. */
static uint32_t offsets[1 << 16];

static size_t find_offsets(struct nk_bytes raw)
{
    static struct lsm_block_cursor cursor;
    size_t count = 0;
    if (lsm_block_open(&cursor, raw) != NK_OK) {
        return 0;
    }
    while (lsm_block_next(&cursor) == NK_OK) {
        NK_ASSERT(count < NK_COUNT_OF(offsets));
        offsets[count++] = (uint32_t)cursor.offset;
    }
    return count;
}

/* Back from the last entry: each step leads to an earlier one, in a good block to the one before.
 */
static void walk_back(struct nk_bytes raw, bool good, size_t count)
{
    static struct lsm_block_cursor cursor;
    enum nk_err err = lsm_block_open(&cursor, raw);
    if (err == NK_OK) {
        err = lsm_block_last(&cursor);
    }
    size_t left = count;
    while (err == NK_OK) {
        size_t at = cursor.offset;
        NK_ASSERT(at < cursor.next_offset);
        NK_ASSERT(cursor.next_offset <= cursor.entries.size);
        if (good) {
            NK_ASSERT(left > 0);
            NK_ASSERT(at == offsets[--left]);
        }
        err = lsm_block_prev(&cursor);
        if (err == NK_OK) {
            NK_ASSERT(cursor.offset < at);
        }
    }
    NK_ASSERT(err == NK_NOT_FOUND || err == NK_CORRUPT);
    if (good) {
        NK_ASSERT(err == NK_NOT_FOUND);
        NK_ASSERT(left == 0);
    }
}

/* How many entries are before `key`, or equal where `equal`, by walking. */
static size_t count_before(struct nk_bytes raw, struct nk_bytes key, bool equal)
{
    static struct lsm_block_cursor cursor;
    size_t count = 0;
    NK_ASSERT(lsm_block_open(&cursor, raw) == NK_OK);
    while (lsm_block_next(&cursor) == NK_OK &&
           nk_bytes_compare(lsm_block_key(&cursor), key) < (equal ? 1 : 0)) {
        count++;
    }
    return count;
}

static void check_sought(struct nk_bytes raw, const struct lsm_block_cursor *sought,
                         enum nk_err err, size_t expected, size_t count)
{
    NK_ASSERT(err == (expected < count ? NK_OK : NK_NOT_FOUND));
    if (err == NK_OK) {
        static struct lsm_block_cursor walked;
        NK_ASSERT(sought->offset == offsets[expected]);
        NK_ASSERT(lsm_block_open(&walked, raw) == NK_OK);
        for (size_t i = 0; i <= expected; i++) {
            NK_ASSERT(lsm_block_next(&walked) == NK_OK);
        }
        NK_ASSERT(nk_bytes_equal(lsm_block_key(sought), lsm_block_key(&walked)));
        NK_ASSERT(sought->value.data == walked.value.data);
        NK_ASSERT(sought->value.size == walked.value.size);
    }
}

static void seek(struct nk_bytes raw, struct nk_bytes key, bool good, size_t count)
{
    static struct lsm_block_cursor cursor;
    for (int how = 0; how < 3; how++) { /* at or after; before; before or equal */
        bool equal = how == 2;
        enum nk_err err = lsm_block_open(&cursor, raw);
        if (err == NK_OK) {
            err =
                how == 0 ? lsm_block_seek(&cursor, key) : lsm_block_seek_back(&cursor, key, equal);
        }
        NK_ASSERT(err == NK_OK || err == NK_NOT_FOUND || err == NK_CORRUPT);
        if (good) {
            size_t before = count_before(raw, key, equal);
            size_t expected = how == 0 ? before : before > 0 ? before - 1 : count;
            check_sought(raw, &cursor, err, expected, count);
        }
    }
}

static void fuzz_bytes(struct nk_bytes raw)
{
    size_t count = 0;
    bool good = well_formed(raw, &count);
    if (good) {
        NK_ASSERT(find_offsets(raw) == count);
    }
    walk_back(raw, good, count);
    static struct lsm_block_cursor cursor;
    size_t step = count / SOUGHT_MAX + 1;
    if (lsm_block_open(&cursor, raw) == NK_OK) {
        for (size_t i = 0; lsm_block_next(&cursor) == NK_OK; i++) {
            if (i % step == 0) {
                uint8_t key[LSM_KEY_BYTES_MAX + 1];
                memcpy(key, cursor.key, cursor.key_size);
                key[cursor.key_size] = 0; /* the next possible key */
                seek(raw, nk_bytes_of(key, cursor.key_size), good, count);
                seek(raw, nk_bytes_of(key, cursor.key_size + 1), good, count);
            }
        }
    }
    seek(raw, nk_bytes_of(NULL, 0), good, count);
    seek(raw, nk_bytes_of(raw.data, nk_min_size(raw.size, 16)), good, count);
}

/* --- Entries. */

/* Each is (bytes kept of the last key, size of the rest, size of the value) and these bytes. */
static struct nk_bytes build(struct nk_reader *input, struct lsm_block_builder *builder)
{
    uint8_t key[512];
    uint8_t last[512];
    size_t last_size = 0;
    while (nk_reader_left(input) >= 3) {
        size_t kept = nk_min_size(nk_read_u8(input), last_size);
        struct nk_bytes rest =
            nk_read_bytes(input, nk_min_size(nk_read_u8(input), nk_reader_left(input)));
        size_t value_size = nk_reader_left(input) > 0 ? nk_read_u8(input) : 0;
        struct nk_bytes value =
            nk_read_bytes(input, nk_min_size(value_size, nk_reader_left(input)));
        rest.size = nk_min_size(rest.size, sizeof key - kept);
        memcpy(key, last, kept);
        if (rest.size > 0) {
            memcpy(key + kept, rest.data, rest.size);
        }
        struct nk_bytes whole = nk_bytes_of(key, kept + rest.size);
        if (builder->count > 0 && nk_bytes_compare(nk_bytes_of(last, last_size), whole) >= 0) {
            continue;
        }
        size_t head = value.size / 2;
        struct nk_bytes tail =
            value.size > 0 ? nk_bytes_of(value.data + head, value.size - head) : value;
        lsm_block_builder_add(builder, whole, nk_bytes_of(value.data, head), tail);
        memcpy(last, key, whole.size);
        last_size = whole.size;
    }
    return builder->count > 0 ? lsm_block_builder_finish(builder) : nk_bytes_of(NULL, 0);
}

static void fuzz_entries(struct nk_reader *input)
{
    uint32_t interval = 1 + nk_read_u8(input) % 20;
    struct lsm_block_builder builder;
    lsm_block_builder_init(&builder, interval);
    struct nk_bytes built = build(input, &builder);
    if (built.size > 0) {
        size_t count = 0;
        NK_ASSERT(well_formed(built, &count));
        NK_ASSERT(count > 0);
        fuzz_bytes(built);

        /* A block says all that its builder was told. */
        struct lsm_block_builder again;
        static struct lsm_block_cursor cursor;
        lsm_block_builder_init(&again, interval);
        NK_ASSERT(lsm_block_open(&cursor, built) == NK_OK);
        while (lsm_block_next(&cursor) == NK_OK) {
            lsm_block_builder_add(&again, lsm_block_key(&cursor), cursor.value,
                                  nk_bytes_of(NULL, 0));
        }
        NK_ASSERT(nk_bytes_equal(lsm_block_builder_finish(&again), built));
        lsm_block_builder_deinit(&again);
    }
    lsm_block_builder_deinit(&builder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nk_reader input = nk_reader_of(nk_bytes_of(data, size));
    bool entries = nk_read_u8(&input) % 2 != 0;
    if (input.failed) {
        return 0;
    }
    if (entries) {
        fuzz_entries(&input);
    } else {
        fuzz_bytes(nk_bytes_of(input.next, nk_reader_left(&input)));
    }
    return 0;
}

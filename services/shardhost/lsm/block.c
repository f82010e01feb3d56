#include "services/shardhost/lsm/block.h"

#include "common/base/codec.h"

enum nk_err lsm_block_open(struct lsm_block_cursor *cursor, struct nk_bytes raw)
{
    if (raw.size < 8) {
        return NK_CORRUPT;
    }
    uint32_t count = nk_get_u32(raw.data + raw.size - 4);
    if (count == 0 || count > (raw.size - 4) / 4) {
        return NK_CORRUPT;
    }
    size_t restarts_at = raw.size - 4 - (size_t)count * 4;
    cursor->entries = nk_bytes_of(raw.data, restarts_at);
    cursor->restarts = raw.data + restarts_at;
    cursor->restart_count = count;
    cursor->offset = 0;
    cursor->next_offset = 0;
    cursor->value = nk_bytes_of(NULL, 0);
    cursor->key_size = 0;
    return nk_get_u32(cursor->restarts) == 0 ? NK_OK : NK_CORRUPT;
}

/* The three sizes of an entry; most fit in one byte each. */
static bool read_sizes(struct nk_reader *reader, uint64_t *shared, uint64_t *unshared,
                       uint64_t *value_size)
{
    const uint8_t *at = reader->next;
    if (nk_reader_left(reader) >= 3 && ((at[0] | at[1] | at[2]) & 0x80) == 0) {
        *shared = at[0];
        *unshared = at[1];
        *value_size = at[2];
        reader->next += 3;
        return true;
    }
    *shared = nk_read_varint(reader);
    *unshared = nk_read_varint(reader);
    *value_size = nk_read_varint(reader);
    return !reader->failed;
}

enum nk_err lsm_block_next(struct lsm_block_cursor *cursor)
{
    if (cursor->next_offset == cursor->entries.size) {
        return NK_NOT_FOUND;
    }
    struct nk_reader reader = nk_reader_of(nk_bytes_of(cursor->entries.data + cursor->next_offset,
                                                       cursor->entries.size - cursor->next_offset));
    uint64_t shared = 0;
    uint64_t unshared = 0;
    uint64_t value_size = 0;
    if (!read_sizes(&reader, &shared, &unshared, &value_size) || shared > cursor->key_size ||
        unshared > LSM_KEY_BYTES_MAX - shared) {
        return NK_CORRUPT;
    }
    struct nk_bytes suffix = nk_read_bytes(&reader, unshared);
    struct nk_bytes value = nk_read_bytes(&reader, value_size);
    if (reader.failed) {
        return NK_CORRUPT;
    }
    memcpy(cursor->key + shared, suffix.data, suffix.size);
    cursor->key_size = (size_t)(shared + unshared);
    cursor->value = value;
    cursor->offset = cursor->next_offset;
    cursor->next_offset = (size_t)(reader.next - cursor->entries.data);
    return NK_OK;
}

/* Stands before the entry of a restart, whose key is whole. */
static enum nk_err go_to_restart(struct lsm_block_cursor *cursor, uint32_t restart)
{
    size_t offset = nk_get_u32(cursor->restarts + (size_t)restart * 4);
    if (offset >= cursor->entries.size) {
        return NK_CORRUPT;
    }
    cursor->next_offset = offset;
    cursor->key_size = 0;
    return NK_OK;
}

enum nk_err lsm_block_seek(struct lsm_block_cursor *cursor, struct nk_bytes key)
{
    /* The last restart whose key is before `key`, or the first of all. */
    uint32_t first = 0;
    uint32_t limit = cursor->restart_count;
    while (limit - first > 1) {
        uint32_t middle = first + (limit - first) / 2;
        enum nk_err err = go_to_restart(cursor, middle);
        if (err == NK_OK) {
            err = lsm_block_next(cursor);
        }
        if (err != NK_OK) {
            return NK_CORRUPT;
        }
        if (nk_bytes_compare(lsm_block_key(cursor), key) < 0) {
            first = middle;
        } else {
            limit = middle;
        }
    }
    enum nk_err err = go_to_restart(cursor, first);
    while (err == NK_OK) {
        err = lsm_block_next(cursor);
        if (err == NK_OK && nk_bytes_compare(lsm_block_key(cursor), key) >= 0) {
            return NK_OK;
        }
    }
    return err;
}

/* Entries can only be read forward: from the restart before `end` to the entry that ends there. */
static enum nk_err read_up_to(struct lsm_block_cursor *cursor, size_t end)
{
    uint32_t first = 0;
    uint32_t limit = cursor->restart_count;
    while (limit - first > 1) { /* the last restart that lies before `end` */
        uint32_t middle = first + (limit - first) / 2;
        if (nk_get_u32(cursor->restarts + (size_t)middle * 4) < end) {
            first = middle;
        } else {
            limit = middle;
        }
    }
    enum nk_err err = go_to_restart(cursor, first);
    while (err == NK_OK && cursor->next_offset < end) {
        err = lsm_block_next(cursor);
    }
    return err == NK_OK && cursor->next_offset == end ? NK_OK : NK_CORRUPT;
}

enum nk_err lsm_block_prev(struct lsm_block_cursor *cursor)
{
    return cursor->offset == 0 ? NK_NOT_FOUND : read_up_to(cursor, cursor->offset);
}

enum nk_err lsm_block_last(struct lsm_block_cursor *cursor)
{
    return cursor->entries.size == 0 ? NK_CORRUPT : read_up_to(cursor, cursor->entries.size);
}

enum nk_err lsm_block_seek_back(struct lsm_block_cursor *cursor, struct nk_bytes key, bool equal)
{
    enum nk_err err = lsm_block_seek(cursor, key);
    if (err == NK_NOT_FOUND) {
        return lsm_block_last(cursor);
    }
    if (err == NK_OK && !(equal && nk_bytes_equal(lsm_block_key(cursor), key))) {
        err = lsm_block_prev(cursor);
    }
    return err;
}

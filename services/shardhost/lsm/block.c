#include "services/shardhost/lsm/block.h"

#include <assert.h>

#include "common/base/codec.h"

#define SUFFIX_COPY ((size_t)16)

static_assert(sizeof(((struct lsm_block_cursor *)0)->key) >= LSM_KEY_BYTES_MAX + SUFFIX_COPY,
              "a short copy ends inside");

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

/* Copies the end of a key; short ones without a call, which may write beyond the end but not
 * outside `key`, nor read outside the entries. */
static inline void copy_suffix(uint8_t *to, const uint8_t *from, size_t size, size_t readable)
{
    if (size <= SUFFIX_COPY && readable >= SUFFIX_COPY) {
        memcpy(to, from, SUFFIX_COPY);
    } else {
        memcpy(to, from, size);
    }
}

enum nk_err lsm_block_next(struct lsm_block_cursor *cursor)
{
    if (cursor->next_offset == cursor->entries.size) {
        return NK_NOT_FOUND;
    }
    struct nk_reader reader = nk_reader_of(nk_bytes_of(cursor->entries.data + cursor->next_offset,
                                                       cursor->entries.size - cursor->next_offset));
    uint64_t shared = lsm_read_varint(&reader);
    uint64_t unshared = lsm_read_varint(&reader);
    uint64_t value_size = lsm_read_varint(&reader);
    size_t left = nk_reader_left(&reader);
    if (reader.failed || shared > cursor->key_size || unshared > LSM_KEY_BYTES_MAX - shared ||
        unshared > left || value_size > left - unshared) {
        return NK_CORRUPT;
    }
    copy_suffix(cursor->key + shared, reader.next, (size_t)unshared, left);
    cursor->key_size = (size_t)(shared + unshared);
    cursor->value = nk_bytes_of(reader.next + unshared, (size_t)value_size);
    cursor->offset = cursor->next_offset;
    cursor->next_offset = (size_t)(cursor->value.data + value_size - cursor->entries.data);
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

#pragma once

/* Reads one block (FORMAT.md, "Block").  Whatever the bytes are, nothing outside them is read. */

#include "services/shardhost/lsm/key.h"

struct lsm_block_cursor {
    struct nk_bytes entries; /* the block without its restart array */
    const uint8_t *restarts;
    uint32_t restart_count;
    size_t offset;      /* of the current entry */
    size_t next_offset; /* of the entry behind it */
    struct nk_bytes value;
    size_t key_size;
    uint8_t key[LSM_KEY_BYTES_MAX + 16]; /* with room for short copies (block.c) */
};

/* Looks at `raw`, borrowed as long as the cursor is used.  Then it stands before the first entry.
 * NK_CORRUPT. */
NK_MUST_CHECK enum nk_err lsm_block_open(struct lsm_block_cursor *cursor, struct nk_bytes raw);

/* To the next entry; NK_NOT_FOUND at the end, NK_CORRUPT. */
NK_MUST_CHECK enum nk_err lsm_block_next(struct lsm_block_cursor *cursor);

/* From an entry to the one before it; NK_NOT_FOUND if it was the first, NK_CORRUPT. */
NK_MUST_CHECK enum nk_err lsm_block_prev(struct lsm_block_cursor *cursor);

/* To the last entry; NK_CORRUPT (a block has at least one). */
NK_MUST_CHECK enum nk_err lsm_block_last(struct lsm_block_cursor *cursor);

/* To the first entry whose key is at or after `key`; NK_NOT_FOUND if all are before it,
 * NK_CORRUPT. */
NK_MUST_CHECK enum nk_err lsm_block_seek(struct lsm_block_cursor *cursor, struct nk_bytes key);

/* To the last entry whose key is before `key`, or equal where `equal`; NK_NOT_FOUND if there is
 * none, NK_CORRUPT. */
NK_MUST_CHECK enum nk_err lsm_block_seek_back(struct lsm_block_cursor *cursor, struct nk_bytes key,
                                              bool equal);

static inline struct nk_bytes lsm_block_key(const struct lsm_block_cursor *cursor)
{
    return nk_bytes_of(cursor->key, cursor->key_size);
}

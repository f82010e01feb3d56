#pragma once

/* What this engine knows about keys: their size, the separators of index blocks, and how what a
 * record says of its key is written before the value in a data block (FORMAT.md). */

#include "common/base/codec.h"
#include "common/base/limits.h"
#include "services/shardhost/lsm/lsm.h"

#define LSM_KEY_BYTES_MAX   (NK_KEY_BYTES_MAX + 1)
#define LSM_ENTRY_BYTES_MAX ((size_t)31) /* tag, term, index, expiry */

/* nk_read_varint, for the numbers of a record: most have one or two bytes. */
static inline uint64_t lsm_read_varint(struct nk_reader *reader)
{
    const uint8_t *at = reader->next;
    if (nk_reader_left(reader) >= 2) {
        if (at[0] < 0x80) {
            reader->next = at + 1;
            return at[0];
        }
        if (at[1] < 0x80 && at[1] != 0) {
            reader->next = at + 2;
            return (uint64_t)(at[0] & 0x7f) | (uint64_t)at[1] << 7;
        }
    }
    return nk_read_varint(reader);
}

/* The first eight bytes of a key as a number, zeros behind the end: two keys are in the order of
 * these numbers, unless they are equal. */
static inline uint64_t lsm_key_prefix(struct nk_bytes key)
{
    uint8_t bytes[8] = {0};
    const uint8_t *from = key.data;
    if (key.size < sizeof bytes) {
        memcpy(bytes, key.data, key.size);
        from = bytes;
    }
    uint64_t prefix = 0;
    for (size_t i = 0; i < sizeof bytes; i++) { /* one load and one swap to the compiler */
        prefix = prefix << 8 | from[i];
    }
    return prefix;
}

/* Shortens `last`, kept in `out`, to a shorter key that still is >= it and < `next`, if there is
 * one.  last < next (asserted). */
void lsm_key_separator(struct nk_bytes last, struct nk_bytes next, struct nk_buf *out);

/* Writes the entry; returns its size, at most LSM_ENTRY_BYTES_MAX. */
size_t lsm_entry_encode(const struct lsm_entry *entry, uint8_t *out);

/* Splits what a data block holds for a key.  NK_CORRUPT. */
NK_MUST_CHECK enum nk_err lsm_entry_decode(struct nk_bytes payload, struct lsm_entry *out_entry,
                                           struct nk_bytes *out_value);

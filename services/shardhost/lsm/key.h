#pragma once

/* What this engine knows about keys: their size, the separators of index blocks, and how what a
 * record says of its key is written before the value in a data block (FORMAT.md). */

#include "common/base/limits.h"
#include "services/shardhost/lsm/lsm.h"

#define LSM_KEY_BYTES_MAX   (NK_KEY_BYTES_MAX + 1)
#define LSM_ENTRY_BYTES_MAX ((size_t)31) /* tag, term, index, expiry */

/* Shortens `last`, kept in `out`, to a shorter key that still is >= it and < `next`, if there is
 * one.  last < next (asserted). */
void lsm_key_separator(struct nk_bytes last, struct nk_bytes next, struct nk_buf *out);

/* Writes the entry; returns its size, at most LSM_ENTRY_BYTES_MAX. */
size_t lsm_entry_encode(const struct lsm_entry *entry, uint8_t *out);

/* Splits what a data block holds for a key.  NK_CORRUPT. */
NK_MUST_CHECK enum nk_err lsm_entry_decode(struct nk_bytes payload, struct lsm_entry *out_entry,
                                           struct nk_bytes *out_value);

#pragma once

/* Compression of one block.  Thread-safe; no state is kept. */

#include "services/shardhost/lsm/lsm.h"

/* Appends `raw` in the given way to `out`, or as it is when that saves less than an eighth; returns
 * the way that was taken. */
enum lsm_compression lsm_compress(enum lsm_compression wanted, struct nk_bytes raw,
                                  struct nk_buf *out);

/* Fills exactly `raw_size` bytes at `out`.  NK_CORRUPT: unknown way, or the size is not that. */
NK_MUST_CHECK enum nk_err lsm_decompress(uint8_t way, struct nk_bytes stored, uint8_t *out,
                                         size_t raw_size);

#pragma once

/* Reads a table from some key to its end, for compaction: large reads ahead into one buffer, one
 * buffer for the block at hand, nothing left in the block cache.  Blocking calls; one thread. */

#include "services/shardhost/lsm/table.h"

struct lsm_scan {
    struct lsm_table *table; /* borrowed; NULL before the first open */
    uint64_t data_end;       /* data blocks end there at the latest */
    size_t ahead_bytes;      /* what is read at once */
    struct lsm_cached *top;  /* held */
    struct lsm_cached *index;
    struct lsm_block_cursor at_top;
    struct lsm_block_cursor at_index;
    struct lsm_block_cursor at_data;
    uint64_t block_offset; /* of the block entered last, for faults */
    struct nk_buf ahead;   /* the file from ahead_offset on */
    uint64_t ahead_offset;
    struct nk_buf raw; /* the block at hand, where it was compressed */

    /* Where it stands; borrowed until the next call. */
    struct lsm_entry entry;
    struct nk_bytes value;
};

/* A zeroed scan with `ahead_bytes` set is closed and may be opened, again and again: buffers stay
 * until deinit. */
void lsm_scan_deinit(struct lsm_scan *scan);

/* Stands on the first key at or after `start`.  NK_NOT_FOUND: there is none.  NK_IO, NK_CORRUPT,
 * NK_FORMAT_TOO_NEW. */
NK_MUST_CHECK enum nk_err lsm_scan_open(struct lsm_scan *scan, struct lsm_table *table,
                                        struct nk_bytes start);
NK_MUST_CHECK enum nk_err lsm_scan_next(struct lsm_scan *scan);

static inline struct nk_bytes lsm_scan_key(const struct lsm_scan *scan)
{
    return lsm_block_key(&scan->at_data);
}

#pragma once

/* Several runs of tables as one: each key once, with its newest record.  No allocation and no
 * indirect call for a record.  Blocking calls; one thread. */

#include "services/shardhost/lsm/scan.h"

/* Tables without overlaps, in key order: one of level 0, or those of another level. */
struct lsm_merge_run {
    struct lsm_table *const *tables; /* borrowed until deinit */
    size_t count;
    size_t next; /* to be opened when the scan has ended */
    struct lsm_scan scan;
    uint64_t prefix; /* of the key where it stands: its first eight bytes as a number */
};

struct lsm_merge {
    struct lsm_merge_run *runs; /* the newest first */
    size_t run_count;
    uint32_t *heap; /* runs that have not ended, the smallest key on top */
    size_t heap_count;
    bool started;
    uint64_t passed_count; /* records left behind, older ones too */
    size_t last_size;      /* the key returned last */
    uint8_t last[LSM_KEY_BYTES_MAX];
};

/* `ahead_bytes` is what each run reads at once.  The caller sets tables and count of the runs. */
void lsm_merge_init(struct lsm_merge *merge, size_t run_count, size_t ahead_bytes);
void lsm_merge_deinit(struct lsm_merge *merge);

/* Stands on the first key at or after `start` (empty: the first of all).  Called once.  NK_IO,
 * NK_CORRUPT, NK_FORMAT_TOO_NEW. */
NK_MUST_CHECK enum nk_err lsm_merge_start(struct lsm_merge *merge, struct nk_bytes start);

/* The next key and its newest record, borrowed until the next call.  Keys rise, or it is
 * NK_CORRUPT.  NK_NOT_FOUND at the end. */
NK_MUST_CHECK enum nk_err lsm_merge_next(struct lsm_merge *merge, struct nk_bytes *out_key,
                                         struct lsm_entry *out_entry, struct nk_bytes *out_value);

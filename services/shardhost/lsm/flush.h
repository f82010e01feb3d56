#pragma once

/* Makes one sealed memtable durable as a table, in slices; the state between them is here.  The
 * install that follows is work.c's: an edit of the manifest that names the table together with the
 * position it reaches. */

#include "services/shardhost/lsm/manifest.h"
#include "services/shardhost/lsm/memtable.h"
#include "services/shardhost/lsm/table_builder.h"

struct lsm_flush {
    /* Set by the loop when the flush is handed out. */
    struct lsm_memtable *memtable; /* NULL: only the position moved */
    struct lsm_position position;

    /* The worker's. */
    bool directory_made;               /* directory and manifest exist */
    struct lsm_table_builder *builder; /* while records are being written */
    struct lsm_memtable_cursor cursor;
    uint64_t written_bytes;    /* of records, so far */
    uint64_t reported_bytes;   /* as added to engine->flushing_bytes */
    struct lsm_table *table;   /* written, its name promised, not installed yet */
    struct lsm_levels *result; /* installed: for the loop to take */
};

/* Makes the directory and an empty manifest, so that tables without a manifest mean that it was
 * lost.  The install token is
 * the caller's. */
NK_MUST_CHECK enum nk_err lsm_flush_make_database(struct lsm_flush *flush,
                                                  struct lsm_manifest *manifest,
                                                  uint64_t number_next);

/* Writes about `budget_bytes` of the memtable to table `number`, which counts when a new table is
 * begun; flush->table is set when it is complete and its name promised.  After an error the next
 * call begins a new one.  NK_NO_SPACE, NK_IO. */
NK_MUST_CHECK enum nk_err lsm_flush_write(struct lsm_flush *flush, struct lsm_manifest *manifest,
                                          const struct lsm_io *io,
                                          const struct lsm_options *options, uint64_t number,
                                          size_t budget_bytes);

/* The memtable that was being flushed is gone.  No builder and no table are left (asserted). */
void lsm_flush_forget(struct lsm_flush *flush);

/* Frees what an unfinished flush holds; its file becomes an orphan. */
void lsm_flush_deinit(struct lsm_flush *flush);

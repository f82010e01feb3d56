#pragma once

/* Makes one sealed memtable durable: a table on level 0 and an edit of the manifest that names it
 * together with the position it reaches.  In slices; the state between them is here. */

#include "services/shardhost/lsm/manifest.h"
#include "services/shardhost/lsm/memtable.h"
#include "services/shardhost/lsm/table_builder.h"

struct lsm_flush {
    /* Set by the loop when the database is picked. */
    struct lsm_memtable *memtable; /* NULL: only the position moved */
    struct lsm_position position;
    struct lsm_levels *levels; /* what the new table is added to */

    /* The worker's. */
    uint64_t number_next;              /* of the next table file */
    bool directory_made;               /* directory and manifest exist */
    struct lsm_table_builder *builder; /* while records are being written */
    struct lsm_memtable_cursor cursor;
    struct lsm_table *table; /* written, its name promised, not installed yet */

    /* Set when it is durable, taken by the loop. */
    bool installed;
    struct lsm_levels *result; /* NULL: as before */
};

/* Does about `budget_bytes` of it; *out_done when it is installed.  After an error the next call
 * goes on from what is still good.  NK_NO_SPACE, NK_IO. */
NK_MUST_CHECK enum nk_err lsm_flush_step(struct lsm_flush *flush, struct lsm_manifest *manifest,
                                         const struct lsm_io *io, const struct lsm_options *options,
                                         size_t budget_bytes, bool *out_done);

/* Frees what an unfinished flush holds; its file becomes an orphan. */
void lsm_flush_deinit(struct lsm_flush *flush);

#pragma once

/* Tables, for whoever inspects more than one. */

#include "services/shardhost/lsm/inspect/report.h"
#include "services/shardhost/lsm/table.h"

/* Writes what is in the bytes of a table file.  NK_FORMAT_TOO_NEW. */
NK_MUST_CHECK enum nk_err inspect_table_bytes(struct report *report, struct nk_bytes file);

/* What the footer and the properties of a table file say. */
struct table_summary {
    struct nk_buf bytes;        /* the keys of `meta` are in it */
    struct lsm_table_meta meta; /* but its number */
};

/* NULL: *out_summary is there; else what is wrong, at *out_offset.  NK_CORRUPT, NK_FORMAT_TOO_NEW,
 * NK_NOT_FOUND, NK_IO. */
NK_MUST_CHECK enum nk_err inspect_table_summary(const struct nk_fs *fs, const char *name,
                                                struct table_summary *summary, uint64_t *out_offset,
                                                const char **out_what);

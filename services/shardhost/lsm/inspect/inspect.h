#pragma once

/* Looks at the files of a database and says in plain text what is in them.  README.md has the
 * lines, which are stable: scripts may read them.
 *
 * Nothing is created, locked or changed, so the files may be a copy or those of a running process.
 * Damage is told, with file and offset, and never the end: whatever else can be read still is.  All
 * decoding is the engine's own; only what it checks across blocks and files is done here.
 *
 * All calls block. */

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/env/fs.h"

struct lsm_inspect {
    const struct nk_fs *fs; /* only read */
    const char *prefix;     /* stands before file names in the text: "data/lsm/shard-7/" */
    void (*write)(void *ctx, struct nk_bytes text); /* takes the next whole lines */
    void *ctx;
    bool entries;   /* of a table: each record */
    bool values;    /* with `entries`: their values too */
    bool full_keys; /* else long keys are cut, except in `entries` */
    bool check;     /* of a shard: read every block of every table */
};

/* Each writes what it finds and counts what is damaged in *out_damage_count, 0 for none.
 *
 * NK_OK: it looked.  NK_NOT_FOUND: there is no such file, or no database in the directory.
 * NK_FORMAT_TOO_NEW: a later version wrote it.  NK_TOO_LARGE: such a file is none of ours.
 * NK_NO_SPACE: there is not enough memory for a file (of a shard: the rest was told, with its
 * damage counted).  NK_IO. */

/* The table file `name`. */
NK_MUST_CHECK enum nk_err lsm_inspect_table(const struct lsm_inspect *inspect, const char *name,
                                            uint64_t *out_damage_count);

/* The manifest file `name`. */
NK_MUST_CHECK enum nk_err lsm_inspect_manifest(const struct lsm_inspect *inspect, const char *name,
                                               uint64_t *out_damage_count);

/* The database in the root of `fs`. */
NK_MUST_CHECK enum nk_err lsm_inspect_shard(const struct lsm_inspect *inspect,
                                            uint64_t *out_damage_count);

#pragma once

/* The small durable facts of a process (common/env/meta.h) in an LMDB environment of its own.
 * Format: FORMAT.md. */

#include "common/base/text.h"
#include "common/env/meta.h"

struct nk_meta_lmdb;

/* Opens or creates the environment in `directory`, which exists and which no other process uses
 * (the caller holds the lock of its role).  On failure `reason` has one line for the operator.
 *
 * NK_CORRUPT: not readable as what we wrote; NK_FORMAT_TOO_NEW: a later version wrote it, it is
 * left as it is; NK_NO_SPACE; NK_IO. */
NK_MUST_CHECK enum nk_err nk_meta_lmdb_open(const char *directory, struct nk_meta_lmdb **out_lmdb,
                                            struct nk_text *reason);
void nk_meta_lmdb_close(struct nk_meta_lmdb **lmdb);

/* The contract, valid until close. */
struct nk_meta nk_meta_lmdb_contract(struct nk_meta_lmdb *lmdb);

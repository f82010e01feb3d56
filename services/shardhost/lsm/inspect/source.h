#pragma once

/* Files that somebody else may be writing, and how long to search in them. */

#include "services/shardhost/lsm/inspect/inspect.h"

#define INSPECT_TABLE_BYTES_MAX ((uint64_t)(4 * NK_GIB)) /* no table of ours is near it */

/* The whole file in *out.  NK_NOT_FOUND, NK_TOO_LARGE, NK_NO_SPACE, NK_IO. */
NK_MUST_CHECK enum nk_err source_read(const struct nk_fs *fs, const char *name, uint64_t bytes_max,
                                      struct nk_buf *out);

/* How many bytes a search in a file of that size may look at, again and again. */
uint64_t source_search_bytes(uint64_t file_size);

/* The manifest, as two reads one after the other have found it: of a single one some parts may be
 * from before a change and some from after it. */
NK_MUST_CHECK enum nk_err source_read_manifest(const struct nk_fs *fs, const char *name,
                                               struct nk_buf *out);

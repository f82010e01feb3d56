#pragma once

/* Making and removing the directory of a database.  Blocking calls. */

#include "common/env/fs.h"
#include "services/shardhost/lsm/names.h"

/* mkdir for each part of the path, each name promised before the next.  NK_OK if it is there.
 * NK_NO_SPACE, NK_IO. */
NK_MUST_CHECK enum nk_err lsm_directory_make(const struct nk_fs *fs, const char *directory);

/* Removes a database that nobody has open, or what is left of one.  Once the manifest has its other
 * name the database is gone for good, whatever happens; files of others stay, and then the
 * directory does.  NK_IO: call it again. */
NK_MUST_CHECK enum nk_err lsm_directory_remove(const struct nk_fs *fs, const char *directory);

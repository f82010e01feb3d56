#pragma once

/* Private to services/start. */

#include "common/env/fs.h"

#define START_NAME_BYTES_MAX 64

/* "run/<role><ending>" */
void start_run_name(const char *role, const char *ending, char out_name[START_NAME_BYTES_MAX]);

/* Gives run/<role><ending> new contents, in one step for whoever reads it.  Nothing is synced. */
NK_MUST_CHECK enum nk_err start_replace(const struct nk_fs *fs, const char *role,
                                        const char *ending, struct nk_bytes contents);

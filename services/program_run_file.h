#pragma once

/* data_dir/run/<role>.json: what a running process says about itself. */

#include "common/env/fs.h"

/* Writes it, in one step for whoever reads it; what a former process has left is replaced.  The
 * directory run exists. */
NK_MUST_CHECK enum nk_err program_run_file_write(const struct nk_fs *fs, const char *role,
                                                 struct nk_bytes text);

/* If it stays nevertheless, its pid is of a process that has ended: readers check that. */
void program_run_file_remove(const struct nk_fs *fs, const char *role);

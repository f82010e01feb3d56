#pragma once

/* What every program does first and last, with roles or without: its settings, its exit code, its
 * run file, its session. */

#include "common/base/text.h"
#include "common/config/config.h"
#include "common/env/fs.h"

/* Reads a whole file of the system; NK_INVALID when it cannot or the file is larger than
 * `bytes_max`, with one line in `reason`.  common/env_posix has it. */
typedef enum nk_err (*start_read_file)(const char *path, size_t bytes_max, struct nk_buf *out,
                                       struct nk_text *reason);

/* Loads the settings (flags, environment, and the file that --config names), or does what --help,
 * --version or --print-config asks for: then *out_done is true and there is nothing more to do.
 * NK_INVALID: one line was written to standard error.  The caller frees *out_settings in every
 * case. */
NK_MUST_CHECK
enum nk_err start_settings(const char *program, int argc, char **argv, start_read_file read_file,
                           struct nk_settings **out_settings, bool *out_done);

/* 0 for NK_OK; 78 (EX_CONFIG of sysexits.h) for NK_INVALID, NK_CONFLICT and NK_FORMAT_TOO_NEW:
 * program, settings, data and surroundings do not fit together, and starting again would change
 * nothing; else 1. */
int start_exit_code(enum nk_err err);

/* ---- data_dir/run/<role>.json: what a running process says about itself ---- */

/* Writes it, in one step for whoever reads it; what a former process has left is replaced.  The
 * directory run exists. */
NK_MUST_CHECK enum nk_err start_run_file_write(const struct nk_fs *fs, const char *role,
                                               struct nk_bytes text);

/* If it stays nevertheless, its pid is of a process that has ended: readers check that. */
void start_run_file_remove(const struct nk_fs *fs, const char *role);

/* ---- data_dir/run/<role>.session: which incarnation of its role a process is ---- */

/* A number above that of every process of `role` before it on this data directory, kept for the
 * next one; after a loss of power, when nobody is left who knew the former ones, above them by the
 * clock.  Never 0.  The directory run exists. */
uint64_t start_session(const struct nk_fs *fs, const char *role, uint64_t wall_ms, uint64_t random);

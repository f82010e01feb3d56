#pragma once

/* The settings of a program: flags, environment, and the file that --config names; and how a
 * program says in the end that they were wrong. */

#include "common/base/text.h"
#include "common/config/config.h"

/* Loads them, or does what --help, --version or --print-config asks for: then *out_done is true and
 * there is nothing more to do.  NK_INVALID: one line was written to standard error.  The caller
 * frees *out_settings in every case. */
NK_MUST_CHECK
enum nk_err program_settings(const char *program, int argc, char **argv,
                             struct nk_settings **out_settings, bool *out_done);

/* 0 for NK_OK; 78 (EX_CONFIG of sysexits.h) for NK_INVALID and NK_CONFLICT: settings, data and
 * surroundings do not fit together, and starting again would change nothing; else 1. */
int program_exit_code(enum nk_err err);

#pragma once

/* Runs of many seeds. */

#include "tests/sim/sim.h"

struct run_command {
    uint64_t first;
    uint64_t count;
    uint64_t jobs; /* processes side by side */
    bool keep_going;
    bool twice;           /* run each seed twice and compare the traces */
    const char *expected; /* names of checks, with commas: success is that one of them fails.  NULL:
                           * success is that none does */
    const char *seeds_file;
    struct sim_options options;
};

/* Exit codes: 0 success, 1 not, 2 it could not be tried. */
int run_seeds(const struct run_command *command);
int run_seeds_file(const struct run_command *command);

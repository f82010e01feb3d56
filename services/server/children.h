#pragma once

/* The child processes of a node: found, started, watched and ended as the policy of supervise.h
 * says.  Main thread only, of a process that has no other. */

#include "common/base/text.h"
#include "common/config/config.h"
#include "common/env/clock.h"
#include "common/env/fs.h"
#include "common/env/log.h"

struct children;

/* All borrowed until children_close. */
struct children_options {
    const struct nk_config *config;
    const char *const *arguments; /* our own, without the program's name */
    size_t argument_count;
    struct nk_fs fs; /* rooted at data_dir */
    struct nk_log log;
    struct nk_clock clock;
    int stop_fd; /* a signalfd of the signals that ask us to stop */
};

/* Finds the programs and removes what former processes have left in data_dir/run; starts nothing
 * yet.  NK_NOT_FOUND: a program is missing; NK_IO. */
NK_MUST_CHECK enum nk_err children_open(const struct children_options *options,
                                        struct children **out_children, struct nk_text *reason);

/* Keeps the node running until a stop has come to its end, or it is hopeless; no child is left
 * then.  data_dir/run/server.json is there from the moment all children are ready.  Returns the
 * exit code for this process. */
int children_run(struct children *children);

void children_close(struct children **children);

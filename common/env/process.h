#pragma once

/* What the system says about this process as a whole.  Implementation:
 * common/env_posix/process_posix.c; the simulator offers none. */

#include <stdbool.h>
#include <stdint.h>

struct nk_process_usage {
    uint64_t cpu_us; /* user and system, all threads */
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t start_time_us; /* since 1970-01-01 UTC */
    uint64_t open_files;
    uint64_t open_files_max;
};

struct nk_process {
    /* Any thread; may read small files of the kernel.  False: nothing was written. */
    bool (*usage)(void *ctx, struct nk_process_usage *out_usage);
    void *ctx;
};

#pragma once

/* Three promises of the storage engine, each a workload that measures it, prints a JSON object and
 * says whether the promise was kept: tests/bench/README.md. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bounds_options {
    const char *directory; /* of the store; empty, and removed afterwards */
    uint64_t mib;          /* of data; see each */
    size_t databases;
    size_t write_buffer_bytes; /* of all memtables */
    size_t cache_bytes;
    double seconds;
    uint64_t seed;
};

/* Many databases in one engine: what an empty one costs, and the peak of memory while puts of `mib`
 * go to all of them at random. */
bool bounds_instances(const struct bounds_options *options);

/* A writer who never rests, for `seconds`, over a store of `mib`, and a reader beside him. */
bool bounds_storm(const struct bounds_options *options);

/* Checkpoints of tables of `mib` while somebody writes, and opens of half as many. */
bool bounds_checkpoint(const struct bounds_options *options);

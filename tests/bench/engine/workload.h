#pragma once

/* What is done to a store, and what is measured of it. */

#include "tests/bench/engine/engine.h"
#include "tests/bench/engine/latency.h"

enum workload_op {
    WORKLOAD_FILL_SEQUENTIAL, /* every key once, in order */
    WORKLOAD_FILL_SHUFFLED,   /* every key once, in an order of their own */
    WORKLOAD_PUT_ANY,         /* keys drawn at random */
    WORKLOAD_GET_ALL,         /* every key once, shuffled */
    WORKLOAD_GET_ANY,
    WORKLOAD_GET_MISSING,
    WORKLOAD_SCAN, /* SCAN_RECORDS from a key drawn at random on */
    WORKLOAD_SETTLE,
};

struct workload {
    const char *name;
    enum workload_op op;
    bool fresh;           /* begins with an empty store */
    bool timed;           /* goes on for the seconds that are given; else through all keys */
    bool sync;            /* each put is durable when it returns */
    unsigned clients;     /* at once, all doing `op` */
    bool writer;          /* and one more that overwrites, */
    uint64_t writer_rate; /* at most so often a second; 0: as fast as it can */
};

const struct workload *workload_find(const char *name); /* NULL: there is none */
const char *workload_names(void);                       /* all, with commas */

struct workload_result {
    double seconds;
    uint64_t ops; /* of the clients, without the writer */
    uint64_t writer_ops;
    struct latency latency; /* of the clients */
    struct latency writer_latency;
};

/* Wrong reads end the program. */
void workload_run(const struct workload *workload, const struct engine_ops *ops,
                  struct engine *engine, uint64_t key_count, double seconds, uint64_t seed,
                  struct workload_result *out_result);

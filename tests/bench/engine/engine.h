#pragma once

/* What the engine benchmark wants from a store, and the three that give it.
 *
 * A store is used the way its users use it.  The peers have a thread for each client.  Ours has one
 * loop that owns all writing (lsm.h), so its clients share a thread and take turns, as the requests
 * of a shardhost do; only where every put waits for the disk has each of them a thread of its own
 * and hands in what it has.
 *
 * What goes wrong in a store ends the program with a line that says what (bench_fail): a benchmark
 * that goes on after an error measures nothing. */

#include "common/base/buf.h"
#include "tests/bench/engine/process.h"

struct engine; /* defined by each implementation */

struct engine_options {
    const char *directory; /* made if missing; what is there is opened again */
    size_t cache_bytes;
    size_t write_buffer_bytes; /* of one memtable; a second one may be on its way to disk */
    bool sync;                 /* a put is durable when it returns; else the system has it */
    bool lanes;                /* ours only: see norikv.c */
};

struct engine_ops {
    const char *name;

    /* Clients take turns on the thread that opened the store, unless it was opened with sync. */
    bool one_thread;

    struct engine *(*open)(const struct engine_options *options);
    void (*close)(struct engine *engine);

    /* Any thread where clients have their own, else the one. */
    void (*put)(struct engine *engine, struct nk_bytes key, struct nk_bytes value);

    /* False: there is no such key.  *out_value is replaced. */
    bool (*get)(struct engine *engine, struct nk_bytes key, struct nk_buf *out_value);

    /* Visits up to `count` records from `start` on, in order; returns how many there were. */
    size_t (*scan)(struct engine *engine, struct nk_bytes start, size_t count,
                   void (*visit)(void *visitor, struct nk_bytes key, struct nk_bytes value),
                   void *visitor);

    /* With one_thread: how long a writer should wait before its next put, and the pause of a thread
     * that has nothing to do, in which the store's own work goes on.  Else NULL. */
    uint64_t (*put_wait_us)(struct engine *engine);
    void (*pause)(struct engine *engine, uint64_t us);

    /* Whether a file of the directory ("raft/0000000000000001.log") is of the write-ahead log. */
    bool (*is_log)(const char *path);

    void (*describe)(struct engine *engine); /* to stderr, for people */
};

extern const struct engine_ops engine_norikv;
extern const struct engine_ops engine_rocksdb;
extern const struct engine_ops engine_leveldb;

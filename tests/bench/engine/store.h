#pragma once

/* Databases of one engine with nothing before them, run as a shardhost runs its own
 * (services/shardhost/host.c): one loop owns them, the lanes of env_posix flush, compact, read and
 * write checkpoints.  There is no log: what is measured with it is the engine's own.
 *
 * Everything happens on the thread that opened it.  What goes wrong in the engine ends the program
 * (bench_fail). */

#include "common/base/buf.h"
#include "common/base/prng.h"
#include "common/env_posix/env_posix.h"
#include "services/shardhost/lsm/lsm.h"

struct store_options {
    const char *directory; /* made if missing; what is there is opened again */
    size_t databases;
    size_t memtable_bytes;
    size_t write_buffer_bytes; /* of all memtables */
    size_t cache_bytes;
};

struct store {
    struct store_options options;
    struct env_posix_fs *posix_fs;
    struct env_posix_worker *posix_worker;
    struct nk_clock clock;
    struct nk_fs fs;
    struct nk_worker worker;
    struct nk_loop_source source;
    struct lsm_engine *engine; /* NULL: closed */
    struct lsm_db **databases;
    uint64_t *indexes; /* of each one's last record */
    uint64_t rung;     /* rings that the last turn has seen */
    size_t works;      /* under way */
    size_t l0_max;     /* tables in level 0 of one database; the user may set it back */
};

/* The system's side only: threads and files, no engine yet. */
void store_init(struct store *store, const struct store_options *options);
void store_deinit(struct store *store); /* closes what is open */

void store_open(struct store *store);
void store_close(struct store *store); /* waits for work */

/* Takes what has ended and hands out what there is to do. */
void store_turn(struct store *store);

/* Until somebody rings, at most `us`; nobody rings for what was seen by the last turn. */
void store_sleep(struct store *store, uint64_t us);

/* Turns until nothing is left to flush or to compact. */
void store_settle(struct store *store);

/* Whether a shardhost would take a write now, and not answer that it is overloaded. */
bool store_may_put(struct store *store, size_t database);

/* When it would not: how long to wait before asking again, about what a gateway may do. */
#define STORE_RETRY_US 1000

/* Puts a new value of `id` (data.h). */
void store_put(struct store *store, size_t database, uint64_t id, struct nk_prng *prng);

/* A get in the way of a shardhost: from memory at once, else from the disk by the read lane. */
struct store_get {
    struct nk_job job;
    struct store *store;
    size_t database;
    uint64_t id;
    struct lsm_view *view;
    enum nk_err err;
    struct nk_buf value;
    bool done;
};

/* Begins one; its `done` is true at once or after some turn, then `err` is NK_OK or NK_NOT_FOUND.
 * A value that is not id's ends the program. */
void store_get(struct store *store, size_t database, uint64_t id, struct store_get *get);

/* An error of the engine, if it is one. */
void store_check(const struct store *store, size_t database, enum nk_err err, const char *what);

void store_directory_of(size_t database, char out_directory[static 32]);

/* ---- Bounds ---- */

/* One line to stderr if `value` is above `limit`; returns whether it is. */
bool store_broken(const char *workload, const char *what, double value, double limit);

#pragma once

/* The engine and its databases from the inside.
 *
 * Who touches what: the loop thread owns everything here but what is marked otherwise.  Between
 * lsm_engine_pick and lsm_work_ended a worker owns the database's flush and manifest, and reads its
 * levels and the sealed memtable, which the loop leaves alone for that time.  Threads meet only in
 * the memtable's links, the cache, the tables' opened files, the fault box and the counters. */

#include "common/base/list.h"
#include "common/base/mpsc.h"
#include "services/shardhost/lsm/chunk.h"
#include "services/shardhost/lsm/flush.h"
#include "services/shardhost/lsm/manifest.h"
#include "services/shardhost/lsm/memtable.h"

struct lsm_engine {
    struct lsm_io io;
    struct lsm_options options;
    struct lsm_stats stats;
    struct lsm_chunk_pool chunks;
    struct nk_mpsc opened;         /* any thread pushes; the loop moves them to `databases` */
    _Atomic size_t database_count; /* opened and not closed */
    struct nk_list databases;
    struct nk_list ready;  /* with sealed memtables and no work under way; oldest first */
    size_t memtable_bytes; /* active and sealed, of all databases */
    size_t sealed_bytes;   /* of these, the sealed ones */
};

/* What a read looks through besides the disk: a state of the database.  References are counted. */
struct lsm_sources {
    uint32_t references;
    struct lsm_levels *levels;
    size_t memtable_count;
    struct lsm_memtable *memtables[]; /* newest first; [0] was the active one */
};

/* A memtable that takes no more records, with the position that it reaches. */
struct lsm_sealed {
    struct lsm_memtable *memtable; /* NULL: nothing was written, only the position moved */
    struct lsm_position position;
};

struct lsm_db {
    struct lsm_engine *engine;
    char *directory;
    struct nk_mpsc_node opened_node;
    struct nk_list databases_node;
    struct nk_list ready_node;
    struct lsm_fault_box *faults;

    struct lsm_memtable *active;
    struct lsm_position position; /* of the last commit */
    uint64_t index_written;       /* of the last record */
    struct lsm_sealed *sealed;    /* oldest first */
    size_t sealed_count;
    size_t sealed_capacity;
    size_t memtable_bytes; /* active and sealed */
    struct lsm_levels *levels;
    struct lsm_sources *sources; /* of all the above */
    uint64_t durable_index;
    size_t view_count;
    bool flush_requested; /* seal at the next commit */
    bool working;         /* from pick to work_ended */

    struct lsm_manifest manifest; /* the worker's while working, else the loop's */
    struct lsm_flush flush;       /* likewise */
};

/* Moves the databases that were opened meanwhile to the list. */
void lsm_engine_adopt_opened(struct lsm_engine *engine);

/* Puts the database in line for work if it has something sealed and is not being worked on. */
void lsm_engine_make_ready(struct lsm_db *db);

/* Rebuilds db->sources after one of its parts was exchanged. */
void lsm_db_refresh_sources(struct lsm_db *db);
void lsm_sources_release(struct lsm_sources **sources);

/* Closes the active memtable at the position of the last commit and opens a new one; nothing
 * happens if there is nothing to make durable.  No record after that commit (asserted). */
void lsm_db_seal(struct lsm_db *db);

/* True if records were written that no commit covers yet. */
bool lsm_db_in_entry(const struct lsm_db *db);

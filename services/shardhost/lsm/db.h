#pragma once

/* The engine and its databases from the inside.
 *
 * Who touches what: the loop thread owns everything here but what is marked otherwise.  A job's own
 * state belongs to the worker that runs it, and to the loop while none does.  Threads meet in the
 * memtable's links, the cache, the tables' opened files and references, the trash, the fault box,
 * the counters, and in three words of a database: the states of its jobs, the next table number and
 * the install token.
 *
 * The install token.  Manifest, levels and durable position change together, one change at a time.
 * A worker takes the token, reads the levels, writes the manifest and leaves the token taken; the
 * loop takes the result into db->levels and gives it back.  So whoever has just taken it finds in
 * db->levels what the manifest says.  A worker whose install failed gives it back himself. */

#include "common/base/list.h"
#include "common/base/mpsc.h"
#include "services/shardhost/lsm/chunk.h"
#include "services/shardhost/lsm/compact.h"
#include "services/shardhost/lsm/flush.h"
#include "services/shardhost/lsm/ingest.h"
#include "services/shardhost/lsm/job.h"
#include "services/shardhost/lsm/manifest.h"
#include "services/shardhost/lsm/memtable.h"
#include "services/shardhost/lsm/throttle.h"

/* The rate limit: what compaction may write before it has to wait. */
struct lsm_rate {
    int64_t credit_bytes; /* negative: it waits */
    uint64_t refilled_us;
    uint64_t charged_bytes; /* of the counter of compacted bytes */
};

struct lsm_engine {
    struct lsm_io io;
    struct lsm_files files;
    struct lsm_options options;
    struct lsm_stats stats;
    struct lsm_chunk_pool chunks;
    struct nk_mpsc opened;         /* any thread pushes; the loop moves them to `databases` */
    _Atomic size_t database_count; /* opened and not closed */
    struct nk_list databases;
    size_t memtable_bytes;           /* active and sealed, of all databases */
    size_t sealed_bytes;             /* of these, the sealed ones */
    uint64_t freed_bytes;            /* of memtables that were flushed, ever */
    _Atomic uint64_t flushing_bytes; /* of memtables being flushed: written already; any thread */
    struct lsm_throttle throttle;    /* for memory */

    /* Databases by what they need, oldest first; a database is in each list that fits. */
    struct nk_list flushes; /* a flush can go on */
    struct nk_list cleans;  /* there are files to remove */
    struct nk_list ingests; /* a checkpoint waits to be taken in, and nothing is in its way */
    struct nk_list opens;   /* a part of a compaction can go on */
    struct nk_list needs;   /* a compaction is due */
    size_t permits;         /* out; at most options.max_background_jobs */
    size_t parts_open;      /* parts with buffers; likewise */
    uint64_t now_us;        /* as last told */
    struct lsm_rate rate;
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
    void *user;
    struct nk_mpsc_node opened_node;
    struct nk_list databases_node;
    struct nk_list flushes_node;
    struct nk_list cleans_node;
    struct nk_list ingests_node;
    struct nk_list opens_node;
    struct nk_list needs_node;
    struct lsm_fault_box *faults;

    struct lsm_memtable *active;
    struct lsm_position position; /* of the last commit */
    uint64_t index_written;       /* of the last record */
    struct lsm_sealed *sealed;    /* oldest first */
    size_t sealed_count;
    size_t sealed_capacity;
    size_t memtable_bytes;       /* active and sealed */
    struct lsm_sources *sources; /* of the memtables and the levels */
    size_t view_count;
    bool flush_requested;       /* seal at the next commit */
    struct nk_list compactions; /* under way */
    size_t compaction_count;
    uint64_t need;                /* score of the next one; 0: none is due */
    uint64_t debt_bytes;          /* see lsm_debt_of */
    struct lsm_throttle throttle; /* for level 0 */
    uint64_t l0_left;             /* tables that compaction took out of level 0, ever */
    uint64_t flush_bytes_mean;    /* of the tables that flushes have made lately; 0: unknown */
    bool held;                    /* from a fault on, or as the owner wishes */
    size_t permits;               /* out for this database */

    /* Under the install token (above); the loop may always read. */
    struct lsm_levels *levels;
    struct lsm_position durable;
    struct lsm_manifest manifest;

    _Atomic bool installing;      /* the token is taken */
    _Atomic uint64_t number_next; /* of table files; any thread */
    struct lsm_trash trash;       /* any thread fills, one job empties */
    struct lsm_job jobs[LSM_JOB_COUNT];
    struct lsm_flush flush;    /* the flush job's */
    struct lsm_ingest *ingest; /* NULL: none; its job's */
};

/* Moves the databases that were opened meanwhile to the list. */
void lsm_engine_adopt_opened(struct lsm_engine *engine);

/* Puts the database into the lists that fit; after everything that may change what it needs. */
void lsm_engine_reconsider(struct lsm_db *db);

/* ---- Compactions (compactions.c) ---- */

/* Looks again at what the database needs; after its levels or its compactions changed. */
void lsm_db_measure(struct lsm_db *db);

/* Starts the compaction that is due: its parts wait.  False: none is. */
bool lsm_db_start_compaction(struct lsm_db *db);

/* A job of a part came back, done or not. */
void lsm_db_part_back(struct lsm_db *db, struct lsm_job *job, bool done);

/* The first part that can go on, or NULL; `merging` says whether one that merges may. */
struct lsm_job *lsm_db_waiting_part(struct lsm_db *db, bool merging);

/* Those that are not being installed give up. */
void lsm_db_give_up_compactions(struct lsm_db *db);

/* Frees what is left of them when the database is closed. */
void lsm_db_free_compactions(struct lsm_db *db);

/* ---- Engine ---- */

/* How much of a slice the rate limit leaves.  Any thread. */
size_t lsm_rate_slice(const struct lsm_engine *engine, size_t budget_bytes);

/* Rebuilds db->sources after one of its parts was exchanged. */
void lsm_db_refresh_sources(struct lsm_db *db);
void lsm_sources_release(struct lsm_sources **sources);

/* Closes the active memtable at the position of the last commit and opens a new one; nothing
 * happens if there is nothing to make durable.  No record after that commit (asserted). */
void lsm_db_seal(struct lsm_db *db);

/* True if records were written that no commit covers yet. */
bool lsm_db_in_entry(const struct lsm_db *db);

/* ---- Any thread ---- */

/* The number of a new table file. */
uint64_t lsm_db_new_number(struct lsm_db *db);

/* Takes the install token; false if somebody has it. */
bool lsm_install_begin(struct lsm_db *db);
void lsm_install_cancel(struct lsm_db *db); /* gives it back, nothing has changed */

/* Makes `change`, and the new position unless NULL, durable in the manifest.  *out_levels is what
 * the loop then puts in the place of db->levels.  The token is the caller's, and stays so on NK_OK;
 * else it is given back, and whether the change is durable is open until it is tried again.
 * NK_NO_SPACE, NK_IO. */
NK_MUST_CHECK enum nk_err lsm_install(struct lsm_db *db, const struct lsm_position *position,
                                      const struct lsm_change *change,
                                      struct lsm_levels **out_levels);

/* The result is taken: gives the token back.  Loop thread. */
void lsm_install_taken(struct lsm_db *db, struct lsm_levels **levels);

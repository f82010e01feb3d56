#pragma once

/* Planted bugs: the simulator is itself tested by building it with one bug switched on and
 * expecting it to be found (tests/sim/README.md).  In every other build NK_PLANTED is the constant
 * false and costs nothing. */

enum nk_plant {
    NK_PLANT_NONE = 0,
    NK_PLANT_ANSWER_BEFORE_FSYNC = 1,    /* shardhost reports entries persisted before the sync */
    NK_PLANT_TORN_TAIL_ACCEPTED = 2,     /* raftlog skips the checksum of a record */
    NK_PLANT_SESSIONS_NOT_RECOVERED = 3, /* kv forgets its idempotency table at open */
    NK_PLANT_MANIFEST_BEFORE_TABLES =
        4,                             /* lsm installs a manifest edit before the table is synced */
    NK_PLANT_VERSION_REUSED = 5,       /* raft forgets its term at restart */
    NK_PLANT_TTL_BY_READER_CLOCK = 6,  /* expiry is judged by the clock of whoever reads */
    NK_PLANT_STALE_BATCH_RUN = 7,      /* shardhost runs a batch meant for its former incarnation */
    NK_PLANT_RETRY_NOT_IDEMPOTENT = 8, /* gateway sends a write again although it has no key */
};

#ifndef NK_PLANT
#define NK_PLANT 0
#endif

#define NK_PLANTED(bug) (NK_PLANT == (bug))

#pragma once

/* One database on files in memory, and short ways to use it. */

#include "services/shardhost/lsm/lsm.h"
#include "tests/sim/fs.h"

#define RIG_DIRECTORY "lsm/shard-7"

struct rig {
    struct sim_fs *sim;
    struct nk_fs fs;
    struct lsm_options options;
    struct lsm_engine *engine;
    struct lsm_db *db; /* NULL while closed */
    uint64_t now_us;   /* what the engine is told; rig_work lets it pass where work waits for it */
};

/* Small memtables and cache, so that little data meets everything. */
struct lsm_options rig_options(void);

void rig_init(struct rig *rig, uint64_t seed, const struct lsm_options *options); /* not open */
void rig_deinit(struct rig *rig);

/* On an fs of somebody else; rig_deinit leaves it alone. */
void rig_init_on(struct rig *rig, struct sim_fs *sim, const struct lsm_options *options);

enum nk_err rig_open(struct rig *rig, struct lsm_fault *out_fault);
void rig_must_open(struct rig *rig);
void rig_close(struct rig *rig); /* NULL-safe */
void rig_reopen(struct rig *rig);

/* One log entry with one record, committed with an 8-byte state that is its index. */
void rig_put(struct rig *rig, uint64_t index, const char *key, const char *value);
void rig_delete(struct rig *rig, uint64_t index, const char *key);
void rig_commit(struct rig *rig, uint64_t index);

/* Runs what the engine picks until nothing is left or something fails. */
enum nk_err rig_work(struct rig *rig, size_t budget_bytes);
void rig_flush(struct rig *rig); /* everything, must succeed */

/* lsm_get with LSM_DISK: "value", "-" for a tombstone, "" for NK_NOT_FOUND, else the error's name.
 * Valid until the next call. */
const char *rig_get(struct rig *rig, const char *key);

#pragma once

/* What a raft log must say after a crash, kept without any of its tricks: the state that was
 * acknowledged, and the operations since, of which a prefix may have survived.  Payloads follow
 * from (shard, term, index), so a record that was never staged is recognised.  What was released is
 * there, or the STATE tells that it is gone. */

#include "common/base/prng.h"
#include "services/shardhost/raftlog/raftlog.h"
#include "tests/sim/fs.h"

#define MODEL_SHARDS        5
#define MODEL_INDEX_MAX     400
#define MODEL_OPERATION_MAX 4096

struct model_shard {
    uint64_t term_at[MODEL_INDEX_MAX + 1]; /* of the entry; 0: there is none */
    uint64_t last;
    uint64_t released;
    uint64_t state_term; /* 0: none */
    uint64_t state_vote;
    uint64_t told;  /* seen: what the newest STATE says was released */
    bool announced; /* a STATE came before the first entry, so all that is released is told */
};

struct model_view {
    struct model_shard shards[MODEL_SHARDS];
};

enum model_operation_kind {
    MODEL_ENTRY,
    MODEL_STATE,
    MODEL_RELEASE,
    MODEL_FORGET,
};

struct model_operation {
    enum model_operation_kind kind;
    uint32_t shard;
    uint64_t term;
    uint64_t index;
};

struct model {
    struct raftlog_options options;
    struct raftlog *log; /* NULL: not open */
    struct nk_prng prng;
    struct model_view acknowledged;
    struct model_view latest; /* with all pending operations */
    struct model_operation pending[MODEL_OPERATION_MAX];
    size_t pending_count;
    size_t begun_count; /* of pending: their round was begun */
    bool running;
    uint64_t term;
    size_t payload_bytes_max;
    uint64_t visited;                    /* records of the last open */
    uint64_t released_max[MODEL_SHARDS]; /* ever */
};

void model_init(struct model *model, uint64_t seed, const struct raftlog_options *options);

/* Opens the log and compares.  Anything but NK_OK is returned without comparing. */
enum nk_err model_open(struct model *model, struct sim_fs *sim);
void model_close(struct model *model);

/* Operations on the log and on the model. */
void model_entry(struct model *model, uint32_t shard, uint64_t index);
void model_state(struct model *model, uint32_t shard);
void model_release(struct model *model, uint32_t shard, uint64_t index);
void model_forget(struct model *model, uint32_t shard);
bool model_begin(struct model *model);
enum nk_err model_write(struct model *model); /* ends the round if it succeeds */

/* One random operation; the error of a write. */
enum nk_err model_step(struct model *model);

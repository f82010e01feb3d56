#pragma once

/* The inside of the shardhost role.
 *
 *   host.c      rounds of the shared log, background work, the clockwork
 *   recovery.c  start: whose the data is, what the log and the tables say
 *   shard.c     one shard: carries out what raft asks for, applies, answers writes
 *   reads.c     gets: lease, read index, expiry; the way to the disk, for writes as well
 *   wire.c      frames in, replies out
 *   metrics.c   what the role says about itself
 *   watch.c     the calls to the disk that are under way
 *
 * One loop thread owns everything here.  Worker threads see only the job they run: the running
 * round of the raft log, slices of lsm_work, reads with their snapshots. */

#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/prng.h"
#include "common/service/member.h"
#include "common/service/service.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "services/shardhost/kv/kv.h"
#include "services/shardhost/lsm/lsm.h"
#include "services/shardhost/raft/raft.h"
#include "services/shardhost/raftlog/raftlog.h"

struct host;
struct shard;
struct watch;

/* Where an answer goes. */
struct caller {
    nk_peer peer;
    uint64_t id; /* the peer's number for the request */
};

/* A request that waits.  It is in exactly one list of its shard or in host->held, named by `link`,
 * or, a get, belongs to a running read job. */
struct pending {
    struct nk_list link;
    struct nk_list same_hash; /* in host->waiters, while it may be cancelled: see pending_await */
    struct shard *shard;      /* in host->held */
    struct caller caller;
    Norikv__Internal__V1__ShardOp op;
    uint64_t arrived_us;
    uint64_t deadline_us;
    raft_term term;            /* in shard->proposed, writes: the term of the proposal */
    raft_index index;          /* in shard->proposed: served when this entry has been applied */
    uint64_t read_id;          /* in shard->reading */
    bool fetched;              /* in host->held: has been in shard->fetching */
    struct pending **read_job; /* in shard->fetching: the job's way to it, cleared when it goes */
    size_t request_size;
    uint8_t request[]; /* the packed public request; empty for writes that have been proposed */
};

enum shard_state {
    SHARD_RUNNING,
    SHARD_FENCED, /* its data or its log is damaged: it answers nothing until the operator acts */
};

struct shard {
    struct host *host;
    uint32_t id;
    enum shard_state state;
    struct lsm_db *db; /* NULL, like the next two: fenced at the start */
    struct kv *kv;
    struct raft_node *raft;
    bool leads; /* as last reported */
    raft_term term_reported;
    raft_term term_staged; /* hard state as last staged to the log */
    raft_id vote_staged;
    uint64_t persist_staged;   /* highest persist id whose records are staged */
    uint64_t persist_round;    /* the same, of the running round */
    bool dirty;                /* in host->dirty */
    struct nk_list waiting;    /* for a leader; in order of arrival */
    struct nk_list proposed;   /* for an entry to be applied; by rising index */
    struct nk_list reading;    /* for a confirmed read point */
    struct nk_list fetching;   /* writes, for the blocks that their apply will look at */
    struct nk_list runnable;   /* gets at their read point, until the current step is over */
    bool running;              /* shard_step is emptying `runnable` */
    struct nk_heap_node timer; /* next raft tick; order in us */
    size_t works;              /* lsm_work jobs under way */
    bool wait_for_space;       /* its work is held until the next try */
    bool no_space;             /* its last work found no room; counted in host->no_space_count */
    size_t entry_bytes;        /* in raft and not applied; part of host->entry_bytes */
    size_t readers;            /* read jobs under way */
    struct nk_list link;       /* host->shards */
    raft_index clock_index;    /* the CLOCK under way, for which gets wait; 0: none */
    uint64_t proposed_at_us;   /* oldest proposal not committed, 0: none; for raft_commit_ms */
    struct shard_meters *meters;
};

/* The answers for one partner that this burst has gathered. */
struct outbox {
    nk_peer peer;
    Norikv__Internal__V1__ShardReply **replies;
    size_t count;
    size_t capacity;
    size_t bytes;
};

struct shard_list {
    struct shard **items;
    size_t count;
    size_t capacity;
};

#define HOST_WAITER_BUCKETS ((size_t)8192) /* a power of two */

struct host {
    const struct nk_service_context *context;
    const struct nk_env *env;
    const struct nk_config *config;
    struct nk_member *member;
    uint64_t generation_shown; /* of the cluster's state that the health board has */
    struct lsm_engine *engine;
    struct raftlog *log;
    raft_id self;
    uint8_t cluster_id[16];
    bool log_expected; /* this data had a log already: one that is missing now is a loss */
    uint32_t total_shards;
    struct shard **by_id;  /* total_shards pointers, NULL: not active */
    struct nk_list shards; /* active ones, in order of activation */
    struct nk_heap timers; /* shard->timer */
    struct nk_prng prng;

    struct nk_job round; /* raftlog_write */
    enum nk_err round_err;
    uint64_t round_started_us;
    bool round_running;
    uint64_t round_retry_us;  /* after a full disk; 0: none */
    bool round_stalled;       /* it has run for so long that the disk seems to hang */
    size_t round_bytes;       /* of the running round */
    struct watch *watch;      /* the files of the trees, watched */
    uint64_t call_stalled_us; /* when one of their calls began that hangs; 0: none does */
    struct shard_list dirty;  /* have records in the next round */
    struct shard_list in_round;
    struct nk_list held; /* writes for which the next round has no room, in order of arrival */

    /* What takes memory, see host_bytes. */
    size_t pending_count; /* requests not answered */
    size_t pending_bytes;
    size_t entry_bytes; /* proposed and not applied, whether or not somebody still waits for it */
    struct nk_list waiters[HOST_WAITER_BUCKETS]; /* pending->same_hash, by caller */
    uint64_t read_id_next;
    size_t jobs_running; /* rounds, works and reads */

    size_t fenced_count;   /* shards */
    bool disk_full;        /* one of these: */
    bool below_reserve;    /*   free space, when last looked at */
    bool round_no_space;   /*   the last round of the log found no room */
    size_t no_space_count; /*   shards whose last work found none */
    uint64_t free_bytes;   /* when last looked at */
    uint64_t minded_us;    /* last housekeeping */
    bool stopping;
    uint64_t stop_us; /* when that began */
    bool stop_over;   /* it waits no longer for jobs, only for the log */
    enum nk_err fault;
    char fault_reason[256];

    struct nk_arena arena;  /* replies of this burst */
    struct nk_arena decode; /* one received frame or request */
    struct nk_buf scratch;  /* one command, one frame */
    struct nk_buf value;    /* one value read, or the names of what has to be read */
    struct nk_map outboxes; /* peer -> outbox */
    struct host_meters *meters;
};

#define HOST_STOPPING_TEXT "the shardhost is stopping"

/* ---- host.c ---- */

/* The shard of that number, activated in memory if nobody has used it yet. */
NK_MUST_CHECK enum nk_err host_shard(struct host *host, uint32_t id, struct shard **out_shard);

/* A new shard becomes one of the active ones. */
void host_add_shard(struct host *host, struct shard *shard);

/* Where the tree of a shard lies, below the root of the fs. */
void host_shard_directory(uint32_t shard, char *out, size_t size);

/* The shard has records for the next round. */
void host_mark_dirty(struct host *host, struct shard *shard);

/* The process must end; the first reason stays. */
void host_fail(struct host *host, enum nk_err err, const char *what, const char *file,
               uint64_t offset);

/* What the last work of a shard says about room on the disk. */
void host_shard_space(struct shard *shard, bool found);

uint64_t host_now_us(const struct host *host);

/* Bytes of requests that wait, of entries not applied, and of their copies on the way to the log:
 * what NK_SHARDHOST_BYTES_MAX bounds. */
size_t host_bytes(const struct host *host);

/* Why nothing that needs the log should be begun now: NK_OK, or what to answer at once.
 * NK_NO_SPACE: a round finds no room on the disk, and is tried again; NK_BUSY: one hangs. */
NK_MUST_CHECK enum nk_err host_log_refusal(const struct host *host, const char **out_message);

/* The next round of the log takes no more: writes are held until it begins. */
bool host_round_full(const struct host *host);

/* ---- recovery.c ---- */

/* Reads, or makes at the first start, what this data belongs to: sets cluster_id and log_expected.
 * NK_INVALID: the data is another node's, of another total_shards, or nobody knows whose. */
NK_MUST_CHECK enum nk_err recovery_identify(struct host *host, struct nk_text *reason);

/* Opens the log and with it every shard that was ever used.  One whose data is damaged is there
 * and fenced; what the log has of it is kept.  NK_INVALID: the log is gone. */
NK_MUST_CHECK enum nk_err recovery_run(struct host *host, struct nk_text *reason);

/* ---- shard.c ---- */

/* Opens the state machine and the raft group of a shard.  `db` and the entries of `restore` come
 * from recovery; a new shard has an empty database and a zeroed restore. */
NK_MUST_CHECK enum nk_err shard_open(struct host *host, uint32_t id, struct lsm_db *db,
                                     const struct raft_restore *restore, struct shard **out_shard);

/* A shard whose data was found damaged at the start, fenced: it has neither database nor state
 * machine nor raft group. */
void shard_open_fenced(struct host *host, uint32_t id, const struct lsm_fault *fault,
                       struct shard **out_shard);
void shard_close(struct shard **shard);

/* Takes one request; every request is answered exactly once, now or later, unless it is cancelled
 * or its deadline passes first. */
void shard_request(struct shard *shard, struct caller caller,
                   const Norikv__Internal__V1__ShardRequest *request);

void shard_persisted(struct shard *shard, uint64_t persist_id);
void shard_tick(struct shard *shard);
void shard_campaign(struct shard *shard);

/* Drops what has waited past its deadline: the gateway has answered by its own clock. */
void shard_sweep(struct shard *shard, uint64_t now_us);
void shard_sweep_held(struct host *host, uint64_t now_us);

/* What a write's apply will look at has been read: proposes it, or holds it.  Takes the pending. */
void shard_serve_fetched(struct shard *shard, struct pending **pending);

/* Proposes held writes while the next round has room. */
void shard_serve_held(struct host *host);

#define SHARD_FENCED_TEXT "SHARD_FENCED: the shard's data on its node is damaged"

/* Damage was found: fails what waits, refuses everything from now on, and says so to gossip, in
 * health and metrics. */
void shard_fence(struct shard *shard, enum nk_err err, const char *while_doing);

/* Feeds one event to raft and carries out what it asks for, until it asks for nothing more. */
enum nk_err shard_step(struct shard *shard, const struct raft_event *event,
                       raft_index *out_proposed);

/* Proposes one command and makes `pending` wait for it.  On failure the pending is untouched. */
NK_MUST_CHECK enum nk_err shard_propose(struct shard *shard, enum kv_op op, struct nk_bytes request,
                                        struct pending *pending);

/* Makes `pending` wait until a CLOCK has moved log time: one at a time is under way, and all who
 * want one share it.  It may be older than the wish; who finds it so afterwards asks again.
 * NK_NO_SPACE, NK_BUSY, NK_NOT_LEADER: the pending is untouched; *out_message is what to answer. */
NK_MUST_CHECK enum nk_err shard_await_clock(struct shard *shard, struct pending *pending,
                                            const char **out_message);

/* Makes `pending` wait until `index` has been applied. */
void shard_wait_applied(struct shard *shard, struct pending *pending, raft_index index);

struct pending *pending_new(struct host *host, struct caller caller,
                            Norikv__Internal__V1__ShardOp op, uint64_t deadline_us,
                            struct nk_bytes request);
void pending_free(struct host *host, struct pending **pending);

/* Puts a request at the end of a list in which its caller may cancel it, and takes it out again. */
void pending_await(struct host *host, struct nk_list *list, struct pending *pending);
void pending_resume(struct pending *pending);

/* The request of `caller` that may be cancelled; NULL: there is none. */
struct pending *pending_find(struct host *host, struct caller caller);

/* ---- reads.c ---- */

/* Serves a get or probe of a shard that leads; takes the pending. */
void reads_serve(struct shard *shard, struct pending **pending);

/* Raft has decided about a read point. */
void reads_confirmed(struct shard *shard, const struct raft_read *read);

/* A get or probe whose read point is reached: finds the value and answers, here or by a worker.
 * Takes the pending. */
void reads_look_up(struct shard *shard, struct pending **pending);

/* Has a worker read what the apply of a write will look at (kv_foresee), then shard_serve_fetched.
 * Meanwhile its deadline or its caller can drop it.  Takes the pending. */
void reads_fetch(struct shard *shard, struct pending **pending, struct nk_bytes names);

/* ---- wire.c ---- */

void wire_receive(struct host *host, nk_peer from, struct nk_bytes frame);

/* Adds an answer to the burst.  `response` is packed now; NULL: none.  `message` may be NULL. */
void wire_reply(struct host *host, struct caller caller, enum nk_err err, const char *message,
                const ProtobufCMessage *response);
void wire_flush(struct host *host); /* sends what the burst gathered */
void wire_deinit(struct host *host);

/* ---- metrics.c ---- */

void metrics_open(struct host *host);
void metrics_log_open(struct host *host); /* once the log is open */
void metrics_close(struct host *host);
void metrics_shard_open(struct shard *shard);
void metrics_shard_close(struct shard *shard);
void metrics_shard_update(struct shard *shard, const struct raft_status *status);
void metrics_round(struct host *host, uint64_t took_us);
void metrics_fenced(struct shard *shard);
void metrics_stalled(struct host *host);
void metrics_elected(struct shard *shard);
void metrics_committed(struct shard *shard, uint64_t took_us);
void metrics_applied(struct host *host, uint64_t took_us);
void metrics_read_index(struct host *host, uint64_t took_us);
void metrics_dropped_frame(struct host *host);
void metrics_dropped_replies(struct host *host, size_t count);
void metrics_housekeeping(struct host *host, uint64_t free_bytes);

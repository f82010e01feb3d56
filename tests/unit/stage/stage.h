#pragma once

/* The outside world of one role (common/env) in the hands of a test: the clock stands until the
 * test moves it or lets it run, frames that the role sends are kept to be looked at, jobs run when
 * the test says so, facts and files are in memory.  Each kind of call can be made to fail, the n-th
 * from now. */

#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/units.h"
#include "common/service/service.h"
#include "proto/frame.h"
#include "tests/sim/fs.h"

/* What a test may let fail. */
enum stage_call {
    STAGE_NET_OPEN,
    STAGE_NET_SEND,
    STAGE_META_GET,
    STAGE_META_PUT,
    STAGE_META_REMOVE,
    STAGE_META_LIST,
    STAGE_WORKER_SUBMIT,
    STAGE_CALL_COUNT,
};

struct stage_link {
    nk_peer peer;
    enum nk_link_kind kind;
    bool open;
    char address[256];
};

#define STAGE_LINKS_MAX ((size_t)64)

/* A frame that the role handed over; those that were refused are not here. */
struct stage_frame {
    nk_peer to; /* 0: published */
    enum nk_frame_type type;
    struct nk_buf bytes; /* the whole frame */
};

struct stage_fault {
    uint64_t countdown; /* 0: none armed; 1: the next call fails */
    bool lasting;       /* and all after it */
    enum nk_err err;
};

struct stage {
    struct nk_env env;
    struct nk_config config; /* the defaults, node_id "n1"; a test may change it before it starts */
    struct nk_service_context context; /* session 1000 */
    uint64_t now_us;                   /* starts at one second */
    uint64_t us_per_look;              /* how far each look at the clock moves it; starts at 0 */
    uint64_t wall_ms;                  /* starts at 2020-09-13; moves with stage_advance */

    struct sim_fs *fs;
    struct stage_link links[STAGE_LINKS_MAX]; /* in the order of opening */
    size_t link_count;
    struct stage_frame *frames;
    size_t frame_count;
    size_t frame_capacity;
    struct nk_map facts; /* meta: key -> struct nk_buf * */
    struct nk_list jobs; /* submitted, not yet run */
    bool in_job;         /* what runs now a worker would run; else it is the loop */
    uint64_t wakes;
    uint64_t calls[STAGE_CALL_COUNT];
    struct stage_fault faults[STAGE_CALL_COUNT];
    uint64_t log_counts[NK_LOG_ERROR + 1];
    char log_message[160];    /* of the last event */
    struct nk_arena unpacked; /* what stage_message returned */
};

void stage_open(struct stage *stage);
void stage_close(struct stage *stage);

/* New metrics and health and a higher session, as a process that starts again has them; the links
 * and jobs of the former are gone, facts and files stay. */
void stage_restart(struct stage *stage);

void stage_advance(struct stage *stage, uint64_t span_ms);

/* The `nth` call of that kind from now (from 1) returns `err` and does nothing; with `lasting` all
 * later ones too, until stage_mend. */
void stage_fail(struct stage *stage, enum stage_call call, uint64_t nth, enum nk_err err);
void stage_fail_from(struct stage *stage, enum stage_call call, uint64_t nth, enum nk_err err);
void stage_mend(struct stage *stage, enum stage_call call);

/* ---- Links and frames ---- */

/* The open link to `address`; NULL: there is none. */
const struct stage_link *stage_link(const struct stage *stage, const char *address);

/* A partner that opened a link to the role. */
nk_peer stage_partner(struct stage *stage);

/* How many frames of that type are kept, and the last of them, decoded; NULL: none.  What is
 * returned lives until stage_close. */
size_t stage_sent_count(const struct stage *stage, enum nk_frame_type type);
const ProtobufCMessage *stage_sent(struct stage *stage, enum nk_frame_type type);
const ProtobufCMessage *stage_message(struct stage *stage, const struct stage_frame *frame);
void stage_forget_sent(struct stage *stage);

/* Packs `message` and hands it to `ops->receive` as a frame from `from`. */
void stage_deliver(const struct nk_role_ops *ops, void *role, nk_peer from, enum nk_frame_type type,
                   const ProtobufCMessage *message);

/* ---- Metrics and jobs ---- */

/* The value of a series as it is printed ("raft_term{shard_id=\"3\"}"), a whole number; asserts
 * that it is there. */
uint64_t stage_metric(struct stage *stage, const char *series);

/* Runs what has been submitted, and what that submits; returns how many. */
size_t stage_run_jobs(struct stage *stage);

/* Ticks and runs jobs until a tick submits none. */
void stage_settle(struct stage *stage, const struct nk_role_ops *ops, void *role);

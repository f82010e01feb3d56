#pragma once

/* One whole node in one process: all four roles on a simulated clock, network, disk and workers,
 * driven from one seed.  The same seed gives the same events, in the same order, to the bit.
 * What is simulated and checked: README.md.
 *
 *   world.c      the event queue, the clocks, the trace, the phases of a run
 *   temper.c     what kind of world this seed is: settings, speeds, chances
 *   process.c    one role with its environment: start, tick, pause, stop, kill, restart
 *   net.c        frames between processes: delayed, lost, kept across a restart
 *   worker.c     jobs: when they run and when their end is heard
 *   meta.c       the few durable facts of a process
 *   fs*.c        the disk (its own library: unit tests and fuzz targets use it too)
 *   workload.c, client.c, request.c, session.c, watcher.c    clients and what they saw
 *   nemesis.c    what goes wrong
 *   check/       is what was seen possible?
 *   run.c        seeds one after the other and side by side
 *   main.c       the command line */

#include <stdio.h>

#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/prng.h"
#include "common/base/units.h"
#include "common/service/service.h"
#include "tests/sim/fs.h"

enum sim_role {
    SIM_GOSSIP,
    SIM_SHARDHOST,
    SIM_GATEWAY,
    SIM_ADMIN,
    SIM_ROLE_COUNT,
};

/* Which check a failure belongs to; `norikv-sim --expect-failure NAME` asks for one by its name.
 * README.md says what each of them claims. */
enum sim_check {
    SIM_CHECK_HISTORY, /* no order of the operations on a key explains what clients saw */
    SIM_CHECK_VERSION, /* a version was given twice, or went back */
    SIM_CHECK_SESSION, /* an idempotency key had two effects, or none, or was never forgotten */
    SIM_CHECK_ANSWER,  /* an answer that the contract does not have */
    SIM_CHECK_WIRE,    /* an answer to nobody, or of the wrong incarnation */
    SIM_CHECK_TERM,    /* two incarnations led one term of a shard */
    SIM_CHECK_VIEW,    /* WatchCluster went back, or two views have one epoch */
    SIM_CHECK_START,   /* a process did not start on what was left on the disk */
    SIM_CHECK_EXIT,    /* a process ended by itself without a fault of its disk */
    SIM_CHECK_FENCE,   /* a shard was fenced although no byte was damaged */
    SIM_CHECK_LOG,     /* a process said "error" without a fault */
    SIM_CHECK_SERVE,   /* the faults stopped, and still somebody was not served */
    SIM_CHECK_QUIET,   /* all is over, and something was left behind */
    SIM_CHECK_COUNT,
};

const char *sim_check_name(enum sim_check check);

struct sim_world;
struct sim_process;

/* Something that will happen.  Embedded in what it happens to. */
struct sim_event {
    struct nk_heap_node due; /* order: us */
    const char *name;        /* constant; goes into the trace */
    void (*fire)(struct sim_event *event);
};

struct sim_link {
    nk_peer peer; /* as the owner names it */
    bool listens;
    char address[64];
    uint64_t arrival_us; /* of the last frame sent on it: order is kept */
};

#define SIM_LINKS_MAX 32

/* Somebody who talks to us. */
struct sim_inbound {
    nk_peer peer;
    struct sim_process *from;
    uint64_t from_incarnation;
    nk_peer from_link;
    uint64_t arrival_us; /* of the last answer */
};

/* What can be done to the meta store of one process: the `countdown`-th call from now. */
struct sim_meta_fault {
    uint64_t countdown; /* 0: none */
    enum nk_err err;    /* NK_OK: the process is killed there instead */
    bool happens;       /* a put or remove is done nevertheless */
};

struct sim_process {
    struct sim_world *world;
    enum sim_role which;
    const struct nk_role_ops *ops;
    void *role;           /* NULL: not running */
    uint64_t incarnation; /* grows at each start */
    uint64_t session_last;
    struct nk_env env;
    struct nk_service_context context;
    struct nk_registry *metrics;
    struct nk_health *health;
    struct sim_event tick;
    struct sim_event restart;
    struct sim_event resume;
    uint64_t paused_until_us; /* its loop stands still; 0: it does not */
    struct nk_list inbox;     /* frames that came meanwhile, in order */
    bool stopping;            /* an ordered stop is under way */
    uint64_t stop_deadline_us;
    uint64_t stop_restart_us; /* the pause after it */
    char talk_address[64];
    char listen_address[64];
    struct sim_link links[SIM_LINKS_MAX];
    size_t link_count;
    struct sim_inbound inbound[SIM_LINKS_MAX];
    size_t inbound_count;
    nk_peer peer_next;
    struct nk_list jobs; /* submitted, not yet heard of */
    struct nk_map facts; /* meta: key -> struct nk_buf *; survives the process */
    struct sim_meta_fault meta_fault;
    bool meta_failed;    /* since the start */
    bool kill_due;       /* at the end of this event */
    uint64_t sends_left; /* it is killed in the middle of the burst; 0: not armed */
    bool dying;          /* being killed: it sends nothing any more */
};

struct sim_options {
    bool trace;         /* print every event */
    uint64_t run_ms;    /* with faults */
    uint64_t settle_ms; /* without: everybody must have been served by then */
};

/* The kind of world that a seed is.  Chances are per million. */
struct sim_temper {
    uint64_t frame_us_max; /* usual delay of a frame */
    uint32_t frame_slow;   /* chance of a slow one, and how slow */
    uint64_t frame_slow_us;
    uint32_t frame_lost; /* of a frame of a conversation */
    uint32_t publication_lost;
    uint32_t frame_waits;    /* that one for a dead process waits for its next incarnation */
    uint64_t frame_waits_us; /* how long at most */
    size_t queue_frames_max; /* under way in one conversation: then NK_BUSY */
    uint64_t job_us_max;     /* usual time until a job runs, and until its end is heard */
    uint32_t job_slow;
    uint64_t job_slow_us;
    uint32_t lane_full;    /* that a job is not taken */
    bool clocks;           /* much expires and is read, and the wall clock is seldom right */
    bool torn;             /* much is written at once, and the power is seldom there */
    bool large;            /* much is kept, in small tables */
    uint32_t cut_at_start; /* that the disk fails while a shardhost starts */
    bool rots;             /* at the end a bit on the disk flips */
};

struct sim_world {
    uint64_t seed;
    struct sim_options options;
    struct sim_temper temper;
    struct nk_prng prng;         /* network, workers, schedule */
    struct nk_prng prng_clients; /* what clients do */
    struct nk_prng prng_faults;  /* what goes wrong */
    uint64_t now_us;
    uint64_t wall_base_ms;
    uint64_t wall_max_ms; /* highest the wall clock has shown */
    struct nk_heap events;
    uint64_t event_count;
    uint64_t trace_hash;
    struct sim_fs *fs;
    struct nk_config config;
    struct sim_process processes[SIM_ROLE_COUNT];
    uint64_t breaks[SIM_ROLE_COUNT][SIM_ROLE_COUNT]; /* how often a connection broke; symmetric */
    uint64_t broken_until_us[SIM_ROLE_COUNT][SIM_ROLE_COUNT]; /* symmetric */
    size_t under_way[SIM_ROLE_COUNT][SIM_ROLE_COUNT];         /* frames, from, to */
    uint64_t disk_slow_until_us;
    uint64_t disk_slow_latest_us; /* the latest that any job had to wait for, but for a moment */
    struct sim_workload *workload;
    struct sim_nemesis *nemesis;
    struct sim_wire *wire;
    bool cut_armed;          /* the disk stops at some operation soon */
    bool cut_is_power;       /* with all processes; else the shardhost is killed there */
    uint64_t io_faults_seen; /* of the fs, when the shardhost last started */
    uint64_t space_faults_seen;
    bool rotten;
    bool ending; /* events only release what they hold */
    bool failed;
    enum sim_check failed_check;
    char failure[1280];
};

/* ---- world.c ---- */

void sim_world_open(uint64_t seed, const struct sim_options *options, struct sim_world **out_world);
void sim_world_close(struct sim_world **world);

/* Runs workload and faults, then the quiet end and the checks.  True: all is well. */
bool sim_world_run(struct sim_world *world);

void sim_at(struct sim_world *world, uint64_t due_us, struct sim_event *event);
void sim_cancel(struct sim_world *world, struct sim_event *event);

/* Adds to the trace: the hash always, the line if asked for. */
void sim_trace(struct sim_world *world, const char *what, const char *detail, uint64_t number);

/* The first failure counts; the run ends. */
void sim_fail(struct sim_world *world, enum sim_check check, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

uint64_t sim_wall_ms(const struct sim_world *world);
void sim_wall_jump(struct sim_world *world, int64_t by_ms);

/* ---- temper.c ---- */

void sim_temper_draw(struct sim_world *world);

/* ---- process.c ---- */

void sim_process_open(struct sim_world *world, enum sim_role which);
void sim_process_close(struct sim_process *process);
void sim_process_start(struct sim_process *process);

/* kill -9: nothing is said or finished.  It starts again after `restart_us`. */
void sim_process_kill(struct sim_process *process, uint64_t restart_us);

/* SIGTERM: it finishes what it has, and starts again `restart_us` after its end. */
void sim_process_stop(struct sim_process *process, uint64_t restart_us);

/* Its loop stands still for a while; its worker threads go on. */
void sim_process_pause(struct sim_process *process, uint64_t pause_us);
bool sim_process_paused(const struct sim_process *process);

/* Power loss: all processes, and the disk keeps what it must and some of the rest. */
void sim_power_loss(struct sim_world *world, uint64_t restart_us);

/* Makes the process look at its queues: the end of a burst. */
void sim_process_soon(struct sim_process *process);

/* Kills that an event asked for, done when it is over. */
void sim_process_kill_due(struct sim_world *world);

/* ---- net.c, worker.c, meta.c: the environment of one process ---- */

void sim_net_attach(struct sim_process *process);
void sim_net_detach(struct sim_process *process); /* its links are gone */
void sim_net_resume(struct sim_process *process); /* hands over what came during a pause */

/* The connections between two processes break: what is under way is lost, and for `down_us` nothing
 * gets through. */
void sim_net_break(struct sim_world *world, enum sim_role a, enum sim_role b, uint64_t down_us);

void sim_worker_attach(struct sim_process *process);
void sim_worker_drain(struct sim_process *process); /* before the role's deinit: no job stays */
void sim_meta_attach(struct sim_process *process);
void sim_meta_close(struct sim_process *process);

/* ---- workload.c ---- */

void sim_workload_open(struct sim_world *world);
void sim_workload_close(struct sim_world *world);
void sim_workload_gateway_dies(struct sim_world *world); /* before its role's deinit */
void sim_workload_clock_jumped(struct sim_world *world);

/* No new tricks: everybody finishes, sends some old writes once more, and reads all keys. */
void sim_workload_settle(struct sim_world *world);
bool sim_workload_settled(const struct sim_world *world);
void sim_workload_read_rotten(struct sim_world *world); /* reads all keys, answers or not */
void sim_workload_check(struct sim_world *world);

/* ---- nemesis.c ---- */

void sim_nemesis_open(struct sim_world *world);
void sim_nemesis_close(struct sim_world *world);
void sim_nemesis_stop(struct sim_world *world);        /* and mends what is broken */
uint64_t sim_nemesis_down_us(struct sim_world *world); /* how long something stays away */
bool sim_nemesis_stopped(const struct sim_world *world);

/* After `operations` more the disk stops: power loss, or only the shardhost is killed. */
void sim_nemesis_cut(struct sim_world *world, uint64_t operations, bool power);
bool sim_nemesis_flip(struct sim_world *world); /* one bit of some file; false: there is none */

/* ---- check/ ---- */

void sim_wire_open(struct sim_world *world);
void sim_wire_close(struct sim_world *world);
void sim_wire_forget(struct sim_world *world); /* the shardhost is gone */
void sim_wire_delivered(struct sim_process *to, nk_peer peer, struct nk_bytes frame);
void sim_wire_sent(struct sim_process *from, nk_peer peer, struct nk_bytes frame);

/* Whether the node is as it should be when nobody wants anything from it; `reason`: what is not. */
bool sim_quiet(struct sim_world *world, struct nk_text *reason);

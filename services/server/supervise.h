#pragma once

/* The restart policy of norikv-server: which child is started, ended or killed when.  Pure: what
 * happened goes in with its time, what to do comes out.
 *
 *   start   gossip first; the others, in their order, once gossip has served
 *   restart at once, then after 100 ms doubling to 5 s; 30 s of life begin anew
 *   give up a child says that the configuration is wrong (78), or has ended
 *           SUPERVISE_ATTEMPTS times in a row without ever having been ready
 *   stop    gateway (it drains), shardhost, admin, gossip: each when the one before has ended or
 *           has had its time; whatever is left after 10 s is killed.  One that does not end in
 *           order makes the server's code 1 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum supervise_child { /* in the order of their start */
                       SUPERVISE_GOSSIP,
                       SUPERVISE_SHARDHOST,
                       SUPERVISE_GATEWAY,
                       SUPERVISE_ADMIN,
                       SUPERVISE_CHILD_COUNT,
};

#define SUPERVISE_EXIT_FAILURE     1
#define SUPERVISE_EXIT_CONFIG      78  /* EX_CONFIG of sysexits.h */
#define SUPERVISE_SIGNALLED        128 /* and the signal's number: ended by it */
#define SUPERVISE_ATTEMPTS         5

#define SUPERVISE_BACKOFF_FIRST_MS ((uint64_t)100)
#define SUPERVISE_BACKOFF_MAX_MS   ((uint64_t)5000)
#define SUPERVISE_STABLE_MS        ((uint64_t)30000)
#define SUPERVISE_STOP_MS          ((uint64_t)10000) /* all of it */
#define SUPERVISE_STOP_STEP_MS     ((uint64_t)4000)  /* until the next child is told as well */

enum supervise_state {
    SUPERVISE_WAITING, /* to be started at due_ms */
    SUPERVISE_RUNNING,
    SUPERVISE_ENDING, /* has been told */
    SUPERVISE_KILLED, /* is as good as gone */
    SUPERVISE_GONE,   /* and will not be started again */
};

struct supervise_process {
    enum supervise_state state;
    uint64_t due_ms;     /* WAITING */
    uint64_t started_ms; /* RUNNING */
    uint32_t ends;       /* in a row, without SUPERVISE_STABLE_MS of life between */
    bool served;         /* once: its addresses are bound */
    bool was_ready;      /* once */
    bool ready;          /* in this life */
};

struct supervise {
    struct supervise_process children[SUPERVISE_CHILD_COUNT];
    bool stopping;
    bool forced;           /* something had to be killed */
    int exit_code;         /* of the server, once it is done */
    uint64_t stop_ms;      /* stopping: when what is left is killed */
    uint64_t stop_step_ms; /* stopping: when the next child is told anyway */
};

void supervise_init(struct supervise *supervise, uint64_t now_ms);

enum supervise_action_kind {
    SUPERVISE_NOTHING, /* until the time that came with it, or until something happens */
    SUPERVISE_START,
    SUPERVISE_TERMINATE,
    SUPERVISE_KILL,
    SUPERVISE_DONE, /* no child is left: end with exit_code */
};

struct supervise_action {
    enum supervise_action_kind kind;
    enum supervise_child child; /* START, TERMINATE, KILL */
    uint64_t next_ms;           /* NOTHING; UINT64_MAX: not by time */
};

/* What to do next; the policy counts it as done.  To be called until it says NOTHING or DONE. */
struct supervise_action supervise_next(struct supervise *supervise, uint64_t now_ms);

/* What happened to a child. */
void supervise_serving(struct supervise *supervise, enum supervise_child child);
void supervise_ready(struct supervise *supervise, enum supervise_child child);

enum supervise_verdict {
    SUPERVISE_EXPECTED,   /* everything stops */
    SUPERVISE_RESTART,    /* it will be started again, at children[child].due_ms */
    SUPERVISE_BAD_CONFIG, /* the server stops with SUPERVISE_EXIT_CONFIG */
    SUPERVISE_HOPELESS,   /* the server stops with SUPERVISE_EXIT_FAILURE */
};

/* It has ended, or could not be started: then the code is SUPERVISE_EXIT_FAILURE. */
enum supervise_verdict supervise_ended(struct supervise *supervise, enum supervise_child child,
                                       int exit_code, uint64_t now_ms);

/* Stop in order; a second call kills what is left. */
void supervise_stop(struct supervise *supervise, uint64_t now_ms);

bool supervise_all_ready(const struct supervise *supervise);

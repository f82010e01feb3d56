#pragma once

/* What the files of this directory share.  One completion queue, one thread that waits on it ("the
 * event thread"); everything here happens on it unless a comment says otherwise. */

#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <pthread.h>

#include "common/base/list.h"
#include "services/gateway/front_grpc/front_grpc.h"

/* Each thing that gRPC was asked for comes back exactly once as an event with its tag. */
struct front_tag {
    void (*event)(struct front_tag *tag, bool ok);
};

struct front_grpc {
    /* Constant after open, and `gateway` after serve. */
    struct front_grpc_options options;
    struct gateway *gateway;
    grpc_server *server;
    grpc_completion_queue *queue;
    char address[300];
    pthread_t thread;
    bool serving; /* the thread runs */

    _Atomic bool stopping;
    struct front_tag stopped_tag;
    pthread_mutex_t lock; /* protects `stopped` */
    pthread_cond_t stopped_changed;
    bool stopped; /* no call is left */

    /* The event thread's own. */
    size_t open_count; /* calls and streams being served */
    struct nk_list free_calls;
    size_t free_count;
    struct nk_list health_watches; /* of health.c */
    bool health_serving;           /* what they were told last */
};

/* ---- Between a tag's owner and the event thread ---- */

/* gRPC's locks order the two for the hardware; ThreadSanitizer, which does not see into the
 * library, is told by these.  Everything that the tag's owner must have written comes before
 * front_lend. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FRONT_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(FRONT_TSAN)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define front_lend(tag)      __tsan_release(tag)
#define front_take_back(tag) __tsan_acquire(tag)
#else
#define front_lend(tag)      ((void)(tag))
#define front_take_back(tag) ((void)(tag))
#endif

/* Starts a batch of our own making: gRPC refusing it would be our bug.  Any thread. */
void front_start(grpc_call *call, const grpc_op *ops, size_t op_count, struct front_tag *tag);

/* ---- A call that has arrived, of any kind ---- */

/* Where a call arrives; given to gRPC by the files below and filled by it. */
struct front_arrival {
    struct front_tag tag;
    struct front_grpc *front;
    void *method; /* of grpc_server_register_method */
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *payload; /* the message of a call with one; NULL there: it was broken */
};

void front_arrival_ask(struct front_arrival *arrival, bool has_payload);
void front_arrival_release(struct front_arrival *arrival); /* not the call itself */

/* The message as one run of bytes: where gRPC has it, if it lies in one piece, else copied.  Both
 * out values are valid until *out_slice is unreferenced and the payload released.  False: no
 * message. */
bool front_message(grpc_byte_buffer *payload, grpc_slice *out_slice, struct nk_bytes *out_message);

/* nk_mono_us time at which an answer can still reach the caller; UINT64_MAX: it set no deadline. */
uint64_t front_deadline_us(const struct front_grpc *front, gpr_timespec deadline);

/* ---- One file each; all are registered before the server starts ---- */

struct front_method {
    const char *name;
    bool has_payload; /* one message from the client, read with the call */
    void (*ask)(struct front_grpc *front, void *method); /* asks for the next call of it */
    size_t ask_count; /* how many of them are asked for at a time */
};

extern const struct front_method front_call_methods[];       /* call.c: Put, Get, Delete */
extern const struct front_method front_watch_methods[];      /* watch.c: WatchCluster */
extern const struct front_method front_health_methods[];     /* health.c: Check, Watch */
extern const struct front_method front_reflection_methods[]; /* reflection.c */

void front_unknown_ask(struct front_grpc *front); /* unknown.c: every other method */

void front_call_forget(struct front_grpc *front); /* releases the recycled calls */
void front_health_poll(struct front_grpc *front); /* tells the watches of a change */
void front_health_stop(struct front_grpc *front); /* ends the watches */

/* gRPC writes its own log lines to `log` until front_log_end; at most one at a time.  `log` is
 * borrowed. */
void front_log_begin(const struct nk_log *log);
void front_log_end(void);

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

struct front_endpoint;

/* A method that is served. */
struct front_method {
    const char *name;
    bool has_payload;   /* one message of the client, read with the call */
    unsigned ask_count; /* how many calls are asked for ahead */
    enum gateway_op op; /* Kv methods */
    void (*ask)(struct front_endpoint *endpoint); /* asks for one more call */
};

#define FRONT_METHODS_MAX ((size_t)16)

struct front_endpoint {
    const struct front_method *method;
    struct front_grpc *front;
    void *handle; /* gRPC's name for the method */
};

struct front_grpc {
    /* Constant after open, `gateway` after serve. */
    struct front_grpc_options options;
    struct gateway *gateway;
    grpc_server *server;
    grpc_completion_queue *queue;
    struct front_endpoint endpoints[FRONT_METHODS_MAX];
    size_t endpoint_count;
    char address[300];
    pthread_t thread;
    bool serving; /* the thread runs */

    _Atomic bool stopping;
    struct front_tag stopped_tag;
    _Atomic size_t holder_count; /* who may still ask gRPC for something (server.c) */

    /* The event thread's own. */
    size_t open_count;         /* calls and streams that are being served */
    struct nk_list free_calls; /* of call.c */
    size_t free_count;
    struct nk_list health_watches; /* of health.c */
    bool health_told;              /* what they heard last: whether this process serves */

    /* The loop thread's own (watch.c). */
    uint64_t view_epoch;
    grpc_slice view; /* of that epoch, shared by all streams */
};

/* ---- Between a tag's owner and the event thread ---- */

/* gRPC's locks order the two for the hardware; ThreadSanitizer, which does not see into the
 * library, is told by these.  Everything that the owner must have written comes before front_lend.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FRONT_TSAN 1
#endif
#endif
#if defined(FRONT_TSAN) || defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define front_lend(tag)      __tsan_release(tag)
#define front_take_back(tag) __tsan_acquire(tag)
#else
#define front_lend(tag)      ((void)(tag))
#define front_take_back(tag) ((void)(tag))
#endif

/* Starts a batch of our own making; gRPC refusing it is our bug (asserted).  Any thread; the call
 * may be over when it returns. */
void front_start(grpc_call *call, const grpc_op *ops, size_t op_count, struct front_tag *tag);

/* Around the life of a call: from the asking for it to its release.  Any thread; the front may be
 * gone after the last leave. */
void front_enter(struct front_grpc *front);
void front_leave(struct front_grpc *front);

/* ---- A call that arrives, whatever its kind ---- */

struct front_arrival {
    struct front_tag tag; /* its event: set by who asks */
    struct front_endpoint *endpoint;
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *payload; /* NULL although there must be one: it was broken */
};

/* Enters, and asks for a call; tag.event follows, not ok when the server stops first. */
void front_arrival_ask(struct front_arrival *arrival, struct front_endpoint *endpoint,
                       void (*event)(struct front_tag *tag, bool ok));

/* For tag.event, with its `ok`: counts the call in and asks for the next.  False: there is no call,
 * or it must not be served and has been told so; `call` is gone, and who asked has left. */
bool front_arrival_admit(struct front_arrival *arrival, bool ok);

/* Frees what came with the call, not the call itself. */
void front_arrival_release(struct front_arrival *arrival);

/* The message as one run of bytes: where gRPC has it if it lies in one piece, else copied.  Valid
 * until the payload is released and *out_slice is unreferenced.  False: out of memory inside gRPC.
 */
bool front_message(grpc_byte_buffer *payload, grpc_slice *out_slice, struct nk_bytes *out_message);

grpc_byte_buffer *front_buffer(struct nk_bytes bytes); /* a copy, as gRPC wants it; any thread */

/* Until when (nk_mono_us) an answer must be found so that it still reaches the caller before that
 * one gives up; UINT64_MAX: it will not. */
uint64_t front_deadline_us(const struct front_grpc *front, gpr_timespec deadline);

/* Ends a call at once: `message` (may be NULL; taken), then `err` by the table of status.h and
 * `text`, which is copied.  Takes the call over, and leaves for it. */
void front_reply(struct front_grpc *front, grpc_call *call, grpc_byte_buffer *message,
                 enum nk_err err, const char *text);

/* ---- One file each ---- */

/* Has the server listen at options.address and writes front->address.  Errors: front_grpc_open;
 * bind.c. */
enum nk_err front_bind(struct front_grpc *front, const char *address, struct nk_text *reason);

void front_call_ask(struct front_endpoint *endpoint);         /* call.c */
void front_call_forget(struct front_grpc *front);             /* frees recycled calls */
void front_watch_ask(struct front_endpoint *endpoint);        /* watch.c */
void front_health_check_ask(struct front_endpoint *endpoint); /* health.c */
void front_health_watch_ask(struct front_endpoint *endpoint);
void front_health_poll(struct front_grpc *front); /* tells the watches if something changed */
void front_reflection_ask(struct front_endpoint *endpoint); /* reflection.c */
void front_unknown_ask(struct front_grpc *front);           /* unknown.c: all other methods */

/* gRPC's own log lines go to `log` (borrowed; NULL: nowhere) from begin to end.  Any thread; log.c.
 */
void front_log_begin(const struct nk_log *log);
void front_log_end(void);

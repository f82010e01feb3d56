#pragma once

/* The gateway role: checks requests, finds who serves them, batches them towards shardhosts, keeps
 * their deadlines, turns answers back.  It knows neither gRPC nor HTTP: the fronts make a
 * gateway_request from a call, and so does the simulator. */

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/mpsc.h"
#include "common/service/service.h"

extern const struct nk_role_ops gateway_role_ops;

struct gateway;

enum gateway_op {
    GATEWAY_OP_PUT = 1,    /* message: norikv.v1.PutRequest -> PutResponse */
    GATEWAY_OP_GET = 2,    /* GetRequest -> GetResponse */
    GATEWAY_OP_DELETE = 3, /* DeleteRequest -> DeleteResponse */
    GATEWAY_OP_PROBE = 4,  /* the gateway's own question whether shard 0 answers; not for fronts */
};

#define GATEWAY_TEXT_BYTES_MAX ((size_t)256)

/* One request.  Owned by the front; must stay in place from submit until `done` was called, which
 * happens exactly once, on the loop thread, and may free it (but see gateway_cancel). */
struct gateway_request {
    /* Set by the front, constant until done. */
    enum gateway_op op;
    struct nk_bytes message; /* packed public request; the bytes are the front's */
    uint64_t deadline_us;    /* nk_mono_us clock; UINT64_MAX: the configured default */
    void (*done)(struct gateway_request *request);

    /* The answer, valid in `done`.  err tells the status by the table in services/gateway/status.h;
     * `text` is the message for people, valid UTF-8; `response` (err == NK_OK) is the packed public
     * response, borrowed for the call of done. */
    enum nk_err err;
    char text[GATEWAY_TEXT_BYTES_MAX];
    struct nk_bytes response;
    char leader_hint[256]; /* host:port, with NK_NOT_LEADER where known; else "" */

    /* The gateway's own; zeroed by the front. */
    struct nk_mpsc_node submit_node;
    struct nk_mpsc_node cancel_node;
    _Atomic int progress;  /* enum gateway_progress */
    uint64_t submitted_us; /* nk_mono_us clock */
    void *entry;           /* its place in the in-flight table */
};

/* Who has the last word about a request or a watch: the first to leave LIVE. */
enum gateway_progress {
    GATEWAY_PROGRESS_LIVE = 0,
    GATEWAY_PROGRESS_CANCELLED = 1, /* the caller: its cancel node is on the way to the loop */
    GATEWAY_PROGRESS_ENDED = 2,     /* the loop */
};

/* The settings of this process: constant, borrowed until deinit.  Any thread. */
const struct nk_config *gateway_config(const struct gateway *gateway);

/* Hands a request over.  Any thread.  After the role has stopped, done is called at once with
 * NK_UNAVAILABLE, on the caller's thread. */
void gateway_submit(struct gateway *gateway, struct gateway_request *request);

/* The caller has gone: the request is dropped wherever it is, and done comes with NK_CANCELLED
 * unless the answer was faster.  Any thread, at most once, after submit.  It may run while the loop
 * calls done; the request must stay in place until both have returned. */
void gateway_cancel(struct gateway *gateway, struct gateway_request *request);

/* For a front that finds a response to make no sense: logs `detail` with an id, and adds to `text`
 * what the caller is told, with that id.  Loop thread, in `done` with NK_OK. */
void gateway_report_fault(struct gateway *gateway, enum nk_err err, const char *detail,
                          struct nk_text *text);

/* One subscriber of the ClusterView.  `changed` is called on the loop thread, at once after
 * gateway_watch_open if the view's epoch is above `epoch`, then at every change; the packed
 * norikv.v1.ClusterView is borrowed for the call.  Epochs of one watch strictly grow. */
struct gateway_watch {
    uint64_t epoch; /* in: what the subscriber knows, 0 nothing; then kept by the gateway */
    void (*changed)(struct gateway_watch *watch, struct nk_bytes view);
    void (*closed)(struct gateway_watch *watch,
                   enum nk_err err); /* last call: it may free the watch
                                      * (but see gateway_watch_close) */

    /* The gateway's own; zeroed by the subscriber. */
    struct nk_mpsc_node node;
    struct nk_mpsc_node close_node;
    _Atomic int progress;
    void *place;
};

/* Any thread.  Too many watches: `closed` with NK_BUSY; the role stops: NK_UNAVAILABLE, and after
 * that on the caller's thread. */
void gateway_watch_open(struct gateway *gateway, struct gateway_watch *watch);

/* `closed` follows, with NK_CANCELLED.  Any thread, at most once, after open; rules as for
 * gateway_cancel. */
void gateway_watch_close(struct gateway *gateway, struct gateway_watch *watch);

/* A copy of the current view as JSON text (the body of /meta/cluster) or of the Prometheus targets
 * (/meta/targets), appended to `out`.  Any thread. */
void gateway_view_json(struct gateway *gateway, struct nk_buf *out);
void gateway_targets_json(struct gateway *gateway, struct nk_buf *out);

/* Loop thread, after its last tick: stops without waiting for shardhosts.  When it returns,
 * everything that the fronts handed over has had its last call, and whatever comes later is refused
 * at once; so the fronts can be closed, and then the role. */
void gateway_end(struct gateway *gateway);

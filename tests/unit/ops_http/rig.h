#pragma once

/* A daemon on a free port of the loopback, and clients that speak to it byte by byte. */

#include <pthread.h>

#include "common/env_posix/env_posix.h"
#include "common/ops_http/ops_http.h"

/* Routes of the rig's handler, each for every method:
 *   /echo     answers with method, path, query and body, one a line, and the header X-Told in
 * X-Told /later    the same, from another thread /refused  answered by begin() with 418 /held is
 * not answered: whoever takes it from the rig does that */
#define RIG_BODY_MAX    ((size_t)1000)
#define RIG_THREADS_MAX ((size_t)256)

struct rig {
    struct nk_clock clock; /* the real one, and what rig_advance has added */
    _Atomic uint64_t added_us;
    struct env_posix_log *posix_log;
    struct nk_health *health;
    struct nk_registry *metrics;
    struct ops_http *http;
    _Atomic unsigned request_count; /* calls of request() */
    pthread_mutex_t lock;           /* of what follows */
    struct nk_http_exchange *held;  /* of /held */
    pthread_t answering[RIG_THREADS_MAX];
    size_t answering_count;
};

/* Zeros: the daemon's defaults. */
struct rig_limits {
    unsigned connection_max;
    unsigned idle_timeout_s;
    size_t body_total_bytes_max;
    bool no_metrics;
};

void rig_open(struct rig *rig, const struct rig_limits *limits);
void rig_close(struct rig *rig); /* stops the daemon; what it asserts at its end is tested too */

void rig_advance(struct rig *rig, uint64_t span_ms);

/* The request to /held, once it has arrived; the rig has it no more. */
struct nk_http_exchange *rig_take_held(struct rig *rig);

/* ---- Clients ---- */

int rig_connect(const struct rig *rig);
void rig_send(int fd, const char *text);
void rig_send_bytes(int fd, struct nk_bytes bytes);

/* One answer, read to the end that its head names; interim ones are skipped. */
struct reply {
    unsigned status; /* 0: the connection ended without one */
    char head[4096];
    char body[65536];
    size_t body_size;
};

void rig_receive(int fd, struct reply *reply);
void rig_receive_head(int fd, struct reply *reply); /* of an answer to HEAD */
bool rig_has_ended(int fd); /* waits for the end; false: there are more bytes */

/* The value of a header; NULL: none. */
const char *reply_header(struct reply *reply, const char *name);

/* One request on a connection of its own. */
void rig_ask(const struct rig *rig, const char *request, struct reply *reply);

/* The same; only the status. */
unsigned rig_status(const struct rig *rig, struct nk_bytes request);

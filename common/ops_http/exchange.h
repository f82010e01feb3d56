#pragma once

/* One HTTP request and its answer.
 *
 *   HEAD      the head has been read; begin() may be running
 *   BODY      body bytes may come: for the handler, or to be thrown away behind an answer
 *   SERVED    request() has been called: somebody owes the answer
 *
 * The exchange is made and freed on the HTTP thread.  Only the answer may come from another thread;
 * it meets the HTTP thread in `answer_state`:
 *
 *   HTTP thread                               answering thread
 *   request() returned, still NONE:           store the response
 *     suspend the connection                  old = exchange(ANSWERED)
 *     compare-exchange NONE -> SUSPENDED      if old is SUSPENDED: resume the connection
 *     if it was ANSWERED already: resume
 *
 * Whoever comes second resumes, so a connection is resumed exactly once, and after it was
 * suspended. After its exchange the answering thread touches nothing but the connection it resumes.
 */

#include <microhttpd.h>

#include "common/base/buf.h"
#include "common/env/http.h"

#include "head.h"

struct ops_http;
struct link;

enum exchange_stage {
    EXCHANGE_HEAD,
    EXCHANGE_BODY,
    EXCHANGE_SERVED,
};

enum answer_state {
    ANSWER_NONE,
    ANSWER_SUSPENDED, /* none, and the connection sleeps until there is one */
    ANSWER_THERE,
};

struct exchange {
    struct nk_http_exchange plain; /* what a handler sees; first, so that one is the other */
    struct ops_http *http;
    struct MHD_Connection *connection;
    struct link *link;
    enum exchange_stage stage;
    bool is_refused;          /* by exchange_refuse */
    uint64_t announced_bytes; /* of body; UINT64_MAX: nobody knows yet */
    size_t body_max;
    struct nk_buf body;
    uint64_t thrown_away_bytes;
    _Atomic int answer_state;
    struct MHD_Response *response; /* set before answer_state becomes ANSWER_THERE */
    unsigned status;
    char *target; /* path and query as they came; the query's '?' is a NUL */
};

/* `target` is taken. */
struct exchange *exchange_new(struct ops_http *http, struct MHD_Connection *connection,
                              char *target);
void exchange_free(struct exchange **exchange);

bool exchange_has_answer(const struct exchange *exchange);

/* Answers with bytes of nk_alloc that the exchange takes over. */
void exchange_answer_taken(struct exchange *exchange, unsigned status, const char *content_type,
                           struct nk_buf *body);
void exchange_answer_error(struct exchange *exchange, unsigned status, const char *code,
                           const char *message);

/* The same, and the connection ends: where the next request begins is not certain. */
void exchange_refuse(struct exchange *exchange, const struct head_refusal *refusal);

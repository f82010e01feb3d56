#pragma once

/* One HTTP request and its answer.
 *
 *   HEAD      the request line has been read; begin() may be running
 *   BODY      begin() took the request; body bytes may come
 *   SERVED    request() has been called: somebody owes the answer
 *   ANSWERED  there is a response to be sent
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

struct ops_http;

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
    enum exchange_stage stage;
    size_t body_max;
    struct nk_buf body;
    _Atomic int answer_state;
    struct MHD_Response *response; /* set before answer_state becomes ANSWER_THERE */
    unsigned status;
    char *target; /* path and query as they came; the query's '?' is a NUL */
};

/* `target` is copied. */
struct exchange *exchange_new(struct ops_http *http, struct MHD_Connection *connection,
                              const char *target);
void exchange_free(struct exchange **exchange);

/* Answers with bytes of nk_alloc that the exchange takes over. */
void exchange_answer_taken(struct exchange *exchange, unsigned status, const char *content_type,
                           struct nk_buf *body);
void exchange_answer_error(struct exchange *exchange, unsigned status, const char *code,
                           const char *message);

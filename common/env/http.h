#pragma once

/* HTTP routes as a role's front writes them: it gets requests and gives answers and never meets the
 * HTTP library.  Implementation of exchanges: common/ops_http.  Implementation of handlers:
 * services/gateway/front_http. */

#include "common/base/bytes.h"

struct nk_http_field {
    const char *name;
    const char *value; /* a field with CR or LF in it is left out of the answer */
};

struct nk_http_answer {
    unsigned status;                    /* 200..599 */
    const char *content_type;           /* NULL: none */
    const struct nk_http_field *fields; /* further headers */
    size_t field_count;
    struct nk_bytes body; /* set it for HEAD too: its size is sent, its bytes are not */
};

/* One request and its answer.  Lives until it is answered.  Path and query have no blanks and no
 * control characters in them. */
struct nk_http_exchange {
    const struct nk_http_exchange_ops *ops;
    const char *method;   /* "GET" */
    const char *path;     /* as it came, still percent-encoded, without the query */
    const char *query;    /* as it came, without the '?'; "" if there is none */
    struct nk_bytes body; /* empty in begin() */
    void *user;           /* the handler's */
};

struct nk_http_exchange_ops {
    /* The value of the first header of that name (case ignored) without the blanks around it,
     * borrowed until the answer; its data is NULL if there is none.  *out_count: how many there
     * are.  HTTP thread only, in begin() and request(). */
    struct nk_bytes (*header)(struct nk_http_exchange *exchange, const char *name,
                              size_t *out_count);

    /* Ends the handler's use of the exchange.  Everything is copied.  Any thread. */
    void (*answer)(struct nk_http_exchange *exchange, const struct nk_http_answer *answer);

    /* The same with the body {"error": {"code": "NOT_FOUND", "message": "..."}}. */
    void (*answer_error)(struct nk_http_exchange *exchange, unsigned status, const char *code,
                         const char *message, const struct nk_http_field *fields,
                         size_t field_count);
};

/* Called on the HTTP thread; must not block. */
struct nk_http_handler {
    /* The head of a request has arrived.  False: not a route of this handler.  True: the handler
     *   - has answered; a body, if there is one, is thrown away; or
     *   - has set *out_body_max (0 at the call), the most bytes of body it takes; request()
     * follows, unless the body is larger (413) or the client goes away, so begin() may leave
     * nothing behind that would have to be freed. */
    bool (*begin)(void *ctx, struct nk_http_exchange *exchange, size_t *out_body_max);

    /* The whole request is there.  The handler answers exactly once, now or later, from any thread:
     * an exchange that is never answered holds its connection for ever. */
    void (*request)(void *ctx, struct nk_http_exchange *exchange);

    void *ctx;
};

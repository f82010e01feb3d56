/* The daemon: one thread of libmicrohttpd with epoll, and the order in which a request is looked
 * at.
 *
 * libmicrohttpd calls handle() once when the head is complete, once for each piece of the body,
 * once at the end of the request, and again after a suspended connection is resumed.  Facts of
 * 0.9.75 that shape this file, found by trying (README.md):
 *   - it decodes the path before handing it out, so that %2F and %00 in a key are lost: the request
 *     target is taken as it came, from the log callback;
 *   - it accepts Content-Length beside Transfer-Encoding, and two Content-Lengths;
 *   - it aborts when it is stopped while a connection is suspended;
 *   - a response queued before the body was read ends the connection, which is what a refused body
 *     deserves; during the body it takes none. */

#include "ops_http.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"

#include "daemon.h"
#include "exchange.h"
#include "listen.h"
#include "routes.h"

#define CONNECTION_MEMORY_BYTES ((size_t)(16 * NK_KIB)) /* request head and answer head */
#define CLOSE_GRACE_MS          1000

struct ops_http {
    struct MHD_Daemon *daemon;
    int listen_fd; /* -1 after stop */
    char address[LISTEN_ADDRESS_BYTES_MAX + 1];
    struct nk_health *health;
    struct nk_registry *metrics; /* NULL: not offered */
    bool has_handler;
    struct nk_http_handler handler;
    struct nk_log log;
    size_t body_total_bytes_max;

    _Atomic bool stopping;
    _Atomic size_t exchange_count; /* requests from their first line to the end of their answer */
    _Atomic size_t owed_count;     /* of them, those that a handler has to answer */

    size_t body_total_bytes; /* the HTTP thread's */
};

static enum nk_err start_daemon(struct ops_http *http, const struct ops_http_options *options);
static void *begin_exchange(void *http, const char *target, struct MHD_Connection *connection);
static void end_exchange(void *http, struct MHD_Connection *connection, void **exchange,
                         enum MHD_RequestTerminationCode code);
static enum MHD_Result handle(void *http, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **exchange);
static void look_at_head(struct ops_http *http, struct exchange *exchange);
static bool refuse_framing(struct exchange *exchange);
static enum MHD_Result look_at_framing_field(void *framing, enum MHD_ValueKind kind,
                                             const char *name, const char *value);
static bool body_fits(struct ops_http *http, struct exchange *exchange, uint64_t more);
static enum MHD_Result serve(struct ops_http *http, struct exchange *exchange);
static enum MHD_Result send_answer(struct exchange *exchange);
static size_t leave_as_it_is(void *http, struct MHD_Connection *connection, char *text);
static void log_line(void *http, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

enum nk_err ops_http_open(const struct ops_http_options *options, struct ops_http **out_http,
                          struct nk_text *reason)
{
    struct ops_http *http = nk_alloc_zero(1, sizeof *http);
    enum nk_err err = listen_open(options->address, &http->listen_fd, http->address, reason);
    if (err != NK_OK) {
        nk_free(http);
        return err;
    }
    http->health = options->health;
    http->metrics = options->metrics;
    http->has_handler = options->handler != NULL;
    if (http->has_handler) {
        http->handler = *options->handler;
    }
    http->log = options->log;
    http->body_total_bytes_max = options->body_total_bytes_max > 0 ? options->body_total_bytes_max
                                                                   : OPS_HTTP_BODY_TOTAL_BYTES;
    err = start_daemon(http, options);
    if (err != NK_OK) {
        nk_text_add(reason, http->address);
        nk_text_add(reason, ": the HTTP server does not start");
        (void)close(http->listen_fd);
        nk_free(http);
        return err;
    }
    *out_http = http;
    return NK_OK;
}

const char *ops_http_address(const struct ops_http *http)
{
    return http->address;
}

void ops_http_stop(struct ops_http *http)
{
    if (atomic_exchange_explicit(&http->stopping, true, memory_order_relaxed)) {
        return;
    }
    MHD_socket listener = MHD_quiesce_daemon(http->daemon);
    NK_ASSERT(listener == http->listen_fd);
    (void)close(listener);
    http->listen_fd = -1;
}

void ops_http_close(struct ops_http **http_p)
{
    if (http_p == NULL || *http_p == NULL) {
        return;
    }
    struct ops_http *http = *http_p;
    ops_http_stop(http);
    for (int waited_ms = 0; waited_ms < CLOSE_GRACE_MS && http->exchange_count > 0; waited_ms++) {
        (void)poll(NULL, 0, 1);
    }
    NK_ASSERT(http->owed_count == 0);
    MHD_stop_daemon(http->daemon);
    NK_ASSERT(http->exchange_count == 0);
    nk_free(http);
    *http_p = NULL;
}

bool daemon_is_stopping(const struct ops_http *http)
{
    return atomic_load_explicit(&http->stopping, memory_order_relaxed);
}

void daemon_answered(struct ops_http *http)
{
    size_t before = atomic_fetch_sub_explicit(&http->owed_count, 1, memory_order_acq_rel);
    NK_ASSERT(before > 0);
}

static enum nk_err start_daemon(struct ops_http *http, const struct ops_http_options *options)
{
    unsigned connection_max =
        options->connection_max > 0 ? options->connection_max : OPS_HTTP_CONNECTIONS;
    unsigned timeout_s =
        options->idle_timeout_s > 0 ? options->idle_timeout_s : OPS_HTTP_IDLE_TIMEOUT_S;
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    /* The logger comes first, so that it hears about the options that follow. */
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, handle, http, MHD_OPTION_EXTERNAL_LOGGER, log_line, http,
        MHD_OPTION_LISTEN_SOCKET, http->listen_fd, MHD_OPTION_CONNECTION_LIMIT, connection_max,
        MHD_OPTION_CONNECTION_TIMEOUT, timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        CONNECTION_MEMORY_BYTES, MHD_OPTION_URI_LOG_CALLBACK, begin_exchange, http,
        MHD_OPTION_NOTIFY_COMPLETED, end_exchange, http, MHD_OPTION_UNESCAPE_CALLBACK,
        leave_as_it_is, http, MHD_OPTION_END);
    return http->daemon != NULL ? NK_OK : NK_IO;
}

/* ---- The life of a request, on the HTTP thread ---- */

static void *begin_exchange(void *ctx, const char *target, struct MHD_Connection *connection)
{
    struct ops_http *http = ctx;
    atomic_fetch_add_explicit(&http->exchange_count, 1, memory_order_relaxed);
    return exchange_new(http, connection, target);
}

/* For every exchange that was begun, also when the head was bad or the client has gone.  Never
 * while a handler owes the answer: the connection is suspended then. */
static void end_exchange(void *ctx, struct MHD_Connection *connection, void **exchange_p,
                         enum MHD_RequestTerminationCode code)
{
    (void)connection;
    (void)code;
    struct ops_http *http = ctx;
    struct exchange *exchange = *exchange_p;
    if (exchange == NULL) {
        return;
    }
    NK_ASSERT(http->body_total_bytes >= exchange->body.size);
    http->body_total_bytes -= exchange->body.size;
    exchange_free(&exchange);
    *exchange_p = NULL;
    size_t before = atomic_fetch_sub_explicit(&http->exchange_count, 1, memory_order_release);
    NK_ASSERT(before > 0);
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **exchange_p)
{
    (void)connection;
    (void)url;
    (void)version;
    struct ops_http *http = ctx;
    struct exchange *exchange = *exchange_p;
    if (exchange->stage == EXCHANGE_HEAD) {
        exchange->plain.method = method;
        look_at_head(http, exchange);
    } else if (*upload_size > 0) {
        if (exchange->answer_state == ANSWER_NONE && body_fits(http, exchange, *upload_size)) {
            nk_buf_append(&exchange->body, nk_bytes_of(upload, *upload_size));
            http->body_total_bytes += *upload_size;
        }
        /* The rest of a body that was refused on its way is read and thrown away: the library can
         * answer only behind it. */
        *upload_size = 0;
        return MHD_YES;
    } else if (exchange->stage == EXCHANGE_BODY && exchange->answer_state == ANSWER_NONE) {
        return serve(http, exchange);
    }
    return exchange->answer_state == ANSWER_THERE ? send_answer(exchange) : MHD_YES;
}

static void look_at_head(struct ops_http *http, struct exchange *exchange)
{
    struct nk_http_exchange *plain = &exchange->plain;
    if (refuse_framing(exchange) || routes_serve(exchange, http->health, http->metrics)) {
        return;
    }
    if (!http->has_handler || !http->handler.begin(http->handler.ctx, plain, &exchange->body_max)) {
        exchange_answer_error(exchange, MHD_HTTP_NOT_FOUND, "UNIMPLEMENTED", "no such route");
        return;
    }
    if (exchange->answer_state == ANSWER_THERE) {
        return;
    }
    exchange->stage = EXCHANGE_BODY;
    const char *length = plain->ops->header(plain, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t announced = 0;
    if (length != NULL && !nk_text_parse_u64(nk_bytes_of_string(length), &announced)) {
        exchange_answer_error(exchange, MHD_HTTP_BAD_REQUEST, "INVALID_ARGUMENT",
                              "Content-Length is not a number");
        return;
    }
    (void)body_fits(http, exchange, announced);
}

/* What frames the body must be said once and in one way.  True: it was not, and is answered. */
struct framing {
    unsigned lengths;
    unsigned codings;
    bool chunked;
};

static bool refuse_framing(struct exchange *exchange)
{
    struct framing framing = {0};
    (void)MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, look_at_framing_field,
                                    &framing);
    if (framing.lengths + framing.codings > 1) {
        exchange_answer_error(exchange, MHD_HTTP_BAD_REQUEST, "INVALID_ARGUMENT",
                              "the length of the body is said twice");
        return true;
    }
    if (framing.codings == 1 && !framing.chunked) {
        exchange_answer_error(exchange, MHD_HTTP_NOT_IMPLEMENTED, "UNIMPLEMENTED",
                              "the only transfer coding is chunked");
        return true;
    }
    return false;
}

static enum MHD_Result look_at_framing_field(void *ctx, enum MHD_ValueKind kind, const char *name,
                                             const char *value)
{
    (void)kind;
    struct framing *framing = ctx;
    if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0) {
        framing->lengths++;
    } else if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
        framing->codings++;
        framing->chunked = value != NULL && strcasecmp(value, "chunked") == 0;
    }
    return MHD_YES;
}

/* Room for `more` bytes of body; false: there is none, and the exchange is answered. */
static bool body_fits(struct ops_http *http, struct exchange *exchange, uint64_t more)
{
    if (more > exchange->body_max - exchange->body.size) {
        exchange_answer_error(exchange, MHD_HTTP_CONTENT_TOO_LARGE, "INVALID_ARGUMENT",
                              "the body is too large");
        return false;
    }
    if (more > http->body_total_bytes_max - http->body_total_bytes) {
        exchange_answer_error(exchange, MHD_HTTP_TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED",
                              "OVERLOADED: too many bytes of requests are under way");
        return false;
    }
    return true;
}

/* The request is complete: hand it over, and sleep unless the answer is there at once. */
static enum MHD_Result serve(struct ops_http *http, struct exchange *exchange)
{
    exchange->stage = EXCHANGE_SERVED;
    exchange->plain.body = nk_buf_bytes(&exchange->body);
    atomic_fetch_add_explicit(&http->owed_count, 1, memory_order_relaxed);
    http->handler.request(http->handler.ctx, &exchange->plain);
    if (atomic_load_explicit(&exchange->answer_state, memory_order_acquire) == ANSWER_THERE) {
        return send_answer(exchange);
    }
    MHD_suspend_connection(exchange->connection);
    int none = ANSWER_NONE;
    if (!atomic_compare_exchange_strong_explicit(&exchange->answer_state, &none, ANSWER_SUSPENDED,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        MHD_resume_connection(exchange->connection);
    }
    return MHD_YES;
}

static enum MHD_Result send_answer(struct exchange *exchange)
{
    return MHD_queue_response(exchange->connection, exchange->status, exchange->response);
}

/* ---- For the library ---- */

static size_t leave_as_it_is(void *ctx, struct MHD_Connection *connection, char *text)
{
    (void)ctx;
    (void)connection;
    return strlen(text);
}

/* What clients do wrong; a level that is off in production, since clients decide how often. */
static void log_line(void *ctx, const char *format, va_list arguments)
{
    struct ops_http *http = ctx;
    char text[256];
    int size = vsnprintf(text, sizeof text, format, arguments);
    if (size > 0) {
        text[strcspn(text, "\n")] = '\0';
        nk_log_debug(&http->log, "ops_http", "remark of the HTTP library",
                     NK_LOG_TEXT("text", text));
    }
}

/* The daemon: one thread of libmicrohttpd with epoll, and the order in which a request is looked
 * at.
 *
 * libmicrohttpd calls handle() once when the head is complete, once for each piece of the body,
 * once at the end of the request, and again after a suspended connection is resumed.  Facts of
 * 0.9.75 that shape this file, found by trying (README.md):
 *   - it decodes the path before handing it out, so that %2F and %00 in a key are lost: the request
 *     target is taken as it came, from the log callback;
 *   - when it has no memory for all the arguments of a query it forgets the request, without the
 *     call of end_exchange and without an answer: nothing is made before handle(), and the query is
 *     cut off before the library looks at it;
 *   - what heads it lets through: head.h;
 *   - it aborts when it is stopped while a connection is suspended;
 *   - during the body it takes no answer;
 *   - an answer queued in the first of these calls ends the connection, even if the request has no
 *     body; and if it has one, the client may hear of a lost connection before it has read its
 *     answer.  So answers wait for the last call, unless the body is too long for that. */

#include "ops_http.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"

#include "daemon.h"
#include "exchange.h"
#include "head.h"
#include "link.h"
#include "listen.h"
#include "routes.h"

#define CONNECTION_MEMORY_BYTES ((size_t)(16 * NK_KIB))          /* request head and answer head */
#define THROWN_AWAY_BYTES_MAX   ((uint64_t)NK_REQUEST_BYTES_MAX) /* of a body nobody wants */
#define CLOSE_GRACE_MS          1000

static_assert(CONNECTION_MEMORY_BYTES >= 2 * HEAD_BYTES_MAX,
              "a head that is a little too long is refused by us");

struct ops_http {
    struct MHD_Daemon *daemon;
    int listen_fd; /* -1 after stop */
    char address[LISTEN_ADDRESS_BYTES_MAX + 1];
    struct nk_health *health;
    struct nk_registry *metrics; /* NULL: not offered */
    bool has_handler;
    struct nk_http_handler handler;
    struct nk_clock clock;
    struct nk_log log;
    unsigned connection_max;
    size_t body_total_bytes_max;

    _Atomic bool stopping;
    _Atomic size_t exchange_count; /* requests from their head to the end of their answer */
    _Atomic size_t owed_count;     /* of them, those that a handler has to answer */

    /* The HTTP thread's. */
    size_t body_total_bytes;
    size_t link_count;
    struct nk_list waiting; /* link.h */
};

static enum nk_err start_daemon(struct ops_http *http, const struct ops_http_options *options);
static void link_changed(void *http, struct MHD_Connection *connection, void **link,
                         enum MHD_ConnectionNotificationCode change);
static void *note_target(void *http, const char *target, struct MHD_Connection *connection);
static void end_exchange(void *http, struct MHD_Connection *connection, void **exchange,
                         enum MHD_RequestTerminationCode code);
static enum MHD_Result handle(void *http, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **exchange);
static struct exchange *begin_exchange(struct ops_http *http, struct MHD_Connection *connection,
                                       const char *method, const char *version);
static void end_the_slow(struct ops_http *http);
static struct link *link_of(struct MHD_Connection *connection);
static struct head head_of(struct MHD_Connection *connection, const struct link *link,
                           const char *method, const char *version);
static void look_at_head(struct ops_http *http, struct exchange *exchange);
static bool read_announced_bytes(struct exchange *exchange);
static bool answer_can_wait(const struct exchange *exchange);
static bool take_body(struct ops_http *http, struct exchange *exchange, struct nk_bytes piece);
static bool body_fits(struct ops_http *http, struct exchange *exchange, uint64_t more);
static enum MHD_Result serve(struct ops_http *http, struct exchange *exchange);
static enum MHD_Result send_answer(struct ops_http *http, struct exchange *exchange);
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
    http->clock = options->clock;
    http->log = options->log;
    http->connection_max =
        options->connection_max > 0 ? options->connection_max : OPS_HTTP_CONNECTIONS;
    http->body_total_bytes_max = options->body_total_bytes_max > 0 ? options->body_total_bytes_max
                                                                   : OPS_HTTP_BODY_TOTAL_BYTES;
    nk_list_init(&http->waiting);
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
    MHD_stop_daemon(http->daemon);
    /* Not before: a client may have sent one more request, which the handler refuses just now. */
    NK_ASSERT(http->owed_count == 0);
    NK_ASSERT(http->exchange_count == 0);
    NK_ASSERT(http->link_count == 0);
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
    unsigned timeout_s =
        options->idle_timeout_s > 0 ? options->idle_timeout_s : OPS_HTTP_IDLE_TIMEOUT_S;
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    /* The logger comes first, so that it hears about the options that follow. */
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, handle, http, MHD_OPTION_EXTERNAL_LOGGER, log_line, http,
        MHD_OPTION_LISTEN_SOCKET, http->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
        http->connection_max, MHD_OPTION_CONNECTION_TIMEOUT, timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY_BYTES, MHD_OPTION_NOTIFY_CONNECTION,
        link_changed, http, MHD_OPTION_URI_LOG_CALLBACK, note_target, http,
        MHD_OPTION_NOTIFY_COMPLETED, end_exchange, http, MHD_OPTION_UNESCAPE_CALLBACK,
        leave_as_it_is, http, MHD_OPTION_END);
    return http->daemon != NULL ? NK_OK : NK_IO;
}

/* ---- Connections, on the HTTP thread ---- */

static void link_changed(void *ctx, struct MHD_Connection *connection, void **link_p,
                         enum MHD_ConnectionNotificationCode change)
{
    struct ops_http *http = ctx;
    if (change == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        end_the_slow(http);
        if (++http->link_count >= http->connection_max) {
            link_end_first(&http->waiting);
        }
        *link_p = link_new(&http->waiting, info->connect_fd, nk_mono_us(&http->clock));
        return;
    }
    NK_ASSERT(http->link_count > 0);
    http->link_count--;
    struct link *link = *link_p;
    link_free(&link);
    *link_p = NULL;
}

static void end_the_slow(struct ops_http *http)
{
    uint64_t now_us = nk_mono_us(&http->clock);
    uint64_t turn_us = OPS_HTTP_TURN_S * NK_US_PER_SEC;
    link_end_older(&http->waiting, now_us > turn_us ? now_us - turn_us : 0);
}

static struct link *link_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    NK_ASSERT(info->socket_context != NULL);
    return info->socket_context;
}

/* `target` lies in the library's buffer, which it is about to take apart; it has no business with
 * the query. */
static void *note_target(void *ctx, const char *target, struct MHD_Connection *connection)
{
    (void)ctx;
    link_set_target(link_of(connection), target);
    char *query = strchr((char *)(uintptr_t)target, '?');
    if (query != NULL) {
        query[1] = '\0';
    }
    return NULL; /* no exchange yet */
}

/* ---- The life of a request, on the HTTP thread ---- */

static struct exchange *begin_exchange(struct ops_http *http, struct MHD_Connection *connection,
                                       const char *method, const char *version)
{
    end_the_slow(http);
    struct link *link = link_of(connection);
    const struct head head = head_of(connection, link, method, version);
    const struct head_refusal *refusal = head_check(&head);
    struct exchange *exchange = exchange_new(http, connection, link->target);
    link->target = NULL;
    exchange->link = link;
    exchange->plain.method = method;
    atomic_fetch_add_explicit(&http->exchange_count, 1, memory_order_relaxed);
    if (refusal != NULL) {
        exchange_refuse(exchange, refusal);
    } else {
        look_at_head(http, exchange);
    }
    return exchange;
}

/* For every exchange that was begun, also when the client has gone.  Never while a handler owes the
 * answer: the connection is suspended then. */
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
    (void)url;
    struct ops_http *http = ctx;
    struct exchange *exchange = *exchange_p;
    if (exchange == NULL) {
        exchange = begin_exchange(http, connection, method, version);
        *exchange_p = exchange;
        if (!exchange_has_answer(exchange) || answer_can_wait(exchange)) {
            exchange->stage = EXCHANGE_BODY;
            return MHD_YES;
        }
        return send_answer(http, exchange);
    }
    if (*upload_size > 0) {
        bool goes_on = take_body(http, exchange, nk_bytes_of(upload, *upload_size));
        *upload_size = 0;
        return goes_on ? MHD_YES : MHD_NO;
    }
    if (exchange_has_answer(exchange)) {
        return send_answer(http, exchange);
    }
    return exchange->stage == EXCHANGE_BODY ? serve(http, exchange) : MHD_YES;
}

/* The request line's parts and the lines below it where the library has them. */
static struct head head_of(struct MHD_Connection *connection, const struct link *link,
                           const char *method, const char *version)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    struct nk_bytes target = nk_bytes_of_string(link->target);
    const char *fields = version + strlen(version);
    const char *end = method + info->header_size;
    NK_ASSERT(fields <= end);
    return (struct head){
        .line_is_whole = method + strlen(method) + 1 == link->target_end - target.size &&
                         link->target_end + 1 == version,
        .target = target,
        .version = version,
        .fields = nk_bytes_of(fields, (size_t)(end - fields)),
    };
}

static void look_at_head(struct ops_http *http, struct exchange *exchange)
{
    struct nk_http_exchange *plain = &exchange->plain;
    if (!read_announced_bytes(exchange) || routes_serve(exchange, http->health, http->metrics)) {
        return;
    }
    if (!http->has_handler || !http->handler.begin(http->handler.ctx, plain, &exchange->body_max)) {
        exchange_answer_error(exchange, MHD_HTTP_NOT_FOUND, "UNIMPLEMENTED", "no such route");
    } else if (!exchange_has_answer(exchange) && exchange->announced_bytes != UINT64_MAX) {
        (void)body_fits(http, exchange, exchange->announced_bytes);
    }
}

/* False: answered. */
static bool read_announced_bytes(struct exchange *exchange)
{
    size_t count;
    struct nk_http_exchange *plain = &exchange->plain;
    struct nk_bytes length = plain->ops->header(plain, MHD_HTTP_HEADER_CONTENT_LENGTH, &count);
    if (count > 0) {
        if (!nk_text_parse_u64(length, &exchange->announced_bytes)) {
            exchange_answer_error(exchange, MHD_HTTP_BAD_REQUEST, "INVALID_ARGUMENT",
                                  "Content-Length is not a number");
            return false;
        }
        return true;
    }
    (void)plain->ops->header(plain, MHD_HTTP_HEADER_TRANSFER_ENCODING, &count);
    exchange->announced_bytes = count > 0 ? UINT64_MAX : 0;
    return true;
}

/* Whether the request can be read to its end first.  Else it is answered at once: because nobody
 * knows where its end is, or because it has a body that is too long for that, or one that the
 * client has not begun to send. */
static bool answer_can_wait(const struct exchange *exchange)
{
    if (exchange->is_refused || exchange->announced_bytes > THROWN_AWAY_BYTES_MAX) {
        return false;
    }
    return exchange->announced_bytes == 0 ||
           MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND,
                                       MHD_HTTP_HEADER_EXPECT) == NULL;
}

/* A piece of the body, for the handler or for nobody.  False: enough of it was thrown away. */
static bool take_body(struct ops_http *http, struct exchange *exchange, struct nk_bytes piece)
{
    if (!exchange_has_answer(exchange) && body_fits(http, exchange, piece.size)) {
        nk_buf_append(&exchange->body, piece);
        http->body_total_bytes += piece.size;
        return true;
    }
    exchange->thrown_away_bytes += piece.size;
    return exchange->thrown_away_bytes <= THROWN_AWAY_BYTES_MAX;
}

/* Room for `more` bytes of body; false: there is none, and the exchange is answered. */
static bool body_fits(struct ops_http *http, struct exchange *exchange, uint64_t more)
{
    if (more > exchange->body_max - exchange->body.size) {
        char message[64];
        struct nk_text text;
        nk_text_init(&text, message, sizeof message);
        nk_text_add(&text, "the limit of the body is ");
        nk_text_add_u64(&text, exchange->body_max);
        nk_text_add(&text, " bytes");
        exchange_answer_error(exchange, MHD_HTTP_CONTENT_TOO_LARGE, "INVALID_ARGUMENT", message);
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
    link_waits_for_us(exchange->link);
    atomic_fetch_add_explicit(&http->owed_count, 1, memory_order_relaxed);
    http->handler.request(http->handler.ctx, &exchange->plain);
    if (exchange_has_answer(exchange)) {
        return send_answer(http, exchange);
    }
    MHD_suspend_connection(exchange->connection);
    int none = ANSWER_NONE;
    if (!atomic_compare_exchange_strong_explicit(&exchange->answer_state, &none, ANSWER_SUSPENDED,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        MHD_resume_connection(exchange->connection);
    }
    return MHD_YES;
}

static enum MHD_Result send_answer(struct ops_http *http, struct exchange *exchange)
{
    link_waits_for_client(exchange->link, &http->waiting, nk_mono_us(&http->clock));
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

#include "exchange.h"

#include <strings.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "common/service/json.h"

#include "daemon.h"

static void answer_with(struct exchange *exchange, unsigned status, const char *content_type,
                        struct MHD_Response *response);
static void add_field(struct MHD_Response *response, const char *name, const char *value);
static const char *path_of(const char *target);

struct search {
    const char *name;
    const char *first; /* NULL: not found yet */
    size_t count;
};

static enum MHD_Result look_at_field(void *ctx, enum MHD_ValueKind kind, const char *name,
                                     const char *value)
{
    (void)kind;
    struct search *search = ctx;
    if (strcasecmp(name, search->name) == 0) {
        search->first = search->count == 0 ? value : search->first;
        search->count++;
    }
    return MHD_YES;
}

static struct nk_bytes header(struct nk_http_exchange *plain, const char *name, size_t *out_count)
{
    struct exchange *exchange = (struct exchange *)plain;
    struct search search = {.name = name};
    (void)MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, look_at_field, &search);
    *out_count = search.count;
    if (search.count == 0) {
        return nk_bytes_of(NULL, 0);
    }
    /* The library takes the blanks in front of a value away, not those behind it. */
    struct nk_bytes value = nk_bytes_of_string(search.first != NULL ? search.first : "");
    while (value.size > 0 &&
           (value.data[value.size - 1] == ' ' || value.data[value.size - 1] == '\t')) {
        value.size--;
    }
    return value;
}

static void answer(struct nk_http_exchange *plain, const struct nk_http_answer *given)
{
    struct exchange *exchange = (struct exchange *)plain;
    NK_ASSERT(given->status >= 200);
    NK_ASSERT(given->status <= 599);
    /* MUST_COPY only reads the bytes; the library's prototype has no const. */
    struct MHD_Response *response = MHD_create_response_from_buffer(
        given->body.size, (void *)(uintptr_t)given->body.data, MHD_RESPMEM_MUST_COPY);
    NK_ASSERT(response != NULL);
    for (size_t i = 0; i < given->field_count; i++) {
        add_field(response, given->fields[i].name, given->fields[i].value);
    }
    answer_with(exchange, given->status, given->content_type, response);
}

static void answer_error(struct nk_http_exchange *plain, unsigned status, const char *code,
                         const char *message, const struct nk_http_field *fields,
                         size_t field_count)
{
    struct nk_buf body = {0};
    struct nk_json json;
    nk_json_init(&json, &body);
    nk_json_open(&json, '{');
    nk_json_name(&json, "error");
    nk_json_open(&json, '{');
    nk_json_name(&json, "code");
    nk_json_text(&json, code);
    nk_json_name(&json, "message");
    nk_json_text(&json, message);
    nk_json_close(&json, '}');
    nk_json_close(&json, '}');
    const struct nk_http_answer given = {
        .status = status,
        .content_type = "application/json",
        .fields = fields,
        .field_count = field_count,
        .body = nk_buf_bytes(&body),
    };
    answer(plain, &given);
    nk_buf_deinit(&body);
}

struct exchange *exchange_new(struct ops_http *http, struct MHD_Connection *connection,
                              char *target)
{
    static const struct nk_http_exchange_ops ops = {header, answer, answer_error};
    struct exchange *exchange = nk_alloc_zero(1, sizeof *exchange);
    exchange->http = http;
    exchange->connection = connection;
    exchange->target = target;
    exchange->plain.ops = &ops;
    exchange->plain.method = "";
    exchange->plain.query = "";
    char *mark = strchr(target, '?');
    if (mark != NULL) {
        *mark = '\0';
        exchange->plain.query = mark + 1;
    }
    exchange->plain.path = path_of(target);
    return exchange;
}

/* "http://host/path", as proxies ask and every server must understand (RFC 9112, 3.2.2), is
 * "/path". */
static const char *path_of(const char *target)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < NK_COUNT_OF(schemes); i++) {
        size_t size = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], size) == 0) {
            const char *path = strchr(target + size, '/');
            return path != NULL ? path : "/";
        }
    }
    return target;
}

void exchange_free(struct exchange **exchange)
{
    if (exchange == NULL || *exchange == NULL) {
        return;
    }
    if ((*exchange)->response != NULL) {
        MHD_destroy_response((*exchange)->response);
    }
    nk_buf_deinit(&(*exchange)->body);
    nk_free((*exchange)->target);
    nk_free(*exchange);
    *exchange = NULL;
}

void exchange_answer_taken(struct exchange *exchange, unsigned status, const char *content_type,
                           struct nk_buf *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(body->size, body->data, nk_free);
    NK_ASSERT(response != NULL);
    nk_buf_init(body);
    answer_with(exchange, status, content_type, response);
}

void exchange_answer_error(struct exchange *exchange, unsigned status, const char *code,
                           const char *message)
{
    answer_error(&exchange->plain, status, code, message, NULL, 0);
}

void exchange_refuse(struct exchange *exchange, const struct head_refusal *refusal)
{
    const struct nk_http_field close = {MHD_HTTP_HEADER_CONNECTION, "close"};
    exchange->is_refused = true;
    answer_error(&exchange->plain, refusal->status, refusal->code, refusal->message, &close, 1);
}

bool exchange_has_answer(const struct exchange *exchange)
{
    return atomic_load_explicit(&exchange->answer_state, memory_order_acquire) == ANSWER_THERE;
}

static void answer_with(struct exchange *exchange, unsigned status, const char *content_type,
                        struct MHD_Response *response)
{
    struct MHD_Connection *connection = exchange->connection;
    struct ops_http *http = exchange->http;
    if (content_type != NULL) {
        add_field(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    }
    if (daemon_is_stopping(http)) {
        add_field(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    NK_ASSERT(exchange->response == NULL); /* answered once */
    exchange->response = response;
    exchange->status = status;
    bool owed = exchange->stage == EXCHANGE_SERVED;
    int before =
        atomic_exchange_explicit(&exchange->answer_state, ANSWER_THERE, memory_order_acq_rel);
    if (before == ANSWER_SUSPENDED) {
        MHD_resume_connection(connection);
    }
    if (owed) {
        daemon_answered(http);
    }
}

/* What is no header value (line breaks) the library refuses, and it is left out. */
static void add_field(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value);
}

#include "front_http.h"

#include "common/base/assert.h"
#include "common/base/units.h"

#include "call.h"

#define KV_PREFIX        "/kv/"
#define REASON_BYTES_MAX 256

static const struct method {
    const char *name;
    enum gateway_op op;
} methods[] = {
    {"GET", GATEWAY_OP_GET},
    {"PUT", GATEWAY_OP_PUT},
    {"DELETE", GATEWAY_OP_DELETE},
    {"HEAD", GATEWAY_OP_GET},
};

static const struct page {
    const char *path;
    void (*write)(struct gateway *gateway, struct nk_buf *out);
} pages[] = {
    {"/meta/cluster", gateway_view_json},
    {"/meta/targets", gateway_targets_json},
};

static bool begin_kv(struct gateway *gateway, struct nk_http_exchange *exchange,
                     size_t *out_body_max);
static bool read_kv(struct gateway *gateway, struct nk_http_exchange *exchange, enum gateway_op op,
                    struct http_request *out_request);
static const struct method *method_of(const struct nk_http_exchange *exchange);
static struct http_header header_of(struct nk_http_exchange *exchange, const char *name);
static void answer_page(struct gateway *gateway, struct nk_http_exchange *exchange,
                        const struct page *page);
static void refuse_method(struct nk_http_exchange *exchange, const char *allowed);

static bool begin(void *ctx, struct nk_http_exchange *exchange, size_t *out_body_max)
{
    struct gateway *gateway = ctx;
    for (size_t i = 0; i < NK_COUNT_OF(pages); i++) {
        if (strcmp(pages[i].path, exchange->path) == 0) {
            answer_page(gateway, exchange, &pages[i]);
            return true;
        }
    }
    if (strncmp(exchange->path, KV_PREFIX, strlen(KV_PREFIX)) == 0) {
        return begin_kv(gateway, exchange, out_body_max);
    }
    return false;
}

/* Everything that the head alone shows to be wrong is refused before the body is read.  What was
 * read is not kept: request() reads it once more, which costs less than looking after it while the
 * client may go away. */
static bool begin_kv(struct gateway *gateway, struct nk_http_exchange *exchange,
                     size_t *out_body_max)
{
    const struct method *method = method_of(exchange);
    struct http_request request;
    if (method == NULL) {
        refuse_method(exchange, "GET, HEAD, PUT, DELETE");
    } else if (read_kv(gateway, exchange, method->op, &request) && method->op == GATEWAY_OP_PUT) {
        /* The gateway knows the limit of a value and says so; this is the limit of what is read. */
        *out_body_max = gateway_config(gateway)->limits.request_max_bytes;
    }
    return true;
}

static void serve(void *ctx, struct nk_http_exchange *exchange)
{
    struct gateway *gateway = ctx;
    struct http_request request;
    bool read = read_kv(gateway, exchange, method_of(exchange)->op, &request);
    NK_ASSERT(read); /* as in begin() */
    http_call_submit(gateway, exchange, &request);
}

/* False: it makes no sense, and is answered. */
static bool read_kv(struct gateway *gateway, struct nk_http_exchange *exchange, enum gateway_op op,
                    struct http_request *out_request)
{
    const struct http_parts parts = {
        .op = op,
        .key = nk_bytes_of_string(exchange->path + strlen(KV_PREFIX)),
        .query = nk_bytes_of_string(exchange->query),
        .if_match = header_of(exchange, "If-Match"),
        .if_none_match = header_of(exchange, "If-None-Match"),
        .idempotency_key = header_of(exchange, "Idempotency-Key"),
    };
    char message[REASON_BYTES_MAX];
    struct nk_text reason;
    nk_text_init(&reason, message, sizeof message);
    size_t key_bytes_max = gateway_config(gateway)->limits.max_key_bytes;
    enum nk_err err = http_request_read(&parts, key_bytes_max, out_request, &reason);
    if (err != NK_OK) {
        exchange->ops->answer_error(exchange, err == NK_TOO_LARGE ? 414 : 400, "INVALID_ARGUMENT",
                                    message, NULL, 0);
    }
    return err == NK_OK;
}

static const struct method *method_of(const struct nk_http_exchange *exchange)
{
    for (size_t i = 0; i < NK_COUNT_OF(methods); i++) {
        if (strcmp(methods[i].name, exchange->method) == 0) {
            return &methods[i];
        }
    }
    return NULL;
}

static struct http_header header_of(struct nk_http_exchange *exchange, const char *name)
{
    struct http_header header;
    header.value = exchange->ops->header(exchange, name, &header.count);
    return header;
}

static void answer_page(struct gateway *gateway, struct nk_http_exchange *exchange,
                        const struct page *page)
{
    if (strcmp(exchange->method, "GET") != 0 && strcmp(exchange->method, "HEAD") != 0) {
        refuse_method(exchange, "GET, HEAD");
        return;
    }
    struct nk_buf body = {0};
    page->write(gateway, &body);
    const struct nk_http_answer answer = {
        .status = 200, .content_type = "application/json", .body = nk_buf_bytes(&body)};
    exchange->ops->answer(exchange, &answer);
    nk_buf_deinit(&body);
}

static void refuse_method(struct nk_http_exchange *exchange, const char *allowed)
{
    const struct nk_http_field allow = {"Allow", allowed};
    exchange->ops->answer_error(exchange, 405, "UNIMPLEMENTED", "this route has no such method",
                                &allow, 1);
}

struct nk_http_handler front_http_handler(struct gateway *gateway)
{
    return (struct nk_http_handler){begin, serve, gateway};
}

/* Two pages, copied from what the loop has put up for all to read. */
#include "gossip.h"

static void cluster_page(struct gossip *gossip, struct nk_http_exchange *exchange,
                         void (*write)(struct gossip *gossip, struct nk_buf *out))
{
    struct nk_buf body;
    nk_buf_init(&body);
    write(gossip, &body);
    struct nk_http_answer answer = {
        .status = 200, .content_type = "application/json", .body = nk_buf_bytes(&body)};
    exchange->ops->answer(exchange, &answer);
    nk_buf_deinit(&body);
}

static bool begin(void *ctx, struct nk_http_exchange *exchange, size_t *out_body_max)
{
    (void)out_body_max;
    bool cluster = strcmp(exchange->path, "/meta/cluster") == 0;
    if (!cluster && strcmp(exchange->path, "/meta/targets") != 0) {
        return false;
    }
    if (strcmp(exchange->method, "GET") != 0 && strcmp(exchange->method, "HEAD") != 0) {
        static const struct nk_http_field allow = {"Allow", "GET, HEAD"};
        exchange->ops->answer_error(exchange, 405, "UNIMPLEMENTED", "only GET and HEAD are served",
                                    &allow, 1);
    } else {
        cluster_page(ctx, exchange, cluster ? gossip_cluster_json : gossip_targets_json);
    }
    return true;
}

/* begin() has answered everything. */
static void request(void *ctx, struct nk_http_exchange *exchange)
{
    (void)ctx;
    exchange->ops->answer_error(exchange, 500, "INTERNAL", "unexpected body", NULL, 0);
}

struct nk_http_handler gossip_http_handler(struct gossip *gossip)
{
    struct nk_http_handler handler = {begin, request, gossip};
    return handler;
}

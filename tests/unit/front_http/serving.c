#include "serving.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <strings.h>

#include "common/base/limits.h"
#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "services/gateway/front_http/front_http.h"

#define GOSSIP_SESSION 500
#define HOST_SESSION   600

static void tick(struct serving *serving)
{
    (void)gateway_role_ops.tick(serving->gateway);
}

static nk_peer link_to(const struct serving *serving, const char *address)
{
    const struct stage_link *link = stage_link(&serving->stage, address);
    cr_assert_not_null(link, "no link to %s", address);
    return link->peer;
}

void serving_open(struct serving *serving)
{
    memset(serving, 0, sizeof *serving);
    stage_open(&serving->stage);
    void *role = NULL;
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    enum nk_err err = gateway_role_ops.init(&serving->stage.context, &role, &reason);
    cr_assert_eq(err, NK_OK, "%s", memory);
    serving->gateway = role;
    serving->handler = front_http_handler(serving->gateway);
    tick(serving);
}

void serving_join(struct serving *serving)
{
    char address[NK_PATH_BYTES_MAX];
    struct nk_text text;
    nk_text_init(&text, address, sizeof address);
    nk_service_bus_address(&serving->stage.config, "gossip", &text);
    nk_peer gossip = link_to(serving, address);

    Norikv__Internal__V1__Registered registered = NORIKV__INTERNAL__V1__REGISTERED__INIT;
    registered.session = serving->stage.context.session;
    registered.lease_ms = 60000;
    registered.listen_address = (char *)"stage://published";
    registered.publisher = GOSSIP_SESSION;
    registered.sequence = 1;
    stage_deliver(&gateway_role_ops, serving->gateway, gossip, NK_FRAME_REGISTERED,
                  &registered.base);

    Norikv__Internal__V1__Member member = NORIKV__INTERNAL__V1__MEMBER__INIT;
    member.node_id = (char *)"n1";
    member.role = (char *)"shardhost";
    member.session = HOST_SESSION;
    member.talk_address = (char *)"stage://shardhost";
    member.http_address = (char *)"127.0.0.1:8180";
    member.state = NORIKV__INTERNAL__V1__MEMBER_STATE__MEMBER_STATE_ALIVE;
    member.total_shards = serving->stage.config.cluster.total_shards;
    Norikv__Internal__V1__Member *members[] = {&member};
    Norikv__Internal__V1__StateUpdate update = NORIKV__INTERNAL__V1__STATE_UPDATE__INIT;
    update.publisher = GOSSIP_SESSION;
    update.sequence = 1;
    update.epoch = 77;
    update.snapshot = true;
    update.members = members;
    update.n_members = 1;
    stage_deliver(&gateway_role_ops, serving->gateway, gossip, NK_FRAME_STATE_UPDATE, &update.base);
    tick(serving);
    serving->shardhost = link_to(serving, "stage://shardhost");
}

void serving_close(struct serving *serving)
{
    void *role = serving->gateway;
    gateway_role_ops.deinit(&role);
    stage_close(&serving->stage);
}

/* ---- The client ---- */

static struct nk_bytes exchange_header(struct nk_http_exchange *plain, const char *name,
                                       size_t *out_count)
{
    struct asked *asked = (struct asked *)plain;
    struct nk_bytes first = {NULL, 0};
    *out_count = 0;
    for (size_t i = 0; asked->headers != NULL && asked->headers[i] != NULL; i += 2) {
        if (strcasecmp(asked->headers[i], name) == 0) {
            first = *out_count == 0 ? nk_bytes_of_string(asked->headers[i + 1]) : first;
            ++*out_count;
        }
    }
    return first;
}

static void keep_answer(struct asked *asked, unsigned status, const char *type,
                        const struct nk_http_field *fields, size_t field_count)
{
    size_t size = 0;
    asked->answer_count++;
    asked->status = status;
    (void)snprintf(asked->type, sizeof asked->type, "%s", type != NULL ? type : "");
    for (size_t i = 0; i < field_count; i++) {
        size += (size_t)snprintf(asked->fields + size, sizeof asked->fields - size, "%s: %s\n",
                                 fields[i].name, fields[i].value);
    }
}

static void exchange_answer(struct nk_http_exchange *plain, const struct nk_http_answer *answer)
{
    struct asked *asked = (struct asked *)plain;
    keep_answer(asked, answer->status, answer->content_type, answer->fields, answer->field_count);
    nk_buf_append(&asked->body, answer->body);
}

static void exchange_answer_error(struct nk_http_exchange *plain, unsigned status, const char *code,
                                  const char *message, const struct nk_http_field *fields,
                                  size_t field_count)
{
    struct asked *asked = (struct asked *)plain;
    keep_answer(asked, status, "error", fields, field_count);
    nk_buf_append_string(&asked->body, code);
    nk_buf_append_string(&asked->body, ": ");
    nk_buf_append_string(&asked->body, message);
}

static const struct nk_http_exchange_ops exchange_ops = {exchange_header, exchange_answer,
                                                         exchange_answer_error};

void serving_ask(struct serving *serving, struct asked *asked, const char *method,
                 const char *target, const char *const *headers, const char *body)
{
    static char path[4096]; /* one request at a time has its target here */
    memset(asked, 0, sizeof *asked);
    (void)snprintf(path, sizeof path, "%s", target);
    char *mark = strchr(path, '?');
    if (mark != NULL) {
        *mark = '\0';
    }
    asked->plain.ops = &exchange_ops;
    asked->plain.method = method;
    asked->plain.path = path;
    asked->plain.query = mark != NULL ? mark + 1 : "";
    asked->headers = headers;
    const struct nk_http_handler *handler = &serving->handler;
    asked->is_route = handler->begin(handler->ctx, &asked->plain, &asked->body_max);
    if (asked->is_route && asked->answer_count == 0) {
        asked->plain.body = nk_bytes_of_string(body);
        handler->request(handler->ctx, &asked->plain);
        tick(serving);
    }
    nk_buf_append_u8(&asked->body, 0); /* a text for the test */
    asked->body.size--;
}

void asked_deinit(struct asked *asked)
{
    nk_buf_deinit(&asked->body);
}

/* ---- The shardhost ---- */

const Norikv__Internal__V1__ShardRequest *serving_request(struct serving *serving)
{
    struct stage *stage = &serving->stage;
    for (size_t i = stage->frame_count; i > 0; i--) {
        const struct stage_frame *frame = &stage->frames[i - 1];
        if (frame->type != NK_FRAME_SHARD_REQUESTS || frame->to != serving->shardhost) {
            continue;
        }
        const Norikv__Internal__V1__ShardRequests *batch =
            (const Norikv__Internal__V1__ShardRequests *)stage_message(stage, frame);
        for (size_t j = batch->n_requests; j > 0; j--) {
            if (batch->requests[j - 1]->op != NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PROBE) {
                return batch->requests[j - 1];
            }
        }
    }
    return NULL;
}

void serving_reply(struct serving *serving, enum nk_err err, const char *message,
                   struct nk_bytes response)
{
    const Norikv__Internal__V1__ShardRequest *request = serving_request(serving);
    cr_assert_not_null(request, "the shardhost was asked nothing");
    Norikv__Internal__V1__ShardReply reply = NORIKV__INTERNAL__V1__SHARD_REPLY__INIT;
    reply.id = request->id;
    reply.err = (uint32_t)err;
    reply.message = (char *)(uintptr_t)message;
    reply.response.data = (uint8_t *)(uintptr_t)response.data;
    reply.response.len = response.size;
    Norikv__Internal__V1__ShardReply *replies[] = {&reply};
    Norikv__Internal__V1__ShardReplies batch = NORIKV__INTERNAL__V1__SHARD_REPLIES__INIT;
    batch.session = HOST_SESSION;
    batch.replies = replies;
    batch.n_replies = 1;
    stage_deliver(&gateway_role_ops, serving->gateway, serving->shardhost, NK_FRAME_SHARD_REPLIES,
                  &batch.base);
    tick(serving);
}

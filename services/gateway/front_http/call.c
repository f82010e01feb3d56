/* The call owns the message and, until its answer, the exchange.  A client who goes away meanwhile
 * is not noticed (common/ops_http D2): the request runs to its end, at most the configured
 * request timeout. */

#include "call.h"

#include "common/base/alloc.h"
#include "common/base/units.h"
#include "common/env/http.h"
#include "services/gateway/status.h"

#include "message.h"

/* What another client may be given an hour later is not what the store promises. */
static const struct nk_http_field no_store = {"Cache-Control", "no-store"};

struct call {
    struct gateway_request request;
    struct gateway *gateway;
    struct nk_http_exchange *exchange;
    struct nk_buf message;
};

static void call_done(struct gateway_request *request);
static void answer_outcome(struct nk_http_exchange *exchange, enum gateway_op op,
                           const struct http_outcome *outcome);
static void answer_error(struct nk_http_exchange *exchange, const struct gateway_status *status,
                         const char *text);

void http_call_submit(struct gateway *gateway, struct nk_http_exchange *exchange,
                      const struct http_request *request)
{
    struct call *call = nk_alloc_zero(1, sizeof *call);
    call->gateway = gateway;
    call->exchange = exchange;
    http_message_write(request, exchange->body, &call->message);
    call->request.op = request->op;
    call->request.message = nk_buf_bytes(&call->message);
    call->request.deadline_us = UINT64_MAX; /* the configured one */
    call->request.done = call_done;
    gateway_submit(gateway, &call->request);
}

/* The loop thread; the HTTP thread when the gateway refuses at once. */
static void call_done(struct gateway_request *request)
{
    struct call *call = NK_CONTAINER_OF(request, struct call, request);
    struct http_outcome outcome;
    if (request->err != NK_OK) {
        answer_error(call->exchange, gateway_status_of(request->err), request->text);
    } else if (http_message_read(request->op, request->response, &outcome)) {
        answer_outcome(call->exchange, request->op, &outcome);
    } else {
        struct nk_text text;
        nk_text_init(&text, request->text, sizeof request->text);
        gateway_report_fault(call->gateway, NK_CORRUPT, "a response that is none", &text);
        answer_error(call->exchange, gateway_status_of(NK_CORRUPT), request->text);
    }
    nk_buf_deinit(&call->message);
    nk_free(call);
}

static void answer_outcome(struct nk_http_exchange *exchange, enum gateway_op op,
                           const struct http_outcome *outcome)
{
    if (!outcome->found) {
        answer_error(exchange, gateway_status_of(NK_NOT_FOUND),
                     op == GATEWAY_OP_GET ? "no such key" : "no such key was there to delete");
        return;
    }
    char etag[HTTP_ETAG_BYTES];
    http_etag_write(&outcome->version, etag);
    const struct nk_http_field fields[] = {no_store, {"ETag", etag}};
    struct nk_http_answer answer = {
        .status = 200, .fields = fields, .field_count = NK_COUNT_OF(fields)};
    if (op == GATEWAY_OP_GET) {
        answer.content_type = "application/octet-stream";
        answer.body = outcome->value;
    } else if (op == GATEWAY_OP_DELETE) {
        answer.status = 204;
        answer.field_count = 1; /* what is not there has no tag */
    }
    exchange->ops->answer(exchange, &answer);
}

static void answer_error(struct nk_http_exchange *exchange, const struct gateway_status *status,
                         const char *text)
{
    exchange->ops->answer_error(exchange, (unsigned)status->http, status->name, text, &no_store, 1);
}

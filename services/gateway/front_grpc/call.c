/* Put, Get, Delete.   A write in ten files: proto/norikv/v1/kv.proto -> this file -> ../gateway.c.
 *
 * One call is three events: it has arrived, its answer has left, it is closed.  The close is asked
 * for at the start, in a batch of its own, so that a caller who goes away is noticed while the
 * request is under way; that third event costs about 2 % of a bare call.
 *
 * The event thread receives, submits, and recycles after the last of the three.  The loop thread
 * calls done(), which starts the answer itself: gRPC allows it, and no third party has to be woken.
 * After that done() must not touch the call, for its last event may be there already. */

#include "services/gateway/front_grpc/front.h"

#include <grpc/byte_buffer.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/gateway/status.h"

/* Memory that was used a moment ago is warm; more than this is given back. */
#define FREE_CALLS_MAX ((size_t)2048)

struct call {
    struct nk_list list; /* in front_grpc.free_calls */
    struct front_arrival arrival;
    struct front_tag closed_tag;
    struct front_tag answered_tag;
    unsigned pending; /* of these two events */
    int cancelled;    /* written by gRPC before the closed event */
    struct gateway_request request;
    grpc_slice message; /* holds request.message if it had to be copied */
    grpc_byte_buffer *response;
    grpc_metadata hint;
    bool hint_sent;
};

static void call_arrived(struct front_tag *tag, bool ok);
static void call_begin(struct front_grpc *front, struct call *call);
static void call_done(struct gateway_request *request);
static void call_answered(struct front_tag *tag, bool ok);
static void call_closed(struct front_tag *tag, bool ok);
static void call_event(struct call *call);
static void call_recycle(struct front_grpc *front, struct call *call);

void front_call_ask(struct front_endpoint *endpoint)
{
    struct front_grpc *front = endpoint->front;
    struct call *call = NULL;
    if (nk_list_empty(&front->free_calls)) {
        call = nk_alloc_zero(1, sizeof *call);
        nk_list_init(&call->list);
    } else {
        call = NK_CONTAINER_OF(front->free_calls.next, struct call, list);
        nk_list_remove(&call->list);
        front->free_count--;
    }
    front_arrival_ask(&call->arrival, endpoint, call_arrived);
}

void front_call_forget(struct front_grpc *front)
{
    while (!nk_list_empty(&front->free_calls)) {
        struct call *call = NK_CONTAINER_OF(front->free_calls.next, struct call, list);
        nk_list_remove(&call->list);
        nk_free(call);
    }
    front->free_count = 0;
}

static void call_arrived(struct front_tag *tag, bool ok)
{
    struct call *call = NK_CONTAINER_OF(tag, struct call, arrival.tag);
    struct front_grpc *front = call->arrival.endpoint->front;
    if (!front_arrival_admit(&call->arrival, ok)) {
        front_arrival_release(&call->arrival);
        call_recycle(front, call);
        return;
    }
    call_begin(front, call);
}

static void call_begin(struct front_grpc *front, struct call *call)
{
    struct gateway_request *request = &call->request;
    memset(request, 0, sizeof *request);
    if (!front_message(call->arrival.payload, &call->message, &request->message)) {
        front_reply(front, call->arrival.call, NULL, NK_INVALID, "the message cannot be read");
        front->open_count--;
        front_arrival_release(&call->arrival);
        call_recycle(front, call);
        return;
    }
    call->pending = 2;
    call->response = NULL;
    call->hint_sent = false;
    call->closed_tag.event = call_closed;
    call->answered_tag.event = call_answered;
    grpc_op close;
    memset(&close, 0, sizeof close);
    close.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    close.data.recv_close_on_server.cancelled = &call->cancelled;
    front_start(call->arrival.call, &close, 1, &call->closed_tag);

    request->op = call->arrival.endpoint->method->op;
    request->deadline_us = front_deadline_us(front, call->arrival.deadline);
    request->done = call_done;
    gateway_submit(front->gateway, request);
}

/* The loop thread; the event thread when the gateway refuses at once. */
static void call_done(struct gateway_request *request)
{
    struct call *call = NK_CONTAINER_OF(request, struct call, request);
    const struct gateway_status *status = gateway_status_of(request->err);
    grpc_op ops[3];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (request->err == NK_OK) {
        call->response = front_buffer(request->response);
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = call->response;
    }
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].data.send_status_from_server.status = (grpc_status_code)status->grpc;
    grpc_slice text = grpc_empty_slice();
    if (request->err != NK_OK) {
        text = grpc_slice_from_copied_string(request->text);
        ops[count].data.send_status_from_server.status_details = &text;
    }
    if (request->leader_hint[0] != '\0') {
        call->hint.key = grpc_slice_from_static_string("leader-hint");
        call->hint.value = grpc_slice_from_copied_string(request->leader_hint);
        call->hint_sent = true;
        /* An address that gRPC would not carry is only a hint less. */
        bool legal = grpc_header_nonbin_value_is_legal(call->hint.value) != 0;
        ops[count].data.send_status_from_server.trailing_metadata_count = legal ? 1 : 0;
        ops[count].data.send_status_from_server.trailing_metadata = &call->hint;
    }
    count++;
    front_start(call->arrival.call, ops, count, &call->answered_tag);
    grpc_slice_unref(text); /* gRPC keeps its own reference from the start of the batch on */
}

static void call_answered(struct front_tag *tag, bool ok)
{
    (void)ok; /* the caller may have gone: nobody to tell */
    call_event(NK_CONTAINER_OF(tag, struct call, answered_tag));
}

static void call_closed(struct front_tag *tag, bool ok)
{
    (void)ok; /* always true for this operation */
    struct call *call = NK_CONTAINER_OF(tag, struct call, closed_tag);
    if (call->cancelled != 0) {
        gateway_cancel(call->arrival.endpoint->front->gateway, &call->request);
    }
    call_event(call);
}

static void call_event(struct call *call)
{
    NK_ASSERT(call->pending > 0);
    if (--call->pending > 0) {
        return;
    }
    struct front_grpc *front = call->arrival.endpoint->front;
    grpc_slice_unref(call->message);
    if (call->response != NULL) {
        grpc_byte_buffer_destroy(call->response);
    }
    if (call->hint_sent) {
        grpc_slice_unref(call->hint.value);
    }
    front_arrival_release(&call->arrival);
    grpc_call_unref(call->arrival.call);
    NK_ASSERT(front->open_count > 0);
    front->open_count--;
    call_recycle(front, call);
    front_leave(front);
}

static void call_recycle(struct front_grpc *front, struct call *call)
{
    if (front->free_count >= FREE_CALLS_MAX) {
        nk_free(call);
        return;
    }
    nk_list_prepend(&front->free_calls, &call->list);
    front->free_count++;
}

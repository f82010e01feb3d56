/* Two threads may find something to send at the same time: the owner's, which offers or ends, and
 * the event thread, when the former message has left.  Whoever turns `sending` true goes on; the
 * other one leaves.  Nothing is lost: the one that goes on looks again after giving `sending` up,
 * and what the other one left was there before that. */

#include "services/gateway/front_grpc/stream.h"

#include <grpc/byte_buffer.h>

#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/gateway/status.h"

/* The owner, the closed event, the ended event. */
#define HOLDERS 3

static void pump(struct front_stream *stream);
static void send_message(struct front_stream *stream, grpc_byte_buffer *message);
static void send_status(struct front_stream *stream, const char *text);
static void stream_closed(struct front_tag *tag, bool ok);
static void stream_sent(struct front_tag *tag, bool ok);
static void stream_ended(struct front_tag *tag, bool ok);
static void let_go(struct front_stream *stream);

void front_stream_begin(struct front_stream *stream, struct front_grpc *front, grpc_call *call)
{
    stream->front = front;
    stream->call = call;
    stream->closed_tag.event = stream_closed;
    stream->sent_tag.event = stream_sent;
    stream->ended_tag.event = stream_ended;
    atomic_init(&stream->next, NULL);
    atomic_init(&stream->end_text, NULL);
    atomic_init(&stream->sending, false);
    atomic_init(&stream->holder_count, HOLDERS);
    stream->begun = false;
    stream->current = NULL;
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &stream->cancelled;
    front_start(call, &op, 1, &stream->closed_tag);
}

void front_stream_offer(struct front_stream *stream, grpc_byte_buffer *message)
{
    grpc_byte_buffer *former = atomic_exchange(&stream->next, message);
    if (former != NULL) {
        grpc_byte_buffer_destroy(former);
    }
    pump(stream);
}

void front_stream_end(struct front_stream *stream, enum nk_err err, const char *text)
{
    stream->end_err = err;
    atomic_store(&stream->end_text, text);
    pump(stream);
    let_go(stream);
}

static void pump(struct front_stream *stream)
{
    while (atomic_load(&stream->next) != NULL || atomic_load(&stream->end_text) != NULL) {
        if (atomic_exchange(&stream->sending, true)) {
            return;
        }
        const char *end_text = atomic_load(&stream->end_text);
        if (end_text != NULL) {
            send_status(stream, end_text); /* `sending` stays true: nothing follows */
            return;
        }
        grpc_byte_buffer *message = atomic_exchange(&stream->next, NULL);
        if (message != NULL) {
            send_message(stream, message);
            return;
        }
        atomic_store(&stream->sending, false);
    }
}

static void send_message(struct front_stream *stream, grpc_byte_buffer *message)
{
    grpc_op ops[2];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    if (!stream->begun) {
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
        stream->begun = true;
    }
    ops[count].op = GRPC_OP_SEND_MESSAGE;
    ops[count++].data.send_message.send_message = message;
    stream->current = message;
    front_start(stream->call, ops, count, &stream->sent_tag);
}

static void send_status(struct front_stream *stream, const char *text)
{
    grpc_op ops[2];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    if (!stream->begun) {
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
        stream->begun = true;
    }
    grpc_slice details = grpc_slice_from_static_string(text);
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].data.send_status_from_server.status =
        (grpc_status_code)gateway_status_of(stream->end_err)->grpc;
    ops[count++].data.send_status_from_server.status_details = &details;
    front_start(stream->call, ops, count, &stream->ended_tag);
}

static void stream_closed(struct front_tag *tag, bool ok)
{
    (void)ok; /* always true for this operation */
    struct front_stream *stream = NK_CONTAINER_OF(tag, struct front_stream, closed_tag);
    stream->closed(stream);
    let_go(stream);
}

static void stream_sent(struct front_tag *tag, bool ok)
{
    (void)ok; /* a caller who has gone: the closed event says so too */
    struct front_stream *stream = NK_CONTAINER_OF(tag, struct front_stream, sent_tag);
    grpc_byte_buffer_destroy(stream->current);
    stream->current = NULL;
    atomic_store(&stream->sending, false);
    pump(stream);
}

static void stream_ended(struct front_tag *tag, bool ok)
{
    (void)ok;
    let_go(NK_CONTAINER_OF(tag, struct front_stream, ended_tag));
}

static void let_go(struct front_stream *stream)
{
    if (atomic_fetch_sub(&stream->holder_count, 1) > 1) {
        return;
    }
    NK_ASSERT(stream->current == NULL);
    grpc_byte_buffer *unsent = atomic_load(&stream->next);
    if (unsent != NULL) {
        grpc_byte_buffer_destroy(unsent);
    }
    grpc_call_unref(stream->call);
    struct front_grpc *front = stream->front;
    stream->release(stream);
    front_leave(front);
}

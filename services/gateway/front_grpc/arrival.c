/* What all kinds of calls have in common: how they come in, and how one is turned away. */

#include "services/gateway/front_grpc/front.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/time.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/gateway/status.h"

/* The caller's clock and ours end at the same moment, but our answer needs time to travel: we give
 * up this much earlier, so that the caller learns what happened instead of only that time is up. */
#define ANSWER_TRAVEL_US_MAX ((uint64_t)(20 * NK_US_PER_MS))
#define ANSWER_TRAVEL_PART   8 /* but no more than an eighth of the caller's time */

struct reply {
    struct front_tag tag;
    struct front_grpc *front;
    grpc_call *call;
    grpc_byte_buffer *message;
    grpc_slice text;
    int cancelled;
};

static void replied(struct front_tag *tag, bool ok);

void front_start(grpc_call *call, const grpc_op *ops, size_t op_count, struct front_tag *tag)
{
    front_lend(tag);
    grpc_call_error error = grpc_call_start_batch(call, ops, op_count, tag, NULL);
    NK_ASSERT(error == GRPC_CALL_OK);
}

void front_arrival_ask(struct front_arrival *arrival, struct front_endpoint *endpoint,
                       void (*event)(struct front_tag *tag, bool ok))
{
    struct front_grpc *front = endpoint->front;
    arrival->tag.event = event;
    arrival->endpoint = endpoint;
    arrival->call = NULL;
    arrival->payload = NULL;
    grpc_metadata_array_init(&arrival->metadata);
    front_enter(front);
    front_lend(&arrival->tag);
    grpc_call_error error = grpc_server_request_registered_call(
        front->server, endpoint->handle, &arrival->call, &arrival->deadline, &arrival->metadata,
        endpoint->method->has_payload ? &arrival->payload : NULL, front->queue, front->queue,
        &arrival->tag);
    NK_ASSERT(error == GRPC_CALL_OK);
}

bool front_arrival_admit(struct front_arrival *arrival, bool ok)
{
    struct front_grpc *front = arrival->endpoint->front;
    const struct front_method *method = arrival->endpoint->method;
    if (!ok) {
        front_leave(front);
        return false;
    }
    if (!atomic_load(&front->stopping)) {
        method->ask(arrival->endpoint);
    }
    if (method->has_payload && arrival->payload == NULL) {
        front_reply(front, arrival->call, NULL, NK_INVALID, "the request message is incomplete");
        return false;
    }
    /* gRPC itself queues without limit: whoever is too many must be told at once. */
    if (front->open_count >= front->options.inflight_max) {
        front_reply(front, arrival->call, NULL, NK_BUSY,
                    "OVERLOADED: this gateway serves as many calls as it may");
        return false;
    }
    front->open_count++;
    return true;
}

void front_arrival_release(struct front_arrival *arrival)
{
    grpc_metadata_array_destroy(&arrival->metadata);
    if (arrival->payload != NULL) {
        grpc_byte_buffer_destroy(arrival->payload);
        arrival->payload = NULL;
    }
}

bool front_message(grpc_byte_buffer *payload, grpc_slice *out_slice, struct nk_bytes *out_message)
{
    grpc_byte_buffer_reader reader;
    grpc_slice *first = NULL;
    grpc_slice *second = NULL;
    *out_slice = grpc_empty_slice();
    *out_message = nk_bytes_of(NULL, 0);
    if (!grpc_byte_buffer_reader_init(&reader, payload)) {
        return false;
    }
    bool any = grpc_byte_buffer_reader_peek(&reader, &first) != 0;
    bool more = any && grpc_byte_buffer_reader_peek(&reader, &second) != 0;
    grpc_byte_buffer_reader_destroy(&reader);
    if (more) {
        if (!grpc_byte_buffer_reader_init(&reader, payload)) {
            return false;
        }
        *out_slice = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        first = out_slice;
    }
    if (any) {
        *out_message = nk_bytes_of(GRPC_SLICE_START_PTR(*first), GRPC_SLICE_LENGTH(*first));
    }
    return true;
}

grpc_byte_buffer *front_buffer(struct nk_bytes bytes)
{
    grpc_slice slice = grpc_slice_malloc(bytes.size);
    if (bytes.size > 0) {
        memcpy(GRPC_SLICE_START_PTR(slice), bytes.data, bytes.size);
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

uint64_t front_deadline_us(const struct front_grpc *front, gpr_timespec deadline)
{
    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) {
        return UINT64_MAX;
    }
    gpr_timespec left = gpr_time_sub(gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC),
                                     gpr_now(GPR_CLOCK_MONOTONIC));
    uint64_t left_us =
        left.tv_sec < 0 ? 0 : (uint64_t)left.tv_sec * NK_US_PER_SEC + (uint64_t)left.tv_nsec / 1000;
    uint64_t travel_us = nk_min_u64(left_us / ANSWER_TRAVEL_PART, ANSWER_TRAVEL_US_MAX);
    return nk_mono_us(&front->options.clock) + left_us - travel_us;
}

void front_reply(struct front_grpc *front, grpc_call *call, grpc_byte_buffer *message,
                 enum nk_err err, const char *text)
{
    struct reply *reply = nk_alloc_zero(1, sizeof *reply);
    reply->tag.event = replied;
    reply->front = front;
    reply->call = call;
    reply->message = message;
    reply->text = grpc_slice_from_copied_string(text);
    grpc_op ops[4];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (message != NULL) {
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = message;
    }
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].data.send_status_from_server.status = (grpc_status_code)gateway_status_of(err)->grpc;
    ops[count++].data.send_status_from_server.status_details = &reply->text;
    ops[count].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[count++].data.recv_close_on_server.cancelled = &reply->cancelled;
    front_start(call, ops, count, &reply->tag);
}

static void replied(struct front_tag *tag, bool ok)
{
    (void)ok; /* nobody to tell */
    struct reply *reply = NK_CONTAINER_OF(tag, struct reply, tag);
    if (reply->message != NULL) {
        grpc_byte_buffer_destroy(reply->message);
    }
    grpc_slice_unref(reply->text);
    grpc_call_unref(reply->call);
    front_leave(reply->front);
    nk_free(reply);
}

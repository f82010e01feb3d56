/* Meta.WatchCluster: the gateway's watch at one end, a stream at the other. */

#include "services/gateway/front_grpc/stream.h"

#include <grpc/byte_buffer.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/gateway/wire.h"

/* norikv.v1.ClusterView */
#define FIELD_EPOCH 1

struct watch_call {
    struct front_arrival arrival;
    struct front_stream stream;
    struct gateway_watch watch;
};

static void watch_arrived(struct front_tag *tag, bool ok);
static bool read_epoch(grpc_byte_buffer *payload, uint64_t *out_epoch);
static void watch_changed(struct gateway_watch *watch, struct nk_bytes view);
static void watch_over(struct gateway_watch *watch, enum nk_err err);
static void watch_closed(struct front_stream *stream);
static void watch_release(struct front_stream *stream);

void front_watch_ask(struct front_endpoint *endpoint)
{
    struct watch_call *call = nk_alloc_zero(1, sizeof *call);
    front_arrival_ask(&call->arrival, endpoint, watch_arrived);
}

static void watch_arrived(struct front_tag *tag, bool ok)
{
    struct watch_call *call = NK_CONTAINER_OF(tag, struct watch_call, arrival.tag);
    struct front_grpc *front = call->arrival.endpoint->front;
    if (!front_arrival_admit(&call->arrival, ok)) {
        front_arrival_release(&call->arrival);
        nk_free(call);
        return;
    }
    bool valid = read_epoch(call->arrival.payload, &call->watch.epoch);
    front_arrival_release(&call->arrival);
    if (!valid) {
        front_reply(front, call->arrival.call, NULL, NK_INVALID,
                    "the request is no valid norikv.v1.ClusterView");
        front->open_count--;
        nk_free(call);
        return;
    }
    call->watch.changed = watch_changed;
    call->watch.closed = watch_over;
    call->stream.closed = watch_closed;
    call->stream.release = watch_release;
    front_stream_begin(&call->stream, front, call->arrival.call);
    gateway_watch_open(front->gateway, &call->watch);
}

static bool read_epoch(grpc_byte_buffer *payload, uint64_t *out_epoch)
{
    grpc_slice slice;
    struct nk_bytes message;
    bool valid = front_message(payload, &slice, &message);
    size_t position = 0;
    struct wire_field field;
    enum nk_err err = NK_OK;
    while (valid && (err = wire_next(message, &position, &field)) == NK_OK) {
        if (field.number == FIELD_EPOCH) {
            valid = field.type == WIRE_VARINT;
            *out_epoch = field.value;
        }
    }
    grpc_slice_unref(slice);
    return valid && err == NK_NOT_FOUND;
}

/* Loop thread.  Streams of one front hear of an epoch one after the other, so they share its
 * bytes. */
static void watch_changed(struct gateway_watch *watch, struct nk_bytes view)
{
    struct watch_call *call = NK_CONTAINER_OF(watch, struct watch_call, watch);
    struct front_grpc *front = call->stream.front;
    if (front->view_epoch != watch->epoch) {
        grpc_slice_unref(front->view);
        front->view = grpc_slice_from_copied_buffer((const char *)view.data, view.size);
        front->view_epoch = watch->epoch;
    }
    front_stream_offer(&call->stream, grpc_raw_byte_buffer_create(&front->view, 1));
}

/* Loop thread; the event thread when the gateway refuses at once. */
static void watch_over(struct gateway_watch *watch, enum nk_err err)
{
    struct watch_call *call = NK_CONTAINER_OF(watch, struct watch_call, watch);
    const char *text = err == NK_BUSY        ? "OVERLOADED: as many watches are open as may be"
                       : err == NK_CANCELLED ? "the caller has gone"
                                             : "NOT_LEADER: this gateway is stopping";
    front_stream_end(&call->stream, err, text);
}

static void watch_closed(struct front_stream *stream)
{
    struct watch_call *call = NK_CONTAINER_OF(stream, struct watch_call, stream);
    NK_ASSERT(stream->front->open_count > 0);
    stream->front->open_count--;
    gateway_watch_close(stream->front->gateway, &call->watch);
}

static void watch_release(struct front_stream *stream)
{
    nk_free(NK_CONTAINER_OF(stream, struct watch_call, stream));
}

#pragma once

/* A stream of states towards one caller: only the latest counts.  At most one message is on its
 * way; what is offered meanwhile replaces what was offered before.  So a caller who reads slowly,
 * or not at all, costs two messages of memory and sees the newest state when it reads on.
 *
 * Whoever begins a stream holds it until front_stream_end; gRPC holds it until its events are
 * through; the last to let go calls `release`. */

#include "services/gateway/front_grpc/front.h"

struct front_stream {
    /* Set by the owner before begin. */
    void (*closed)(struct front_stream *stream);  /* the call is over: event thread, once; the
                                                   * owner ends the stream if it has not */
    void (*release)(struct front_stream *stream); /* any thread; frees it */

    struct front_grpc *front;
    grpc_call *call;
    struct front_tag closed_tag;
    struct front_tag sent_tag;
    struct front_tag ended_tag;
    int cancelled;

    _Atomic(grpc_byte_buffer *) next; /* offered and not on its way; NULL: nothing */
    _Atomic(const char *) end_text;   /* NULL: not ended; set after end_err */
    enum nk_err end_err;
    _Atomic bool sending;      /* the rest belongs to whoever made this true */
    bool begun;                /* the initial metadata has been sent */
    grpc_byte_buffer *current; /* on its way */
    _Atomic int holder_count;
};

/* Takes the call over. */
void front_stream_begin(struct front_stream *stream, struct front_grpc *front, grpc_call *call);

/* Any thread, one at a time, before end.  Takes the message. */
void front_stream_offer(struct front_stream *stream, grpc_byte_buffer *message);

/* Any thread, once: what was offered and has not left is dropped.  `text` is a constant.  The
 * stream must not be touched afterwards. */
void front_stream_end(struct front_stream *stream, enum nk_err err, const char *text);

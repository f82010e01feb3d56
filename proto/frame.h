#pragma once

/* The unit that travels between processes: a header of 12 bytes and one packed message.
 *
 *   0  u16  magic 0x4B4E ("NK", little-endian)
 *   2  u8   version of the frame and of all messages in it: 1
 *   3  u8   type: enum nk_frame_type
 *   4  u32  length of the message
 *   8  u32  crc32c of bytes 0..7 and the message
 *  12       the message, protobuf
 *
 * A frame with a higher version is NK_FORMAT_TOO_NEW; everything else that is wrong with one is
 * NK_CORRUPT.  Within a version messages only gain fields. */

#include <protobuf-c/protobuf-c.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

#define NK_FRAME_HEADER_BYTES ((size_t)12)
#define NK_FRAME_VERSION      1

enum nk_frame_type {
    NK_FRAME_SHARD_REQUESTS = 1, /* gateway -> shardhost: ShardRequests */
    NK_FRAME_SHARD_REPLIES = 2,  /* shardhost -> gateway: ShardReplies */
    NK_FRAME_REGISTER = 3,       /* any -> gossip: Register */
    NK_FRAME_REGISTERED = 4,     /* gossip -> any: Registered */
    NK_FRAME_HEARTBEAT = 5,      /* any -> gossip: Heartbeat; answered by Registered */
    NK_FRAME_SHARD_REPORT = 6,   /* shardhost -> gossip: ShardReport */
    NK_FRAME_STATE_REQUEST = 7,  /* any -> gossip: StateRequest */
    NK_FRAME_STATE_UPDATE = 8,   /* gossip -> any: StateUpdate, by answer or publication */
    NK_FRAME_TYPE_LIMIT,
};

/* Appends one whole frame to `out`.  The message must fit NK_FRAME_BYTES_MAX (asserted: senders
 * bound their batches). */
void nk_frame_pack(struct nk_buf *out, enum nk_frame_type type, const ProtobufCMessage *message);

/* Checks a received frame.  *out_message is borrowed from `frame`. */
NK_MUST_CHECK enum nk_err nk_frame_parse(struct nk_bytes frame, enum nk_frame_type *out_type,
                                         struct nk_bytes *out_message);

/* Decodes a message into `arena`, whose limit bounds what hostile bytes can cost; the message lives
 * until the arena is reset and is never freed by itself.  NULL: not a message of that type, or too
 * large for the arena.  Text fields are not checked for UTF-8 here. */
ProtobufCMessage *nk_unpack(const ProtobufCMessageDescriptor *type, struct nk_bytes bytes,
                            struct nk_arena *arena);

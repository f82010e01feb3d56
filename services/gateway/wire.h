#pragma once

/* Protobuf bytes read field by field, without building the message: no allocation, no copy, and
 * nothing that the sender can make dear.  https://protobuf.dev/programming-guides/encoding
 *
 * What is taken here protobuf-c takes too (tests/fuzz/request_fuzz.c): groups are refused, varints
 * longer than needed are taken (some encoders pad lengths), tags and lengths up to 5 bytes, values
 * up to 10. */

#include "common/base/bytes.h"
#include "common/base/err.h"

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
};

struct wire_field {
    uint32_t number; /* 1 .. 2^29 - 1 */
    enum wire_type type;
    uint64_t value;        /* varint and fixed types */
    struct nk_bytes bytes; /* WIRE_BYTES; borrowed from the input */
};

/* The next field of a message; `*position` starts at 0 and moves behind it.  NK_NOT_FOUND: the
 * message has ended; NK_INVALID: these bytes are no message. */
NK_MUST_CHECK
enum nk_err wire_next(struct nk_bytes message, size_t *position, struct wire_field *out_field);

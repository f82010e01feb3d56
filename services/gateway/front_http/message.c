#include "message.h"

#include "common/base/assert.h"
#include "common/base/units.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/gateway/wire.h"

static void append(const ProtobufCMessage *message, struct nk_buf *out);
static bool read_version(struct nk_bytes message, struct http_version *out_version);

/* protobuf-c has no const; packing does not write. */
void http_message_write(const struct http_request *request, struct nk_bytes value,
                        struct nk_buf *out_message)
{
    ProtobufCBinaryData key = {request->key_size, (uint8_t *)(uintptr_t)request->key};
    char *idempotency_key = (char *)(uintptr_t)request->idempotency_key;
    Norikv__V1__Version version = NORIKV__V1__VERSION__INIT;
    version.term = request->if_match.term;
    version.index = request->if_match.index;
    Norikv__V1__Version *if_match = request->is_conditional ? &version : NULL;
    Norikv__V1__PutRequest put = NORIKV__V1__PUT_REQUEST__INIT;
    Norikv__V1__GetRequest get = NORIKV__V1__GET_REQUEST__INIT;
    Norikv__V1__DeleteRequest delete = NORIKV__V1__DELETE_REQUEST__INIT;
    switch (request->op) {
    case GATEWAY_OP_PUT:
        put.key = key;
        put.value.data = (uint8_t *)(uintptr_t)value.data;
        put.value.len = value.size;
        put.ttl_ms = request->ttl_ms;
        put.idempotency_key = idempotency_key;
        put.if_match = if_match;
        append(&put.base, out_message);
        break;
    case GATEWAY_OP_GET:
        get.key = key;
        get.consistency = (char *)(uintptr_t)request->consistency;
        append(&get.base, out_message);
        break;
    case GATEWAY_OP_DELETE:
        delete.key = key;
        delete.idempotency_key = idempotency_key;
        delete.if_match = if_match;
        append(&delete.base, out_message);
        break;
    case GATEWAY_OP_PROBE:
        NK_ASSERT(!"not for fronts");
    }
}

static void append(const ProtobufCMessage *message, struct nk_buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    size_t packed = protobuf_c_message_pack(message, nk_buf_extend(out, size));
    NK_ASSERT(packed == size);
}

/* The fields of the three responses that HTTP has a place for. */
enum meaning { OTHER, VALUE, VERSION, TOMBSTONED };

bool http_message_read(enum gateway_op op, struct nk_bytes response,
                       struct http_outcome *out_outcome)
{
    static const enum meaning meanings[][3] = {
        [GATEWAY_OP_PUT] = {OTHER, VERSION, OTHER},
        [GATEWAY_OP_GET] = {OTHER, VALUE, VERSION},
        [GATEWAY_OP_DELETE] = {OTHER, TOMBSTONED, VERSION},
    };
    NK_ASSERT((size_t)op < NK_COUNT_OF(meanings));
    memset(out_outcome, 0, sizeof *out_outcome);
    out_outcome->found = op == GATEWAY_OP_PUT;
    size_t position = 0;
    struct wire_field field;
    enum nk_err err;
    while ((err = wire_next(response, &position, &field)) == NK_OK) {
        enum meaning meaning = field.number < 3 ? meanings[op][field.number] : OTHER;
        enum wire_type type = meaning == TOMBSTONED ? WIRE_VARINT : WIRE_BYTES;
        if (meaning != OTHER && field.type != type) {
            return false;
        }
        switch (meaning) {
        case VALUE:
            out_outcome->value = field.bytes;
            break;
        case VERSION:
            if (!read_version(field.bytes, &out_outcome->version)) {
                return false;
            }
            out_outcome->found = out_outcome->found || op == GATEWAY_OP_GET;
            break;
        case TOMBSTONED:
            out_outcome->found = field.value != 0;
            break;
        case OTHER:
            break;
        }
    }
    return err == NK_NOT_FOUND;
}

static bool read_version(struct nk_bytes message, struct http_version *out_version)
{
    size_t position = 0;
    struct wire_field field;
    enum nk_err err;
    while ((err = wire_next(message, &position, &field)) == NK_OK) {
        if (field.number <= 2 && field.type != WIRE_VARINT) {
            return false;
        }
        if (field.number == 1) {
            out_version->term = field.value;
        } else if (field.number == 2) {
            out_version->index = field.value;
        }
    }
    return err == NK_NOT_FOUND;
}

/* Requests as bytes and answers as values: what a client library does. */

#include "common/base/codec.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "tests/sim/workload.h"

enum gateway_op request_operation(const struct request *request)
{
    switch (request->kind) {
    case HISTORY_GET:
        return GATEWAY_OP_GET;
    case HISTORY_DELETE:
        return GATEWAY_OP_DELETE;
    case HISTORY_PUT:
    case HISTORY_CAS:
    case HISTORY_CREATE:
        break;
    }
    return GATEWAY_OP_PUT;
}

/* ---- Requests ---- */

static void pack(const ProtobufCMessage *message, struct nk_buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    (void)protobuf_c_message_pack(message, nk_buf_extend(out, size));
}

static void pack_put(const struct request *request, ProtobufCBinaryData key,
                     Norikv__V1__Version *if_match, struct nk_buf *out)
{
    struct nk_buf value = {0};
    while (value.size < request->value_bytes) {
        nk_put_u64(nk_buf_extend(&value, 8), request->value);
    }
    Norikv__V1__PutRequest put = NORIKV__V1__PUT_REQUEST__INIT;
    put.key = key;
    put.value.data = value.data;
    put.value.len = value.size;
    put.ttl_ms = request->ttl_ms;
    put.if_match = if_match;
    if (request->session[0] != '\0') {
        put.idempotency_key = (char *)(uintptr_t)request->session;
    }
    pack(&put.base, out);
    nk_buf_deinit(&value);
}

static void pack_plain(const struct request *request, ProtobufCBinaryData key, struct nk_buf *out)
{
    Norikv__V1__Version version = NORIKV__V1__VERSION__INIT;
    version.term = request->expected.term;
    version.index = request->expected.index;
    Norikv__V1__Version *if_match = request->conditional ? &version : NULL;
    if (request->kind == HISTORY_GET) {
        Norikv__V1__GetRequest get = NORIKV__V1__GET_REQUEST__INIT;
        get.key = key;
        get.consistency = (char *)(uintptr_t)request->consistency;
        pack(&get.base, out);
    } else if (request->kind == HISTORY_DELETE) {
        Norikv__V1__DeleteRequest del = NORIKV__V1__DELETE_REQUEST__INIT;
        del.key = key;
        del.if_match = if_match;
        if (request->session[0] != '\0') {
            del.idempotency_key = (char *)(uintptr_t)request->session;
        }
        pack(&del.base, out);
    } else {
        pack_put(request, key, if_match, out);
    }
}

static void append(struct nk_buf *out, const void *data, size_t size)
{
    nk_buf_append(out, nk_bytes_of(data, size));
}

void request_pack(const struct request *request, const struct key *key, struct nk_buf *out)
{
    ProtobufCBinaryData name = {key->name_size, (uint8_t *)(uintptr_t)key->name};
    switch (request->twist) {
    case TWIST_KEY_TWICE:
        append(out, "\x0a\x05wrong", 7);
        break;
    case TWIST_LONG_LENGTH:
        append(out, "\x0a\x83\x80\x80\x80\x00key", 9);
        break;
    case TWIST_LONG_TAG:
        append(out, "\xf8\x80\x80\x80\x80\x00\x01", 7); /* field 15, a number */
        break;
    case TWIST_NONE:
    case TWIST_UNKNOWN_FIELDS:
    case TWIST_COUNT:
        break;
    }
    pack_plain(request, name, out);
    if (request->twist == TWIST_UNKNOWN_FIELDS) {
        append(out,
               "\x78\x07\x82\x01\x03"
               "new\x8d\x01\x01\x02\x03\x04",
               14);
    }
}

void request_pack_nonsense(struct sim_workload *workload, struct nk_prng *prng,
                           enum gateway_op *out_op, struct nk_buf *out)
{
    const struct sim_world *world = workload->world;
    struct key key = {.name = "nonsense", .name_size = 8};
    struct request request = {.kind = HISTORY_PUT, .value = 1, .value_bytes = 8, .consistency = ""};
    switch (nk_prng_below(prng, 6)) {
    case 0:
        key.name_size = 0;
        break;
    case 1:
        request.value_bytes = world->config.limits.max_value_bytes + 8;
        break;
    case 2:
        request.kind = HISTORY_GET;
        request.consistency = "sometimes";
        break;
    case 3:
        request.kind = HISTORY_DELETE;
        (void)snprintf(request.session, sizeof request.session, "no\xff utf8");
        break;
    case 4: /* a length beyond the end */
        *out_op = GATEWAY_OP_PUT;
        append(out, "\x0a\x70key", 5);
        return;
    default: /* the key as a number */
        *out_op = GATEWAY_OP_GET;
        append(out, "\x08\x01", 2);
        return;
    }
    *out_op = request_operation(&request);
    request_pack(&request, &key, out);
}

/* ---- Answers ---- */

/* The value's number; 0: it is none that a client wrote. */
static uint64_t value_number(struct nk_bytes value)
{
    if (value.size < 8 || value.size % 8 != 0) {
        return 0;
    }
    uint64_t number = nk_get_u64(value.data);
    for (size_t i = 8; i < value.size; i += 8) {
        if (nk_get_u64(value.data + i) != number) {
            return 0;
        }
    }
    return number;
}

static struct history_version version_of(const Norikv__V1__Version *version)
{
    struct history_version out = {version->term, version->index};
    return out;
}

static bool read_get(struct nk_bytes bytes, struct history_op *op)
{
    Norikv__V1__GetResponse *response =
        norikv__v1__get_response__unpack(NULL, bytes.size, bytes.data);
    if (response == NULL) {
        return false;
    }
    bool sound = true;
    op->value = 0;
    if (response->version == NULL) {
        sound = response->value.len == 0;
    } else {
        op->version = version_of(response->version);
        op->value = value_number(nk_bytes_of(response->value.data, response->value.len));
        sound = op->value != 0 && op->version.term > 0 && op->version.index > 0;
    }
    norikv__v1__get_response__free_unpacked(response, NULL);
    return sound;
}

static bool read_put(struct nk_bytes bytes, struct history_op *op)
{
    Norikv__V1__PutResponse *response =
        norikv__v1__put_response__unpack(NULL, bytes.size, bytes.data);
    bool sound = response != NULL && response->version != NULL;
    if (sound) {
        op->version = version_of(response->version);
    }
    if (response != NULL) {
        norikv__v1__put_response__free_unpacked(response, NULL);
    }
    return sound && op->version.index > 0;
}

static bool read_delete(struct nk_bytes bytes, struct history_op *op)
{
    Norikv__V1__DeleteResponse *response =
        norikv__v1__delete_response__unpack(NULL, bytes.size, bytes.data);
    bool sound = response != NULL && response->version != NULL;
    if (sound) {
        op->version = version_of(response->version);
        op->tombstoned = response->tombstoned != 0;
    }
    if (response != NULL) {
        norikv__v1__delete_response__free_unpacked(response, NULL);
    }
    return sound && op->version.index > 0;
}

/* "version mismatch: expected t.i, found t.i" */
static bool read_mismatch(const struct request *request, const char *text, struct history_op *op)
{
    unsigned long long numbers[4];
    if (sscanf(text, "version mismatch: expected %llu.%llu, found %llu.%llu", &numbers[0],
               &numbers[1], &numbers[2], &numbers[3]) != 4) {
        return false;
    }
    op->outcome = HISTORY_MISMATCH;
    op->found = (struct history_version){numbers[2], numbers[3]};
    return request->conditional && request->expected.index != 0 &&
           numbers[0] == request->expected.term && numbers[1] == request->expected.index;
}

/* "key exists: version t.i" */
static bool read_exists(const struct request *request, const char *text, struct history_op *op)
{
    unsigned long long term;
    unsigned long long index;
    if (sscanf(text, "key exists: version %llu.%llu", &term, &index) != 2) {
        return false;
    }
    op->outcome = HISTORY_EXISTS;
    op->found = (struct history_version){term, index};
    return request->conditional && request->expected.index == 0 && index > 0;
}

bool request_read_answer(const struct request *request, const struct gateway_request *answer,
                         struct history_op *op)
{
    if (answer->err == NK_CONFLICT) {
        return read_mismatch(request, answer->text, op);
    }
    if (answer->err == NK_EXISTS) {
        return read_exists(request, answer->text, op);
    }
    op->outcome = HISTORY_DONE;
    switch (request->kind) {
    case HISTORY_GET:
        return read_get(answer->response, op);
    case HISTORY_DELETE:
        return read_delete(answer->response, op);
    case HISTORY_PUT:
    case HISTORY_CAS:
    case HISTORY_CREATE:
        return read_put(answer->response, op);
    }
    return false;
}

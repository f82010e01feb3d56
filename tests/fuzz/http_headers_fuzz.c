/* Bytes as the headers of a request: one line each for If-Match, If-None-Match, Idempotency-Key,
 * the rest as the lines of a whole head.  What is taken as a condition is written as it was read;
 * what is taken as a request is a message that the gateway and protobuf-c understand in the same
 * way; a head that passes consists of names and values and nothing else. */

#include "common/base/assert.h"
#include "common/base/units.h"
#include "common/ops_http/head.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/gateway/check.h"
#include "services/gateway/front_http/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Up to the next line feed; how many there are of a header is the first byte's lowest bits. */
static struct nk_bytes take_line(struct nk_bytes *rest)
{
    const uint8_t *end = rest->size > 0 ? memchr(rest->data, '\n', rest->size) : NULL;
    size_t size = end != NULL ? (size_t)(end - rest->data) : rest->size;
    struct nk_bytes line = nk_bytes_of(rest->data, size);
    *rest = end != NULL ? nk_bytes_of(end + 1, rest->size - size - 1) : nk_bytes_of(NULL, 0);
    return line;
}

static struct http_header take_header(struct nk_bytes *rest)
{
    struct nk_bytes line = take_line(rest);
    if (line.size == 0) {
        return (struct http_header){0};
    }
    size_t count = line.data[0] & 3;
    struct nk_bytes value = nk_bytes_of(line.data + 1, line.size - 1);
    return (struct http_header){count > 0 ? value : nk_bytes_of(NULL, 0), count};
}

static void check_condition(const struct http_parts *parts, const struct http_request *request)
{
    if (!request->is_conditional || parts->if_match.count == 0) {
        return;
    }
    char etag[HTTP_ETAG_BYTES];
    http_etag_write(&request->if_match, etag);
    NK_ASSERT(nk_bytes_equal(parts->if_match.value, nk_bytes_of_string(etag)));
    NK_ASSERT(request->if_match.term > 0 || request->if_match.index > 0);
}

static void check_message(const struct http_request *request, struct nk_bytes value)
{
    static const struct gateway_limits limits = {NK_KEY_BYTES_MAX, NK_VALUE_BYTES_MAX};
    struct nk_buf packed = {0};
    http_message_write(request, value, &packed);
    char memory[256];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    struct gateway_checked checked = {0};
    enum nk_err err = gateway_check(request->op, nk_buf_bytes(&packed), &limits, &checked, &text);
    if (err == NK_OK) {
        NK_ASSERT(nk_bytes_equal(checked.key, nk_bytes_of(request->key, request->key_size)));
        NK_ASSERT(checked.has_idempotency_key == (request->idempotency_key[0] != '\0'));
    } else {
        /* No UTF-8; all else is fine. */
        NK_ASSERT(err == NK_INVALID);
        NK_ASSERT(nk_bytes_starts_with(nk_bytes_of_string(memory),
                                       nk_bytes_of_string("idempotency_key")));
    }
    if (request->op == GATEWAY_OP_PUT) {
        Norikv__V1__PutRequest *put =
            norikv__v1__put_request__unpack(NULL, packed.size, packed.data);
        NK_ASSERT(put != NULL);
        NK_ASSERT(strcmp(put->idempotency_key, request->idempotency_key) == 0);
        NK_ASSERT((put->if_match != NULL) == request->is_conditional);
        norikv__v1__put_request__free_unpacked(put, NULL);
    }
    nk_buf_deinit(&packed);
}

static void check_request(enum gateway_op op, struct nk_bytes data)
{
    struct http_parts parts = {
        .op = op, .key = nk_bytes_of_string("k%41"), .query = nk_bytes_of(NULL, 0)};
    struct nk_bytes rest = data;
    parts.if_match = take_header(&rest);
    parts.if_none_match = take_header(&rest);
    parts.idempotency_key = take_header(&rest);
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    struct http_request request;
    enum nk_err err = http_request_read(&parts, NK_KEY_BYTES_MAX, &request, &reason);
    NK_ASSERT(err == NK_OK || err == NK_INVALID);
    NK_ASSERT((err == NK_OK) == (reason.size == 0));
    if (err == NK_OK) {
        check_condition(&parts, &request);
        check_message(&request, rest);
    }
    struct http_outcome outcome;
    (void)http_message_read(op, data, &outcome);
}

/* As ops_http sees a head: CR, LF and the first colon of a line are NULs. */
static void check_head(const char *version, struct nk_bytes lines)
{
    struct nk_buf fields = {0};
    nk_buf_append(&fields, nk_bytes_of("\0\0", 2));
    bool named = false;
    for (size_t i = 0; i < lines.size; i++) {
        uint8_t byte = lines.data[i];
        bool cut = byte == '\n' || byte == '\r' || (byte == ':' && !named);
        named = byte != '\n' && (named || byte == ':');
        nk_buf_append_u8(&fields, cut ? 0 : byte);
    }
    const struct head head = {
        .line_is_whole = true,
        .target = nk_bytes_of_string("/"),
        .version = version,
        .fields = nk_buf_bytes(&fields),
    };
    if (head_check(&head) == NULL) {
        /* NUL NUL (name NUL value NUL NUL)* NUL NUL, counted by the NULs alone. */
        size_t position = 2;
        while (fields.data[position] != 0) {
            position += strlen((const char *)fields.data + position) + 1;
            position += strlen((const char *)fields.data + position) + 2;
            NK_ASSERT(position + 2 <= fields.size);
            NK_ASSERT(fields.data[position - 1] == 0);
        }
        NK_ASSERT(position + 2 == fields.size);
    }
    nk_buf_deinit(&fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nk_bytes bytes = nk_bytes_of(data, size);
    check_request(GATEWAY_OP_PUT, bytes);
    check_request(GATEWAY_OP_GET, bytes);
    check_request(GATEWAY_OP_DELETE, bytes);
    check_head("HTTP/1.1", bytes);
    check_head("HTTP/1.0", bytes);
    return 0;
}

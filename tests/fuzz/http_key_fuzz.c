/* Bytes as the path and the query of a request to /kv/{key}, separated by the first '?': whatever
 * they are, they decode within their bounds or are refused, and what was decoded is decoded from
 * its plainest spelling too. */

#include "common/base/assert.h"
#include "common/base/buf.h"
#include "common/base/units.h"
#include "services/gateway/front_http/percent.h"
#include "services/gateway/front_http/query.h"
#include "services/gateway/front_http/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every byte as "%XX". */
static void encode(struct nk_bytes bytes, struct nk_buf *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.size; i++) {
        nk_buf_append_u8(out, '%');
        nk_buf_append_u8(out, (uint8_t)digits[bytes.data[i] >> 4]);
        nk_buf_append_u8(out, (uint8_t)digits[bytes.data[i] & 15]);
    }
}

static void check_decoding(struct nk_bytes text)
{
    struct nk_buf decoded = {0};
    struct nk_buf again = {0};
    struct nk_buf encoded = {0};
    size_t decoded_size = 0;
    if (http_percent_decode(text, nk_buf_extend(&decoded, text.size), text.size, &decoded_size)) {
        NK_ASSERT(decoded_size <= text.size);
        decoded.size = decoded_size;
        encode(nk_buf_bytes(&decoded), &encoded);
        size_t again_size = 0;
        bool whole = http_percent_decode(
            nk_buf_bytes(&encoded), nk_buf_extend(&again, decoded_size), decoded_size, &again_size);
        NK_ASSERT(whole);
        NK_ASSERT(again_size == decoded_size);
        NK_ASSERT(nk_bytes_equal(nk_buf_bytes(&again), nk_buf_bytes(&decoded)));
    } else {
        NK_ASSERT(memchr(text.data, '%', text.size) != NULL);
    }
    nk_buf_deinit(&decoded);
    nk_buf_deinit(&again);
    nk_buf_deinit(&encoded);
}

/* Parameters are pieces of the query, in order, with one '&' at least between two. */
static void check_query(struct nk_bytes query)
{
    const uint8_t *behind = query.data;
    struct nk_bytes rest = query;
    struct http_parameter parameter;
    while (http_query_next(&rest, &parameter)) {
        NK_ASSERT(parameter.name.data >= behind);
        NK_ASSERT(parameter.value.data >= parameter.name.data + parameter.name.size);
        behind = parameter.value.data + parameter.value.size;
        NK_ASSERT(behind <= query.data + query.size);
        NK_ASSERT(parameter.name.size == 0 ||
                  memchr(parameter.name.data, '=', parameter.name.size) == NULL);
    }
    NK_ASSERT(rest.size == 0);
}

static void check_request(enum gateway_op op, struct nk_bytes key, struct nk_bytes query)
{
    char memory[256];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    const struct http_parts parts = {.op = op, .key = key, .query = query};
    struct http_request request;
    enum nk_err err = http_request_read(&parts, NK_KEY_BYTES_MAX, &request, &reason);
    NK_ASSERT(err == NK_OK || err == NK_INVALID || err == NK_TOO_LARGE);
    NK_ASSERT((err == NK_OK) == (reason.size == 0));
    for (size_t i = 0; i < reason.size; i++) {
        NK_ASSERT(memory[i] >= 0x20);
        NK_ASSERT(memory[i] < 0x7f);
    }
    if (err == NK_OK) {
        NK_ASSERT(request.key_size <= NK_KEY_BYTES_MAX);
        NK_ASSERT(memchr(request.consistency, 0, sizeof request.consistency) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum gateway_op ops[] = {GATEWAY_OP_PUT, GATEWAY_OP_GET, GATEWAY_OP_DELETE};
    const uint8_t *mark = size > 0 ? memchr(data, '?', size) : NULL;
    size_t key_size = mark != NULL ? (size_t)(mark - data) : size;
    struct nk_bytes key = nk_bytes_of(data, key_size);
    struct nk_bytes query = mark != NULL ? nk_bytes_of(mark + 1, size - key_size - 1) : key;
    check_decoding(key);
    check_query(query);
    for (size_t i = 0; i < NK_COUNT_OF(ops); i++) {
        check_request(ops[i], key, query);
    }
    return 0;
}

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/units.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/gateway/front_http/message.h"

TestSuite(front_http_message, .timeout = 5);

static struct http_request request_of(enum gateway_op op)
{
    struct http_request request = {.op = op, .key = "a\0b", .key_size = 3};
    (void)snprintf(request.idempotency_key, sizeof request.idempotency_key, "again");
    (void)snprintf(request.consistency, sizeof request.consistency, "stale_ok");
    request.ttl_ms = 1500;
    request.is_conditional = true;
    request.if_match = (struct http_version){3, 14};
    return request;
}

static bool is_key(const ProtobufCBinaryData *bytes)
{
    return bytes->len == 3 && memcmp(bytes->data, "a\0b", 3) == 0;
}

Test(front_http_message, a_put_says_everything)
{
    struct http_request request = request_of(GATEWAY_OP_PUT);
    struct nk_buf packed = {0};
    http_message_write(&request, nk_bytes_of("v\0", 2), &packed);
    Norikv__V1__PutRequest *put = norikv__v1__put_request__unpack(NULL, packed.size, packed.data);
    cr_assert_not_null(put);
    cr_expect(is_key(&put->key));
    cr_expect_eq(put->value.len, 2);
    cr_expect_eq(memcmp(put->value.data, "v\0", 2), 0);
    cr_expect_eq(put->ttl_ms, 1500);
    cr_expect_str_eq(put->idempotency_key, "again");
    cr_assert_not_null(put->if_match);
    cr_expect_eq(put->if_match->term, 3);
    cr_expect_eq(put->if_match->index, 14);
    norikv__v1__put_request__free_unpacked(put, NULL);
    nk_buf_deinit(&packed);
}

Test(front_http_message, create_only_is_a_version_that_is_there_and_zero)
{
    struct http_request request = request_of(GATEWAY_OP_PUT);
    request.if_match = (struct http_version){0, 0};
    struct nk_buf packed = {0};
    http_message_write(&request, nk_bytes_of(NULL, 0), &packed);
    Norikv__V1__PutRequest *put = norikv__v1__put_request__unpack(NULL, packed.size, packed.data);
    cr_assert_not_null(put);
    cr_assert_not_null(put->if_match);
    cr_expect_eq(put->if_match->term, 0);
    cr_expect_eq(put->if_match->index, 0);
    cr_expect_eq(put->value.len, 0);
    norikv__v1__put_request__free_unpacked(put, NULL);

    nk_buf_clear(&packed);
    request.is_conditional = false;
    http_message_write(&request, nk_bytes_of(NULL, 0), &packed);
    put = norikv__v1__put_request__unpack(NULL, packed.size, packed.data);
    cr_assert_not_null(put);
    cr_expect_null(put->if_match);
    norikv__v1__put_request__free_unpacked(put, NULL);
    nk_buf_deinit(&packed);
}

Test(front_http_message, a_get_has_a_consistency_and_a_delete_a_condition)
{
    struct http_request request = request_of(GATEWAY_OP_GET);
    struct nk_buf packed = {0};
    http_message_write(&request, nk_bytes_of("x", 1), &packed);
    Norikv__V1__GetRequest *get = norikv__v1__get_request__unpack(NULL, packed.size, packed.data);
    cr_assert_not_null(get);
    cr_expect(is_key(&get->key));
    cr_expect_str_eq(get->consistency, "stale_ok");
    norikv__v1__get_request__free_unpacked(get, NULL);

    nk_buf_clear(&packed);
    request = request_of(GATEWAY_OP_DELETE);
    http_message_write(&request, nk_bytes_of("x", 1), &packed);
    Norikv__V1__DeleteRequest *delete =
        norikv__v1__delete_request__unpack(NULL, packed.size, packed.data);
    cr_assert_not_null(delete);
    cr_expect(is_key(&delete->key));
    cr_expect_str_eq(delete->idempotency_key, "again");
    cr_expect_eq(delete->if_match->index, 14);
    norikv__v1__delete_request__free_unpacked(delete, NULL);
    nk_buf_deinit(&packed);
}

static struct nk_bytes packed_response(const ProtobufCMessage *message)
{
    static uint8_t memory[256];
    cr_assert_leq(protobuf_c_message_get_packed_size(message), sizeof memory);
    return nk_bytes_of(memory, protobuf_c_message_pack(message, memory));
}

Test(front_http_message, responses_are_read)
{
    Norikv__V1__Version version = NORIKV__V1__VERSION__INIT;
    version.term = 3;
    version.index = UINT64_MAX;
    Norikv__V1__PutResponse put = NORIKV__V1__PUT_RESPONSE__INIT;
    put.version = &version;
    struct http_outcome outcome;
    cr_assert(http_message_read(GATEWAY_OP_PUT, packed_response(&put.base), &outcome));
    cr_expect(outcome.found);
    cr_expect_eq(outcome.version.term, 3);
    cr_expect_eq(outcome.version.index, UINT64_MAX);

    Norikv__V1__GetResponse get = NORIKV__V1__GET_RESPONSE__INIT;
    cr_assert(http_message_read(GATEWAY_OP_GET, packed_response(&get.base), &outcome));
    cr_expect_not(outcome.found, "no version: no such key");
    get.version = &version;
    cr_assert(http_message_read(GATEWAY_OP_GET, packed_response(&get.base), &outcome));
    cr_expect(outcome.found, "an empty value is a value");
    cr_expect_eq(outcome.value.size, 0);
    get.value = (ProtobufCBinaryData){2, (uint8_t[]){0, 255}};
    cr_assert(http_message_read(GATEWAY_OP_GET, packed_response(&get.base), &outcome));
    cr_expect_eq(outcome.value.size, 2);
    cr_expect_eq(outcome.value.data[1], 255);
    cr_expect_eq(outcome.version.term, 3);

    Norikv__V1__DeleteResponse delete = NORIKV__V1__DELETE_RESPONSE__INIT;
    delete.version = &version;
    cr_assert(http_message_read(GATEWAY_OP_DELETE, packed_response(&delete.base), &outcome));
    cr_expect_not(outcome.found);
    delete.tombstoned = true;
    cr_assert(http_message_read(GATEWAY_OP_DELETE, packed_response(&delete.base), &outcome));
    cr_expect(outcome.found);
    cr_expect_eq(outcome.version.term, 3);
}

Test(front_http_message, what_is_no_response_is_not_read)
{
    struct http_outcome outcome;
    static const struct {
        enum gateway_op op;
        struct nk_bytes bytes;
    } cases[] = {
        {GATEWAY_OP_PUT, {(const uint8_t *)"\x0a", 1}},             /* cut */
        {GATEWAY_OP_PUT, {(const uint8_t *)"\x08\x01", 2}},         /* a number for a version */
        {GATEWAY_OP_PUT, {(const uint8_t *)"\x0a\x02\x0a\x00", 4}}, /* bytes for a term */
        {GATEWAY_OP_PUT, {(const uint8_t *)"\x0a\x01\x08", 3}},     /* a cut version */
        {GATEWAY_OP_GET, {(const uint8_t *)"\x08\x01", 2}},         /* a number for a value */
        {GATEWAY_OP_DELETE, {(const uint8_t *)"\x0a\x00", 2}},      /* bytes for a truth */
        {GATEWAY_OP_GET, {(const uint8_t *)"\xff", 1}},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_not(http_message_read(cases[i].op, cases[i].bytes, &outcome), "case %zu", i);
    }
    static const uint8_t newer[] = {0x0a, 0x04, 0x08, 0x03, 0x28, 0x01, 0x28, 0x05};
    cr_expect(http_message_read(GATEWAY_OP_PUT, nk_bytes_of(newer, sizeof newer), &outcome),
              "fields of a newer version are passed over");
    cr_expect_eq(outcome.version.term, 3);
}

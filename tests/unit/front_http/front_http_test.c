#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/limits.h"
#include "proto/norikv/v1/kv.pb-c.h"

#include "serving.h"

TestSuite(front_http, .timeout = 10);

static struct serving serving;
static struct asked asked;

static void open_joined(void)
{
    serving_open(&serving);
    serving_join(&serving);
}

static void open_alone(void)
{
    serving_open(&serving);
}

static void close_serving(void)
{
    asked_deinit(&asked);
    serving_close(&serving);
}

static void ask(const char *method, const char *target, const char *const *headers,
                const char *body)
{
    asked_deinit(&asked);
    serving_ask(&serving, &asked, method, target, headers, body);
}

static void expect_answer(unsigned status, const char *fields, const char *body)
{
    cr_expect_eq(asked.answer_count, 1);
    cr_expect_eq(asked.status, status, "%u %s", asked.status, (const char *)asked.body.data);
    cr_expect_str_eq(asked.fields, fields);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&asked.body), nk_bytes_of_string(body)), "%.*s",
              (int)asked.body.size, (const char *)asked.body.data);
}

/* The response of a shardhost: version 3.14, and what else there is. */
static struct nk_bytes response(enum gateway_op op, bool found, const char *value)
{
    static uint8_t memory[256];
    Norikv__V1__Version version = NORIKV__V1__VERSION__INIT;
    version.term = 3;
    version.index = 14;
    Norikv__V1__PutResponse put = NORIKV__V1__PUT_RESPONSE__INIT;
    put.version = &version;
    Norikv__V1__GetResponse get = NORIKV__V1__GET_RESPONSE__INIT;
    get.version = found ? &version : NULL;
    get.value.data = (uint8_t *)(uintptr_t)value;
    get.value.len = strlen(value);
    Norikv__V1__DeleteResponse delete = NORIKV__V1__DELETE_RESPONSE__INIT;
    delete.version = &version;
    delete.tombstoned = found;
    const ProtobufCMessage *message = op == GATEWAY_OP_PUT   ? &put.base
                                      : op == GATEWAY_OP_GET ? &get.base
                                                             : &delete.base;
    return nk_bytes_of(memory, protobuf_c_message_pack(message, memory));
}

#define NO_STORE "Cache-Control: no-store\n"
#define ETAG     "ETag: \"3.14\"\n"

Test(front_http, a_put_travels_whole_and_its_version_comes_back, .init = open_joined,
     .fini = close_serving)
{
    static const char *const headers[] = {
        "If-Match", "\"1.2\"", "idempotency-key", "once", "X-Other-Header!", "x", NULL};
    ask("PUT", "/kv/a%2f/%00b?ttl_ms=250", headers, "value");
    cr_expect_eq(asked.body_max, NK_REQUEST_BYTES_MAX);
    cr_expect_eq(asked.answer_count, 0, "not before the shardhost has");
    const Norikv__Internal__V1__ShardRequest *sent = serving_request(&serving);
    cr_assert_not_null(sent);
    cr_expect_eq(sent->op, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT);
    cr_expect_eq(sent->timeout_ms, serving.stage.config.limits.request_timeout_ms);
    Norikv__V1__PutRequest *put =
        norikv__v1__put_request__unpack(NULL, sent->request.len, sent->request.data);
    cr_assert_not_null(put);
    cr_expect_eq(put->key.len, 5);
    cr_expect_eq(memcmp(put->key.data, "a//\0b", 5), 0);
    cr_expect_eq(put->value.len, 5);
    cr_expect_eq(memcmp(put->value.data, "value", 5), 0);
    cr_expect_eq(put->ttl_ms, 250);
    cr_expect_str_eq(put->idempotency_key, "once");
    cr_assert_not_null(put->if_match);
    cr_expect_eq(put->if_match->term, 1);
    cr_expect_eq(put->if_match->index, 2);
    norikv__v1__put_request__free_unpacked(put, NULL);

    serving_reply(&serving, NK_OK, "", response(GATEWAY_OP_PUT, true, ""));
    expect_answer(200, NO_STORE ETAG, "");
    cr_expect_str_eq(asked.type, "");
}

Test(front_http, a_get_is_a_value_with_its_tag, .init = open_joined, .fini = close_serving)
{
    static const char *const methods[] = {"GET", "HEAD"};
    for (size_t i = 0; i < NK_COUNT_OF(methods); i++) {
        ask(methods[i], "/kv/k?consistency=linearizable", NULL, "");
        cr_expect_eq(asked.body_max, 0);
        const Norikv__Internal__V1__ShardRequest *sent = serving_request(&serving);
        cr_assert_not_null(sent);
        cr_expect_eq(sent->op, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_GET);
        Norikv__V1__GetRequest *get =
            norikv__v1__get_request__unpack(NULL, sent->request.len, sent->request.data);
        cr_assert_not_null(get);
        cr_expect_str_eq(get->consistency, "linearizable");
        norikv__v1__get_request__free_unpacked(get, NULL);
        serving_reply(&serving, NK_OK, "", response(GATEWAY_OP_GET, true, "value"));
        expect_answer(200, NO_STORE ETAG, "value");
        cr_expect_str_eq(asked.type, "application/octet-stream");
    }
}

Test(front_http, a_missing_key_is_not_found, .init = open_joined, .fini = close_serving)
{
    ask("GET", "/kv/k", NULL, "");
    serving_reply(&serving, NK_OK, "", response(GATEWAY_OP_GET, false, ""));
    expect_answer(404, NO_STORE, "NOT_FOUND: no such key");
    ask("GET", "/kv/k", NULL, "");
    serving_reply(&serving, NK_OK, "", response(GATEWAY_OP_GET, true, ""));
    expect_answer(200, NO_STORE ETAG, "");
    ask("DELETE", "/kv/k", NULL, "");
    serving_reply(&serving, NK_OK, "", response(GATEWAY_OP_DELETE, false, ""));
    expect_answer(404, NO_STORE, "NOT_FOUND: no such key was there to delete");
}

Test(front_http, a_delete_has_no_content, .init = open_joined, .fini = close_serving)
{
    static const char *const headers[] = {"If-Match", "\"3.14\"", NULL};
    ask("DELETE", "/kv/k", headers, "");
    const Norikv__Internal__V1__ShardRequest *sent = serving_request(&serving);
    cr_assert_not_null(sent);
    cr_expect_eq(sent->op, NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_DELETE);
    serving_reply(&serving, NK_OK, "", response(GATEWAY_OP_DELETE, true, ""));
    expect_answer(204, NO_STORE, "");
    cr_expect_str_eq(asked.type, "");
}

struct outcome_case {
    enum nk_err err;
    const char *message;
    unsigned status;
    const char *answer;
};

Test(front_http, outcomes_have_their_status, .init = open_joined, .fini = close_serving)
{
    static const struct outcome_case cases[] = {
        {NK_CONFLICT, "version mismatch: expected 1.2, found 3.14", 412,
         "FAILED_PRECONDITION: version mismatch: expected 1.2, found 3.14"},
        {NK_EXISTS, "key exists: version 3.14", 412, "ALREADY_EXISTS: key exists: version 3.14"},
        {NK_INVALID, "idempotency_key was used", 400, "INVALID_ARGUMENT: idempotency_key was used"},
        {NK_BUSY, "full", 429, "RESOURCE_EXHAUSTED: OVERLOADED: full"},
        {NK_NO_SPACE, "", 507, "RESOURCE_EXHAUSTED: DISK_FULL"},
        {NK_NO_QUORUM, "two of three", 503, "UNAVAILABLE: QUORUM_UNAVAILABLE: two of three"},
        {NK_TIMEOUT, "not in time", 504, "DEADLINE_EXCEEDED: COMMIT_TIMEOUT: not in time"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        ask("PUT", "/kv/k", NULL, "value");
        serving_reply(&serving, cases[i].err, cases[i].message, nk_bytes_of(NULL, 0));
        expect_answer(cases[i].status, NO_STORE, cases[i].answer);
    }
}

Test(front_http, a_response_that_is_none_is_our_fault_and_is_logged, .init = open_joined,
     .fini = close_serving)
{
    ask("PUT", "/kv/k", NULL, "value");
    serving_reply(&serving, NK_OK, "", nk_bytes_of("\xff", 1));
    cr_expect_eq(asked.status, 500);
    cr_expect_eq(strncmp((const char *)asked.body.data, "INTERNAL: internal error, id ", 29), 0,
                 "%s", (const char *)asked.body.data);
    cr_expect_eq(serving.stage.log_counts[NK_LOG_ERROR], 1);
}

Test(front_http, the_gateway_checks_what_the_front_does_not, .init = open_joined,
     .fini = close_serving)
{
    ask("GET", "/kv/", NULL, "");
    cr_expect_eq(asked.status, 400);
    cr_expect_eq(strncmp((const char *)asked.body.data, "INVALID_ARGUMENT: key is empty", 30), 0);
    ask("GET", "/kv/k?consistency=quorum", NULL, "");
    cr_expect_eq(asked.status, 400);
    static const char *const headers[] = {"Idempotency-Key", "\xff", NULL};
    ask("PUT", "/kv/k", headers, "");
    cr_expect_eq(asked.status, 400);
    static char value[NK_VALUE_BYTES_MAX + 2];
    memset(value, 'v', NK_VALUE_BYTES_MAX + 1);
    ask("PUT", "/kv/k", NULL, value);
    expect_answer(413, NO_STORE, "INVALID_ARGUMENT: value has 1048577 bytes; the limit is 1048576");
    cr_expect_null(serving_request(&serving));
}

Test(front_http, what_the_head_shows_is_refused_before_the_body, .init = open_joined,
     .fini = close_serving)
{
    static char long_key[4 + NK_KEY_BYTES_MAX + 2] = "/kv/";
    memset(long_key + 4, 'k', NK_KEY_BYTES_MAX + 1);
    static const char *const tag[] = {"If-Match", "\"1\"", NULL};
    static const char *const twice[] = {"If-Match", "\"1.2\"", "If-Match", "\"1.2\"", NULL};
    const struct {
        const char *target;
        const char *const *headers;
        unsigned status;
    } cases[] = {
        {long_key, NULL, 414},        {"/kv/%zz", NULL, 400}, {"/kv/k?ttl_ms=x", NULL, 400},
        {"/kv/k?other=1", NULL, 400}, {"/kv/k", tag, 400},    {"/kv/k", twice, 400},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        ask("PUT", cases[i].target, cases[i].headers, "value");
        cr_expect_eq(asked.status, cases[i].status, "case %zu", i);
        cr_expect_eq(asked.answer_count, 1, "case %zu", i);
        cr_expect_eq(asked.body_max, 0, "case %zu", i);
        cr_expect_eq(strncmp((const char *)asked.body.data, "INVALID_ARGUMENT: ", 18), 0);
    }
    cr_expect_null(serving_request(&serving));
}

Test(front_http, the_limits_are_those_of_the_settings)
{
    serving_open(&serving);
    serving.stage.config.limits.max_key_bytes = 2;
    serving.stage.config.limits.request_max_bytes = 4096;
    ask("PUT", "/kv/abc", NULL, "");
    expect_answer(414, "", "INVALID_ARGUMENT: key has 3 bytes; the limit is 2");
    ask("PUT", "/kv/ab", NULL, "");
    cr_expect_eq(asked.body_max, 4096);
    stage_advance(&serving.stage, 2 * serving.stage.config.limits.request_timeout_ms);
    (void)gateway_role_ops.tick(serving.gateway);
    cr_expect_eq(asked.status, 503);
    close_serving();
}

Test(front_http, without_a_shardhost_it_is_unavailable_in_time, .init = open_alone,
     .fini = close_serving)
{
    ask("GET", "/kv/k", NULL, "");
    cr_expect_eq(asked.answer_count, 0);
    stage_advance(&serving.stage, serving.stage.config.limits.request_timeout_ms);
    (void)gateway_role_ops.tick(serving.gateway);
    cr_expect_eq(asked.answer_count, 1);
    cr_expect_eq(asked.status, 503);
    cr_expect_eq(strncmp((const char *)asked.body.data, "UNAVAILABLE: NOT_LEADER", 23), 0, "%s",
                 (const char *)asked.body.data);
}

Test(front_http, a_gateway_that_has_stopped_refuses_at_once, .init = open_joined,
     .fini = close_serving)
{
    gateway_end(serving.gateway);
    ask("PUT", "/kv/k", NULL, "value");
    cr_expect_eq(asked.answer_count, 1);
    cr_expect_eq(asked.status, 503);
}

Test(front_http, pages_of_the_cluster, .init = open_joined, .fini = close_serving)
{
    ask("GET", "/meta/cluster", NULL, "");
    cr_expect_eq(asked.status, 200);
    cr_expect_str_eq(asked.type, "application/json");
    cr_expect_not_null(strstr((const char *)asked.body.data, "\"epoch\":77"), "%s",
                       (const char *)asked.body.data);
    cr_expect_not_null(strstr((const char *)asked.body.data, "{\"id\":\"n1\""));
    ask("HEAD", "/meta/targets", NULL, "");
    expect_answer(200, "",
                  "[{\"targets\":[\"127.0.0.1:8180\"],"
                  "\"labels\":{\"role\":\"shardhost\",\"node_id\":\"n1\"}}]\n");
}

Test(front_http, before_there_is_a_cluster_the_pages_are_json_too, .init = open_alone,
     .fini = close_serving)
{
    ask("GET", "/meta/cluster", NULL, "");
    expect_answer(200, "", "{\"epoch\":0,\"nodes\":[],\"shards\":[]}\n");
    ask("GET", "/meta/targets", NULL, "");
    expect_answer(200, "", "[]\n");
}

Test(front_http, other_methods_are_told_what_is_allowed, .init = open_alone, .fini = close_serving)
{
    static const char *const methods[] = {"POST", "PATCH", "OPTIONS", "get", "NONSENSE", ""};
    for (size_t i = 0; i < NK_COUNT_OF(methods); i++) {
        ask(methods[i], "/kv/k", NULL, "");
        expect_answer(405, "Allow: GET, HEAD, PUT, DELETE\n",
                      "UNIMPLEMENTED: this route has no such method");
        ask(methods[i], "/meta/cluster", NULL, "");
        expect_answer(405, "Allow: GET, HEAD\n", "UNIMPLEMENTED: this route has no such method");
    }
    ask("PUT", "/meta/targets", NULL, "");
    cr_expect_eq(asked.status, 405);
}

Test(front_http, other_paths_are_no_routes, .init = open_alone, .fini = close_serving)
{
    static const char *const paths[] = {
        "/",      "/kv",   "/kvx",           "/KV/a",          "/kv%2fa",
        "//kv/a", "/meta", "/meta/cluster/", "/meta/clusters", "*",
        "kv/a",   ""};
    for (size_t i = 0; i < NK_COUNT_OF(paths); i++) {
        ask("GET", paths[i], NULL, "");
        cr_expect_not(asked.is_route, "%s", paths[i]);
        cr_expect_eq(asked.answer_count, 0, "%s", paths[i]);
    }
}

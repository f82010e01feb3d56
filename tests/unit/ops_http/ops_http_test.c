#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/units.h"

#include "rig.h"

TestSuite(ops_http, .timeout = 60);

#define TEXT(text)                                                                                 \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }

static struct rig rig;
static struct reply reply;

static void open_rig(void)
{
    rig_open(&rig, &(struct rig_limits){0});
}

static void close_rig(void)
{
    rig_close(&rig);
}

static void ask(const char *request)
{
    rig_ask(&rig, request, &reply);
}

/* ---- Requests as they come ---- */

Test(ops_http, method_path_query_and_body_arrive_as_they_were_sent, .init = open_rig,
     .fini = close_rig)
{
    ask("PATCH /echo?a=%41&&b=+?c# HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na\nb");
    cr_expect_eq(reply.status, 200);
    cr_expect_str_eq(reply.body, "PATCH\n/echo\na=%41&&b=+?c#\na\nb");
    ask("GET /echo? HTTP/1.0\r\n\r\n");
    cr_expect_str_eq(reply.body, "GET\n/echo\n\n");
    ask("PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n");
    cr_expect_str_eq(reply.body, "PUT\n/echo\n\nabcde");
}

Test(ops_http, a_target_may_name_scheme_and_host, .init = open_rig, .fini = close_rig)
{
    ask("GET http://x:80/echo?q HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect_str_eq(reply.body, "GET\n/echo\nq\n");
    ask("GET HTTPS://x HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect_eq(reply.status, 404, "the path is /, which is no route");
}

Test(ops_http, headers_come_without_the_blanks_around_them_and_counted, .init = open_rig,
     .fini = close_rig)
{
    static const struct {
        const char *lines;
        const char *told;
    } cases[] = {
        {"", "0"},
        {"X-Told:\r\n", "1:"},
        {"X-TOLD: \t a b \t \r\n", "1:a b"},
        {"x-told: a\r\nOther: b\r\nX-Told: c\r\n", "2:a"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char request[256];
        (void)snprintf(request, sizeof request, "GET /echo HTTP/1.1\r\nHost: x\r\n%s\r\n",
                       cases[i].lines);
        ask(request);
        cr_expect_str_eq(reply_header(&reply, "X-Told"), cases[i].told, "case %zu", i);
        cr_expect_null(reply_header(&reply, "X-Forged"));
        cr_expect_null(reply_header(&reply, "X-Broken"));
    }
}

/* libmicrohttpd 0.9.75 forgets such a request, and never says that it has ended. */
Test(ops_http, a_query_may_have_any_number_of_arguments, .init = open_rig, .fini = close_rig)
{
    static char request[8192];
    static const char first[] = "GET /echo?";
    static const char last[] = " HTTP/1.1\r\nHost: x\r\n\r\n";
    memset(request, '&', sizeof request);
    memcpy(request, first, sizeof first - 1);
    memcpy(request + 4000, last, sizeof last);
    ask(request);
    cr_expect_eq(reply.status, 200);
    cr_expect_eq(reply.body_size, strlen("GET\n/echo\n\n") + 4000 - (sizeof first - 1));
}

Test(ops_http, what_could_be_read_in_two_ways_is_refused_and_ends_the_connection, .init = open_rig,
     .fini = close_rig)
{
    static const struct {
        struct nk_bytes request;
        unsigned status;
    } cases[] = {
        {TEXT("GET /echo HTTP/1.1\r\n\r\n"), 400},
        {TEXT("GET /echo HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"), 400},
        {TEXT("GET /echo HTTP/1.1\nHost: x\n\n"), 400},
        {TEXT("GET /ec\0ho HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
        {TEXT("GET /echo\0?&&&&& HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
        {TEXT("GET /echo\0HTTP/1.1\0?&& HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
        {TEXT("GET\0X /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
        {TEXT("GET  /echo HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
        {TEXT("GET /e cho HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
        {TEXT("GET /e\tcho HTTP/1.1\r\nHost: x\r\n\r\n"), 400},
        {TEXT("GET /echo\r\nHost: x\r\n\r\n"), 400},
        {TEXT("GET /echo HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n"), 400},
        {TEXT("GET /echo HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n"), 400},
        {TEXT("GET /echo HTTP/1.1\r\nHost: x\r\nX: y\r\n folded\r\n\r\n"), 400},
        {TEXT("GET /echo HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"), 400},
        {TEXT("GET /echo HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n"), 400},
        {TEXT("GET /echo HTTP/2.0\r\nHost: x\r\n\r\n"), 505},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\na"),
         400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"),
         400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nContent: 1\r\n -Length\r\n\r\na"), 400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na"), 400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na"), 400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\na"), 400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n"
              "\r\n1\r\na\r\n0\r\n\r\n"),
         400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
              "\r\n1\r\na\r\n0\r\n\r\n"),
         400},
        {TEXT("PUT /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), 400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
         400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
         501},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
         501},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"), 400},
        {TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
              "fffffffffffffffff\r\n"),
         413},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        int fd = rig_connect(&rig);
        rig_send_bytes(fd, cases[i].request);
        rig_receive(fd, &reply);
        cr_expect_eq(reply.status, cases[i].status, "case %zu: %u", i, reply.status);
        const char *connection = reply_header(&reply, "Connection");
        cr_expect(connection != NULL && strcmp(connection, "close") == 0, "case %zu", i);
        (void)close(fd);
    }
    cr_expect_eq(rig.request_count, 0);
}

Test(ops_http, long_targets_and_heads_are_refused_as_json, .init = open_rig, .fini = close_rig)
{
    static char request[12000];
    memset(request, 'a', sizeof request);
    memcpy(request, "GET /", 5);
    static const char end[] = " HTTP/1.1\r\nHost: x\r\n\r\n";
    memcpy(request + 5000, end, sizeof end);
    ask(request);
    cr_expect_eq(reply.status, 414);
    cr_expect_str_eq(reply_header(&reply, "Content-Type"), "application/json");

    memset(request, 'a', sizeof request);
    static const char line[] = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
    memcpy(request, line, sizeof line - 1);
    memcpy(request + 9000, "\r\n\r\n", 5);
    ask(request);
    cr_expect_eq(reply.status, 431);
    cr_expect_str_eq(reply_header(&reply, "Content-Type"), "application/json");
}

Test(ops_http, heads_that_the_library_cannot_hold_are_refused_too, .init = open_rig,
     .fini = close_rig)
{
    static char request[40000];
    memset(request, 'a', sizeof request);
    memcpy(request, "GET /", 5);
    cr_expect_eq(rig_status(&rig, nk_bytes_of(request, sizeof request)), 414);
    static const char line[] = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
    memcpy(request, line, sizeof line - 1);
    cr_expect_eq(rig_status(&rig, nk_bytes_of(request, sizeof request)), 431);
}

/* ---- Answers ---- */

Test(ops_http, an_answer_may_come_from_another_thread, .init = open_rig, .fini = close_rig)
{
    int fd = rig_connect(&rig);
    for (size_t i = 0; i < RIG_THREADS_MAX; i++) {
        rig_send(fd, "PUT /later HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
        rig_receive(fd, &reply);
        cr_assert_eq(reply.status, 200);
        cr_assert_str_eq(reply.body, "hi");
    }
    (void)close(fd);
}

Test(ops_http, others_are_served_while_one_waits, .init = open_rig, .fini = close_rig)
{
    int fd = rig_connect(&rig);
    rig_send(fd, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    struct nk_http_exchange *held = rig_take_held(&rig);
    ask("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect_eq(reply.status, 200);
    held->ops->answer_error(held, 507, "RESOURCE_EXHAUSTED", "DISK_FULL", NULL, 0);
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 507);
    (void)close(fd);
}

Test(ops_http, a_client_that_goes_away_takes_nothing_along, .init = open_rig, .fini = close_rig)
{
    int fd = rig_connect(&rig);
    rig_send(fd, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    struct nk_http_exchange *held = rig_take_held(&rig);
    (void)close(fd);
    ask("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"); /* the end has been seen by now */
    cr_expect_str_eq(held->path, "/held");
    held->ops->answer_error(held, 500, "INTERNAL", "", NULL, 0);
    static const char *const halves[] = {
        "", "GE", "GET /echo HTTP/1.1\r\nHo",
        "PUT /echo HTTP/1.1\r\nHost: x\r\n"
        "Content-Length: 9\r\n\r\nhalf",
        "PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf"};
    for (size_t i = 0; i < NK_COUNT_OF(halves); i++) {
        fd = rig_connect(&rig);
        rig_send(fd, halves[i]);
        (void)close(fd);
    }
    ask("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect_eq(reply.status, 200);
}

Test(ops_http, an_answer_of_no_content_has_no_length, .init = open_rig, .fini = close_rig)
{
    int fd = rig_connect(&rig);
    rig_send(fd, "DELETE /held HTTP/1.1\r\nHost: x\r\n\r\n");
    struct nk_http_exchange *held = rig_take_held(&rig);
    const struct nk_http_answer answer = {.status = 204};
    held->ops->answer(held, &answer);
    rig_send(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 204);
    cr_expect_null(reply_header(&reply, "Content-Length"));
    cr_expect_null(reply_header(&reply, "Content-Type"));
    rig_receive(fd, &reply);
    cr_expect_str_eq(reply.body, "GET\n/echo\n\n");
    (void)close(fd);
}

Test(ops_http, errors_are_json_whatever_is_in_the_message, .init = open_rig, .fini = close_rig)
{
    ask("GET /refused HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect_eq(reply.status, 418);
    cr_expect_str_eq(reply_header(&reply, "Content-Type"), "application/json");
    cr_expect_str_eq(reply.body,
                     "{\"error\":{\"code\":\"TEAPOT\",\"message\":\"no \\\"coffee\\\"\"}}");
}

/* ---- Bodies ---- */

static void put_echo(int fd, const char *path, size_t size, const char *more)
{
    static char body[16384];
    char head[256];
    memset(body, 'b', sizeof body);
    (void)snprintf(head, sizeof head, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n%s\r\n",
                   path, size, more);
    rig_send(fd, head);
    for (size_t sent = 0; sent < size; sent += nk_min_size(size - sent, sizeof body)) {
        rig_send_bytes(fd, nk_bytes_of(body, nk_min_size(size - sent, sizeof body)));
    }
}

Test(ops_http, a_body_has_its_limit_and_a_refused_one_does_not_end_the_connection, .init = open_rig,
     .fini = close_rig)
{
    int fd = rig_connect(&rig);
    put_echo(fd, "/echo", RIG_BODY_MAX, "");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200);
    cr_expect_eq(reply.body_size, strlen("PUT\n/echo\n\n") + RIG_BODY_MAX);
    static const size_t sizes[] = {RIG_BODY_MAX + 1, 1 << 20, 2 << 20};
    for (size_t i = 0; i < NK_COUNT_OF(sizes); i++) {
        put_echo(fd, "/echo", sizes[i], "");
        rig_receive(fd, &reply);
        cr_expect_eq(reply.status, 413, "case %zu", i);
        cr_expect_not_null(strstr(reply.body, " 1000 bytes"), "%s", reply.body);
        put_echo(fd, "/refused", sizes[i], "");
        rig_receive(fd, &reply);
        cr_expect_eq(reply.status, 418, "case %zu", i);
    }
    put_echo(fd, "/echo", 1, "");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200);
    cr_expect_eq(rig.request_count, 2);
    (void)close(fd);
}

Test(ops_http, a_body_that_is_far_too_long_is_refused_before_it_is_read, .init = open_rig,
     .fini = close_rig)
{
    static const char *const lengths[] = {"2097153", "9223372036854775807", "99999999999999999999"};
    for (size_t i = 0; i < NK_COUNT_OF(lengths); i++) {
        char request[128];
        (void)snprintf(request, sizeof request,
                       "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n", lengths[i]);
        int fd = rig_connect(&rig);
        rig_send(fd, request);
        rig_receive(fd, &reply);
        cr_expect_eq(reply.status, 413, "case %zu", i);
        (void)close(fd);
    }
}

Test(ops_http, a_client_that_asks_first_is_not_sent_for_what_is_refused, .init = open_rig,
     .fini = close_rig)
{
    int fd = rig_connect(&rig);
    rig_send(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                 "Content-Length: 1001\r\n\r\n");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 413);
    (void)close(fd);
    fd = rig_connect(&rig);
    rig_send(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                 "Content-Length: 2\r\n\r\n");
    char interim[64];
    cr_expect_eq(read(fd, interim, sizeof interim), 25);
    cr_expect_eq(memcmp(interim, "HTTP/1.1 100 Continue\r\n\r\n", 25), 0);
    rig_send(fd, "ok");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200);
    (void)close(fd);
}

static void send_chunks(int fd, size_t count)
{
    static char chunk[0x1000 + 8];
    memset(chunk, 'c', sizeof chunk);
    memcpy(chunk, "1000\r\n", 6);
    memcpy(chunk + 6 + 0x1000, "\r\n", 2);
    for (size_t i = 0; i < count; i++) {
        rig_send_bytes(fd, nk_bytes_of(chunk, sizeof chunk));
    }
}

Test(ops_http, chunks_beyond_the_limit_are_thrown_away_up_to_a_point, .init = open_rig,
     .fini = close_rig)
{
    static const char head[] =
        "PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    int fd = rig_connect(&rig);
    rig_send(fd, head);
    send_chunks(fd, 100);
    rig_send(fd, "0\r\n\r\n");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 413);
    rig_send(fd, head);
    rig_send(fd, "1\r\na\r\n0\r\n\r\n");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200);
    rig_send(fd, head);
    send_chunks(fd, 1000); /* 4 MiB, and it would go on */
    cr_expect(rig_has_ended(fd));
    (void)close(fd);
}

Test(ops_http, all_bodies_together_have_a_budget)
{
    rig_open(&rig, &(struct rig_limits){.body_total_bytes_max = 1500});
    int slow = rig_connect(&rig);
    rig_send(slow, "PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    struct nk_http_exchange *held = rig_take_held(&rig);
    int fd = rig_connect(&rig);
    put_echo(fd, "/echo", 1000, "");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200, "1002 of 1500 bytes");

    int second = rig_connect(&rig);
    rig_send(second, "PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n");
    char body[500];
    memset(body, 'b', sizeof body);
    rig_send_bytes(second, nk_bytes_of(body, sizeof body));
    struct nk_http_exchange *second_held = rig_take_held(&rig);
    put_echo(fd, "/echo", 999, "");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 429);
    cr_expect_not_null(strstr(reply.body, "OVERLOADED"));
    put_echo(fd, "/echo", 998, "");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200);

    struct nk_http_answer answer = {.status = 200};
    held->ops->answer(held, &answer);
    second_held->ops->answer(second_held, &answer);
    rig_receive(second, &reply);
    rig_receive(slow, &reply);
    rig_send(second, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"); /* its body is gone by now */
    rig_receive(second, &reply);
    put_echo(fd, "/echo", 1000, "");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200);
    (void)close(slow);
    (void)close(second);
    (void)close(fd);
    rig_close(&rig);
}

/* ---- Connections ---- */

Test(ops_http, clients_that_say_nothing_do_not_keep_others_out)
{
    rig_open(&rig, &(struct rig_limits){.connection_max = 4});
    int silent[20];
    for (size_t i = 0; i < NK_COUNT_OF(silent); i++) {
        silent[i] = rig_connect(&rig);
        rig_send(silent[i], i % 2 == 0 ? "" : "GET /echo HTTP/1.1\r\nHo");
    }
    ask("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect_eq(reply.status, 200);
    cr_expect(rig_has_ended(silent[0]));
    for (size_t i = 0; i < NK_COUNT_OF(silent); i++) {
        (void)close(silent[i]);
    }
    rig_close(&rig);
}

Test(ops_http, those_who_are_owed_an_answer_keep_their_place)
{
    rig_open(&rig, &(struct rig_limits){.connection_max = 4});
    int first = rig_connect(&rig);
    rig_send(first, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    struct nk_http_exchange *held = rig_take_held(&rig);
    int silent[20];
    for (size_t i = 0; i < NK_COUNT_OF(silent); i++) {
        silent[i] = rig_connect(&rig);
    }
    ask("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect_eq(reply.status, 200);
    struct nk_http_answer answer = {.status = 200};
    held->ops->answer(held, &answer);
    rig_receive(first, &reply);
    cr_expect_eq(reply.status, 200);
    (void)close(first);
    for (size_t i = 0; i < NK_COUNT_OF(silent); i++) {
        (void)close(silent[i]);
    }
    rig_close(&rig);
}

/* However often they send a byte: they must not hold the budget of bodies, or their place. */
Test(ops_http, a_request_that_takes_too_long_to_come_makes_room_for_others)
{
    rig_open(&rig, &(struct rig_limits){.body_total_bytes_max = 1000});
    int slow = rig_connect(&rig);
    rig_send(slow, "PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n");
    int fd = rig_connect(&rig);
    do { /* until the library has seen the first part of it */
        rig_send(slow, "slow");
        put_echo(fd, "/echo", 1000, "");
        rig_receive(fd, &reply);
    } while (reply.status != 429);

    rig_advance(&rig, OPS_HTTP_TURN_S * 1000 / 2);
    put_echo(fd, "/echo", 1000, "");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 429, "there is time still");

    rig_advance(&rig, OPS_HTTP_TURN_S * 1000 / 2);
    ask("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect(rig_has_ended(slow));
    put_echo(fd, "/echo", 1000, "");
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200, "whose turn began later stays");
    (void)close(fd);
    (void)close(slow);
    cr_expect_null(rig.held);
    rig_close(&rig);
}

Test(ops_http, an_answer_may_take_as_long_as_it_does, .init = open_rig, .fini = close_rig)
{
    int fd = rig_connect(&rig);
    rig_send(fd, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    struct nk_http_exchange *held = rig_take_held(&rig);
    rig_advance(&rig, 10 * OPS_HTTP_TURN_S * 1000);
    ask("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    struct nk_http_answer answer = {.status = 200};
    held->ops->answer(held, &answer);
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200);
    (void)close(fd);
}

Test(ops_http, silence_ends_a_connection)
{
    rig_open(&rig, &(struct rig_limits){.idle_timeout_s = 1});
    static const char *const halves[] = {
        "", "GET /echo HTTP/1.1\r\nHo",
        "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", "\x16\x03\x01\x02"};
    int fds[NK_COUNT_OF(halves)];
    for (size_t i = 0; i < NK_COUNT_OF(halves); i++) {
        fds[i] = rig_connect(&rig);
        rig_send(fds[i], halves[i]);
    }
    for (size_t i = 0; i < NK_COUNT_OF(halves); i++) {
        cr_expect(rig_has_ended(fds[i]), "case %zu", i);
        (void)close(fds[i]);
    }
    cr_expect_eq(rig.request_count, 0);
    rig_close(&rig);
}

Test(ops_http, after_stop_what_is_under_way_is_answered_and_nothing_new_is_taken, .init = open_rig,
     .fini = close_rig)
{
    int fd = rig_connect(&rig);
    rig_send(fd, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    struct nk_http_exchange *held = rig_take_held(&rig);
    ops_http_stop(rig.http);
    ops_http_stop(rig.http);
    struct nk_http_answer answer = {.status = 200};
    held->ops->answer(held, &answer);
    rig_receive(fd, &reply);
    cr_expect_eq(reply.status, 200);
    cr_expect_str_eq(reply_header(&reply, "Connection"), "close");
    cr_expect(rig_has_ended(fd));
    (void)close(fd);
}

Test(ops_http, it_can_be_closed_in_the_middle_of_requests, .init = open_rig)
{
    /* The last one the library forgets, whatever we do (README.md). */
    static char forgotten[4000] = "GET /echo\0?";
    memset(forgotten + 11, '&', sizeof forgotten - 11);
    static const char end[] = " HTTP/1.1\r\nHost: x\r\n\r\n";
    memcpy(forgotten + sizeof forgotten - (sizeof end - 1), end, sizeof end - 1);
    const struct nk_bytes halves[] = {
        TEXT(""),
        TEXT("GET /echo HTTP/1.1\r\nHo"),
        TEXT("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"),
        {(const uint8_t *)forgotten, sizeof forgotten},
    };
    int fds[NK_COUNT_OF(halves)];
    for (size_t i = 0; i < NK_COUNT_OF(halves); i++) {
        fds[i] = rig_connect(&rig);
        rig_send_bytes(fds[i], halves[i]);
    }
    ask("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_expect_eq(reply.status, 200);
    rig_close(&rig);
    for (size_t i = 0; i < NK_COUNT_OF(halves); i++) {
        (void)close(fds[i]);
    }
}

/* ---- Opening ---- */

static enum nk_err open_at(const char *address, char *memory, size_t size)
{
    struct ops_http_options options = {.address = address,
                                       .health = rig.health,
                                       .clock = rig.clock,
                                       .log = env_posix_log(rig.posix_log)};
    struct nk_text reason;
    nk_text_init(&reason, memory, size);
    struct ops_http *http = NULL;
    enum nk_err err = ops_http_open(&options, &http, &reason);
    ops_http_close(&http);
    return err;
}

Test(ops_http, an_address_that_cannot_be_had_is_named, .init = open_rig, .fini = close_rig)
{
    char reason[256];
    cr_expect_eq(open_at(ops_http_address(rig.http), reason, sizeof reason), NK_CONFLICT);
    cr_expect_not_null(strstr(reason, "another process listens"), "%s", reason);
    cr_expect_not_null(strstr(reason, ops_http_address(rig.http)), "%s", reason);
    cr_expect_eq(open_at("nonsense", reason, sizeof reason), NK_INVALID);
    cr_expect_not_null(strstr(reason, "nonsense: not an address"), "%s", reason);
    cr_expect_eq(open_at("127.0.0.1:0", reason, sizeof reason), NK_OK);
    cr_expect_eq(open_at("[::1]:0", reason, sizeof reason), NK_OK);
    cr_expect_eq(open_at("192.0.2.1:0", reason, sizeof reason), NK_IO);
}

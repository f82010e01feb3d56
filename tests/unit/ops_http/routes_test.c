#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/units.h"

#include "rig.h"

TestSuite(ops_http_routes, .timeout = 60);

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

static void get(const char *path)
{
    char request[256];
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    rig_ask(&rig, request, &reply);
}

static void expect_page(const char *path, unsigned status, const char *type, const char *body)
{
    get(path);
    cr_expect_eq(reply.status, status, "%s: %u", path, reply.status);
    cr_expect_str_eq(reply_header(&reply, "Content-Type"), type, "%s", path);
    cr_expect_str_eq(reply.body, body, "%s: %s", path, reply.body);
}

Test(ops_http_routes, health_follows_the_board, .init = open_rig, .fini = close_rig)
{
    static const char plain[] = "text/plain; charset=utf-8";
    expect_page("/health/quick", 503, plain, "UNAVAILABLE");
    expect_page("/readyz", 503, plain, "starting\n");
    get("/health");
    cr_expect_eq(reply.status, 503);

    nk_health_beat(rig.health);
    nk_health_set(rig.health, NK_HEALTHY, "");
    nk_health_set_ready(rig.health, true, "");
    expect_page("/health/quick", 200, plain, "OK");
    expect_page("/healthz", 200, plain, "ok\n");
    expect_page("/readyz", 200, plain, "ok\n");
    get("/health");
    cr_expect_eq(reply.status, 200);
    cr_expect_str_eq(reply_header(&reply, "Content-Type"), "application/json");
    cr_expect_not_null(strstr(reply.body, "\"status\":\"healthy\""), "%s", reply.body);
    cr_expect_not_null(strstr(reply.body, "\"node_id\":\"node7\""), "%s", reply.body);

    nk_health_set(rig.health, NK_DEGRADED, "no-gossip");
    nk_health_set_ready(rig.health, false, "no-gossip");
    expect_page("/readyz", 503, plain, "no-gossip\n");
    get("/health");
    cr_expect_eq(reply.status, 200, "degraded is not unhealthy");
}

Test(ops_http_routes, metrics_come_in_the_format_that_is_asked_for, .init = open_rig,
     .fini = close_rig)
{
    get("/metrics");
    cr_expect_eq(reply.status, 200);
    cr_expect_str_eq(reply_header(&reply, "Content-Type"),
                     "text/plain; version=0.0.4; charset=utf-8");
    cr_expect_not_null(strstr(reply.body, "norikv_build_info{"), "%s", reply.body);
    rig_ask(&rig,
            "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n",
            &reply);
    cr_expect_str_eq(reply_header(&reply, "Content-Type"),
                     "application/openmetrics-text; version=1.0.0; charset=utf-8");
    cr_expect_not_null(strstr(reply.body, "# EOF\n"), "%s", reply.body);
}

Test(ops_http_routes, metrics_that_are_switched_off_are_no_route)
{
    rig_open(&rig, &(struct rig_limits){.no_metrics = true});
    get("/metrics");
    cr_expect_eq(reply.status, 404);
    rig_close(&rig);
}

Test(ops_http_routes, head_has_the_size_and_no_body, .init = open_rig, .fini = close_rig)
{
    nk_health_beat(rig.health);
    int fd = rig_connect(&rig);
    rig_send(fd, "HEAD /health/quick HTTP/1.1\r\nHost: x\r\n\r\n"
                 "GET /health/quick HTTP/1.1\r\nHost: x\r\n\r\n");
    rig_receive_head(fd, &reply);
    cr_expect_eq(reply.status, 200);
    cr_expect_str_eq(reply_header(&reply, "Content-Length"), "2");
    rig_receive(fd, &reply);
    cr_expect_str_eq(reply.body, "OK");
    (void)close(fd);
}

Test(ops_http_routes, one_connection_serves_many_requests, .init = open_rig, .fini = close_rig)
{
    static const char *const lines[] = {"GET /metrics",  "GET /health",  "PUT /health",
                                        "GET /nope",     "GET /refused", "GET /echo",
                                        "HEAD /healthz", "GET /metrics"};
    int fd = rig_connect(&rig);
    for (size_t i = 0; i < NK_COUNT_OF(lines); i++) {
        char request[128];
        (void)snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\n\r\n", lines[i]);
        rig_send(fd, request);
        if (lines[i][0] == 'H') {
            rig_receive_head(fd, &reply);
        } else {
            rig_receive(fd, &reply);
        }
        cr_expect_neq(reply.status, 0, "case %zu", i);
        cr_expect_null(reply_header(&reply, "Connection"), "case %zu", i);
    }
    (void)close(fd);
}

Test(ops_http_routes, other_methods_are_refused_with_those_allowed, .init = open_rig,
     .fini = close_rig)
{
    static const char *const paths[] = {"/health", "/health/quick", "/healthz", "/readyz",
                                        "/metrics"};
    static const char *const methods[] = {"PUT", "POST", "DELETE", "OPTIONS", "NONSENSE", "get"};
    for (size_t i = 0; i < NK_COUNT_OF(paths); i++) {
        for (size_t j = 0; j < NK_COUNT_OF(methods); j++) {
            char request[128];
            (void)snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", methods[j],
                           paths[i]);
            rig_ask(&rig, request, &reply);
            cr_expect_eq(reply.status, 405, "%s %s", methods[j], paths[i]);
            cr_expect_str_eq(reply_header(&reply, "Allow"), "GET, HEAD");
            cr_expect_str_eq(
                reply.body,
                "{\"error\":{\"code\":\"UNIMPLEMENTED\",\"message\":\"only GET and HEAD\"}}");
        }
    }
}

Test(ops_http_routes, other_paths_are_not_found, .init = open_rig, .fini = close_rig)
{
    static const char *const paths[] = {"/",       "/health/",  "/healthz/", "//health", "/nope",
                                        "/Health", "/metrics2", "*",         "/%68ealth"};
    for (size_t i = 0; i < NK_COUNT_OF(paths); i++) {
        get(paths[i]);
        cr_expect_eq(reply.status, 404, "%s", paths[i]);
        cr_expect_str_eq(reply_header(&reply, "Content-Type"), "application/json");
        cr_expect_str_eq(reply.body,
                         "{\"error\":{\"code\":\"UNIMPLEMENTED\",\"message\":\"no such route\"}}");
    }
}

/* The two pages of gossip, as its HTTP routes. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "services/gossip/gossip.h"
#include "tests/unit/stage/stage.h"

TestSuite(gossip_http, .timeout = 10);

/* An exchange whose answer is kept. */
struct asking {
    struct nk_http_exchange exchange;
    size_t answered;
    unsigned status;
    char content_type[64];
    char allow[32];
    char body[512];
};

static struct nk_bytes header(struct nk_http_exchange *exchange, const char *name,
                              size_t *out_count)
{
    (void)exchange;
    (void)name;
    *out_count = 0;
    return nk_bytes_of(NULL, 0);
}

static void answer(struct nk_http_exchange *exchange, const struct nk_http_answer *answer)
{
    struct asking *asking = NK_CONTAINER_OF(exchange, struct asking, exchange);
    asking->answered++;
    asking->status = answer->status;
    (void)snprintf(asking->content_type, sizeof asking->content_type, "%s", answer->content_type);
    (void)snprintf(asking->body, sizeof asking->body, "%.*s", (int)answer->body.size,
                   (const char *)answer->body.data);
}

static void answer_error(struct nk_http_exchange *exchange, unsigned status, const char *code,
                         const char *message, const struct nk_http_field *fields,
                         size_t field_count)
{
    struct asking *asking = NK_CONTAINER_OF(exchange, struct asking, exchange);
    (void)message;
    asking->answered++;
    asking->status = status;
    (void)snprintf(asking->body, sizeof asking->body, "%s", code);
    if (field_count == 1 && strcmp(fields[0].name, "Allow") == 0) {
        (void)snprintf(asking->allow, sizeof asking->allow, "%s", fields[0].value);
    }
}

static const struct nk_http_exchange_ops exchange_ops = {
    .header = header, .answer = answer, .answer_error = answer_error};

static struct asking ask(const char *method, const char *path)
{
    return (struct asking){
        .exchange = {.ops = &exchange_ops, .method = method, .path = path, .query = ""}};
}

struct serving {
    struct stage stage;
    void *role;
    struct nk_http_handler handler;
};

static void open_serving(struct serving *serving)
{
    stage_open(&serving->stage);
    char memory[128];
    struct nk_text reason;
    nk_text_init(&reason, memory, sizeof memory);
    cr_assert_eq(gossip_role_ops.init(&serving->stage.context, &serving->role, &reason), NK_OK);
    (void)gossip_role_ops.tick(serving->role);
    serving->handler = gossip_http_handler(serving->role);
}

static void close_serving(struct serving *serving)
{
    gossip_role_ops.deinit(&serving->role);
    stage_close(&serving->stage);
}

Test(gossip_http, each_page_is_answered_at_once_as_json)
{
    static const struct {
        const char *method;
        const char *path;
        const char *body; /* begins with it */
    } cases[] = {
        {"GET", "/meta/cluster", "{\"epoch\":"},
        {"HEAD", "/meta/cluster", "{\"epoch\":"}, /* its size is told */
        {"GET", "/meta/targets", "[{\"targets\":[\"127.0.0.1:8080\"]"},
    };
    struct serving serving;
    open_serving(&serving);
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct asking asking = ask(cases[i].method, cases[i].path);
        size_t body_max = 0;
        cr_expect(serving.handler.begin(serving.handler.ctx, &asking.exchange, &body_max));
        cr_expect_eq(asking.answered, 1, "case %zu", i);
        cr_expect_eq(asking.status, 200, "case %zu", i);
        cr_expect_str_eq(asking.content_type, "application/json", "case %zu", i);
        cr_expect_eq(strncmp(asking.body, cases[i].body, strlen(cases[i].body)), 0, "case %zu: %s",
                     i, asking.body);
    }
    close_serving(&serving);
}

Test(gossip_http, another_method_is_told_which_there_are)
{
    static const char *const methods[] = {"PUT", "POST", "DELETE", "get", ""};
    struct serving serving;
    open_serving(&serving);
    for (size_t i = 0; i < NK_COUNT_OF(methods); i++) {
        struct asking asking = ask(methods[i], "/meta/targets");
        size_t body_max = 0;
        cr_expect(serving.handler.begin(serving.handler.ctx, &asking.exchange, &body_max));
        cr_expect_eq(asking.answered, 1, "case %zu", i);
        cr_expect_eq(asking.status, 405, "case %zu", i);
        cr_expect_str_eq(asking.allow, "GET, HEAD", "case %zu", i);
        cr_expect_eq(body_max, 0, "case %zu", i);
    }
    close_serving(&serving);
}

Test(gossip_http, other_paths_are_somebody_elses)
{
    static const char *const paths[] = {
        "/", "/meta", "/meta/cluster/", "/meta/clusters", "/Meta/cluster", "/metrics"};
    struct serving serving;
    open_serving(&serving);
    for (size_t i = 0; i < NK_COUNT_OF(paths); i++) {
        struct asking asking = ask("GET", paths[i]);
        size_t body_max = 0;
        cr_expect(!serving.handler.begin(serving.handler.ctx, &asking.exchange, &body_max),
                  "case %zu", i);
        cr_expect_eq(asking.answered, 0, "case %zu", i);
    }
    close_serving(&serving);
}

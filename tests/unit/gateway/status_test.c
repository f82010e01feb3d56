/* The table of outcomes that both fronts answer by: it is a promise to clients. */

#include <criterion/criterion.h>

#include "common/base/units.h"
#include "services/gateway/status.h"

TestSuite(gateway_status, .timeout = 10);

Test(gateway_status, every_outcome_has_the_status_that_clients_were_promised)
{
    static const struct {
        enum nk_err err;
        int grpc;
        const char *name;
        int http;
        const char *prefix;
    } cases[] = {
        {NK_OK, 0, "OK", 200, ""},
        {NK_CANCELLED, 1, "CANCELLED", 499, ""},
        {NK_INVALID, 3, "INVALID_ARGUMENT", 400, ""},
        {NK_TOO_LARGE, 3, "INVALID_ARGUMENT", 413, ""},
        {NK_TIMEOUT, 4, "DEADLINE_EXCEEDED", 504, "COMMIT_TIMEOUT"},
        {NK_EXPIRED, 4, "DEADLINE_EXCEEDED", 504, ""},
        {NK_NOT_FOUND, 5, "NOT_FOUND", 404, ""},
        {NK_EXISTS, 6, "ALREADY_EXISTS", 412, "key exists"},
        {NK_DENIED, 7, "PERMISSION_DENIED", 403, ""},
        {NK_BUSY, 8, "RESOURCE_EXHAUSTED", 429, "OVERLOADED"},
        {NK_NO_SPACE, 8, "RESOURCE_EXHAUSTED", 507, "DISK_FULL"},
        {NK_CONFLICT, 9, "FAILED_PRECONDITION", 412, ""},
        {NK_UNSUPPORTED, 12, "UNIMPLEMENTED", 404, ""},
        {NK_NOT_LEADER, 14, "UNAVAILABLE", 503, "NOT_LEADER"},
        {NK_UNAVAILABLE, 14, "UNAVAILABLE", 503, "NOT_LEADER"},
        {NK_NO_QUORUM, 14, "UNAVAILABLE", 503, "QUORUM_UNAVAILABLE"},
        {NK_FENCED, 14, "UNAVAILABLE", 503, "SHARD_FENCED"},
        {NK_UNAUTHENTICATED, 16, "UNAUTHENTICATED", 401, ""},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        const struct gateway_status *status = gateway_status_of(cases[i].err);
        cr_expect_eq(status->err, cases[i].err, "case %zu", i);
        cr_expect_eq(status->grpc, cases[i].grpc, "case %zu", i);
        cr_expect_str_eq(status->name, cases[i].name, "case %zu", i);
        cr_expect_eq(status->http, cases[i].http, "case %zu", i);
        cr_expect_str_eq(status->prefix, cases[i].prefix, "case %zu", i);
    }
}

Test(gateway_status, everything_else_is_our_bug)
{
    static const enum nk_err errs[] = {NK_WOULD_BLOCK,    NK_IO,           NK_CORRUPT,
                                       NK_FORMAT_TOO_NEW, (enum nk_err)99, (enum nk_err) - 1};
    for (size_t i = 0; i < NK_COUNT_OF(errs); i++) {
        const struct gateway_status *status = gateway_status_of(errs[i]);
        cr_expect_eq(status->grpc, 13, "case %zu", i);
        cr_expect_str_eq(status->name, "INTERNAL", "case %zu", i);
        cr_expect_eq(status->http, 500, "case %zu", i);
        cr_expect_neq(status->err, NK_OK, "case %zu", i);
    }
}

Test(gateway_status, a_message_has_its_prefix_once)
{
    static const struct {
        enum nk_err err;
        const char *message;
        const char *text;
    } cases[] = {
        {NK_NOT_LEADER, "", "NOT_LEADER"},
        {NK_NOT_LEADER, "nobody leads", "NOT_LEADER: nobody leads"},
        {NK_NOT_LEADER, "NOT_LEADER", "NOT_LEADER"},
        {NK_NOT_LEADER, "NOT_LEADER: nobody leads", "NOT_LEADER: nobody leads"},
        {NK_EXISTS, "key exists: version 1.2", "key exists: version 1.2"},
        {NK_CONFLICT, "version mismatch", "version mismatch"},
        {NK_CONFLICT, "", ""},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char memory[64];
        struct nk_text text;
        nk_text_init(&text, memory, sizeof memory);
        gateway_status_text(gateway_status_of(cases[i].err), cases[i].message, &text);
        cr_expect_str_eq(memory, cases[i].text, "case %zu", i);
    }
}

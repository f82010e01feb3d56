#include <criterion/criterion.h>

#include "common/base/units.h"
#include "common/config/config.h"

TestSuite(config_address, .timeout = 5);

struct address_case {
    const char *text;
    const char *host;
    uint16_t port;
    bool ipv6;
};

Test(config_address, hosts_are_names_ipv4_or_bracketed_ipv6)
{
    static const struct address_case cases[] = {
        {"0.0.0.0:7447", "0.0.0.0", 7447, false},
        {"localhost:0", "localhost", 0, false},
        {"node-0.norikv_x.svc:65535", "node-0.norikv_x.svc", 65535, false},
        {"3com.example:1", "3com.example", 1, false},
        {"[::1]:80", "::1", 80, true},
        {"[fe80::1%eth0]:7447", "fe80::1%eth0", 7447, true},
        {"[::ffff:1.2.3.4]:1", "::ffff:1.2.3.4", 1, true},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_config_address address;
        cr_assert_eq(nk_config_address_parse(cases[i].text, &address), NK_OK, "case %zu", i);
        cr_expect_str_eq(address.host, cases[i].host, "case %zu", i);
        cr_expect_eq(address.port, cases[i].port, "case %zu", i);
        cr_expect_eq(address.ipv6, cases[i].ipv6, "case %zu", i);
    }
}

Test(config_address, everything_else_is_refused)
{
    static const char *const cases[] = {
        "",
        ":",
        ":80",
        "host",
        "host:",
        "host:65536",
        "host:-1",
        "host:8x",
        "host:000080",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[]:80",
        "[::g]:80",
        "[1.2.3.4]:1",
        "1.2.3:80",
        "256.1.1.1:80",
        "1.2.3.4.5:80",
        "a b:80",
        "a,b:80",
        "-x:80",
        ".x:80",
        "http://a:80",
        "[fe80::1%]:80",
        "[fe80::1%a b]:80",
        "[::1:80",
        "a:80 ",
        "*:80",
        "[:80",
        "]:80",
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_config_address address;
        cr_expect_eq(nk_config_address_parse(cases[i], &address), NK_INVALID, "case %zu: %s", i,
                     cases[i]);
    }
}

Test(config_address, the_longest_has_255_bytes)
{
    char text[257];
    memset(text, 'a', sizeof text);
    memcpy(text + 253, ":1", 3);
    struct nk_config_address address;
    cr_expect_eq(nk_config_address_parse(text, &address), NK_OK);
    cr_expect_eq(strlen(address.host), 253);
    memcpy(text + 253, ":123", 4);
    text[256] = '\0';
    text[253] = 'a';
    text[254] = ':';
    text[255] = '1';
    cr_expect_eq(nk_config_address_parse(text, &address), NK_INVALID);
}

Test(config_address, listening_everywhere_is_told_from_the_rest)
{
    static const char *const any[] = {"0.0.0.0", "::", "0:0:0:0:0:0:0:0"};
    static const char *const some[] = {"127.0.0.1", "::1", "host", "", "0", "::ffff:0.0.0.0"};
    for (size_t i = 0; i < NK_COUNT_OF(any); i++) {
        cr_expect(nk_config_host_is_any(any[i]), "%s", any[i]);
    }
    for (size_t i = 0; i < NK_COUNT_OF(some); i++) {
        cr_expect_not(nk_config_host_is_any(some[i]), "%s", some[i]);
    }
}

Test(config_address, others_are_told_a_host_that_they_can_connect_to)
{
    static const struct {
        const char *advertise_host;
        const char *bound;
        const char *host_name;
        const char *told;
    } cases[] = {
        {"", "0.0.0.0:80", "box", "box:80"},
        {"", "[::]:80", "box", "box:80"},
        {"", "127.0.0.1:80", "box", "127.0.0.1:80"},
        {"", "[::1]:80", "box", "[::1]:80"},
        {"", "name:80", "box", "name:80"},
        {"public", "0.0.0.0:80", "box", "public:80"},
        {"public", "10.0.0.1:80", "box", "public:80"},
        {"fd00::1", "[::]:80", "box", "[fd00::1]:80"},
        {"", "0.0.0.0:80", "", "0.0.0.0:80"},
        {"", "0.0.0.0:80", "not a host", "0.0.0.0:80"},
        {"public", "", "box", ""}, /* a process that serves no gRPC */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char memory[300];
        struct nk_text told;
        nk_text_init(&told, memory, sizeof memory);
        nk_config_advertise(cases[i].advertise_host, cases[i].bound, cases[i].host_name, &told);
        cr_expect_str_eq(memory, cases[i].told, "case %zu", i);
    }
    cr_expect_null(nk_config_advertised_host("", "ipc", "box"));
    cr_expect_str_eq(nk_config_advertised_host("", "0.0.0.0:0", "box"), "box");
}

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

/* How the children share the settings. */

#include <criterion/criterion.h>

#include <signal.h>

#include "common/base/units.h"
#include "services/server/layout.h"

TestSuite(server_layout, .timeout = 5);

#define TEXT_BYTES ((size_t)512)

static struct nk_config config_of(const char *http_addr, uint32_t step)
{
    struct nk_config config;
    nk_config_defaults(&config);
    config.http_addr = http_addr;
    config.server.http_port_step = step;
    return config;
}

/* ---- Addresses ---- */

Test(server_layout, the_gateway_has_http_addr_and_the_others_follow_in_steps)
{
    static const struct {
        const char *http_addr;
        uint32_t step;
        const char *expected[SUPERVISE_CHILD_COUNT]; /* gossip, shardhost, gateway, admin */
    } cases[] = {
        {"0.0.0.0:8080", 100, {"0.0.0.0:8280", "0.0.0.0:8180", "0.0.0.0:8080", "0.0.0.0:8380"}},
        {"node.local:1", 1, {"node.local:3", "node.local:2", "node.local:1", "node.local:4"}},
        {"[::1]:80", 1000, {"[::1]:2080", "[::1]:1080", "[::1]:80", "[::1]:3080"}},
        {"127.0.0.1:0", 100, {"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}},
        {"127.0.0.1:9", 0, {"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:9", "127.0.0.1:0"}},
        {"[::]:5535", 20000, {"[::]:45535", "[::]:25535", "[::]:5535", "[::]:65535"}},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_config config = config_of(cases[i].http_addr, cases[i].step);
        for (size_t child = 0; child < SUPERVISE_CHILD_COUNT; child++) {
            char memory[SERVER_ADDRESS_BYTES];
            char why[TEXT_BYTES];
            struct nk_text address;
            struct nk_text reason;
            nk_text_init(&address, memory, sizeof memory);
            nk_text_init(&reason, why, sizeof why);
            cr_expect_eq(
                server_http_address(&config, (enum supervise_child)child, &address, &reason), NK_OK,
                "case %zu child %zu", i, child);
            cr_expect_str_eq(memory, cases[i].expected[child], "case %zu child %zu", i, child);
        }
    }
}

static void expect_check(const struct nk_config *config, enum nk_err err, const char *line)
{
    char why[TEXT_BYTES];
    struct nk_text reason;
    nk_text_init(&reason, why, sizeof why);
    cr_expect_eq(server_layout_check(config, &reason), err, "%s", line);
    cr_expect_str_eq(why, line);
}

Test(server_layout, ports_beyond_the_last_are_refused)
{
    struct nk_config config = config_of("0.0.0.0:65436", 100);
    expect_check(&config, NK_INVALID,
                 "server.http_port_step: the HTTP port of the gossip would be 65636; it must be at "
                 "most 65535");
    config = config_of("0.0.0.0:5536", 20000);
    expect_check(&config, NK_INVALID,
                 "server.http_port_step: the HTTP port of the admin would be 65536; it must be at "
                 "most 65535");
}

Test(server_layout, a_bus_of_one_port_is_refused)
{
    struct nk_config config = config_of("0.0.0.0:8080", 100);
    expect_check(&config, NK_OK, "");
    config.bus.addr = "127.0.0.1:7000";
    expect_check(&config, NK_INVALID,
                 "bus.addr: \"127.0.0.1:7000\" is refused; under norikv-server it must be ipc");
}

Test(server_layout, one_address_for_grpc_and_http_is_refused)
{
    struct nk_config config = config_of("127.0.0.1:8080", 100);
    config.rpc_addr = "127.0.0.1:8280";
    expect_check(&config, NK_INVALID,
                 "rpc_addr: \"127.0.0.1:8280\" is also the HTTP address of the gossip (http_addr, "
                 "server.http_port_step); it must be another one");
    config.rpc_addr = "127.0.0.1:8080";
    expect_check(&config, NK_INVALID,
                 "rpc_addr: \"127.0.0.1:8080\" is also the HTTP address of the gateway (http_addr, "
                 "server.http_port_step); it must be another one");
    config.rpc_addr = "0.0.0.0:8180";
    expect_check(&config, NK_INVALID,
                 "rpc_addr: \"0.0.0.0:8180\" is also the HTTP address of the shardhost (http_addr, "
                 "server.http_port_step); it must be another one");
    config.rpc_addr = "127.0.0.2:8280"; /* another machine's address, or another of this one */
    expect_check(&config, NK_OK, "");
    config = config_of("[::]:8080", 100);
    config.rpc_addr = "127.0.0.1:8380";
    expect_check(&config, NK_INVALID,
                 "rpc_addr: \"127.0.0.1:8380\" is also the HTTP address of the admin (http_addr, "
                 "server.http_port_step); it must be another one");
    config = config_of("127.0.0.1:0", 100);
    config.rpc_addr = "127.0.0.1:0";
    expect_check(&config, NK_OK, "");
}

/* ---- Arguments ---- */

#define ARGUMENTS_MAX ((size_t)8)

Test(server_layout, a_child_has_our_arguments_with_its_own_http_address)
{
    static const struct {
        const char *ours[ARGUMENTS_MAX];
        const char *childs[ARGUMENTS_MAX]; /* before the address */
    } cases[] = {
        {{NULL}, {NULL}},
        {{"--node-id", "n", "--data-dir=/d"}, {"--node-id", "n", "--data-dir=/d"}},
        {{"--http-addr", "a:1", "--node-id", "n"}, {"--node-id", "n"}},
        {{"--node-id", "n", "--http-addr=a:1"}, {"--node-id", "n"}},
        {{"--set", "http_addr=a:1", "--set", "log.level=info"}, {"--set", "log.level=info"}},
        {{"--set=http_addr=a:1", "--set=lsm.fanout=3"}, {"--set=lsm.fanout=3"}},
        {{"--node-id", "--http-addr"}, {"--node-id", "--http-addr"}}, /* a value like a flag */
        {{"--config", "http_addr=a:1"}, {"--config", "http_addr=a:1"}},
        {{"--set", "server.http_port_step=1"}, {"--set", "server.http_port_step=1"}},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        size_t count = 0;
        while (cases[i].ours[count] != NULL) {
            count++;
        }
        const char *arguments[ARGUMENTS_MAX + SERVER_ARGUMENTS_MORE] = {NULL};
        server_child_arguments(cases[i].ours, count, "b:2", arguments);
        size_t at = 1;
        for (size_t word = 0; cases[i].childs[word] != NULL; word++) {
            cr_assert_str_eq(arguments[at++], cases[i].childs[word], "case %zu", i);
        }
        cr_assert_str_eq(arguments[at++], "--http-addr", "case %zu", i);
        cr_assert_str_eq(arguments[at++], "b:2", "case %zu", i);
        cr_assert_null(arguments[at], "case %zu", i);
    }
}

/* ---- Run files ---- */

Test(server_layout, a_run_file_is_read)
{
    static const char text[] =
        "{\"role\":\"gateway\",\"node_id\":\"n\",\"version\":\"0.1.0\",\"pid\":4711,"
        "\"rpc_addr\":\"[::1]:6000\",\"http_addr\":\"127.0.0.1:8080\",\"bus_addr\":\"\"}\n";
    struct server_run_file file;
    cr_assert_eq(server_run_file_read(nk_bytes_of_string(text), &file), NK_OK);
    cr_expect_eq(file.pid, 4711);
    cr_expect_str_eq(file.rpc_addr, "[::1]:6000");
    cr_expect_str_eq(file.http_addr, "127.0.0.1:8080");
}

Test(server_layout, what_is_not_a_whole_run_file_is_refused)
{
    static const char *const texts[] = {
        "",
        "\n",
        "{}\n",
        "{\"pid\":1,\"rpc_addr\":\"\",\"http_addr\":\"a:1\"}",     /* cut before the newline */
        "{\"pid\":1,\"rpc_addr\":\"\",\"http_addr\":\"a:1\"\n",    /* and before the brace */
        "{\"pid\":,\"rpc_addr\":\"\",\"http_addr\":\"a:1\"}\n",    /* no number */
        "{\"pid\":\"1\",\"rpc_addr\":\"\",\"http_addr\":\"a\"}\n", /* a text */
        "{\"pid\":18446744073709551616,\"rpc_addr\":\"\",\"http_addr\":\"a:1\"}\n",
        "{\"pid\":1,\"http_addr\":\"a:1\"}\n",
        "{\"pid\":1,\"rpc_addr\":\"\"}\n",
        "{\"pid\":1,\"rpc_addr\":\"\",\"http_addr\":7}\n",
        "{\"pid\":1,\"rpc_addr\":\"a\\\"b\",\"http_addr\":\"a:1\"}\n", /* an escape */
        "{\"pid\":1,\"rpc_addr\":\"\",\"http_addr\":\"a:1}\n",
    };
    for (size_t i = 0; i < NK_COUNT_OF(texts); i++) {
        struct server_run_file file;
        cr_expect_eq(server_run_file_read(nk_bytes_of_string(texts[i]), &file), NK_INVALID,
                     "case %zu: %s", i, texts[i]);
    }
}

Test(server_layout, an_address_that_is_too_long_for_a_run_file_is_refused)
{
    for (size_t extra = 0; extra < 2; extra++) {
        char address[SERVER_ADDRESS_BYTES + 1];
        size_t size = SERVER_ADDRESS_BYTES - 1 + extra;
        memset(address, 'a', size);
        address[size] = '\0';
        struct nk_buf text;
        nk_buf_init(&text);
        nk_buf_append_string(&text, "{\"pid\":1,\"rpc_addr\":\"\",\"http_addr\":\"");
        nk_buf_append_string(&text, address);
        nk_buf_append_string(&text, "\"}\n");
        struct server_run_file file;
        cr_expect_eq(server_run_file_read(nk_buf_bytes(&text), &file),
                     extra == 0 ? NK_OK : NK_INVALID);
        nk_buf_deinit(&text);
    }
}

Test(server_layout, the_run_file_of_the_server_reads_back)
{
    const struct server_run_file gateway = {1, "127.0.0.1:6000", "[::1]:8080"};
    struct nk_buf text;
    nk_buf_init(&text);
    server_run_file_write("node-0", 4242, &gateway, &text);
    struct server_run_file file;
    cr_assert_eq(server_run_file_read(nk_buf_bytes(&text), &file), NK_OK);
    cr_expect_eq(file.pid, 4242);
    cr_expect_str_eq(file.rpc_addr, gateway.rpc_addr);
    cr_expect_str_eq(file.http_addr, gateway.http_addr);
    nk_buf_deinit(&text);
}

Test(server_layout, a_flag_without_its_value_is_a_programmer_error, .signal = SIGABRT)
{
    const char *const ours[] = {"--node-id"};
    const char *arguments[1 + SERVER_ARGUMENTS_MORE];
    server_child_arguments(ours, 1, "b:2", arguments);
}

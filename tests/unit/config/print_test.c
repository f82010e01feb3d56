/* --print-config and --help. */

#include <criterion/criterion.h>

#include "common/config/config.h"

#include "loading.h"

TestSuite(config_print, .timeout = 5);

static void print(const struct nk_settings *settings, struct nk_buf *out)
{
    nk_buf_init(out);
    nk_settings_print(settings, out);
    nk_buf_append_u8(out, 0);
}

static void expect_line(const struct nk_buf *text, const char *line)
{
    cr_expect_not_null(strstr((const char *)text->data, line), "no line: %s", line);
}

Test(config_print, every_value_says_where_it_comes_from)
{
    static const char *const environment[] = {"NORIKV_LSM_COMPRESSION=none", NULL};
    static const char *const flags[] = {"--log-level=warn", NULL};
    struct loading loading = {.environment = environment, .flags = flags};
    loading_yaml(&loading, "bus:\n  gossip_addrs: [tcp://a:1]\nraft: {segment_bytes: 8MiB}\n");
    struct nk_buf text;
    print(loading.settings, &text);
    expect_line(&text, "\nnode_id: \"n1\"                               # n.yaml:1\n");
    expect_line(&text, "\n  gossip_addrs: [\"tcp://a:1\"]               # n.yaml:4\n");
    expect_line(&text, "\n  compression: none                         # environment "
                       "NORIKV_LSM_COMPRESSION\n");
    expect_line(&text, "\nlog:\n  level: warn                               # flag --log-level\n");
    expect_line(&text, "\n  segment_bytes: 8MiB                       # n.yaml:5\n");
    expect_line(&text, "\ntelemetry:\n  prometheus:\n    enabled: true                           # "
                       "default\n");
    expect_line(&text, "\n  replication_factor: 3                     # default; not used yet\n");
    nk_buf_deinit(&text);
    loading_end(&loading);
}

Test(config_print, what_is_printed_loads_to_the_same)
{
    static const char *const flags[] = {"--set=lsm.filter_bits_per_key=0", "--data-dir=/a \"b\\c",
                                        "--set=bus.gossip_addrs=ipc:///q\"q,tcp://[::1]:9", NULL};
    struct loading first = {.flags = flags, .yaml = "node_id: '1'\nlimits: {max_key_bytes: 77}\n"};
    loading_run(&first);
    cr_assert_eq(first.err, NK_OK, "%s", first.error.text);
    struct nk_buf first_text;
    print(first.settings, &first_text);
    struct loading second = {.yaml = (const char *)first_text.data};
    loading_run(&second);
    cr_assert_eq(second.err, NK_OK, "%s", second.error.text);
    cr_expect_str_eq(second.config->data_dir, "/a \"b\\c");
    cr_expect_str_eq(second.config->bus.gossip_addrs.items[0], "ipc:///q\"q");

    /* Printed again, every origin is the file: so both have every key with the same value. */
    struct nk_buf second_text;
    print(second.settings, &second_text);
    cr_expect_null(strstr((const char *)second_text.data, "# default"));
    const char *a = (const char *)first_text.data;
    const char *b = (const char *)second_text.data;
    while (*a != '\0' && *b != '\0') {
        size_t a_size = strcspn(a, "#");
        size_t b_size = strcspn(b, "#");
        cr_assert_eq(a_size, b_size);
        cr_assert_eq(memcmp(a, b, a_size), 0);
        a += strcspn(a, "\n") + 1;
        b += strcspn(b, "\n") + 1;
    }
    cr_expect_eq(*a, *b);
    nk_buf_deinit(&first_text);
    nk_buf_deinit(&second_text);
    loading_end(&first);
    loading_end(&second);
}

Test(config_print, help_has_every_key_that_is_printed)
{
    struct nk_buf help;
    nk_buf_init(&help);
    nk_config_help("norikv-server", &help);
    nk_buf_append_u8(&help, 0);
    expect_line(&help, "usage: norikv-server --node-id ID --data-dir DIR [flags]\n");
    expect_line(&help,
                "\n  rpc_addr                          where the gateway serves gRPC; port 0: any "
                "free one; flag --rpc-addr or --grpc-addr (default 0.0.0.0:7447)\n");
    expect_line(&help,
                "\n  node_id                           name of this node, unique in the cluster; "
                "flag --node-id (required)\n");
    expect_line(&help, "\n  lsm.fanout ");
    expect_line(&help,
                "\n  telemetry.prometheus.enabled      whether /metrics is served (default true)");
    expect_line(&help, "(default 3; not used yet)\n");
    nk_buf_deinit(&help);
}

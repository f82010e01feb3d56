/* The types, each through a key that has it. */

#include <stdio.h>

#include <criterion/criterion.h>

#include "common/base/units.h"
#include "common/config/config.h"

#include "loading.h"

TestSuite(config_value, .timeout = 10);

/* Whether --set `key`=`text` is accepted. */
static bool accepts(const char *key, const char *text)
{
    struct nk_buf flag;
    nk_buf_init(&flag);
    nk_buf_append_string(&flag, "--set=");
    nk_buf_append_string(&flag, key);
    nk_buf_append_u8(&flag, '=');
    nk_buf_append_string(&flag, text);
    nk_buf_append_u8(&flag, 0);
    const char *const flags[] = {(const char *)flag.data, NULL};
    bool names_node = strcmp(key, "node_id") == 0;
    bool names_data = strcmp(key, "data_dir") == 0;
    struct loading loading = {.flags = flags,
                              .yaml = names_node   ? "data_dir: /d"
                                      : names_data ? "node_id: n"
                                                   : "node_id: n\ndata_dir: /d"};
    loading_run(&loading);
    bool accepted = loading.err == NK_OK;
    loading_end(&loading);
    nk_buf_deinit(&flag);
    return accepted;
}

struct value_case {
    const char *key;
    const char *text;
    bool right;
};

static void check(const struct value_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(accepts(cases[i].key, cases[i].text), cases[i].right, "case %zu: %s=%s", i,
                     cases[i].key, cases[i].text);
    }
}

Test(config_value, numbers_are_decimal_and_in_their_range)
{
    static const struct value_case cases[] = {
        {"cluster.total_shards", "1", true},
        {"cluster.total_shards", "65536", true},
        {"cluster.total_shards", "0", false},
        {"cluster.total_shards", "65537", false},
        {"cluster.total_shards", "-1", false},
        {"cluster.total_shards", "1.0", false},
        {"cluster.total_shards", "0x10", false},
        {"cluster.total_shards", " 1", false},
        {"cluster.total_shards", "1k", false},
        {"cluster.total_shards", "", false},
        {"raft.snapshot_entry_count", "4294967295", true},
        {"raft.snapshot_entry_count", "18446744073709551616", false},
        {"server.http_port_step", "0", true},
    };
    check(cases, NK_COUNT_OF(cases));
}

struct size_case {
    const char *text;
    uint64_t size;
};

Test(config_value, sizes_may_have_a_binary_unit)
{
    static const struct size_case cases[] = {
        {"67108864", 64 * NK_MIB}, {"64MiB", 64 * NK_MIB}, {"64 MiB", 64 * NK_MIB},
        {"65536KiB", 64 * NK_MIB}, {"2GiB", 2 * NK_GIB},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char yaml[128];
        (void)snprintf(yaml, sizeof yaml, "disk: {reserve_bytes: %s}", cases[i].text);
        struct loading loading = {0};
        loading_yaml(&loading, yaml);
        cr_expect_eq(loading.config->disk.reserve_bytes, cases[i].size, "case %zu", i);
        loading_end(&loading);
    }
    static const struct value_case wrong[] = {
        {"disk.reserve_bytes", "1TiB", true},         {"disk.reserve_bytes", "64MB", false},
        {"disk.reserve_bytes", "64mib", false},       {"disk.reserve_bytes", "64M", false},
        {"disk.reserve_bytes", "MiB", false},         {"disk.reserve_bytes", "64  MiB", false},
        {"disk.reserve_bytes", "64 ", false},         {"disk.reserve_bytes", "1.5MiB", false},
        {"disk.reserve_bytes", "2TiB", false},        {"disk.reserve_bytes", "16777216TiB", false},
        {"disk.reserve_bytes", "16777217TiB", false},
    };
    check(wrong, NK_COUNT_OF(wrong));
}

Test(config_value, bools_are_true_or_false)
{
    static const struct value_case cases[] = {
        {"telemetry.prometheus.enabled", "true", true},
        {"telemetry.prometheus.enabled", "false", true},
        {"telemetry.prometheus.enabled", "True", false},
        {"telemetry.prometheus.enabled", "1", false},
        {"telemetry.prometheus.enabled", "", false},
    };
    check(cases, NK_COUNT_OF(cases));
}

Test(config_value, node_ids_are_short_and_plain)
{
    static const struct value_case cases[] = {
        {"node_id", "a", true},
        {"node_id", "Node-0_x.y", true},
        {"node_id", "", false},
        {"node_id", "a b", false},
        {"node_id", "a/b", false},
        {"node_id", "n\xc3\xb6", false},
        {"node_id", "0123456789012345678901234567890123456789012345678901234567890123", true},
        {"node_id", "01234567890123456789012345678901234567890123456789012345678901234", false},
    };
    check(cases, NK_COUNT_OF(cases));
}

Test(config_value, paths_have_no_control_characters)
{
    static const struct value_case cases[] = {
        {"data_dir", "/var/lib/nori kv", true},
        {"data_dir", "relative", true},
        {"data_dir", "/sch\xc3\xb6n", true},
        {"data_dir", "", false},
        {"data_dir", "/a\nb", false},
        {"data_dir", "/a\x7f", false},
        {"data_dir", "/\xf0\x9f\x8c\x8a", true},
        {"data_dir", "/\xc2\x88", false},         /* C1 */
        {"data_dir", "/\xe2\x80\xa8", false},     /* line separator */
        {"data_dir", "/\xff", false},             /* no UTF-8 */
        {"data_dir", "/\xc3", false},             /* cut */
        {"data_dir", "/\xc3(", false},            /* not continued */
        {"data_dir", "/\xc0\xaf", false},         /* too long for its number */
        {"data_dir", "/\xed\xa0\x80", false},     /* surrogate */
        {"data_dir", "/\xf4\x90\x80\x80", false}, /* beyond the last */
    };
    check(cases, NK_COUNT_OF(cases));
}

Test(config_value, addresses_know_whether_port_0_makes_sense)
{
    static const struct value_case cases[] = {
        {"rpc_addr", "host:0", true},
        {"http_addr", "[::]:0", true},
        {"http_addr", "", false},
        {"advertise_rpc_addr", "", true},
        {"advertise_rpc_addr", "host:1", true},
        {"advertise_rpc_addr", "host:0", false},
        {"bus.addr", "ipc", true},
        {"bus.addr", "127.0.0.1:0", true},
        {"bus.addr", "tcp://127.0.0.1:0", false},
        {"bus.addr", "", false},
        {"bus.gossip_addrs", "", true},
        {"bus.gossip_addrs", "tcp://a:1", true},
        {"bus.gossip_addrs", "tcp://a:0", false},
        {"bus.gossip_addrs", "a:1", false},
        {"bus.gossip_addrs", "ipc://", false},
        {"bus.gossip_addrs", "tcp://a:1,", false},
        {"bus.gossip_addrs", ",", false},
        {"bus.gossip_addrs", "  ", true},
    };
    check(cases, NK_COUNT_OF(cases));
}

Test(config_value, a_host_has_neither_port_nor_brackets)
{
    static const struct value_case cases[] = {
        {"advertise_host", "", true},
        {"advertise_host", "node-0.example", true},
        {"advertise_host", "10.0.0.1", true},
        {"advertise_host", "fd00::1", true},
        {"advertise_host", "fe80::1%eth0", true},
        {"advertise_host", "host:1", false},
        {"advertise_host", "[fd00::1]", false},
        {"advertise_host", "a b", false},
        {"advertise_host", "1.2.3", false},
        {"advertise_host", "%", false},
    };
    check(cases, NK_COUNT_OF(cases));
    char host[256];
    memset(host, 'a', sizeof host);
    host[241] = '\0'; /* as "tcp://[" host "]:65535" it has 255 bytes */
    cr_expect(accepts("advertise_host", host));
    host[241] = 'a';
    host[242] = '\0';
    cr_expect_not(accepts("advertise_host", host));
}

Test(config_value, a_local_socket_path_fits_the_kernel)
{
    char path[200];
    memset(path, 'x', sizeof path);
    memcpy(path, "ipc:///", 7);
    path[6 + 107] = '\0';
    cr_expect(accepts("bus.gossip_addrs", path));
    path[6 + 107] = 'x';
    path[6 + 108] = '\0';
    cr_expect_not(accepts("bus.gossip_addrs", path));
}

Test(config_value, lists_hold_64_items)
{
    char text[1024];
    size_t size = 0;
    for (size_t i = 0; i < 64; i++) {
        memcpy(text + size, "tcp://a:1,", 10);
        size += 10;
    }
    text[size - 1] = '\0';
    cr_expect(accepts("bus.gossip_addrs", text));
    text[size - 1] = ',';
    memcpy(text + size, "tcp://a:1", 10);
    cr_expect_not(accepts("bus.gossip_addrs", text));
}

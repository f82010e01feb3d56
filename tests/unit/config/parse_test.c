/* The YAML file. */

#include <criterion/criterion.h>

#include "common/base/alloc.h"
#include "common/base/units.h"
#include "common/config/config.h"

#include "loading.h"

TestSuite(config_parse, .timeout = 10);

Test(config_parse, sections_nest_and_dots_say_the_same)
{
    struct loading loading = {0};
    loading_yaml(&loading, "# a comment\nraft:\n  heartbeat_ms: 50\n  lease_ms: \"135\"\n"
                           "  election_timeout_min_ms: 150\n"
                           "telemetry:\n  prometheus:\n    enabled: false\n"
                           "raft.election_timeout_max_ms: 300\nlsm: {compression: zstd}\n...\n");
    cr_expect_eq(loading.config->raft.heartbeat_ms, 50);
    cr_expect_eq(loading.config->raft.lease_ms, 135);
    cr_expect_eq(loading.config->raft.election_timeout_max_ms, 300);
    cr_expect_not(loading.config->telemetry.prometheus.enabled);
    cr_expect_eq(loading.config->lsm.compression, NK_CONFIG_COMPRESSION_ZSTD);
    loading_end(&loading);
}

Test(config_parse, an_empty_file_sets_nothing)
{
    static const char *const cases[] = {"", "\n", "# only a comment\n", "---\n", "--- ~\n", "{}"};
    static const char *const flags[] = {"--node-id=a", "--data-dir=/d", NULL};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct loading loading = {.yaml = cases[i], .flags = flags};
        loading_run(&loading);
        cr_expect_eq(loading.err, NK_OK, "case %zu: %s", i, loading.error.text);
        loading_end(&loading);
    }
}

Test(config_parse, a_section_may_be_empty)
{
    struct loading loading = {0};
    loading_yaml(&loading, "raft:\n# lease_ms: 1\nlsm: {}\nlog:\n  level: warn\n");
    cr_expect_eq(loading.config->raft.lease_ms, 900);
    cr_expect_eq(loading.config->log.level, NK_CONFIG_LOG_WARN);
    loading_end(&loading);
}

Test(config_parse, lists_are_sequences_or_comma_separated)
{
    static const char *const cases[] = {
        "bus:\n  gossip_addrs:\n    - tcp://a:1\n    - \"ipc:///run/x y\"\n",
        "bus:\n  gossip_addrs: [tcp://a:1, ipc:///run/x y]\n",
        "bus:\n  gossip_addrs: tcp://a:1 , ipc:///run/x y\n",
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct loading loading = {0};
        loading_yaml(&loading, cases[i]);
        cr_assert_eq(loading.config->bus.gossip_addrs.count, 2, "case %zu", i);
        cr_expect_str_eq(loading.config->bus.gossip_addrs.items[0], "tcp://a:1");
        cr_expect_str_eq(loading.config->bus.gossip_addrs.items[1], "ipc:///run/x y");
        loading_end(&loading);
    }
}

struct refusal {
    const char *yaml;
    const char *line;
};

Test(config_parse, unknown_keys_are_named_with_line_value_and_nearest)
{
    static const struct refusal cases[] = {
        {"raft:\n  hartbeat_ms: 5\n", "n.yaml:4: \"raft.hartbeat_ms\" (value \"5\") is not a key; "
                                      "did you mean raft.heartbeat_ms?"},
        {"rpc_adr: x\n",
         "n.yaml:3: \"rpc_adr\" (value \"x\") is not a key; did you mean rpc_addr?"},
        {"qqqqqqqq:\n  a: 1\n", "n.yaml:3: \"qqqqqqqq\" is not a key; --help lists them"},
        {"log:\n  raft:\n    lease_ms: 1\n",
         "n.yaml:4: \"log.raft\" is not a key; --help lists them"},
        {"log:\n  level:\n    x: 1\n",
         "n.yaml:4: log.level: \"{...}\" is refused; it must be one of "
         "debug, info, warn, error"},
        {"? [a]\n: 1\n", "n.yaml:3: a key must be a word"},
        {"\"\": 1\n", "n.yaml:3: \"\" is not a key; --help lists them"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        expect_refused(cases[i].yaml, cases[i].line);
    }
}

Test(config_parse, a_key_or_section_comes_once)
{
    static const struct refusal cases[] = {
        {"node_id: n2\n", "n.yaml:3: node_id is set twice; it must be set once, and is also set at "
                          "n.yaml:1"},
        {"log: {level: info}\nlog: {format: json}\n",
         "n.yaml:4: log is set twice; it must be set once, and is also set at n.yaml:3"},
        {"log:\n  level: info\nlog.level: info\n",
         "n.yaml:5: log.level is set twice; it must be set once, and is also set at n.yaml:4"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        expect_refused(cases[i].yaml, cases[i].line);
    }
}

Test(config_parse, values_of_the_wrong_shape_are_refused)
{
    static const struct refusal cases[] = {
        {"cluster:\n  total_shards: 0\n",
         "n.yaml:4: cluster.total_shards: \"0\" is refused; it must "
         "be a whole number from 1 to 65536"},
        {"cluster:\n  total_shards:\n",
         "n.yaml:4: cluster.total_shards: \"\" is refused; it must be "
         "a whole number from 1 to 65536"},
        {"cluster:\n  total_shards: [1]\n",
         "n.yaml:4: cluster.total_shards: \"[...]\" is refused; it "
         "must be a whole number from 1 to 65536"},
        {"advertise_host: {a: [1, {b: c}]}\n",
         "n.yaml:3: advertise_host: \"{...}\" is refused; it must be a host name, an IPv4 or an "
         "IPv6 address, without a port"},
        {"http_addr: ~\n", "n.yaml:3: http_addr: \"~\" is refused; it must be host:port or "
                           "[ipv6]:port, port from 0 to 65535"},
        {"log: info\n",
         "n.yaml:3: \"log\" is a section; it must hold keys, each on its own indented "
         "line"},
        {"log: [level]\n", "n.yaml:3: \"log\" is a section; it must hold keys, each on its own "
                           "indented line"},
        {"bus:\n  gossip_addrs:\n    - tcp://a:1\n    - [b]\n",
         "n.yaml:6: bus.gossip_addrs: \"a nested value\" is refused; it must be a list of up to 64 "
         "tcp://host:port or ipc://path"},
        {"bus:\n  gossip_addrs: [\"tcp://a:1,tcp://b:1\"]\n",
         "n.yaml:4: bus.gossip_addrs: \"tcp://a:1,tcp://b:1\" is refused; it must be a list of up "
         "to "
         "64 tcp://host:port or ipc://path"},
        {"bus:\n  gossip_addrs: {a: b}\n",
         "n.yaml:4: bus.gossip_addrs: \"{...}\" is refused; it must be a list of up to 64 "
         "tcp://host:port or ipc://path"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        expect_refused(cases[i].yaml, cases[i].line);
    }
}

Test(config_parse, what_yaml_can_and_settings_need_not_is_refused)
{
    static const struct refusal cases[] = {
        {"log: &x {level: info}\n", "n.yaml:3: anchors and aliases (& and *) are not supported; "
                                    "write the value out"},
        {"http_addr: *x\n", "n.yaml:3: anchors and aliases (& and *) are not supported; write the "
                            "value out"},
        {"http_addr: !!str a:1\n", "n.yaml:3: tags (!) are not supported; write the value without "
                                   "one"},
        {"---\nlog: {level: info}\n", "n.yaml:3: a second document; the file must have one"},
        {"log: {level: info\n", "n.yaml:4: not YAML: did not find expected ',' or '}'"},
        {"log: @\n", "n.yaml:3: not YAML: found character that cannot start any token"},
        {"\nhttp_addr: \x01\n", "n.yaml:4: not YAML: control characters are not allowed"},
        {"http_addr: \xff\n", "n.yaml:3: not YAML: invalid leading UTF-8 octet"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        expect_refused(cases[i].yaml, cases[i].line);
    }
}

Test(config_parse, the_file_is_a_mapping)
{
    static const char *const cases[] = {"word", "- a\n- b\n", "'quoted'"};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct loading loading = {.yaml = cases[i]};
        loading_run(&loading);
        cr_expect_eq(loading.err, NK_INVALID, "case %zu", i);
        cr_expect_str_eq(loading.error.text,
                         "n.yaml:1: the file must be a mapping, as \"key: value\"");
    }
}

/* Loads `size` bytes of repeated text; returns the outcome and its line. */
static enum nk_err load_repeated(const char *piece, size_t size, struct nk_config_error *out_error)
{
    size_t piece_size = strlen(piece);
    char *text = nk_alloc(size);
    for (size_t i = 0; i < size; i++) {
        text[i] = piece[i % piece_size];
    }
    struct nk_config_input input = {.file_name = "n.yaml", .file_text = nk_bytes_of(text, size)};
    struct nk_settings *settings = NULL;
    enum nk_err err = nk_settings_load(&input, &settings, out_error);
    nk_settings_free(&settings);
    nk_free(text);
    return err;
}

Test(config_parse, deep_nesting_ends_where_the_keys_do)
{
    static const char *const pieces[] = {"[", "{", "{a: ", "- ", "? ", "raft: {", "a:\n "};
    for (size_t i = 0; i < NK_COUNT_OF(pieces); i++) {
        struct nk_config_error error;
        cr_expect_eq(load_repeated(pieces[i], 1 << 20, &error), NK_INVALID, "case %zu", i);
        cr_expect_null(strchr(error.text, '\n'), "case %zu", i);
    }
}

Test(config_parse, a_file_above_one_mebibyte_is_refused)
{
    struct nk_config_error error;
    cr_expect_eq(load_repeated("# \n", (1 << 20) + 1, &error), NK_INVALID);
    cr_expect_str_eq(error.text, "n.yaml:1: the file is too large; it must be at most 1 MiB");
}

Test(config_parse, what_comes_from_outside_stays_on_one_line_and_fits)
{
    struct nk_buf yaml;
    nk_buf_init(&yaml);
    nk_buf_append_string(&yaml, "node_id: \"");
    for (size_t i = 0; i < 1000; i++) {
        nk_buf_append_string(&yaml, "\\n\\0\\e");
    }
    nk_buf_append_string(&yaml, "\"\n");
    char name[2000];
    memset(name, '\n', sizeof name);
    name[sizeof name - 1] = '\0';
    struct nk_config_input input = {.file_name = name, .file_text = nk_buf_bytes(&yaml)};
    struct nk_settings *settings = NULL;
    struct nk_config_error error;
    cr_assert_eq(nk_settings_load(&input, &settings, &error), NK_INVALID);
    for (const char *c = error.text; *c != '\0'; c++) {
        cr_assert(*c >= 0x20 && *c < 0x7f);
    }
    cr_expect_not_null(strstr(error.text, "dot, _ and -"), "the end of the line is there: %s",
                       error.text);
    nk_buf_deinit(&yaml);
}

Test(config_parse, a_list_without_its_end_is_not_yaml)
{
    static const struct refusal cases[] = {
        {"http_addr: [x\n", "n.yaml:4: not YAML: did not find expected ',' or ']'"},
        {"http_addr: {a: [x}\n", "n.yaml:3: not YAML: did not find expected ',' or ']'"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        expect_refused(cases[i].yaml, cases[i].line);
    }
}

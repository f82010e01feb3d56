/* The order of the sources, and each of them but the file. */

#include "common/config/config.h"

#include <criterion/criterion.h>

#include "common/base/units.h"

#include "loading.h"

TestSuite(config, .timeout = 5);

Test(config, defaults_are_those_of_the_contract)
{
    struct nk_config config;
    nk_config_defaults(&config);
    cr_expect_str_eq(config.node_id, "");
    cr_expect_str_eq(config.rpc_addr, "0.0.0.0:7447");
    cr_expect_str_eq(config.http_addr, "0.0.0.0:8080");
    cr_expect_str_eq(config.advertise_rpc_addr, "");
    cr_expect_str_eq(config.data_dir, "");
    cr_expect_str_eq(config.bus.addr, "ipc");
    cr_expect_eq(config.bus.gossip_addrs.count, 0);
    cr_expect_eq(config.cluster.seed_nodes.count, 0);
    cr_expect_eq(config.cluster.total_shards, 1024);
    cr_expect_eq(config.cluster.replication_factor, 3);
    cr_expect_eq(config.server.http_port_step, 100);
    cr_expect(config.telemetry.prometheus.enabled);
    cr_expect_eq(config.raft.heartbeat_ms, 150);
    cr_expect_eq(config.raft.election_timeout_min_ms, 1000);
    cr_expect_eq(config.raft.election_timeout_max_ms, 2000);
    cr_expect_eq(config.raft.lease_ms, 900);
    cr_expect_eq(config.raft.max_entries_per_append, 1000);
    cr_expect_eq(config.raft.snapshot_log_bytes, 256 * NK_MIB);
    cr_expect_eq(config.raft.snapshot_entry_count, 1000000);
    cr_expect_eq(config.raft.snapshot_chunk_bytes, NK_MIB);
    cr_expect_eq(config.raft.max_pending_read_index, 1000);
    cr_expect_eq(config.raft.apply_batch_size, 100);
    cr_expect_eq(config.raft.segment_bytes, 128 * NK_MIB);
    cr_expect_eq(config.lsm.fanout, 10);
    cr_expect_eq(config.lsm.max_levels, 7);
    cr_expect_eq(config.lsm.l0_slowdown_files, 6);
    cr_expect_eq(config.lsm.l0_stop_files, 12);
    cr_expect_eq(config.lsm.table_bytes, 16 * NK_MIB);
    cr_expect_eq(config.lsm.memtable_bytes, 64 * NK_MIB);
    cr_expect_eq(config.lsm.write_buffer_total_bytes, 256 * NK_MIB);
    cr_expect_eq(config.lsm.block_cache_bytes, 256 * NK_MIB);
    cr_expect_eq(config.lsm.filter_bits_per_key, 10);
    cr_expect_eq(config.lsm.compression, NK_CONFIG_COMPRESSION_LZ4);
    cr_expect_eq(config.lsm.max_background_jobs, 0);
    cr_expect_eq(config.lsm.rate_limit_bytes_per_s, 0);
    cr_expect_eq(config.limits.max_key_bytes, 1024);
    cr_expect_eq(config.limits.max_value_bytes, NK_MIB);
    cr_expect_eq(config.limits.request_max_bytes, 2 * NK_MIB);
    cr_expect_eq(config.limits.max_staleness_ms, 1000);
    cr_expect_eq(config.limits.idempotency_ttl_ms, 86400000);
    cr_expect_eq(config.limits.idempotency_max_per_shard, 100000);
    cr_expect_eq(config.limits.request_timeout_ms, 5000);
    cr_expect_eq(config.limits.inflight_max, 16384);
    cr_expect_eq(config.disk.reserve_bytes, 256 * NK_MIB);
    cr_expect_eq(config.log.level, NK_CONFIG_LOG_INFO);
    cr_expect_eq(config.log.format, NK_CONFIG_LOG_JSON);
}

Test(config, later_sources_win)
{
    static const char *const environment[] = {"PATH=/bin", "NORIKV_CLUSTER_TOTAL_SHARDS=64",
                                              "NORIKV_LOG_LEVEL=warn", NULL};
    static const char *const flags[] = {"--log-level", "error", NULL};
    struct loading loading = {.yaml = "node_id: n1\ndata_dir: /d\nlog: {level: debug}\n"
                                      "cluster: {total_shards: 16}\nraft: {heartbeat_ms: 200}\n",
                              .environment = environment,
                              .flags = flags};
    loading_run(&loading);
    cr_assert_eq(loading.err, NK_OK, "%s", loading.error.text);
    cr_expect_eq(loading.config->raft.heartbeat_ms, 200, "file over default");
    cr_expect_eq(loading.config->cluster.total_shards, 64, "environment over file");
    cr_expect_eq(loading.config->log.level, NK_CONFIG_LOG_ERROR, "flag over environment");
    loading_end(&loading);
}

Test(config, every_flag_of_the_contract_sets_its_key)
{
    static const char *const flags[] = {"--node-id",
                                        "node0",
                                        "--rpc-addr=127.0.0.1:6000",
                                        "--http-addr",
                                        "127.0.0.1:8081",
                                        "--data-dir",
                                        "/var/lib/norikv",
                                        "--seed-nodes",
                                        "",
                                        "--total-shards",
                                        "7",
                                        "--replication-factor=5",
                                        "--log-level",
                                        "debug",
                                        "--config",
                                        "other.yaml",
                                        "--print-config",
                                        NULL};
    struct loading loading = {.flags = flags};
    loading_run(&loading);
    cr_assert_eq(loading.err, NK_OK, "%s", loading.error.text);
    cr_expect_str_eq(loading.config->node_id, "node0");
    cr_expect_str_eq(loading.config->rpc_addr, "127.0.0.1:6000");
    cr_expect_str_eq(loading.config->http_addr, "127.0.0.1:8081");
    cr_expect_str_eq(loading.config->data_dir, "/var/lib/norikv");
    cr_expect_eq(loading.config->cluster.seed_nodes.count, 0);
    cr_expect_eq(loading.config->cluster.total_shards, 7);
    cr_expect_eq(loading.config->cluster.replication_factor, 5);
    cr_expect_eq(loading.config->log.level, NK_CONFIG_LOG_DEBUG);
    loading_end(&loading);
}

Test(config, grpc_addr_is_rpc_addr)
{
    static const char *const flags[] = {"--node-id=a", "--data-dir=/d", "--grpc-addr=[::1]:1",
                                        NULL};
    struct loading loading = {.flags = flags};
    loading_run(&loading);
    cr_assert_eq(loading.err, NK_OK, "%s", loading.error.text);
    cr_expect_str_eq(loading.config->rpc_addr, "[::1]:1");
    loading_end(&loading);
    static const char *const both[] = {"--grpc-addr=a:1", "--rpc-addr=a:1", NULL};
    expect_flags_refused(both,
                         "flag --rpc-addr: rpc_addr is set twice; it must be set once, and is "
                         "also set at flag --rpc-addr");
}

Test(config, set_reaches_every_key)
{
    static const char *const flags[] = {"--set", "raft.lease_ms=100",
                                        "--set=bus.gossip_addrs=tcp://a:1, ipc:///x", NULL};
    struct loading loading = {.flags = flags};
    loading_yaml(&loading, "");
    cr_expect_eq(loading.config->raft.lease_ms, 100);
    cr_assert_eq(loading.config->bus.gossip_addrs.count, 2);
    cr_expect_str_eq(loading.config->bus.gossip_addrs.items[0], "tcp://a:1");
    cr_expect_str_eq(loading.config->bus.gossip_addrs.items[1], "ipc:///x");
    loading_end(&loading);
}

struct flags_case {
    const char *flags[3];
    const char *line;
};

Test(config, a_wrong_flag_is_one_line)
{
    static const struct flags_case cases[] = {
        {{"--bogus", "1"}, "flag --bogus: is not a flag; --help lists them"},
        {{"stray"}, "flag stray: is not a flag; --help lists them"},
        {{""}, "flag : is not a flag; --help lists them"},
        {{"--node-id"}, "flag --node-id: needs a value behind it"},
        {{"--help=1"}, "flag --help: takes no value"},
        {{"--total-shards", "0"},
         "flag --total-shards: cluster.total_shards: \"0\" is refused; it must be a whole number "
         "from "
         "1 to 65536"},
        {{"--set", "log.level"}, "flag --set: \"log.level\" is refused; it must be key=value"},
        {{"--set", "log.levle=info"},
         "flag --set: \"log.levle\" (value \"info\") is not a key; did you mean log.level?"},
        {{"--set", "zzzzzz=1"},
         "flag --set: \"zzzzzz\" (value \"1\") is not a key; --help lists them"},
        {{"--log-level=loud"},
         "flag --log-level: log.level: \"loud\" is refused; it must be one of debug, info, warn, "
         "error"},
        {{"--log-level=info", "--log-level=info"},
         "flag --log-level: log.level is set twice; it must be set once, and is also set at flag "
         "--log-level"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        expect_flags_refused(cases[i].flags, cases[i].line);
    }
}

Test(config, a_wrong_variable_is_one_line)
{
    expect_variable_refused("NORIKV_RAFT_HEARTBEAT_MS=1s",
                            "environment NORIKV_RAFT_HEARTBEAT_MS: raft.heartbeat_ms: \"1s\" is "
                            "refused; it must be a whole number of milliseconds from 1 to 600000");
    expect_variable_refused("NORIKV_TELEMETRY_PROMETHEUS_ENABLED=yes",
                            "environment NORIKV_TELEMETRY_PROMETHEUS_ENABLED: "
                            "telemetry.prometheus.enabled: \"yes\" is refused; it must be true or "
                            "false");
}

Test(config, unknown_variables_are_left_alone)
{
    static const char *const environment[] = {"NORIKV_SERVICE_HOST=10.0.0.1",
                                              "NORIKV_PORT=tcp://10.0.0.1:7447",
                                              "NORIKV_",
                                              "NORIKV_X",
                                              "NORIKV_NODE_ID",
                                              "norikv_log_level=x",
                                              NULL};
    struct loading loading = {.environment = environment};
    loading_yaml(&loading, "");
    cr_expect_str_eq(loading.config->node_id, "n1");
    loading_end(&loading);
}

Test(config, required_keys_are_asked_for)
{
    struct loading loading = {.yaml = "data_dir: /d\n"};
    loading_run(&loading);
    cr_expect_eq(loading.err, NK_INVALID);
    cr_expect_str_eq(loading.error.text, "node_id is required and not set; set it in the file, as "
                                         "NORIKV_NODE_ID or with --node-id");
    struct loading other = {.yaml = "node_id: a\n"};
    loading_run(&other);
    cr_expect_eq(other.err, NK_INVALID);
    cr_expect_str_eq(other.error.text, "data_dir is required and not set; set it in the file, as "
                                       "NORIKV_DATA_DIR or with --data-dir");
}

Test(config, values_outlive_the_input)
{
    char yaml[] = "node_id: n1\ndata_dir: /d\n";
    char variable[] = "NORIKV_RPC_ADDR=host:1";
    char flag[] = "--http-addr=host:2";
    const char *const environment[] = {variable, NULL};
    const char *const flags[] = {flag, NULL};
    struct loading loading = {.yaml = yaml, .environment = environment, .flags = flags};
    loading_run(&loading);
    cr_assert_eq(loading.err, NK_OK, "%s", loading.error.text);
    memset(yaml, 'x', sizeof yaml);
    memset(variable, 'x', sizeof variable);
    memset(flag, 'x', sizeof flag);
    cr_expect_str_eq(loading.config->node_id, "n1");
    cr_expect_str_eq(loading.config->rpc_addr, "host:1");
    cr_expect_str_eq(loading.config->http_addr, "host:2");
    loading_end(&loading);
}

Test(config, free_accepts_nothing)
{
    struct nk_settings *settings = NULL;
    nk_settings_free(NULL);
    nk_settings_free(&settings);
    cr_expect_null(settings);
}

/* ---- Flags that are no settings ---- */

Test(config, the_command_is_read_before_the_file)
{
    static const char *const arguments[] = {"--node-id", "--help", "--config=a=b.yaml",
                                            "--print-config"};
    struct nk_config_command command;
    struct nk_config_error error;
    cr_assert_eq(nk_config_read_command(arguments, 4, &command, &error), NK_OK);
    cr_expect_str_eq(command.config_file, "a=b.yaml");
    cr_expect(command.print_config);
    cr_expect_not(command.help, "--help is the value of --node-id here");
    cr_expect_not(command.version);
}

Test(config, no_arguments_ask_for_nothing)
{
    struct nk_config_command command;
    struct nk_config_error error;
    cr_assert_eq(nk_config_read_command(NULL, 0, &command, &error), NK_OK);
    cr_expect_null(command.config_file);
    cr_expect_not(command.print_config || command.help || command.version);
}

Test(config, a_wrong_command_line_is_found_at_once)
{
    static const char *const unknown[] = {"--version", "--nodeid=1"};
    static const char *const twice[] = {"--config", "a", "--config=b"};
    static const char *const cut[] = {"--help", "--config"};
    struct nk_config_command command;
    struct nk_config_error error;
    cr_assert_eq(nk_config_read_command(unknown, 2, &command, &error), NK_INVALID);
    cr_expect_str_eq(error.text, "flag --nodeid: is not a flag; --help lists them");
    cr_assert_eq(nk_config_read_command(twice, 3, &command, &error), NK_INVALID);
    cr_expect_str_eq(error.text, "flag --config: is given twice; it must be given once");
    cr_assert_eq(nk_config_read_command(cut, 2, &command, &error), NK_INVALID);
    cr_expect_str_eq(error.text, "flag --config: needs a value behind it");
}

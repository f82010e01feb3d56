#pragma once

/* Settings: text in, struct out.  This library opens no file and asks no environment; the program
 * hands it the texts, so a test or the simulator can do the same.
 *
 * Order, later ones win: defaults, the YAML file, environment NORIKV_<KEY> (upper case, dots as
 * '_'), flags.  Whatever is wrong stops the load with one line that says where (file and line,
 * variable, flag), which key, which value, and what would be right.
 *
 * Adding a key: one field below, one row in table.c; README.md lists them all.
 *
 * Any thread: nothing is shared, and loaded settings never change. */

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/text.h"

/* ---- The values ---- */

enum nk_config_log_level {
    NK_CONFIG_LOG_DEBUG,
    NK_CONFIG_LOG_INFO,
    NK_CONFIG_LOG_WARN,
    NK_CONFIG_LOG_ERROR,
};

enum nk_config_log_format {
    NK_CONFIG_LOG_JSON,
    NK_CONFIG_LOG_TEXT,
};

enum nk_config_compression { /* numbers of enum lsm_compression */
                             NK_CONFIG_COMPRESSION_NONE,
                             NK_CONFIG_COMPRESSION_LZ4,
                             NK_CONFIG_COMPRESSION_ZSTD,
};

#define NK_CONFIG_LIST_MAX ((size_t)64)

struct nk_config_list {
    const char *const *items;
    size_t count; /* <= NK_CONFIG_LIST_MAX */
};

/* Fields mirror the dotted keys; units and bounds are in table.c.  Addresses are "host:port" or
 * "[ipv6]:port".  Texts are never NULL. */
struct nk_config {
    const char *node_id;
    const char *rpc_addr;
    const char *http_addr;
    const char *advertise_rpc_addr; /* "": rpc_addr as bound, its host as advertised */
    const char *advertise_host;     /* "": nk_config_advertised_host */
    const char *data_dir;
    struct {
        const char *addr; /* "ipc": a socket below data_dir/run; else host:port, TCP */
        struct nk_config_list
            gossip_addrs; /* tcp://host:port or ipc://path; empty: the local one */
    } bus;
    struct {
        struct nk_config_list seed_nodes; /* always empty in this version */
        uint32_t total_shards;
        uint32_t replication_factor;
    } cluster;
    struct {
        uint32_t http_port_step; /* 0: any free port */
    } server;
    struct {
        struct {
            bool enabled;
        } prometheus;
    } telemetry;
    struct {
        uint32_t heartbeat_ms;            /* < election_timeout_min_ms */
        uint32_t election_timeout_min_ms; /* < election_timeout_max_ms */
        uint32_t election_timeout_max_ms;
        uint32_t lease_ms; /* <= 90 % of election_timeout_min_ms */
        uint32_t max_entries_per_append;
        uint64_t snapshot_log_bytes;
        uint64_t snapshot_entry_count;
        uint64_t snapshot_chunk_bytes;
        uint32_t max_pending_read_index;
        uint32_t apply_batch_size;
        uint64_t segment_bytes;
    } raft;
    struct {
        uint32_t fanout;
        uint32_t max_levels;
        uint32_t l0_slowdown_files; /* < l0_stop_files */
        uint32_t l0_stop_files;
        uint64_t table_bytes;
        uint64_t memtable_bytes; /* <= write_buffer_total_bytes */
        uint64_t write_buffer_total_bytes;
        uint64_t block_cache_bytes;
        uint32_t filter_bits_per_key;
        enum nk_config_compression compression;
        uint32_t max_background_jobs;    /* 0: one per core */
        uint64_t rate_limit_bytes_per_s; /* 0: none */
    } lsm;
    struct {
        uint64_t max_key_bytes;
        uint64_t max_value_bytes; /* with max_key_bytes <= request_max_bytes */
        uint64_t request_max_bytes;
        uint32_t max_staleness_ms;
        uint64_t idempotency_ttl_ms;
        uint32_t idempotency_max_per_shard;
        uint32_t request_timeout_ms;
        uint32_t inflight_max;
    } limits;
    struct {
        uint64_t reserve_bytes;
    } disk;
    struct {
        enum nk_config_log_level level;
        enum nk_config_log_format format;
    } log;
};

/* The defaults; required keys are "".  For the simulator and for tests: nothing is allocated, and
 * nothing is checked. */
void nk_config_defaults(struct nk_config *out_config);

/* ---- Loading ---- */

#define NK_CONFIG_ERROR_BYTES ((size_t)1024)

/* One line without its newline, printable as it is. */
struct nk_config_error {
    char text[NK_CONFIG_ERROR_BYTES];
};

/* What the flags ask for besides settings. */
struct nk_config_command {
    const char *config_file; /* --config; NULL: none.  Borrowed from the arguments */
    bool print_config;
    bool help;
    bool version;
};

struct nk_config_input {
    const char *file_name; /* in messages; NULL: no file */
    struct nk_bytes file_text;
    const char *const *environment; /* "NAME=value", ends with NULL; NULL: none */
    const char *const *arguments;   /* without the program's name */
    size_t argument_count;
};

#define NK_CONFIG_FILE_BYTES_MAX ((size_t)(1 << 20))

/* Reads the flags that are no settings, so that the program can act on --help and read the file
 * before nk_settings_load.  NK_INVALID: an unknown flag, or one without its value. */
NK_MUST_CHECK
enum nk_err nk_config_read_command(const char *const *arguments, size_t argument_count,
                                   struct nk_config_command *out_command,
                                   struct nk_config_error *out_error);

/* Loaded values and where each came from. */
struct nk_settings;

/* NK_INVALID: *out_error has the line; the program ends with code 78.  The input is copied. */
NK_MUST_CHECK
enum nk_err nk_settings_load(const struct nk_config_input *input, struct nk_settings **out_settings,
                             struct nk_config_error *out_error);
void nk_settings_free(struct nk_settings **settings);

/* Borrowed from `settings`. */
const struct nk_config *nk_settings_values(const struct nk_settings *settings);

/* Appends every effective value and its origin: YAML that can be loaded again. */
void nk_settings_print(const struct nk_settings *settings, struct nk_buf *out);

/* Appends the text of --help for `program`, made from the table. */
void nk_config_help(const char *program, struct nk_buf *out);

/* ---- Addresses ---- */

struct nk_config_address {
    char host[256]; /* without brackets */
    uint16_t port;
    bool ipv6; /* the host is an IPv6 literal: brackets around it when written with a port */
};

/* Takes "host:port" apart.  NK_INVALID: it is none.  Names are not resolved. */
NK_MUST_CHECK
enum nk_err nk_config_address_parse(const char *text, struct nk_config_address *out_address);

/* Whether somebody who listens there listens at every address: 0.0.0.0, ::. */
bool nk_config_host_is_any(const char *host);

/* The host that others are told in the place of the one of `address` (host:port as bound):
 * `advertise_host`, the setting; if that is empty and the address is of every host, `host_name`,
 * for nobody can connect to "0.0.0.0" of another machine.  NULL: it stays, also if `host_name` is
 * no host. */
const char *nk_config_advertised_host(const char *advertise_host, const char *address,
                                      const char *host_name);

/* Adds `address` with that host. */
void nk_config_advertise(const char *advertise_host, const char *address, const char *host_name,
                         struct nk_text *out_address);

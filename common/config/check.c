/* What no single value shows.  Each rule names its two keys and what must hold between them; the
 * line blames the place of the key that somebody set. */

#include "settings.h"

#include "common/base/assert.h"
#include "common/base/units.h"

#include "value.h"

struct rule {
    const char *name;
    const char *other_name;
    bool (*holds)(const struct nk_config *config);
    const char *what;
};

static bool election_range_is_open(const struct nk_config *config)
{
    return config->raft.election_timeout_max_ms > config->raft.election_timeout_min_ms;
}

static bool heartbeats_come_before_elections(const struct nk_config *config)
{
    return config->raft.heartbeat_ms < config->raft.election_timeout_min_ms;
}

/* A lease outlives its leader's deposition if it is not clearly shorter than the shortest election:
 * then two nodes answer reads (thesis 6.4.1).  The tenth is for clocks that run at other speeds. */
static bool lease_ends_before_elections(const struct nk_config *config)
{
    return (uint64_t)config->raft.lease_ms * 10 <=
           (uint64_t)config->raft.election_timeout_min_ms * 9;
}

static bool slowdown_comes_before_stop(const struct nk_config *config)
{
    return config->lsm.l0_stop_files > config->lsm.l0_slowdown_files;
}

static bool memtable_fits_the_budget(const struct nk_config *config)
{
    return config->lsm.memtable_bytes <= config->lsm.write_buffer_total_bytes;
}

static bool key_and_value_fit_a_request(const struct nk_config *config)
{
    return config->limits.max_key_bytes + config->limits.max_value_bytes <=
           config->limits.request_max_bytes;
}

static const struct rule rules[] = {
    {"raft.election_timeout_max_ms", "raft.election_timeout_min_ms", election_range_is_open,
     "the maximum must be greater than the minimum"},
    {"raft.heartbeat_ms", "raft.election_timeout_min_ms", heartbeats_come_before_elections,
     "the heartbeat must be shorter than the election timeout"},
    {"raft.lease_ms", "raft.election_timeout_min_ms", lease_ends_before_elections,
     "the lease must be at most 90 % of the minimum election timeout, or two leaders could answer"},
    {"lsm.l0_stop_files", "lsm.l0_slowdown_files", slowdown_comes_before_stop,
     "the stop must be greater than the slowdown"},
    {"lsm.memtable_bytes", "lsm.write_buffer_total_bytes", memtable_fits_the_budget,
     "one memtable must fit into the budget of all"},
    {"limits.max_value_bytes", "limits.request_max_bytes", key_and_value_fit_a_request,
     "the longest key and value together must fit into a request"},
};

/* The longest path of a socket below data_dir (nk_service_bus_address; gossip also publishes). */
#define DATA_DIR_IPC_BYTES_MAX (CONFIG_SOCKET_PATH_BYTES_MAX - (sizeof "/run/gossip.bus.out" - 1))

static bool sockets_fit(const struct nk_config *config)
{
    return strcmp(config->bus.addr, "ipc") != 0 ||
           strlen(config->data_dir) <= DATA_DIR_IPC_BYTES_MAX;
}

static size_t key_named(const char *name)
{
    size_t key = config_key_find(nk_bytes_of_string(name));
    NK_ASSERT(key < config_key_count());
    return key;
}

static enum nk_err check_required(const struct nk_settings *settings,
                                  struct nk_config_error *error);
static enum nk_err contradiction(const struct nk_settings *settings, const struct rule *rule,
                                 struct nk_config_error *error);

enum nk_err config_check(const struct nk_settings *settings, struct nk_config_error *error)
{
    enum nk_err err = check_required(settings, error);
    if (err != NK_OK) {
        return err;
    }
    for (size_t i = 0; i < NK_COUNT_OF(rules); i++) {
        if (!rules[i].holds(&settings->values)) {
            return contradiction(settings, &rules[i], error);
        }
    }
    if (!sockets_fit(&settings->values)) {
        char memory[256];
        struct nk_text what;
        nk_text_init(&what, memory, sizeof memory);
        nk_text_add(&what, "is too long for data_dir; while bus.addr is ipc it must have at most ");
        nk_text_add_u64(&what, DATA_DIR_IPC_BYTES_MAX);
        nk_text_add(&what, " bytes, for the paths of sockets below it may not be longer");
        return config_complain(error, &settings->origins[key_named("data_dir")],
                               nk_bytes_of_string(settings->values.data_dir), memory);
    }
    if (settings->values.cluster.seed_nodes.count > 0) {
        return config_complain(error, &settings->origins[key_named("cluster.seed_nodes")],
                               nk_bytes_of_string("cluster.seed_nodes"),
                               "must be empty: this version serves single nodes, joining a cluster "
                               "is not supported yet");
    }
    return NK_OK;
}

static enum nk_err check_required(const struct nk_settings *settings, struct nk_config_error *error)
{
    for (size_t i = 0; i < config_key_count(); i++) {
        const struct config_key *key = config_key_at(i);
        if (key->fallback == NULL && settings->origins[i].source == CONFIG_FROM_DEFAULT) {
            char variable[CONFIG_VARIABLE_BYTES];
            config_key_variable(key, variable);
            struct nk_text line;
            nk_text_init(&line, error->text, sizeof error->text);
            nk_text_add(&line, key->name);
            nk_text_add(&line, " is required and not set; set it in the file, as ");
            nk_text_add(&line, variable);
            nk_text_add(&line, " or with ");
            nk_text_add(&line, key->flag);
            return NK_INVALID;
        }
    }
    return NK_OK;
}

static void add_key_and_value(const struct nk_settings *settings, size_t key, struct nk_text *line)
{
    struct nk_buf value;
    nk_buf_init(&value);
    config_value_format(config_key_at(key), &settings->values, &value);
    nk_text_add(line, config_key_at(key)->name);
    nk_text_add(line, " ");
    nk_text_add_bytes(line, nk_buf_bytes(&value));
    nk_buf_deinit(&value);
}

static enum nk_err contradiction(const struct nk_settings *settings, const struct rule *rule,
                                 struct nk_config_error *error)
{
    size_t key = key_named(rule->name);
    size_t other = key_named(rule->other_name);
    if (settings->origins[other].source > settings->origins[key].source) {
        size_t later = other;
        other = key;
        key = later;
    }
    struct nk_text line;
    nk_text_init(&line, error->text, sizeof error->text);
    config_origin_text(&settings->origins[key], &line);
    nk_text_add(&line, ": ");
    add_key_and_value(settings, key, &line);
    nk_text_add(&line, " contradicts ");
    add_key_and_value(settings, other, &line);
    nk_text_add(&line, " (");
    config_origin_text(&settings->origins[other], &line);
    nk_text_add(&line, "): ");
    nk_text_add(&line, rule->what);
    return NK_INVALID;
}

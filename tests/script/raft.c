/* The commands of raft scripts, on the group of tests/unit/raft/cluster.h: 10 ms network one way,
 * 2 ms disk, election timeout 1000 to 2000 ms, heartbeats each 150 ms, lease 900 ms.
 *
 *     cluster nodes=3 seed=7 [disks] [heartbeats] [append=N] [flush]
 *                          the group; with `disks` also what becomes durable and is applied, with
 *                          `heartbeats` also appends without entries; at most N entries an append;
 *                          with `flush` each apply makes the state machine durable
 *     elect N              campaign, and wait until it leads
 *     campaign N           start an election
 *     propose N TEXT...    one command for each text
 *     read N ID            ask for a read point
 *     lease N              may it answer without asking?
 *     cut N M              messages from N to M are lost
 *     partition N          both ways, to and from everybody
 *     heal                 no more of both
 *     crash N, restart N   what was under way to the disk survives in part
 *     hold N, release N    its disk finishes nothing in between
 *     advance TIME         5s, 40ms
 *     describe N           its state in one line
 */

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/units.h"
#include "tests/unit/raft/cluster.h"

#include "script.h"

#define ELECTION_MS_MAX ((uint64_t)60000)

struct raft_script {
    struct nk_buf *out;
    struct cluster *cluster; /* NULL before the command */
    size_t node_count;
};

static void print(struct raft_script *script, uint64_t now_ms, const char *text)
{
    char line[512];
    (void)snprintf(line, sizeof line, "%6llu %s\n", (unsigned long long)now_ms, text);
    nk_buf_append_string(script->out, line);
}

static void trace(void *ctx, uint64_t now_ms, const char *line)
{
    print(ctx, now_ms, line);
}

static bool refuse(struct nk_text *problem, const char *what, const char *word)
{
    nk_text_add(problem, what);
    nk_text_add(problem, word);
    return false;
}

/* "40ms", "5s". */
static bool parse_span(const char *word, uint64_t *out_ms)
{
    struct nk_bytes text = nk_bytes_of_string(word);
    uint64_t unit_ms = 1;
    if (text.size > 2 && memcmp(text.data + text.size - 2, "ms", 2) == 0) {
        text.size -= 2;
    } else if (text.size > 1 && text.data[text.size - 1] == 's') {
        text.size -= 1;
        unit_ms = NK_MS_PER_SEC;
    } else {
        return false;
    }
    uint64_t number;
    if (!nk_text_parse_u64(text, &number) || number > 1000000) {
        return false;
    }
    *out_ms = number * unit_ms;
    return true;
}

/* The number behind `name` ("nodes=") in `word`; false: another word. */
static bool parse_option(const char *word, const char *name, uint64_t *out_number)
{
    size_t size = strlen(name);
    return strncmp(word, name, size) == 0 &&
           nk_text_parse_u64(nk_bytes_of_string(word + size), out_number);
}

static bool begin(struct raft_script *script, char *const *words, size_t word_count,
                  struct nk_text *problem)
{
    struct cluster_options options = cluster_options_calm(0, 0);
    options.trace = trace;
    options.trace_ctx = script;
    for (size_t i = 1; i < word_count; i++) {
        uint64_t number;
        if (parse_option(words[i], "nodes=", &number)) {
            options.node_count = number;
        } else if (parse_option(words[i], "seed=", &number)) {
            options.seed = number;
        } else if (parse_option(words[i], "append=", &number)) {
            options.entries_per_append_max = (uint32_t)number;
        } else if (strcmp(words[i], "disks") == 0) {
            options.trace_disks = true;
        } else if (strcmp(words[i], "heartbeats") == 0) {
            options.trace_heartbeats = true;
        } else if (strcmp(words[i], "flush") == 0) {
            options.flush_per_million = 1000000;
        } else {
            return refuse(problem, "no such option: ", words[i]);
        }
    }
    if (options.node_count < 1 || options.node_count > RAFT_VOTERS_MAX) {
        return refuse(problem, "how many nodes? ", "nodes=1 to nodes=7");
    }
    if (script->cluster != NULL) {
        return refuse(problem, "one cluster is enough for a script", "");
    }
    script->node_count = options.node_count;
    script->cluster = cluster_open(&options);
    return true;
}

static bool elect(struct raft_script *script, raft_id id, struct nk_text *problem)
{
    cluster_campaign(script->cluster, id);
    for (uint64_t waited_ms = 0; waited_ms < ELECTION_MS_MAX; waited_ms++) {
        struct raft_status status;
        cluster_status(script->cluster, id, &status);
        if (status.role == RAFT_ROLE_LEADER) {
            return true;
        }
        cluster_advance(script->cluster, 1);
    }
    return refuse(problem, "it was not elected within a minute", "");
}

static void say_if_refused(struct raft_script *script, raft_id id, const char *what,
                           enum nk_err err)
{
    if (err != NK_OK) {
        char line[128];
        (void)snprintf(line, sizeof line, "%llu refuses a %s: %s", (unsigned long long)id, what,
                       nk_err_name(err));
        print(script, cluster_now_ms(script->cluster), line);
    }
}

static bool propose(struct raft_script *script, raft_id id, char *const *texts, size_t count,
                    struct nk_text *problem)
{
    for (size_t i = 0; i < count; i++) {
        struct nk_bytes payload = nk_bytes_of_string(texts[i]);
        if (payload.size > CLUSTER_PAYLOAD_BYTES_MAX) {
            return refuse(problem, "too long: ", texts[i]);
        }
        say_if_refused(script, id, "proposal", cluster_propose(script->cluster, id, payload));
    }
    return true;
}

static void show_lease(struct raft_script *script, raft_id id)
{
    struct raft_status status;
    cluster_status(script->cluster, id, &status);
    char line[128];
    if (status.lease_valid) {
        (void)snprintf(line, sizeof line, "%llu holds a lease and reads at %llu",
                       (unsigned long long)id, (unsigned long long)status.commit);
    } else {
        (void)snprintf(line, sizeof line, "%llu holds no lease", (unsigned long long)id);
    }
    print(script, cluster_now_ms(script->cluster), line);
}

static void describe(struct raft_script *script, raft_id id)
{
    char memory[384];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    nk_text_add_u64(&text, id);
    nk_text_add(&text, ": ");
    cluster_describe(script->cluster, id, &text);
    print(script, cluster_now_ms(script->cluster), memory);
}

enum verb {
    VERB_CLUSTER,
    VERB_ELECT,
    VERB_CAMPAIGN,
    VERB_PROPOSE,
    VERB_READ,
    VERB_LEASE,
    VERB_CUT,
    VERB_PARTITION,
    VERB_HEAL,
    VERB_CRASH,
    VERB_RESTART,
    VERB_HOLD,
    VERB_RELEASE,
    VERB_ADVANCE,
    VERB_DESCRIBE,
    VERB_COUNT,
};

/* What stands behind the verb: so many words, the first of which are numbers of nodes. */
static const struct {
    const char *name;
    size_t word_min;
    size_t word_max;
    size_t node_words;
    bool needs_alive; /* of the first node */
} verbs[VERB_COUNT] = {
    [VERB_CLUSTER] = {"cluster", 1, 8, 0, false},
    [VERB_ELECT] = {"elect", 1, 1, 1, true},
    [VERB_CAMPAIGN] = {"campaign", 1, 1, 1, true},
    [VERB_PROPOSE] = {"propose", 2, 15, 1, true},
    [VERB_READ] = {"read", 2, 2, 1, true},
    [VERB_LEASE] = {"lease", 1, 1, 1, true},
    [VERB_CUT] = {"cut", 2, 2, 2, false},
    [VERB_PARTITION] = {"partition", 1, 1, 1, false},
    [VERB_HEAL] = {"heal", 0, 0, 0, false},
    [VERB_CRASH] = {"crash", 1, 1, 1, true},
    [VERB_RESTART] = {"restart", 1, 1, 1, false},
    [VERB_HOLD] = {"hold", 1, 1, 1, false},
    [VERB_RELEASE] = {"release", 1, 1, 1, false},
    [VERB_ADVANCE] = {"advance", 1, 1, 0, false},
    [VERB_DESCRIBE] = {"describe", 1, 1, 1, false},
};

/* Checks verb, number of words and numbers of nodes. */
static bool parse(const struct raft_script *script, char *const *words, size_t word_count,
                  enum verb *out_verb, raft_id *out_ids, struct nk_text *problem)
{
    size_t verb = 0;
    while (verb < VERB_COUNT && strcmp(verbs[verb].name, words[0]) != 0) {
        verb++;
    }
    if (verb == VERB_COUNT) {
        return refuse(problem, "no such command: ", words[0]);
    }
    if (word_count - 1 < verbs[verb].word_min || word_count - 1 > verbs[verb].word_max) {
        return refuse(problem, "too many or too few words behind ", words[0]);
    }
    if (verb != VERB_CLUSTER && script->cluster == NULL) {
        return refuse(problem, "there is no cluster for ", words[0]);
    }
    for (size_t i = 0; i < verbs[verb].node_words; i++) {
        uint64_t id;
        if (!nk_text_parse_u64(nk_bytes_of_string(words[1 + i]), &id) || id < 1 ||
            id > script->node_count) {
            return refuse(problem, "no such node: ", words[1 + i]);
        }
        out_ids[i] = id;
    }
    if (verbs[verb].needs_alive && !cluster_alive(script->cluster, out_ids[0])) {
        return refuse(problem, "the node has crashed: ", words[1]);
    }
    *out_verb = (enum verb)verb;
    return true;
}

static bool command(void *ctx, char *const *words, size_t word_count, struct nk_text *problem)
{
    struct raft_script *script = ctx;
    enum verb verb = VERB_COUNT;
    raft_id ids[2] = {0};
    uint64_t number = 0;
    if (!parse(script, words, word_count, &verb, ids, problem)) {
        return false;
    }
    struct cluster *cluster = script->cluster;
    switch (verb) {
    case VERB_CLUSTER:
        return begin(script, words, word_count, problem);
    case VERB_ELECT:
        return elect(script, ids[0], problem);
    case VERB_CAMPAIGN:
        cluster_campaign(cluster, ids[0]);
        break;
    case VERB_PROPOSE:
        return propose(script, ids[0], words + 2, word_count - 2, problem);
    case VERB_READ:
        if (!nk_text_parse_u64(nk_bytes_of_string(words[2]), &number)) {
            return refuse(problem, "no number of a read: ", words[2]);
        }
        say_if_refused(script, ids[0], "read", cluster_read(cluster, ids[0], number));
        break;
    case VERB_LEASE:
        show_lease(script, ids[0]);
        break;
    case VERB_CUT:
        cluster_cut(cluster, ids[0], ids[1]);
        break;
    case VERB_PARTITION:
        cluster_isolate(cluster, ids[0]);
        break;
    case VERB_HEAL:
        cluster_heal(cluster);
        break;
    case VERB_CRASH:
        cluster_crash(cluster, ids[0]);
        break;
    case VERB_RESTART:
        if (cluster_alive(cluster, ids[0])) {
            return refuse(problem, "the node is alive: ", words[1]);
        }
        cluster_restart(cluster, ids[0]);
        break;
    case VERB_HOLD:
    case VERB_RELEASE:
        cluster_disk_hold(cluster, ids[0], verb == VERB_HOLD);
        break;
    case VERB_ADVANCE:
        if (!parse_span(words[1], &number)) {
            return refuse(problem, "no span of time: ", words[1]);
        }
        cluster_advance(cluster, number);
        break;
    case VERB_DESCRIBE:
        describe(script, ids[0]);
        break;
    case VERB_COUNT:
        break;
    }
    return true;
}

static void *open_script(struct nk_buf *out)
{
    struct raft_script *script = nk_alloc_zero(1, sizeof *script);
    script->out = out;
    return script;
}

/* The safety properties have been checked in every step. */
static bool close_script(void *ctx, struct nk_text *problem)
{
    struct raft_script *script = ctx;
    bool ok = true;
    if (script->cluster != NULL) {
        const char *violation = cluster_violation(script->cluster);
        if (violation != NULL) {
            ok = refuse(problem, "violated: ", violation);
        }
        cluster_close(&script->cluster);
    }
    nk_free(script);
    return ok;
}

const struct script_language script_raft = {
    .name = "raft",
    .open = open_script,
    .command = command,
    .close = close_script,
};

/* The board between one writing loop and any number of reading HTTP threads.
 *
 * Numbers are atomics of their own, in relaxed order: a reader may see a row of which one number is
 * newer than the other, which is what a health page may show.  Reasons are constants of the
 * program, so a pointer is enough. */
#include "common/service/health.h"

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/service/board.h"

#include "field.h"

/* A loop that did not beat for this long is stuck: it promises a beat a second. */
#define STALL_US   (5 * NK_US_PER_SEC)

#define NEVER_BEAT UINT64_MAX

struct nk_health {
    /* Constant after open. */
    struct nk_clock clock;
    char role[16];
    char node_id[NK_NODE_ID_BYTES_MAX + 1];
    uint64_t opened_us;
    uint32_t total_shards;
    struct nk_health_row *rows; /* total_shards of them */

    _Atomic uint64_t beat_us;
    _Atomic int status; /* enum nk_health_status */
    _Atomic(const char *) reason;
    _Atomic bool ready;
    _Atomic(const char *) ready_reason;
    _Atomic bool shard0_answers; /* always true but on a gateway */

    struct nk_board nodes; /* of struct nk_health_node */
};

static const char *const status_names[] = {"healthy", "degraded", "unhealthy"};
static const char *const shard_names[] = {"unused", "healthy", "degraded", "unavailable"};

static_assert(NK_COUNT_OF(status_names) == NK_UNHEALTHY + 1, "a name for each status");
static_assert(NK_COUNT_OF(shard_names) == NK_SHARD_UNAVAILABLE + 1, "a name for each shard status");

void nk_health_open(const struct nk_clock *clock, const char *role, const char *node_id,
                    uint32_t total_shards, struct nk_health **out_health)
{
    struct nk_health *health = nk_alloc_zero(1, sizeof *health);
    health->clock = *clock;
    field_copy(health->role, sizeof health->role, role);
    field_copy(health->node_id, sizeof health->node_id, node_id);
    health->opened_us = nk_mono_us(clock);
    health->total_shards = total_shards;
    health->rows = nk_alloc_zero(total_shards, sizeof *health->rows);
    atomic_init(&health->beat_us, NEVER_BEAT);
    atomic_init(&health->status, NK_UNHEALTHY);
    atomic_init(&health->reason, "starting");
    atomic_init(&health->ready, false);
    atomic_init(&health->ready_reason, "starting");
    atomic_init(&health->shard0_answers, strcmp(role, "gateway") != 0);
    nk_board_init(&health->nodes);
    *out_health = health;
}

void nk_health_close(struct nk_health **health)
{
    if (health == NULL || *health == NULL) {
        return;
    }
    nk_board_deinit(&(*health)->nodes);
    nk_free((*health)->rows);
    nk_free(*health);
    *health = NULL;
}

/* ---- The loop writes ---- */

void nk_health_beat(struct nk_health *health)
{
    atomic_store_explicit(&health->beat_us, nk_mono_us(&health->clock), memory_order_relaxed);
}

void nk_health_set(struct nk_health *health, enum nk_health_status status, const char *reason)
{
    atomic_store_explicit(&health->reason, reason, memory_order_relaxed);
    atomic_store_explicit(&health->status, (int)status, memory_order_relaxed);
}

void nk_health_set_ready(struct nk_health *health, bool ready, const char *reason)
{
    atomic_store_explicit(&health->ready_reason, reason, memory_order_relaxed);
    atomic_store_explicit(&health->ready, ready, memory_order_relaxed);
}

void nk_health_set_shard0(struct nk_health *health, bool answers)
{
    atomic_store_explicit(&health->shard0_answers, answers, memory_order_relaxed);
}

struct nk_health_row *nk_health_row(struct nk_health *health, uint32_t shard)
{
    NK_ASSERT(shard < health->total_shards);
    return &health->rows[shard];
}

void nk_health_set_nodes(struct nk_health *health, const struct nk_health_node *nodes, size_t count)
{
    NK_ASSERT(count <= NK_HEALTH_NODES_MAX);
    nk_board_show(&health->nodes, nk_bytes_of(nodes, count * sizeof *nodes));
}

/* ---- Any thread reads ---- */

/* The beat of another core may be newer than our own look at the clock. */
static bool stalled(struct nk_health *health, uint64_t beat_us)
{
    uint64_t now_us = nk_mono_us(&health->clock);
    return now_us > beat_us && now_us - beat_us > STALL_US;
}

bool nk_health_quick(struct nk_health *health)
{
    uint64_t beat_us = atomic_load_explicit(&health->beat_us, memory_order_relaxed);
    return beat_us != NEVER_BEAT && !stalled(health, beat_us) &&
           atomic_load_explicit(&health->shard0_answers, memory_order_relaxed);
}

/* Recovery before the first beat may take long and is not a stall: whoever started the process
 * watches that. */
bool nk_health_live(struct nk_health *health, const char **out_reason)
{
    uint64_t beat_us = atomic_load_explicit(&health->beat_us, memory_order_relaxed);
    bool live = beat_us == NEVER_BEAT || !stalled(health, beat_us);
    *out_reason = live ? "" : "loop-stalled";
    return live;
}

bool nk_health_ready(struct nk_health *health, const char **out_reason)
{
    if (!nk_health_live(health, out_reason)) {
        return false;
    }
    bool ready = atomic_load_explicit(&health->ready, memory_order_relaxed);
    *out_reason = ready ? "" : atomic_load_explicit(&health->ready_reason, memory_order_relaxed);
    return ready;
}

enum nk_health_status nk_health_status(struct nk_health *health)
{
    const char *reason;
    if (!nk_health_live(health, &reason)) {
        return NK_UNHEALTHY;
    }
    return (enum nk_health_status)atomic_load_explicit(&health->status, memory_order_relaxed);
}

void field_write_nodes(struct nk_json *json, const struct nk_health_node *nodes, size_t count)
{
    nk_json_name(json, "nodes");
    nk_json_open(json, '[');
    for (size_t i = 0; i < count; i++) {
        nk_json_open(json, '{');
        nk_json_name(json, "id");
        nk_json_text(json, nodes[i].id);
        nk_json_name(json, "addr");
        nk_json_text(json, nodes[i].addr);
        nk_json_name(json, "role");
        nk_json_text(json, nodes[i].role);
        nk_json_close(json, '}');
    }
    nk_json_close(json, ']');
}

static int row_status(struct nk_health_row *row)
{
    return atomic_load_explicit(&row->status, memory_order_relaxed);
}

static void write_position(struct nk_json *json, const char *name, _Atomic uint64_t *position)
{
    uint64_t value = atomic_load_explicit(position, memory_order_relaxed);
    nk_json_name(json, name);
    if (value == NK_HEALTH_UNKNOWN) {
        nk_json_null(json);
    } else {
        nk_json_number(json, value);
    }
}

static void write_row(struct nk_json *json, uint32_t shard, struct nk_health_row *row, int status)
{
    nk_json_open(json, '{');
    nk_json_name(json, "id");
    nk_json_number(json, shard);
    nk_json_name(json, "status");
    nk_json_text(json, shard_names[status]);
    nk_json_name(json, "is_leader");
    nk_json_bool(json, atomic_load_explicit(&row->is_leader, memory_order_relaxed));
    nk_json_name(json, "raft_term");
    nk_json_number(json, atomic_load_explicit(&row->raft_term, memory_order_relaxed));
    write_position(json, "commit_index", &row->commit_index);
    write_position(json, "last_applied", &row->last_applied);
    nk_json_close(json, '}');
}

static uint32_t active_shards(struct nk_health *health)
{
    uint32_t count = 0;
    for (uint32_t shard = 0; shard < health->total_shards; shard++) {
        count += row_status(&health->rows[shard]) != NK_SHARD_UNUSED;
    }
    return count;
}

static void write_shards(struct nk_json *json, struct nk_health *health)
{
    nk_json_name(json, "shards");
    nk_json_open(json, '[');
    for (uint32_t shard = 0; shard < health->total_shards; shard++) {
        int status = row_status(&health->rows[shard]);
        if (status != NK_SHARD_UNUSED) {
            write_row(json, shard, &health->rows[shard], status);
        }
    }
    nk_json_close(json, ']');
}

void nk_health_json(struct nk_health *health, struct nk_buf *out)
{
    const char *reason;
    if (nk_health_live(health, &reason)) {
        reason = atomic_load_explicit(&health->reason, memory_order_relaxed);
    }
    struct nk_board_block *block;
    struct nk_bytes nodes = nk_board_share(&health->nodes, &block);
    struct nk_json json;
    nk_json_init(&json, out);
    nk_json_open(&json, '{');
    nk_json_name(&json, "status");
    nk_json_text(&json, status_names[nk_health_status(health)]);
    nk_json_name(&json, "reason");
    nk_json_text(&json, reason);
    nk_json_name(&json, "role");
    nk_json_text(&json, health->role);
    nk_json_name(&json, "node_id");
    nk_json_text(&json, health->node_id);
    nk_json_name(&json, "uptime_seconds");
    nk_json_number(&json, (nk_mono_us(&health->clock) - health->opened_us) / NK_US_PER_SEC);
    nk_json_name(&json, "total_shards");
    nk_json_number(&json, health->total_shards);
    nk_json_name(&json, "active_shards");
    nk_json_number(&json, active_shards(health));
    field_write_nodes(&json, (const struct nk_health_node *)nodes.data,
                      nodes.size / sizeof(struct nk_health_node));
    write_shards(&json, health);
    nk_json_close(&json, '}');
    nk_buf_append_u8(out, '\n');
    nk_board_release(block);
}

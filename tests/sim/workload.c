/* Clients and subscribers as a whole, and what they saw: a history for each key. */

#include "tests/sim/workload.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"

/* ---- Opening ---- */

/* Short ones mostly; some binary, some as long as may be. */
static void name_key(struct key *key, size_t number, struct nk_prng *prng)
{
    int size = snprintf((char *)key->name, sizeof key->name, "key-%zu", number);
    NK_ASSERT(size > 0);
    key->name_size = (size_t)size;
    if (nk_prng_chance(prng, 50000)) {
        size_t longer = (size_t)nk_prng_between(prng, key->name_size + 1, NK_KEY_BYTES_MAX);
        while (key->name_size < longer) {
            key->name[key->name_size++] = (uint8_t)nk_prng_next(prng);
        }
    }
}

static void draw_habits(struct sim_workload *workload, struct nk_prng *prng)
{
    workload->client_count = (size_t)nk_prng_between(prng, 1, CLIENTS_MAX);
    workload->key_count =
        (size_t)nk_prng_between(prng, 1, nk_prng_chance(prng, 300000) ? KEYS_MAX : 6);
    workload->hot_count = (size_t)nk_prng_between(prng, 1, workload->key_count);
    workload->watcher_count = (size_t)nk_prng_between(prng, 1, WATCHERS_MAX);
    workload->operations_left = nk_prng_between(prng, 100, 1500);
    workload->think_us_max = nk_prng_between(prng, 1, 40) * NK_US_PER_MS;
    for (size_t i = 0; i < NK_COUNT_OF(workload->weights); i++) {
        workload->weights[i] = (uint32_t)nk_prng_below(prng, 5);
    }
    workload->weights[1] += 2; /* something must be there */
    workload->weights[0] *= nk_prng_chance(prng, 400000) ? 10 : 1;
    workload->ttl_chance = nk_prng_chance(prng, 500000) ? 600000 : 0;
    workload->ttl_ms_max = nk_prng_between(prng, 5, nk_prng_chance(prng, 500000) ? 200 : 3000);
    workload->session_chance =
        nk_prng_chance(prng, 200000) ? 0 : (uint32_t)nk_prng_below(prng, 1000000);
    workload->stale_chance = nk_prng_chance(prng, 300000) ? 300000 : 0;
    workload->twist_chance = nk_prng_chance(prng, 300000) ? 200000 : 0;
    workload->odd_chance = nk_prng_chance(prng, 500000) ? 100000 : 0;
    workload->cancel_chance = nk_prng_chance(prng, 500000) ? 50000 : 0;
    if (workload->world->temper.clocks) {
        workload->weights[0] = 60;
        workload->think_us_max = 100 * NK_US_PER_MS;
        workload->ttl_chance = 900000;
        workload->ttl_ms_max = 3000;
    }
    if (workload->world->temper.large) {
        workload->operations_left = 3000;
        workload->think_us_max = 5 * NK_US_PER_MS;
    }
    static const size_t value_bytes[] = {8, 64, 1024, 2048, 2048, 12288};
    workload->value_bytes_max = value_bytes[nk_prng_below(prng, NK_COUNT_OF(value_bytes))];
    if (workload->world->temper.torn) {
        workload->client_count = CLIENTS_MAX;
        workload->operations_left = 4000;
        workload->weights[0] = 1;
        workload->value_bytes_max = 4096;
        workload->think_us_max = 2 * NK_US_PER_MS;
    }
}

void sim_workload_open(struct sim_world *world)
{
    struct nk_prng *prng = &world->prng_clients;
    struct sim_workload *workload = nk_alloc_zero(1, sizeof *workload);
    uint32_t total_shards = world->config.cluster.total_shards;
    world->workload = workload;
    workload->world = world;
    draw_habits(workload, prng);
    nk_map_init(&workload->views);
    nk_map_init(&workload->versions);
    workload->sessions = nk_alloc_zero(total_shards, sizeof *workload->sessions);
    for (size_t i = 0; i < workload->key_count; i++) {
        struct key *key = &workload->keys[i];
        name_key(key, i, prng);
        key->shard = nk_shard_of_key(nk_bytes_of(key->name, key->name_size), total_shards);
    }
    filler_open(world);
    for (size_t i = 0; i < workload->client_count; i++) {
        client_open(world, i);
    }
    for (size_t i = 0; i < workload->watcher_count; i++) {
        watcher_open(world, i);
    }
}

void sim_workload_close(struct sim_world *world)
{
    struct sim_workload *workload = world->workload;
    for (size_t i = 0; i < workload->client_count; i++) {
        client_close(&workload->clients[i]);
    }
    for (size_t i = 0; i < workload->watcher_count; i++) {
        watcher_close(&workload->watchers[i]);
    }
    for (size_t i = 0; i < workload->key_count; i++) {
        nk_free(workload->keys[i].records);
    }
    filler_close(world);
    nk_map_deinit(&workload->views);
    nk_map_deinit(&workload->versions);
    nk_buf_deinit(&workload->order_us);
    nk_free(workload->sessions);
    nk_free(workload);
    world->workload = NULL;
}

/* ---- On the way ---- */

uint64_t workload_order(struct sim_workload *workload)
{
    nk_buf_append(&workload->order_us,
                  nk_bytes_of(&workload->world->now_us, sizeof workload->world->now_us));
    return workload->order_us.size / sizeof(uint64_t);
}

struct key *workload_key(const struct client *client)
{
    struct sim_workload *workload = client->world->workload;
    return client->errand == ERRAND_FILL ? &workload->fills[client->request.key].key
                                         : &workload->keys[client->request.key];
}

void workload_add_record(struct sim_workload *workload, size_t number, const struct record *record)
{
    struct key *key = &workload->keys[number];
    if (key->count == key->capacity) {
        key->capacity = key->capacity == 0 ? 64 : 2 * key->capacity;
        key->records = nk_realloc(key->records, key->capacity * sizeof *key->records);
    }
    key->records[key->count++] = *record;
}

/* An operation that is under way, or whose outcome nobody knows, may be carried out now. */
static void meet_clock(struct record *record, uint64_t wall_ms)
{
    if (record->op.returned != UINT64_MAX) {
        return;
    }
    record->op.wall_min = nk_min_u64(record->op.wall_min, wall_ms);
    if (record->op.expires_first != 0) {
        record->op.expires_first = nk_min_u64(record->op.expires_first, wall_ms + record->ttl_ms);
    }
}

void sim_workload_clock_jumped(struct sim_world *world)
{
    struct sim_workload *workload = world->workload;
    uint64_t wall_ms = sim_wall_ms(world);
    for (size_t i = 0; i < workload->client_count; i++) {
        meet_clock(&workload->clients[i].record, wall_ms);
    }
    for (size_t i = 0; i < workload->key_count; i++) {
        for (size_t j = 0; j < workload->keys[i].count; j++) {
            meet_clock(&workload->keys[i].records[j], wall_ms);
        }
    }
}

void sim_workload_gateway_dies(struct sim_world *world)
{
    struct sim_workload *workload = world->workload;
    for (size_t i = 0; i < workload->client_count; i++) {
        client_gateway_dies(&workload->clients[i]);
    }
}

/* ---- The quiet end ---- */

static void begin_settling(struct sim_workload *workload)
{
    workload->settling = true;
    for (size_t i = 0; i < workload->client_count; i++) {
        client_settle(&workload->clients[i]);
    }
}

void sim_workload_settle(struct sim_world *world)
{
    begin_settling(world->workload);
}

void sim_workload_read_rotten(struct sim_world *world)
{
    world->workload->rotten = true;
    begin_settling(world->workload);
}

bool sim_workload_settled(const struct sim_world *world)
{
    const struct sim_workload *workload = world->workload;
    for (size_t i = 0; i < workload->client_count; i++) {
        if (!client_settled(&workload->clients[i])) {
            return false;
        }
    }
    return true;
}

/* ---- The check ---- */

/* The first event that was not before `us`. */
static uint64_t order_at(const struct sim_workload *workload, uint64_t us)
{
    const uint64_t *times = (const uint64_t *)(const void *)workload->order_us.data;
    size_t first = 0;
    size_t limit = workload->order_us.size / sizeof(uint64_t);
    while (first < limit) {
        size_t middle = first + (limit - first) / 2;
        if (times[middle] < us) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first + 1;
}

/* What may be old may be of any moment since then. */
static struct history_op op_of(const struct sim_workload *workload, const struct record *record)
{
    struct history_op op = record->op;
    uint64_t bound_us = workload->world->config.limits.max_staleness_ms * NK_US_PER_MS;
    if (record->age == READ_ANY) {
        op.invoked = 0;
        op.wall_min = 0;
    } else if (record->age == READ_BOUNDED) {
        uint64_t from_us = record->invoked_us > bound_us ? record->invoked_us - bound_us : 0;
        op.invoked = nk_min_u64(op.invoked, order_at(workload, from_us));
        op.wall_min = 0;
    }
    return op;
}

static int compare_ops(const void *left, const void *right)
{
    const struct history_op *a = left;
    const struct history_op *b = right;
    return (a->invoked > b->invoked) - (a->invoked < b->invoked);
}

static void print_history(const struct history_op *ops, size_t count, size_t stuck)
{
    static const char *const kinds[] = {"get", "put", "cas", "create", "delete"};
    static const char *const outcomes[] = {"unknown", "done", "mismatch", "exists"};
    for (size_t i = stuck > 12 ? stuck - 12 : 0; i < count && i < stuck + 30; i++) {
        const struct history_op *op = &ops[i];
        (void)printf("%s %4zu [%llu, %lld] %s %s value %llu version %llu.%llu expected %llu.%llu "
                     "found %llu.%llu tombstoned %d expires %llu..%llu wall %llu..%llu\n",
                     i == stuck ? ">>" : "  ", i, (unsigned long long)op->invoked,
                     (long long)op->returned, kinds[op->kind], outcomes[op->outcome],
                     (unsigned long long)op->value, (unsigned long long)op->version.term,
                     (unsigned long long)op->version.index, (unsigned long long)op->expected.term,
                     (unsigned long long)op->expected.index, (unsigned long long)op->found.term,
                     (unsigned long long)op->found.index, op->tombstoned,
                     (unsigned long long)op->expires_first, (unsigned long long)op->expires_last,
                     (unsigned long long)op->wall_min, (unsigned long long)op->wall_max);
    }
}

static void check_history(struct sim_workload *workload, size_t number)
{
    const struct key *key = &workload->keys[number];
    struct history_op *ops = nk_alloc_zero(key->count + 1, sizeof *ops);
    for (size_t i = 0; i < key->count; i++) {
        ops[i] = op_of(workload, &key->records[i]);
    }
    qsort(ops, key->count, sizeof *ops, compare_ops);
    struct history_report report;
    enum history_verdict verdict = history_check(ops, key->count, &report);
    if (verdict == HISTORY_VIOLATION) {
        print_history(ops, key->count, report.stuck);
        sim_fail(workload->world, SIM_CHECK_HISTORY, "key %zu: no order explains operation %zu",
                 number, report.stuck);
    } else if (verdict == HISTORY_UNDECIDED) {
        sim_fail(workload->world, SIM_CHECK_HISTORY,
                 "key %zu: the history of %zu operations could not be decided", number, key->count);
    }
    nk_free(ops);
}

struct given {
    uint64_t shard;
    uint64_t term;
    uint64_t index;
};

static int compare_given(const void *left, const void *right)
{
    const struct given *a = left;
    const struct given *b = right;
    if (a->shard != b->shard) {
        return a->shard < b->shard ? -1 : 1;
    }
    return (a->index > b->index) - (a->index < b->index);
}

/* An index is an entry of the log, so it is given once, and terms do not go back. */
static void check_versions(struct sim_workload *workload)
{
    size_t count = workload->versions.count;
    struct given *given = nk_alloc_zero(count + 1, sizeof *given);
    size_t position = 0;
    struct nk_map_entry *entry;
    for (size_t i = 0; (entry = nk_map_next(&workload->versions, &position)) != NULL; i++) {
        memcpy(&given[i], entry->key, sizeof given[i]);
    }
    qsort(given, count, sizeof *given, compare_given);
    for (size_t i = 1; i < count; i++) {
        const struct given *a = &given[i - 1];
        const struct given *b = &given[i];
        if (a->shard == b->shard && (a->index == b->index || a->term > b->term)) {
            sim_fail(workload->world, SIM_CHECK_VERSION,
                     "shard %llu gave the versions %llu.%llu and %llu.%llu",
                     (unsigned long long)a->shard, (unsigned long long)a->term,
                     (unsigned long long)a->index, (unsigned long long)b->term,
                     (unsigned long long)b->index);
        }
    }
    nk_free(given);
}

void sim_workload_check(struct sim_world *world)
{
    struct sim_workload *workload = world->workload;
    check_versions(workload);
    for (size_t i = 0; i < workload->key_count; i++) {
        check_history(workload, i);
    }
}

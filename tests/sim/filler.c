/* Many keys that nobody fights about: each is written by one client alone, so that the trees grow
 * over several levels without a history that has to be searched.  Such a key holds what was last
 * answered, or one of the writes since then that were not answered, which may come at any time. */

#include "tests/sim/workload.h"

#include "common/base/alloc.h"

#define FILL_BYTES_MAX 1024

void filler_open(struct sim_world *world)
{
    struct sim_workload *workload = world->workload;
    uint32_t total_shards = world->config.cluster.total_shards;
    if (!world->temper.large) {
        return;
    }
    workload->fill_count = (size_t)nk_prng_between(&world->prng_clients, 100, FILLS_MAX);
    workload->fills = nk_alloc_zero(workload->fill_count, sizeof *workload->fills);
    for (size_t i = 0; i < workload->fill_count; i++) {
        struct key *key = &workload->fills[i].key;
        int size = snprintf((char *)key->name, sizeof key->name, "fill-%zu", i);
        key->name_size = (size_t)size;
        key->shard = nk_shard_of_key(nk_bytes_of(key->name, key->name_size), total_shards);
    }
}

void filler_close(struct sim_world *world)
{
    nk_free(world->workload->fills);
}

static struct fill *fill_of(const struct client *client)
{
    return &client->world->workload->fills[client->request.key];
}

static void ask(struct client *client, size_t number)
{
    client->errand = ERRAND_FILL;
    client->request =
        (struct request){.kind = HISTORY_GET, .key = number, .consistency = "linearizable"};
}

void filler_choose(struct client *client)
{
    struct sim_workload *workload = client->world->workload;
    struct nk_prng *prng = &client->world->prng_clients;
    size_t own = (workload->fill_count - client->number - 1) / workload->client_count + 1;
    size_t number = (size_t)nk_prng_below(prng, own) * workload->client_count + client->number;
    ask(client, number);
    if (workload->fills[number].unknown_count == FILL_UNKNOWN_MAX || nk_prng_chance(prng, 200000)) {
        return;
    }
    client->request.kind = nk_prng_chance(prng, 150000) ? HISTORY_DELETE : HISTORY_PUT;
    client->request.value = client->request.kind == HISTORY_PUT ? ++workload->value_next : 0;
    client->request.value_bytes = (size_t)nk_prng_between(prng, 8, FILL_BYTES_MAX);
}

bool filler_choose_last(struct client *client)
{
    if (client->fill_next >= client->world->workload->fill_count) {
        return false;
    }
    ask(client, client->fill_next);
    client->fill_next += client->world->workload->client_count;
    return true;
}

/* What it holds is known now; what was not answered may still come. */
static void settle_on(struct fill *fill, uint64_t value, uint64_t index)
{
    fill->value = value;
    fill->index = nk_max_u64(fill->index, index);
    for (size_t i = 0; i < fill->unknown_count; i++) {
        if (fill->unknown[i] == value && value != 0) {
            fill->unknown[i] = fill->unknown[--fill->unknown_count];
        }
    }
}

static bool may_hold(const struct fill *fill, uint64_t value)
{
    bool may = fill->value == value;
    for (size_t i = 0; i < fill->unknown_count; i++) {
        may = may || fill->unknown[i] == value;
    }
    return may;
}

void filler_answered(struct client *client)
{
    struct fill *fill = fill_of(client);
    const struct history_op *op = &client->record.op;
    uint64_t index = op->version.index;
    bool read = op->kind == HISTORY_GET;
    if (read && !may_hold(fill, op->value)) {
        sim_fail(client->world, SIM_CHECK_HISTORY, "%s holds %llu instead of %llu",
                 (const char *)fill->key.name, (unsigned long long)op->value,
                 (unsigned long long)fill->value);
    }
    bool same = read && op->value == fill->value;
    if (index != 0 && (same ? index < fill->index : index <= fill->index)) {
        sim_fail(client->world, SIM_CHECK_VERSION, "the version of %s went from %llu to %llu",
                 (const char *)fill->key.name, (unsigned long long)fill->index,
                 (unsigned long long)index);
    }
    settle_on(fill, op->value, index);
}

void filler_unanswered(struct client *client)
{
    struct fill *fill = fill_of(client);
    if (client->request.kind != HISTORY_GET && client->uncertain > 0) {
        fill->unknown[fill->unknown_count++] = client->request.value;
    }
}

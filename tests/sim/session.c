/* What may be expected of an idempotency key that was used before.  The table is bounded by time
 * (log time, of which the wall clock is the only source) and by count (per shard); from outside
 * either is known only within bounds, so there are three answers: surely there, surely gone, and
 * neither. */

#include "tests/sim/workload.h"

struct shard_sessions *session_shard(const struct client *client)
{
    struct sim_workload *workload = client->world->workload;
    return &workload->sessions[workload_key(client)->shard];
}

static uint64_t lives_ms(const struct client *client)
{
    return client->world->config.limits.idempotency_ttl_ms;
}

static uint64_t count_max(const struct client *client)
{
    return client->world->config.limits.idempotency_max_per_shard;
}

bool session_at_risk(const struct client *client)
{
    return session_shard(client)->begun - client->begun_before >= count_max(client) ||
           client->world->wall_max_ms >= client->record.op.wall_min + lives_ms(client);
}

bool session_surely_remembered(const struct client *client, const struct finished *old)
{
    return session_shard(client)->begun - old->begun_before < count_max(client) &&
           client->world->wall_max_ms < old->wall_min + lives_ms(client);
}

/* The operations that ran beside the old one may have made their entries before it did. */
bool session_surely_forgotten(const struct client *client, const struct finished *old)
{
    return client->made_before - old->made_after >= count_max(client) + CLIENTS_MAX ||
           client->record.op.wall_min >= old->wall_end + lives_ms(client);
}

/* Remembers the errand just finished, to come back to its idempotency key later. */
void session_keep(struct client *client)
{
    struct finished *place = &client->finished[0];
    for (size_t i = 0; i < SESSIONS_KEPT_MAX; i++) {
        if (!client->finished[i].valid) {
            place = &client->finished[i];
        }
    }
    if (place->valid) {
        place = &client->finished[nk_prng_below(&client->world->prng_clients, SESSIONS_KEPT_MAX)];
    }
    *place = (struct finished){
        .valid = true,
        .request = client->request,
        .op = client->record.op,
        .begun_before = client->begun_before,
        .made_after = session_shard(client)->made,
        .wall_min = client->record.op.wall_min,
        .wall_end = client->world->wall_max_ms,
    };
}

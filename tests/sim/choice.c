/* What a client wants next: mostly an operation on a key that others want too, at times an oddity;
 * at the quiet end its old writes once more, and everything read. */

#include "tests/sim/workload.h"

/* Writes of unknown outcome on one key; then it is only read.  With many more, everything would be
 * explained by one of them. */
#define UNKNOWN_MAX 24

static struct nk_prng *prng_of(const struct client *client)
{
    return &client->world->prng_clients;
}

static struct sim_workload *workload_of(const struct client *client)
{
    return client->world->workload;
}

static bool is_write(const struct request *request)
{
    return request->kind != HISTORY_GET;
}

static size_t choose_key(struct client *client)
{
    const struct sim_workload *workload = workload_of(client);
    bool hot = nk_prng_chance(prng_of(client), 500000);
    return (size_t)nk_prng_below(prng_of(client), hot ? workload->hot_count : workload->key_count);
}

static void choose_kind(struct client *client, struct request *request)
{
    static const enum history_kind kinds[] = {HISTORY_GET,    HISTORY_PUT,    HISTORY_CAS,
                                              HISTORY_CREATE, HISTORY_DELETE, HISTORY_DELETE};
    const uint32_t *weights = workload_of(client)->weights;
    uint32_t total = 0;
    for (size_t i = 0; i < NK_COUNT_OF(kinds); i++) {
        total += weights[i];
    }
    uint32_t draw = (uint32_t)nk_prng_below(prng_of(client), total);
    size_t i = 0;
    while (draw >= weights[i]) {
        draw -= weights[i];
        i++;
    }
    request->kind = kinds[i];
    request->conditional = i == 2 || i == 3 || i == 5;
    if (i == 2 || i == 5) {
        request->expected = client->seen[request->key];
        if (request->expected.index == 0) { /* nothing was seen: then without a condition */
            request->conditional = false;
            request->kind = i == 2 ? HISTORY_PUT : HISTORY_DELETE;
        }
    }
}

static void choose_value(struct client *client, struct request *request)
{
    struct sim_workload *workload = workload_of(client);
    request->value = ++workload->value_next;
    request->value_bytes = (size_t)nk_prng_between(prng_of(client), 8, workload->value_bytes_max);
    if (nk_prng_chance(prng_of(client), workload->ttl_chance)) {
        request->ttl_ms = nk_prng_between(prng_of(client), 1, workload->ttl_ms_max);
    }
}

static void choose_consistency(struct client *client, struct request *request)
{
    static const char *const now[] = {"", "lease", "linearizable", "strong"};
    request->consistency = now[nk_prng_below(prng_of(client), NK_COUNT_OF(now))];
    if (nk_prng_chance(prng_of(client), workload_of(client)->stale_chance)) {
        static const char *const stale[] = {"stale_ok", "eventual"};
        request->age = nk_prng_chance(prng_of(client), 500000) ? READ_BOUNDED : READ_ANY;
        request->consistency = request->age == READ_BOUNDED
                                   ? "bounded_staleness"
                                   : stale[nk_prng_below(prng_of(client), NK_COUNT_OF(stale))];
    }
}

static void name_session(struct client *client)
{
    (void)snprintf(client->request.session, sizeof client->request.session, "c%zu-%llu",
                   client->number, (unsigned long long)++workload_of(client)->session_next);
}

static void choose_request(struct client *client)
{
    struct sim_workload *workload = workload_of(client);
    struct request *request = &client->request;
    *request = (struct request){.key = choose_key(client), .consistency = ""};
    if (workload->keys[request->key].unknown_count < UNKNOWN_MAX) {
        choose_kind(client, request);
    }
    if (request->kind == HISTORY_GET) {
        choose_consistency(client, request);
    } else if (request->kind != HISTORY_DELETE) {
        choose_value(client, request);
    }
    if (is_write(request) && nk_prng_chance(prng_of(client), workload->session_chance)) {
        name_session(client);
    }
    if (nk_prng_chance(prng_of(client), workload->twist_chance)) {
        request->twist = (enum twist)nk_prng_below(prng_of(client), TWIST_COUNT);
    }
}

static struct finished *some_finished(struct client *client)
{
    struct finished *old = &client->finished[nk_prng_below(prng_of(client), SESSIONS_KEPT_MAX)];
    return old->valid ? old : NULL;
}

/* Another write under an old name. */
static void choose_misuse(struct client *client)
{
    client->request = client->old->request;
    client->request.kind = HISTORY_PUT;
    client->request.conditional = false;
    client->request.expected = (struct history_version){0, 0};
    client->request.ttl_ms = 0;
    client->request.twist = TWIST_NONE;
    choose_value(client, &client->request);
}

void choice_make(struct client *client)
{
    struct sim_workload *workload = workload_of(client);
    workload->operations_left--;
    if (workload->fill_count > client->number && nk_prng_chance(prng_of(client), 800000)) {
        filler_choose(client);
        return;
    }
    client->errand = ERRAND_OPERATION;
    if (nk_prng_chance(prng_of(client), workload->odd_chance)) {
        client->errand =
            (enum errand)nk_prng_between(prng_of(client), ERRAND_REPEAT, ERRAND_NONSENSE);
    }
    if (client->errand == ERRAND_REPEAT || client->errand == ERRAND_MISUSE) {
        client->old = some_finished(client);
        client->errand = client->old != NULL ? client->errand : ERRAND_OPERATION;
    }
    switch (client->errand) {
    case ERRAND_REPEAT:
        client->request = client->old->request;
        break;
    case ERRAND_MISUSE:
        choose_misuse(client);
        break;
    case ERRAND_NONSENSE:
        client->request = (struct request){.kind = HISTORY_GET, .consistency = ""};
        break;
    case ERRAND_OPERATION:
    case ERRAND_NONE:
    case ERRAND_FILL:
        choose_request(client);
        break;
    }
}

/* ---- The quiet end ---- */

static void choose_last_write(struct client *client)
{
    client->errand = ERRAND_OPERATION;
    client->request = (struct request){.kind = HISTORY_PUT, .consistency = ""};
    client->request.key = client->number % workload_of(client)->key_count;
    choose_value(client, &client->request);
    name_session(client);
}

bool choice_make_last(struct client *client)
{
    struct sim_workload *workload = workload_of(client);
    if (client->write_left) {
        client->write_left = false;
        choose_last_write(client);
        return true;
    }
    while (client->repeat_next < SESSIONS_KEPT_MAX) {
        client->old = &client->finished[client->repeat_next++];
        if (client->old->valid) {
            client->errand = ERRAND_REPEAT;
            client->request = client->old->request;
            return true;
        }
    }
    if (client->read_next >= workload->key_count) {
        return filler_choose_last(client);
    }
    client->errand = ERRAND_OPERATION;
    client->request = (struct request){.kind = HISTORY_GET, .consistency = "linearizable"};
    client->request.key = client->read_next;
    client->read_next += workload->client_count;
    return true;
}

/* Clients: each does one operation at a time through the gateway's own door, on few keys so that
 * they meet, and writes down what it saw.
 *
 * An operation whose outcome is unknown stays unknown, unless it carries an idempotency key: then
 * the client sends it again until it has an answer, and the whole is one operation. */

#include "tests/sim/sim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/hash.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/gateway/gateway.h"
#include "tests/sim/check/linearizable.h"

#define CLIENTS_MAX  6
#define KEYS_MAX     6
#define OPS_PER_KEY  220
#define SETTLE_READS 3

struct client;

/* One attempt at the gateway; outlives the operation if the gateway died meanwhile. */
struct attempt {
    struct gateway_request request;
    struct client *client; /* NULL: nobody waits any more */
    struct nk_buf message;
    uint64_t started_wall_ms;
};

struct client {
    struct sim_world *world;
    size_t number;
    struct sim_event event;
    struct attempt *attempt;
    bool busy; /* an operation is under way (perhaps between two attempts) */
    size_t key;
    size_t op; /* its place in the key's history */
    bool has_session;
    bool repeats;     /* checks at the end that an old answer still stands */
    char session[48]; /* idempotency key */
    uint64_t ttl_ms;
    uint64_t jumps_at_start;
    uint64_t value_bytes;
    const char *consistency;
    size_t settle_left;
    struct history_version seen[KEYS_MAX]; /* last version this client saw: for CAS */
    /* The last finished write with a session, to be repeated. */
    bool old_valid;
    struct history_op old_op;
    size_t old_key;
    char old_session[48];
    uint64_t old_ttl_ms;
    uint64_t old_value_bytes;
};

struct history {
    struct history_op *ops;
    size_t count;
};

struct sim_workload {
    struct client clients[CLIENTS_MAX];
    size_t client_count;
    size_t key_count;
    struct history histories[KEYS_MAX];
    uint64_t order; /* of invocations and returns */
    uint64_t value_next;
    uint64_t session_next;
    uint64_t think_us_max;
    uint32_t ttl_chance; /* per million */
    uint32_t session_chance;
    uint32_t local_reads;
    uint64_t value_bytes_max;
    bool settling;
    uint64_t finished;      /* operations with an answer */
    struct nk_map versions; /* shard, term, index -> who got it */
};

static void key_name(size_t key, char *out, size_t size)
{
    (void)snprintf(out, size, "key-%zu", key);
}

static struct history_op *op_of(struct client *client)
{
    return &client->world->workload->histories[client->key].ops[client->op];
}

/* The value of a write: its number, repeated to the length. */
static uint64_t value_number(struct nk_bytes value)
{
    return value.size >= 8 ? nk_get_u64(value.data) : 0;
}

/* ---- Choosing ---- */

static void choose_kind(struct client *client, struct history_op *op)
{
    struct nk_prng *prng = &client->world->prng_clients;
    switch (nk_prng_below(prng, 10)) {
    case 0:
    case 1:
    case 2:
        op->kind = HISTORY_GET;
        return;
    case 3:
        op->kind = HISTORY_DELETE;
        return;
    case 4:
        op->kind = HISTORY_CREATE;
        return;
    case 5:
    case 6:
        op->kind = client->seen[client->key].index != 0 ? HISTORY_CAS : HISTORY_PUT;
        op->expected = client->seen[client->key];
        return;
    default:
        op->kind = HISTORY_PUT;
        return;
    }
}

static void choose_details(struct client *client, struct history_op *op)
{
    struct sim_workload *workload = client->world->workload;
    struct nk_prng *prng = &client->world->prng_clients;
    static const char *const modes[] = {"", "lease", "linearizable", "strong"};
    client->consistency = modes[nk_prng_below(prng, NK_COUNT_OF(modes))];
    client->has_session = op->kind != HISTORY_GET && nk_prng_chance(prng, workload->session_chance);
    client->ttl_ms = 0;
    if (op->kind != HISTORY_GET && op->kind != HISTORY_DELETE) {
        op->value = ++workload->value_next;
        client->value_bytes = nk_prng_between(prng, 8, workload->value_bytes_max);
        if (nk_prng_chance(prng, workload->ttl_chance)) {
            client->ttl_ms = nk_prng_between(prng, 1, 2000);
        }
    }
    if (client->has_session) {
        (void)snprintf(client->session, sizeof client->session, "c%zu-%llu", client->number,
                       (unsigned long long)++workload->session_next);
    }
}

/* ---- Sending ---- */

static void pack_message(struct client *client, const struct history_op *op, struct nk_buf *out)
{
    char name[32];
    key_name(client->key, name, sizeof name);
    ProtobufCBinaryData key = {strlen(name), (uint8_t *)name};
    Norikv__V1__Version version = NORIKV__V1__VERSION__INIT;
    version.term = op->expected.term;
    version.index = op->expected.index;
    bool conditional = op->kind == HISTORY_CAS || op->kind == HISTORY_CREATE;
    Norikv__V1__PutRequest put = NORIKV__V1__PUT_REQUEST__INIT;
    Norikv__V1__GetRequest get = NORIKV__V1__GET_REQUEST__INIT;
    Norikv__V1__DeleteRequest del = NORIKV__V1__DELETE_REQUEST__INIT;
    struct nk_buf value = {0};
    const ProtobufCMessage *message = &put.base;
    if (op->kind == HISTORY_GET) {
        get.key = key;
        get.consistency = (char *)(uintptr_t)client->consistency;
        message = &get.base;
    } else if (op->kind == HISTORY_DELETE) {
        del.key = key;
        if (client->has_session) {
            del.idempotency_key = client->session;
        }
        message = &del.base;
    } else {
        while (value.size < client->value_bytes) {
            nk_put_u64(nk_buf_extend(&value, 8), op->value);
        }
        put.key = key;
        put.value.data = value.data;
        put.value.len = value.size;
        put.ttl_ms = client->ttl_ms;
        put.if_match = conditional ? &version : NULL;
        if (client->has_session) {
            put.idempotency_key = client->session;
        }
    }
    size_t size = protobuf_c_message_get_packed_size(message);
    (void)protobuf_c_message_pack(message, nk_buf_extend(out, size));
    nk_buf_deinit(&value);
}

static void attempt_done(struct gateway_request *request);

static void free_attempt(struct attempt *attempt)
{
    nk_buf_deinit(&attempt->message);
    nk_free(attempt);
}

static void again_in(struct client *client, uint64_t us)
{
    sim_at(client->world, client->world->now_us + us, &client->event);
}

static void send_attempt(struct client *client)
{
    struct sim_world *world = client->world;
    struct sim_process *gateway = &world->processes[SIM_GATEWAY];
    if (gateway->role == NULL) {
        again_in(client, 20 * NK_US_PER_MS);
        return;
    }
    struct history_op *op = op_of(client);
    struct attempt *attempt = nk_alloc_zero(1, sizeof *attempt);
    attempt->client = client;
    pack_message(client, op, &attempt->message);
    static const enum gateway_op ops[] = {
        [HISTORY_GET] = GATEWAY_OP_GET,       [HISTORY_PUT] = GATEWAY_OP_PUT,
        [HISTORY_CAS] = GATEWAY_OP_PUT,       [HISTORY_CREATE] = GATEWAY_OP_PUT,
        [HISTORY_DELETE] = GATEWAY_OP_DELETE,
    };
    attempt->request.op = ops[op->kind];
    attempt->request.message = nk_buf_bytes(&attempt->message);
    attempt->request.deadline_us =
        world->now_us + nk_prng_between(&world->prng_clients, 20, 1500) * NK_US_PER_MS;
    attempt->request.done = attempt_done;
    client->attempt = attempt;
    gateway_submit(gateway->role, &attempt->request);
    if (client->attempt == attempt && nk_prng_chance(&world->prng_clients, 10000)) {
        gateway_cancel(gateway->role, &attempt->request);
    }
}

static void begin(struct client *client)
{
    struct sim_world *world = client->world;
    struct sim_workload *workload = world->workload;
    client->key = (size_t)nk_prng_below(&world->prng_clients, workload->key_count);
    struct history *history = &workload->histories[client->key];
    if (history->count == OPS_PER_KEY && !workload->settling) {
        again_in(client, 100 * NK_US_PER_MS);
        return;
    }
    client->op = history->count++;
    NK_ASSERT(history->count <= OPS_PER_KEY + CLIENTS_MAX * SETTLE_READS);
    struct history_op *op = op_of(client);
    memset(op, 0, sizeof *op);
    if (workload->settling) {
        op->kind = HISTORY_GET;
        client->has_session = false;
        client->consistency = "linearizable";
    } else {
        choose_kind(client, op);
        choose_details(client, op);
    }
    op->outcome = HISTORY_UNKNOWN;
    op->invoked = ++workload->order;
    op->returned = UINT64_MAX;
    op->wall_min = sim_wall_ms(world);
    client->jumps_at_start = world->wall_jumps;
    if (client->ttl_ms != 0 && op->value != 0) {
        op->expires_first = op->wall_min + client->ttl_ms;
        op->expires_last = UINT64_MAX;
    }
    client->busy = true;
    send_attempt(client);
}

/* Near the end: a write that was answered long ago is sent once more, with its old key. */
static void repeat_old(struct client *client)
{
    client->repeats = true;
    client->old_valid = false;
    client->key = client->old_key;
    client->has_session = true;
    client->ttl_ms = client->old_ttl_ms;
    client->value_bytes = client->old_value_bytes;
    (void)snprintf(client->session, sizeof client->session, "%s", client->old_session);
    client->busy = true;
}

/* ---- Answers ---- */

static bool parse_found(const char *text, const char *before, struct history_version *out_version)
{
    const char *at = strstr(text, before);
    unsigned long long term;
    unsigned long long index;
    if (at == NULL || sscanf(at + strlen(before), "%llu.%llu", &term, &index) != 2) {
        return false;
    }
    out_version->term = term;
    out_version->index = index;
    return true;
}

static void check_version_is_new(struct client *client, const struct history_op *op)
{
    struct sim_world *world = client->world;
    char name[32];
    key_name(client->key, name, sizeof name);
    uint64_t id[3] = {
        nk_shard_of_key(nk_bytes_of_string(name), world->config.cluster.total_shards),
        op->version.term,
        op->version.index,
    };
    if (nk_map_put(&world->workload->versions, nk_bytes_of(id, sizeof id), client) != NULL) {
        sim_fail(world, "version %llu.%llu of shard %llu was given twice",
                 (unsigned long long)op->version.term, (unsigned long long)op->version.index,
                 (unsigned long long)id[0]);
    }
}

static void take_version(struct history_version *out, const Norikv__V1__Version *version)
{
    if (version != NULL) {
        out->term = version->term;
        out->index = version->index;
    }
}

static bool take_get(struct history_op *op, struct nk_bytes bytes)
{
    Norikv__V1__GetResponse *response =
        norikv__v1__get_response__unpack(NULL, bytes.size, bytes.data);
    if (response == NULL) {
        return false;
    }
    take_version(&op->version, response->version);
    op->value = response->version == NULL
                    ? 0
                    : value_number(nk_bytes_of(response->value.data, response->value.len));
    bool sound = response->version == NULL ? response->value.len == 0 : op->value != 0;
    norikv__v1__get_response__free_unpacked(response, NULL);
    return sound;
}

static bool take_put(struct history_op *op, struct nk_bytes bytes)
{
    Norikv__V1__PutResponse *response =
        norikv__v1__put_response__unpack(NULL, bytes.size, bytes.data);
    bool sound = response != NULL && response->version != NULL;
    if (sound) {
        take_version(&op->version, response->version);
    }
    if (response != NULL) {
        norikv__v1__put_response__free_unpacked(response, NULL);
    }
    return sound;
}

static bool take_delete(struct history_op *op, struct nk_bytes bytes)
{
    Norikv__V1__DeleteResponse *response =
        norikv__v1__delete_response__unpack(NULL, bytes.size, bytes.data);
    bool sound = response != NULL && response->version != NULL;
    if (sound) {
        take_version(&op->version, response->version);
        op->tombstoned = response->tombstoned != 0;
    }
    if (response != NULL) {
        norikv__v1__delete_response__free_unpacked(response, NULL);
    }
    return sound;
}

/* Fills in what the answer says.  False: it says nothing definite, or "not done". */
static bool take_answer(struct client *client, const struct gateway_request *request,
                        struct history_op *op)
{
    bool sound = true;
    if (request->err == NK_CONFLICT) {
        op->outcome = HISTORY_MISMATCH;
        sound = op->kind == HISTORY_CAS && parse_found(request->text, "found ", &op->found);
    } else if (request->err == NK_EXISTS) {
        op->outcome = HISTORY_EXISTS;
        sound = op->kind == HISTORY_CREATE && parse_found(request->text, "version ", &op->found);
    } else if (request->err == NK_OK) {
        op->outcome = HISTORY_DONE;
        sound = op->kind == HISTORY_GET      ? take_get(op, request->response)
                : op->kind == HISTORY_DELETE ? take_delete(op, request->response)
                                             : take_put(op, request->response);
    } else {
        return false;
    }
    if (!sound) {
        sim_fail(client->world, "an answer makes no sense: %s \"%s\"", nk_err_name(request->err),
                 request->text);
    }
    return true;
}

/* Nothing was done, for sure (an operation without attempts that might have been). */
static bool surely_nothing(enum nk_err err)
{
    return err == NK_NOT_LEADER || err == NK_UNAVAILABLE || err == NK_BUSY || err == NK_NO_SPACE ||
           err == NK_NO_QUORUM || err == NK_EXPIRED;
}

static void next_soon(struct client *client)
{
    again_in(client,
             nk_prng_below(&client->world->prng_clients, client->world->workload->think_us_max));
}

static void end_operation(struct client *client)
{
    client->busy = false;
    client->repeats = false;
    next_soon(client);
}

static void forget_operation(struct client *client)
{
    /* It never was: a get without an effect or a write that was refused.  As unknown it would do no
     * harm either, but every unknown costs the checker. */
    struct history_op *op = op_of(client);
    op->kind = HISTORY_GET;
    op->outcome = HISTORY_UNKNOWN;
    end_operation(client);
}

static void finish_operation(struct client *client, struct history_op *op)
{
    struct sim_world *world = client->world;
    struct sim_workload *workload = world->workload;
    op->returned = ++workload->order;
    op->wall_max = world->wall_max_ms;
    if (world->wall_jumps != client->jumps_at_start) {
        op->wall_min = 0;
    }
    if (op->expires_first != 0) {
        op->expires_last = world->wall_max_ms + client->ttl_ms;
    }
    workload->finished++;
    if (op->outcome == HISTORY_DONE && (op->kind != HISTORY_GET || op->value != 0)) {
        client->seen[client->key] = op->version;
    }
    if (op->outcome == HISTORY_DONE && op->kind != HISTORY_GET) {
        check_version_is_new(client, op);
    }
    if (op->kind != HISTORY_GET && client->has_session) {
        client->old_valid = true;
        client->old_op = *op;
        client->old_key = client->key;
        client->old_ttl_ms = client->ttl_ms;
        client->old_value_bytes = client->value_bytes;
        (void)snprintf(client->old_session, sizeof client->old_session, "%s", client->session);
    }
    end_operation(client);
}

static void finish_repeat(struct client *client, const struct history_op *now)
{
    const struct history_op *then = &client->old_op;
    if (now->outcome != then->outcome || now->version.term != then->version.term ||
        now->version.index != then->version.index || now->tombstoned != then->tombstoned) {
        sim_fail(client->world,
                 "a retry got another answer: session %s, version %llu.%llu, then %llu.%llu",
                 client->session, (unsigned long long)then->version.term,
                 (unsigned long long)then->version.index, (unsigned long long)now->version.term,
                 (unsigned long long)now->version.index);
    }
    end_operation(client);
}

static void take_repeat(struct client *client, const struct gateway_request *request)
{
    struct history_op now = client->old_op;
    now.version = now.found = (struct history_version){0, 0};
    now.tombstoned = false;
    now.outcome = HISTORY_UNKNOWN;
    if (take_answer(client, request, &now)) {
        finish_repeat(client, &now);
    } else {
        again_in(client, 50 * NK_US_PER_MS);
    }
}

static void attempt_done(struct gateway_request *request)
{
    struct attempt *attempt = NK_CONTAINER_OF(request, struct attempt, request);
    struct client *client = attempt->client;
    if (client == NULL) {
        free_attempt(attempt);
        return;
    }
    client->attempt = NULL;
    struct sim_world *world = client->world;
    sim_trace(world, "answer", nk_err_name(request->err), client->number);
    if (client->repeats) {
        take_repeat(client, request);
        free_attempt(attempt);
        return;
    }
    struct history_op *op = op_of(client);
    if (request->err == NK_INVALID) {
        sim_fail(world, "a good request was refused: %s", request->text);
    }
    if (take_answer(client, request, op)) {
        finish_operation(client, op);
    } else if (client->has_session) {
        again_in(client, nk_prng_between(&world->prng_clients, 1, 50) * NK_US_PER_MS);
    } else if (op->kind == HISTORY_GET || surely_nothing(request->err)) {
        forget_operation(client);
    } else {
        end_operation(client);
    }
    free_attempt(attempt);
}

void sim_workload_gateway_died(struct sim_world *world)
{
    struct sim_workload *workload = world->workload;
    for (size_t i = 0; i < workload->client_count; i++) {
        struct client *client = &workload->clients[i];
        if (client->attempt == NULL) {
            continue;
        }
        client->attempt->client =
            NULL; /* its done() still comes, from the deinit; nobody listens */
        client->attempt = NULL;
        if (client->repeats || client->has_session) {
            again_in(client, 10 * NK_US_PER_MS);
        } else if (op_of(client)->kind == HISTORY_GET) {
            forget_operation(client);
        } else {
            end_operation(client);
        }
    }
}

/* ---- The clients' clock ---- */

static void send_repeat(struct client *client)
{
    /* The old operation's contents at a place of its own: the history is not touched. */
    struct sim_process *gateway = &client->world->processes[SIM_GATEWAY];
    if (gateway->role == NULL) {
        again_in(client, 20 * NK_US_PER_MS);
        return;
    }
    struct attempt *attempt = nk_alloc_zero(1, sizeof *attempt);
    attempt->client = client;
    pack_message(client, &client->old_op, &attempt->message);
    attempt->request.op =
        client->old_op.kind == HISTORY_DELETE ? GATEWAY_OP_DELETE : GATEWAY_OP_PUT;
    attempt->request.message = nk_buf_bytes(&attempt->message);
    attempt->request.deadline_us = client->world->now_us + NK_US_PER_SEC;
    attempt->request.done = attempt_done;
    client->attempt = attempt;
    gateway_submit(gateway->role, &attempt->request);
}

static void client_fire(struct sim_event *event)
{
    struct client *client = NK_CONTAINER_OF(event, struct client, event);
    struct sim_world *world = client->world;
    if (world->fs == NULL) {
        return;
    }
    if (client->busy) {
        if (client->repeats) {
            send_repeat(client);
        } else {
            send_attempt(client);
        }
        return;
    }
    if (world->workload->settling) {
        if (client->old_valid) {
            repeat_old(client);
            send_repeat(client);
            return;
        }
        if (client->settle_left == 0) {
            return;
        }
        client->settle_left--;
    }
    begin(client);
}

void sim_workload_open(struct sim_world *world)
{
    struct nk_prng *prng = &world->prng_clients;
    struct sim_workload *workload = nk_alloc_zero(1, sizeof *workload);
    world->workload = workload;
    workload->client_count = (size_t)nk_prng_between(prng, 1, CLIENTS_MAX);
    workload->key_count = (size_t)nk_prng_between(prng, 1, KEYS_MAX);
    workload->think_us_max = nk_prng_between(prng, 1, 20) * NK_US_PER_MS;
    workload->ttl_chance = nk_prng_chance(prng, 400000) ? 300000 : 0;
    workload->session_chance = (uint32_t)nk_prng_below(prng, 1000000);
    workload->value_bytes_max = nk_prng_chance(prng, 500000) ? 64 : 2048;
    nk_map_init(&workload->versions);
    for (size_t i = 0; i < KEYS_MAX; i++) {
        workload->histories[i].ops = nk_alloc_zero(OPS_PER_KEY + CLIENTS_MAX * SETTLE_READS,
                                                   sizeof *workload->histories[i].ops);
    }
    for (size_t i = 0; i < workload->client_count; i++) {
        struct client *client = &workload->clients[i];
        client->world = world;
        client->number = i;
        client->event.name = "client";
        client->event.fire = client_fire;
        sim_at(world, nk_prng_below(prng, 50 * NK_US_PER_MS), &client->event);
    }
}

void sim_workload_close(struct sim_world *world)
{
    struct sim_workload *workload = world->workload;
    for (size_t i = 0; i < workload->client_count; i++) {
        NK_ASSERT(workload->clients[i].attempt == NULL);
        sim_cancel(world, &workload->clients[i].event);
    }
    for (size_t i = 0; i < KEYS_MAX; i++) {
        nk_free(workload->histories[i].ops);
    }
    nk_map_deinit(&workload->versions);
    nk_free(workload);
    world->workload = NULL;
}

void sim_workload_settle(struct sim_world *world)
{
    struct sim_workload *workload = world->workload;
    workload->settling = true;
    for (size_t i = 0; i < workload->client_count; i++) {
        struct client *client = &workload->clients[i];
        client->settle_left = SETTLE_READS;
        if (client->attempt == NULL && !nk_heap_contains(&client->event.due)) {
            again_in(client, 1);
        }
    }
}

bool sim_workload_done(const struct sim_world *world)
{
    const struct sim_workload *workload = world->workload;
    for (size_t i = 0; i < workload->client_count; i++) {
        const struct client *client = &workload->clients[i];
        if (client->busy || client->old_valid || client->settle_left > 0) {
            return false;
        }
    }
    return true;
}

static void print_history(const struct history *history, size_t stuck)
{
    static const char *const kinds[] = {"get", "put", "cas", "create", "delete"};
    static const char *const outcomes[] = {"unknown", "done", "mismatch", "exists"};
    for (size_t i = stuck > 12 ? stuck - 12 : 0; i < history->count && i < stuck + 8; i++) {
        const struct history_op *op = &history->ops[i];
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

void sim_workload_check(struct sim_world *world)
{
    struct sim_workload *workload = world->workload;
    for (size_t key = 0; key < workload->key_count; key++) {
        struct history *history = &workload->histories[key];
        for (size_t i = 0; i < history->count; i++) {
            if (history->ops[i].outcome == HISTORY_UNKNOWN) {
                history->ops[i].returned = UINT64_MAX;
                history->ops[i].wall_max = UINT64_MAX;
            }
        }
        struct history_report report;
        enum history_verdict verdict = history_check(history->ops, history->count, &report);
        if (verdict == HISTORY_VIOLATION) {
            print_history(history, report.stuck);
            sim_fail(world, "key-%zu: no order explains operation %zu", key, report.stuck);
        } else if (verdict == HISTORY_UNDECIDED) {
            sim_fail(world, "key-%zu: the history of %zu operations could not be decided", key,
                     history->count);
        }
    }
}

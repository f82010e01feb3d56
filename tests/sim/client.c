/* One client: one errand at a time through the gateway's own door, on few keys so that they meet.
 *
 * An attempt whose outcome is not known leaves the operation unknown, unless it carries an
 * idempotency key: then the client sends it again until it has an answer, and the whole is one
 * operation.  Now and then a client comes back to an old idempotency key: with the same request,
 * which must get the same answer as long as the key is remembered, or with another one. */

#include "tests/sim/workload.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

static struct nk_prng *prng_of(const struct client *client)
{
    return &client->world->prng_clients;
}

static struct sim_workload *workload_of(const struct client *client)
{
    return client->world->workload;
}

static void again_in(struct client *client, uint64_t us)
{
    sim_at(client->world, client->world->now_us + us, &client->event);
}

static bool is_write(const struct request *request)
{
    return request->kind != HISTORY_GET;
}

static bool has_session(const struct request *request)
{
    return request->session[0] != '\0';
}

void client_settle(struct client *client)
{
    const struct sim_workload *workload = workload_of(client);
    client->write_left = !workload->rotten;
    client->read_next = client->number;
    client->repeat_next = workload->rotten ? SESSIONS_KEPT_MAX : 0;
    client->fill_next = client->number;
    if (client->attempt == NULL && !nk_heap_contains(&client->event.due)) {
        again_in(client, 1);
    }
}

bool client_settled(const struct client *client)
{
    const struct sim_workload *workload = workload_of(client);
    return client->errand == ERRAND_NONE && client->repeat_next >= SESSIONS_KEPT_MAX &&
           client->read_next >= workload->key_count && client->fill_next >= workload->fill_count;
}

/* ---- Attempts ---- */

static void attempt_done(struct gateway_request *request);

static void free_attempt(struct attempt *attempt)
{
    nk_buf_deinit(&attempt->message);
    nk_free(attempt);
}

static void begin(struct client *client)
{
    struct sim_world *world = client->world;
    struct request *request = &client->request;
    uint64_t wall_ms = sim_wall_ms(world);
    client->uncertain = 0;
    client->begun_before = session_shard(client)->begun;
    client->made_before = session_shard(client)->made;
    client->host_before = world->processes[SIM_SHARDHOST].incarnation;
    client->record = (struct record){
        .op = {.kind = request->kind,
               .invoked = workload_order(world->workload),
               .returned = UINT64_MAX,
               .value = request->kind == HISTORY_GET ? 0 : request->value,
               .expected = request->expected,
               .wall_min = wall_ms,
               .wall_max = UINT64_MAX},
        .invoked_us = world->now_us,
        .ttl_ms = request->ttl_ms,
        .age = request->age,
    };
    if (request->ttl_ms != 0) {
        client->record.op.expires_first = wall_ms + request->ttl_ms;
        client->record.op.expires_last = UINT64_MAX;
    }
}

static uint64_t choose_deadline(struct client *client)
{
    const struct sim_workload *workload = workload_of(client);
    uint64_t now_us = client->world->now_us;
    if (workload->settling) {
        return now_us + 2 * NK_US_PER_SEC;
    }
    switch (nk_prng_below(prng_of(client), 20)) {
    case 0:
        return UINT64_MAX; /* the gateway's default */
    case 1:
        return now_us; /* too late already */
    case 2:
    case 3:
        return now_us + nk_prng_between(prng_of(client), 1, 20) * NK_US_PER_MS;
    default:
        return now_us + nk_prng_between(prng_of(client), 20, 1500) * NK_US_PER_MS;
    }
}

static void send_attempt(struct client *client)
{
    struct sim_world *world = client->world;
    struct sim_workload *workload = world->workload;
    struct sim_process *gateway = &world->processes[SIM_GATEWAY];
    if (gateway->role == NULL) {
        again_in(client, 20 * NK_US_PER_MS);
        return;
    }
    struct attempt *attempt = nk_alloc_zero(1, sizeof *attempt);
    attempt->client = client;
    if (client->errand == ERRAND_NONSENSE) {
        request_pack_nonsense(workload, prng_of(client), &attempt->request.op, &attempt->message);
    } else {
        attempt->request.op = request_operation(&client->request);
        request_pack(&client->request, workload_key(client), &attempt->message);
        session_shard(client)->begun += has_session(&client->request);
    }
    attempt->request.message = nk_buf_bytes(&attempt->message);
    attempt->request.deadline_us = choose_deadline(client);
    attempt->request.done = attempt_done;
    client->attempt = attempt;
    bool impatient =
        !workload->settling && nk_prng_chance(prng_of(client), workload->cancel_chance);
    uint64_t patience_us = nk_prng_below(prng_of(client), 20 * NK_US_PER_MS);
    gateway_submit(gateway->role, &attempt->request);
    if (client->attempt == attempt && impatient) {
        sim_at(world, world->now_us + patience_us, &client->cancel);
    }
}

static void cancel_fire(struct sim_event *event)
{
    struct client *client = NK_CONTAINER_OF(event, struct client, cancel);
    struct sim_process *gateway = &client->world->processes[SIM_GATEWAY];
    if (!client->world->ending && client->attempt != NULL && gateway->role != NULL &&
        !client->attempt->cancelled) {
        client->attempt->cancelled = true;
        gateway_cancel(gateway->role, &client->attempt->request);
    }
}

static void client_fire(struct sim_event *event)
{
    struct client *client = NK_CONTAINER_OF(event, struct client, event);
    struct sim_workload *workload = workload_of(client);
    if (client->world->ending || client->attempt != NULL) {
        return;
    }
    if (client->errand == ERRAND_NONE) {
        if (workload->settling) {
            if (!choice_make_last(client)) {
                return;
            }
        } else if (workload->operations_left > 0) {
            choice_make(client);
        } else {
            return;
        }
        begin(client);
    }
    send_attempt(client);
}

/* ---- The end of an errand ---- */

static void end_errand(struct client *client)
{
    client->errand = ERRAND_NONE;
    client->old = NULL;
    again_in(client, workload_of(client)->settling
                         ? 1
                         : nk_prng_below(prng_of(client), workload_of(client)->think_us_max));
}

/* What may have happened besides, or instead, of what was answered. */
static void add_unknowns(struct client *client, size_t count)
{
    struct record unknown = client->record;
    unknown.op.outcome = HISTORY_UNKNOWN;
    unknown.op.returned = UINT64_MAX;
    unknown.op.wall_max = UINT64_MAX;
    unknown.op.version = (struct history_version){0, 0};
    unknown.op.expires_last = unknown.op.expires_first != 0 ? UINT64_MAX : 0;
    workload_key(client)->unknown_count += count;
    for (size_t i = 0; i < count; i++) {
        workload_add_record(workload_of(client), client->request.key, &unknown);
    }
}

/* How often the request may have been sent to a shardhost: the gateway too repeats what has an
 * idempotency key when the shardhost that had it is gone. */
static size_t sent_count(const struct client *client)
{
    const struct sim_process *host = &client->world->processes[SIM_SHARDHOST];
    return client->uncertain + (size_t)(host->incarnation - client->host_before);
}

/* Nobody will ever know. */
static void leave_unknown(struct client *client)
{
    if (client->errand == ERRAND_FILL) {
        filler_unanswered(client);
        end_errand(client);
        return;
    }
    if (is_write(&client->request) && client->uncertain > 0) {
        bool repeated = has_session(&client->request) && session_at_risk(client);
        add_unknowns(client, repeated ? sent_count(client) : 1);
    }
    if (client->old != NULL) {
        client->old->valid = false;
    }
    end_errand(client);
}

/* A version is given to one write of the shard, and no smaller one after it. */
static void check_version(struct client *client)
{
    struct sim_world *world = client->world;
    const struct history_version *version = &client->record.op.version;
    uint64_t id[3] = {workload_key(client)->shard, version->term, version->index};
    if (nk_map_put(&world->workload->versions, nk_bytes_of(id, sizeof id), client) != NULL) {
        sim_fail(world, SIM_CHECK_VERSION, "version %llu.%llu of shard %llu was given twice",
                 (unsigned long long)version->term, (unsigned long long)version->index,
                 (unsigned long long)id[0]);
    }
}

static void close_record(struct client *client)
{
    struct sim_world *world = client->world;
    struct history_op *op = &client->record.op;
    op->returned = workload_order(world->workload);
    op->wall_max = world->wall_max_ms;
    if (op->expires_first != 0) {
        op->expires_last = world->wall_max_ms + client->record.ttl_ms;
    }
}

static void finish_operation(struct client *client)
{
    struct history_op *op = &client->record.op;
    bool at_risk = sent_count(client) > 0 && session_at_risk(client);
    close_record(client);
    if (op->outcome == HISTORY_DONE && (op->kind != HISTORY_GET || op->value != 0)) {
        client->seen[client->request.key] = op->version;
    }
    if (op->outcome == HISTORY_DONE && op->kind != HISTORY_GET) {
        check_version(client);
    }
    workload_add_record(workload_of(client), client->request.key, &client->record);
    if (client->old != NULL) {
        client->old->valid = false; /* the name belongs to this operation now */
    }
    if (has_session(&client->request)) {
        if (at_risk) {
            add_unknowns(client, sent_count(client));
        } else {
            session_shard(client)->made++;
            session_keep(client);
        }
    }
    end_errand(client);
}

static bool same_answer(const struct history_op *a, const struct history_op *b)
{
    return a->outcome == b->outcome && a->version.term == b->version.term &&
           a->version.index == b->version.index && a->found.term == b->found.term &&
           a->found.index == b->found.index && a->tombstoned == b->tombstoned;
}

static void finish_repeat(struct client *client)
{
    struct finished *old = client->old;
    const struct history_op *now = &client->record.op;
    if (same_answer(&old->op, now)) {
        if (now->outcome == HISTORY_DONE && session_surely_forgotten(client, old)) {
            sim_fail(client->world, SIM_CHECK_SESSION,
                     "an idempotency key was remembered beyond its bounds: %s",
                     client->request.session);
        }
        if (!session_surely_remembered(client, old)) {
            old->valid = false; /* a refusal may have been decided, and remembered, anew */
        }
        end_errand(client);
        return;
    }
    if (session_surely_remembered(client, old)) {
        sim_fail(client->world, SIM_CHECK_SESSION,
                 "a retry got another answer: key %s, version %llu.%llu, then %llu.%llu",
                 client->request.session, (unsigned long long)old->op.version.term,
                 (unsigned long long)old->op.version.index, (unsigned long long)now->version.term,
                 (unsigned long long)now->version.index);
    }
    finish_operation(client); /* it was forgotten, so this was a new one */
}

/* A definite answer is there. */
static void finish(struct client *client)
{
    switch (client->errand) {
    case ERRAND_REPEAT:
        finish_repeat(client);
        break;
    case ERRAND_MISUSE:
        if (session_surely_remembered(client, client->old)) {
            sim_fail(client->world, SIM_CHECK_SESSION,
                     "another request under the idempotency key %s was carried out",
                     client->request.session);
        }
        finish_operation(client);
        break;
    case ERRAND_NONSENSE:
        sim_fail(client->world, SIM_CHECK_ANSWER, "nonsense was carried out");
        end_errand(client);
        break;
    case ERRAND_FILL:
        filler_answered(client);
        end_errand(client);
        break;
    case ERRAND_OPERATION:
    case ERRAND_NONE:
        finish_operation(client);
        break;
    }
}

/* ---- Answers ---- */

/* The attempt did nothing, for sure. */
static bool surely_nothing(enum nk_err err)
{
    return err == NK_NOT_LEADER || err == NK_UNAVAILABLE || err == NK_BUSY || err == NK_NO_SPACE ||
           err == NK_EXPIRED || err == NK_FENCED;
}

static bool may_be_answered(const struct client *client, const struct attempt *attempt)
{
    const struct request *request = &client->request;
    switch (attempt->request.err) {
    case NK_NOT_LEADER:
    case NK_UNAVAILABLE:
    case NK_BUSY:
    case NK_EXPIRED:
    case NK_FENCED: /* whether it had to be is judged where it says so (process.c) */
        return true;
    case NK_NO_SPACE:
        /* What needs no more than the log is refused so only if the disk has really been full. */
        return (is_write(request) && request->kind != HISTORY_DELETE) ||
               sim_fs_space_faults(client->world->fs) > 0;
    case NK_TIMEOUT:
        return is_write(request);
    case NK_CANCELLED:
        return attempt->cancelled;
    default:
        return false;
    }
}

/* The request was refused as one that makes no sense. */
static void refused(struct client *client, const struct attempt *attempt)
{
    bool about_session = strstr(attempt->request.text, "idempotency_key was used") != NULL;
    bool expected = client->errand == ERRAND_NONSENSE || client->request.twist == TWIST_LONG_TAG ||
                    (client->errand == ERRAND_MISUSE && about_session);
    if (!expected) {
        sim_fail(client->world, about_session ? SIM_CHECK_SESSION : SIM_CHECK_ANSWER,
                 "a good request was refused: %s", attempt->request.text);
    }
    if (client->errand == ERRAND_MISUSE && session_surely_forgotten(client, client->old)) {
        sim_fail(client->world, SIM_CHECK_SESSION,
                 "an idempotency key was remembered beyond its bounds: %s",
                 client->request.session);
    }
    if (client->uncertain > 0) {
        leave_unknown(client);
    } else {
        end_errand(client);
    }
}

/* No definite answer: shall it try again? */
static void unanswered(struct client *client, bool nothing)
{
    const struct sim_workload *workload = workload_of(client);
    client->uncertain += !nothing;
    bool last_read = !is_write(&client->request) && workload->settling && !workload->rotten;
    bool insists =
        client->errand != ERRAND_NONSENSE && (has_session(&client->request) || last_read);
    if (insists && (workload->settling || !nk_prng_chance(prng_of(client), 20000))) {
        again_in(client, nk_prng_between(prng_of(client), 1, 50) * NK_US_PER_MS);
    } else {
        leave_unknown(client);
    }
}

static void take_answer(struct client *client, const struct attempt *attempt)
{
    struct sim_world *world = client->world;
    const struct gateway_request *answer = &attempt->request;
    if (answer->err == NK_INVALID || answer->err == NK_TOO_LARGE) {
        refused(client, attempt);
        return;
    }
    bool definite = answer->err == NK_OK || answer->err == NK_CONFLICT || answer->err == NK_EXISTS;
    if (definite && client->errand != ERRAND_NONSENSE &&
        !request_read_answer(&client->request, answer, &client->record.op)) {
        sim_fail(world, SIM_CHECK_ANSWER, "an answer makes no sense: %s \"%s\"",
                 nk_err_name(answer->err), answer->text);
    }
    if (definite) {
        finish(client);
        return;
    }
    if (!may_be_answered(client, attempt)) {
        sim_fail(world, SIM_CHECK_ANSWER, "%s cannot be answered with %s \"%s\"",
                 is_write(&client->request) ? "a write" : "a read", nk_err_name(answer->err),
                 answer->text);
    }
    unanswered(client, surely_nothing(answer->err));
}

static void attempt_done(struct gateway_request *request)
{
    struct attempt *attempt = NK_CONTAINER_OF(request, struct attempt, request);
    struct client *client = attempt->client;
    if (client != NULL) {
        client->attempt = NULL;
        sim_cancel(client->world, &client->cancel);
        sim_trace(client->world, "answer", nk_err_name(request->err), client->number);
        take_answer(client, attempt);
    }
    free_attempt(attempt);
}

/* The connection breaks; done() still comes, from the role's deinit, and nobody listens. */
void client_gateway_dies(struct client *client)
{
    if (client->attempt == NULL) {
        return;
    }
    client->attempt->client = NULL;
    client->attempt = NULL;
    sim_cancel(client->world, &client->cancel);
    unanswered(client, false);
}

/* ---- Opening and closing ---- */

void client_open(struct sim_world *world, size_t number)
{
    struct client *client = &world->workload->clients[number];
    client->world = world;
    client->number = number;
    client->event.name = "client";
    client->event.fire = client_fire;
    client->cancel.name = "cancel";
    client->cancel.fire = cancel_fire;
    client->read_next = KEYS_MAX;
    client->repeat_next = SESSIONS_KEPT_MAX;
    client->fill_next = FILLS_MAX;
    sim_at(world, nk_prng_below(&world->prng_clients, 50 * NK_US_PER_MS), &client->event);
}

void client_close(struct client *client)
{
    NK_ASSERT(client->attempt == NULL);
    sim_cancel(client->world, &client->event);
    sim_cancel(client->world, &client->cancel);
}

/* One shard: carries out what its raft group asks for, in the order raft.h gives.
 *
 *   before: host.c hands over a request (a write: wire.c -> here -> raft/)
 *   after:  raftlog/ makes the entry durable, then kv/apply.c, then wire.c answers
 *
 * Invariants: `proposed` rises by index; an entry's waiter is answered when exactly that entry
 * (term and index) has been applied, or told NK_NOT_LEADER when another one took its place: then it
 * has not been and never will be applied.  Payloads of committed entries stay valid until APPLIED.
 */

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "proto/frame.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/shardhost/host.h"

/* A burst that the tree would take later than this is refused instead. */
#define WRITE_WAIT_US_MAX (20 * NK_US_PER_MS)

struct pending *pending_new(struct host *host, struct caller caller,
                            Norikv__Internal__V1__ShardOp op, uint64_t deadline_us,
                            struct nk_bytes request)
{
    struct pending *pending = nk_alloc(sizeof *pending + request.size);
    memset(pending, 0, sizeof *pending);
    nk_list_init(&pending->link);
    nk_list_init(&pending->same_hash);
    pending->caller = caller;
    pending->op = op;
    pending->arrived_us = host_now_us(host);
    pending->deadline_us = deadline_us;
    pending->request_size = request.size;
    if (request.size > 0) {
        memcpy(pending->request, request.data, request.size);
    }
    host->pending_count++;
    host->pending_bytes += request.size;
    return pending;
}

void pending_free(struct host *host, struct pending **pending)
{
    if (*pending == NULL) {
        return;
    }
    NK_ASSERT(host->pending_count > 0);
    NK_ASSERT(host->pending_bytes >= (*pending)->request_size);
    host->pending_count--;
    host->pending_bytes -= (*pending)->request_size;
    pending_resume(*pending);
    if ((*pending)->read_job != NULL) {
        *(*pending)->read_job = NULL;
    }
    nk_free(*pending);
    *pending = NULL;
}

/* A gateway numbers its requests one by one, so their low bits spread by themselves. */
static struct nk_list *bucket_of(struct host *host, struct caller caller)
{
    uint64_t hash = caller.id + caller.peer * UINT64_C(0x9E3779B97F4A7C15);
    return &host->waiters[hash & (HOST_WAITER_BUCKETS - 1)];
}

void pending_await(struct host *host, struct nk_list *list, struct pending *pending)
{
    nk_list_append(list, &pending->link);
    nk_list_append(bucket_of(host, pending->caller), &pending->same_hash);
}

void pending_resume(struct pending *pending)
{
    nk_list_remove(&pending->link);
    nk_list_remove(&pending->same_hash);
}

struct pending *pending_find(struct host *host, struct caller caller)
{
    struct nk_list *bucket = bucket_of(host, caller);
    for (struct nk_list *at = bucket->next; at != bucket; at = at->next) {
        struct pending *pending = NK_CONTAINER_OF(at, struct pending, same_hash);
        if (pending->caller.peer == caller.peer && pending->caller.id == caller.id) {
            return pending;
        }
    }
    return NULL;
}

static struct pending *pending_of(struct nk_list *link)
{
    return NK_CONTAINER_OF(link, struct pending, link);
}

static bool is_write(Norikv__Internal__V1__ShardOp op)
{
    return op == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT ||
           op == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_DELETE;
}

static void refuse_all(struct shard *shard, struct nk_list *list, enum nk_err err,
                       const char *message)
{
    while (!nk_list_empty(list)) {
        struct pending *pending = pending_of(list->next);
        wire_reply(shard->host, pending->caller, err, message, NULL);
        pending_free(shard->host, &pending);
    }
}

/* Proposed writes may be in the log and be applied after a repair: their outcome is unknown.  Gets
 * that wait for an entry have none. */
static void refuse_proposed(struct shard *shard)
{
    while (!nk_list_empty(&shard->proposed)) {
        struct pending *pending = pending_of(shard->proposed.next);
        bool write = is_write(pending->op);
        wire_reply(shard->host, pending->caller, write ? NK_TIMEOUT : NK_FENCED,
                   write ? "COMMIT_TIMEOUT: shard was fenced" : SHARD_FENCED_TEXT, NULL);
        pending_free(shard->host, &pending);
    }
}

/* Who leads the shard, as far as this replica goes. */
static void tell_gossip(struct shard *shard)
{
    const char *self = shard->host->config->node_id;
    struct nk_cluster_shard info = {0};
    info.shard = shard->id;
    info.term = shard->term_reported;
    (void)snprintf(info.replica_nodes[0], sizeof info.replica_nodes[0], "%s", self);
    info.replica_count = 1;
    if (shard->leads) {
        (void)snprintf(info.leader_node, sizeof info.leader_node, "%s", self);
    }
    nk_member_report_shard(shard->host->member, &info);
}

static void mark_fenced(struct shard *shard, enum nk_err err, const char *while_doing,
                        const struct lsm_fault *fault)
{
    shard->state = SHARD_FENCED;
    nk_log_error(&shard->host->env->log, "shardhost.shard",
                 "the shard is fenced: its data cannot be trusted",
                 NK_LOG_NUMBER("shard", shard->id), NK_LOG_TEXT("error", nk_err_name(err)),
                 NK_LOG_TEXT("while", while_doing), NK_LOG_TEXT("file", fault->file),
                 NK_LOG_NUMBER("offset", fault->offset),
                 NK_LOG_TEXT("what", fault->what != NULL ? fault->what : ""));
    shard->leads = false;
    tell_gossip(shard);
    shard->host->fenced_count++;
    metrics_fenced(shard);
}

/* What raft keeps of this shard until it is applied counts for the whole process. */
static void charge_entries(struct shard *shard, size_t bytes)
{
    struct host *host = shard->host;
    NK_ASSERT(host->entry_bytes >= shard->entry_bytes);
    host->entry_bytes = host->entry_bytes - shard->entry_bytes + bytes;
    shard->entry_bytes = bytes;
}

void shard_fence(struct shard *shard, enum nk_err err, const char *while_doing)
{
    if (shard->state == SHARD_FENCED) {
        return;
    }
    mark_fenced(shard, err, while_doing, lsm_last_fault(shard->db));
    refuse_all(shard, &shard->waiting, NK_FENCED, SHARD_FENCED_TEXT);
    refuse_all(shard, &shard->reading, NK_FENCED, SHARD_FENCED_TEXT);
    refuse_all(shard, &shard->fetching, NK_FENCED, SHARD_FENCED_TEXT);
    refuse_all(shard, &shard->runnable, NK_FENCED, SHARD_FENCED_TEXT);
    refuse_proposed(shard);
    nk_heap_remove(&shard->host->timers, &shard->timer);
    charge_entries(shard, 0); /* they stay in memory, but never grow: the other shards go on */
    host_shard_space(shard, true);
    lsm_hold_work(shard->db);
}

/* ---- Answers to writes ---- */

static void reply_put(struct shard *shard, struct caller caller, const struct kv_result *result)
{
    Norikv__V1__Version version = NORIKV__V1__VERSION__INIT;
    version.term = result->version.term;
    version.index = result->version.index;
    Norikv__V1__PutResponse response = NORIKV__V1__PUT_RESPONSE__INIT;
    response.version = &version;
    wire_reply(shard->host, caller, NK_OK, NULL, &response.base);
}

static void reply_delete(struct shard *shard, struct caller caller, const struct kv_result *result)
{
    Norikv__V1__Version version = NORIKV__V1__VERSION__INIT;
    version.term = result->version.term;
    version.index = result->version.index;
    Norikv__V1__DeleteResponse response = NORIKV__V1__DELETE_RESPONSE__INIT;
    response.version = &version;
    response.tombstoned = result->tombstoned;
    wire_reply(shard->host, caller, NK_OK, NULL, &response.base);
}

static void reply_write(struct shard *shard, const struct pending *pending,
                        const struct kv_result *result)
{
    char message[160];
    switch (result->err) {
    case NK_OK:
        if (pending->op == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT) {
            reply_put(shard, pending->caller, result);
        } else {
            reply_delete(shard, pending->caller, result);
        }
        return;
    case NK_CONFLICT:
        (void)snprintf(
            message, sizeof message, "version mismatch: expected %llu.%llu, found %llu.%llu",
            (unsigned long long)result->expected.term, (unsigned long long)result->expected.index,
            (unsigned long long)result->found.term, (unsigned long long)result->found.index);
        break;
    case NK_EXISTS:
        (void)snprintf(message, sizeof message, "key exists: version %llu.%llu",
                       (unsigned long long)result->found.term,
                       (unsigned long long)result->found.index);
        break;
    case NK_INVALID:
        (void)snprintf(message, sizeof message,
                       "idempotency_key was used before with a different request");
        break;
    default:
        NK_ASSERT(!"kv_apply gives no other outcome");
    }
    wire_reply(shard->host, pending->caller, result->err, message, NULL);
}

/* ---- What raft asks for ---- */

static void stage(struct shard *shard, const struct raft_ready *ready)
{
    struct host *host = shard->host;
    if (ready->term != shard->term_staged || ready->voted_for != shard->vote_staged) {
        struct raftlog_record state = {0};
        state.kind = RAFTLOG_STATE;
        state.shard = shard->id;
        state.term = ready->term;
        state.index = ready->voted_for;
        raftlog_stage(host->log, &state);
        shard->term_staged = ready->term;
        shard->vote_staged = ready->voted_for;
    }
    for (size_t i = 0; i < ready->entry_count; i++) {
        struct raftlog_record record = {0};
        record.kind = RAFTLOG_ENTRY;
        record.shard = shard->id;
        record.term = ready->entries[i].term;
        record.index = ready->entries[i].index;
        record.entry_kind = (uint8_t)ready->entries[i].kind;
        record.payload = ready->entries[i].payload;
        raftlog_stage(host->log, &record);
    }
    shard->persist_staged = ready->persist_id;
    host_mark_dirty(host, shard);
}

/* Everything that waited for `entry` or an earlier one.  `result` is the entry's own outcome. */
static void serve_applied(struct shard *shard, const struct raft_entry *entry,
                          const struct kv_result *result)
{
    if (entry->index >= shard->clock_index) {
        shard->clock_index = 0;
    }
    while (!nk_list_empty(&shard->proposed)) {
        struct pending *pending = pending_of(shard->proposed.next);
        if (pending->index > entry->index) {
            return;
        }
        if (pending->op == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_GET ||
            pending->op == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PROBE) {
            nk_list_remove(&pending->link);
            nk_list_append(&shard->runnable, &pending->link);
            continue;
        }
        if (pending->index == entry->index && pending->term == entry->term) {
            reply_write(shard, pending, result);
        } else {
            wire_reply(shard->host, pending->caller, NK_NOT_LEADER,
                       "NOT_LEADER: another leader's entry took the place", NULL);
        }
        pending_free(shard->host, &pending);
    }
}

/* Applies what has been committed; returns the last index, 0 if there was none. */
static raft_index apply(struct shard *shard, const struct raft_ready *ready)
{
    struct host *host = shard->host;
    if (ready->committed_count == 0) {
        return 0;
    }
    uint64_t started_us = host_now_us(host);
    if (shard->proposed_at_us != 0) {
        metrics_committed(shard, started_us - shard->proposed_at_us);
        shard->proposed_at_us = 0;
    }
    for (size_t i = 0; i < ready->committed_count; i++) {
        const struct raft_entry *entry = &ready->committed[i];
        struct lsm_version version = {entry->term, entry->index};
        struct kv_result result = {0};
        enum nk_err err = kv_apply(shard->kv, version, entry->payload, &result);
        if (err != NK_OK) {
            shard_fence(shard, err, "applying an entry");
            return 0;
        }
        serve_applied(shard, entry, &result);
    }
    metrics_applied(host, host_now_us(host) - started_us);
    return ready->committed[ready->committed_count - 1].index;
}

static void report(struct shard *shard)
{
    struct host *host = shard->host;
    struct raft_status status;
    raft_get_status(shard->raft, host_now_us(host) / NK_US_PER_MS, &status);
    charge_entries(shard, status.unapplied_bytes);
    bool leads = status.role == RAFT_ROLE_LEADER;
    if (leads != shard->leads || status.term != shard->term_reported) {
        if (leads) {
            metrics_elected(shard);
        }
        shard->leads = leads;
        shard->term_reported = status.term;
        tell_gossip(shard);
    }
    metrics_shard_update(shard, &status);
}

static void set_timer(struct shard *shard, uint64_t next_tick_ms)
{
    struct nk_heap *timers = &shard->host->timers;
    uint64_t due_us = next_tick_ms == UINT64_MAX ? UINT64_MAX : next_tick_ms * NK_US_PER_MS;
    if (nk_heap_contains(&shard->timer)) {
        if (shard->timer.order == due_us) {
            return;
        }
        nk_heap_remove(timers, &shard->timer);
    }
    if (due_us != UINT64_MAX) {
        shard->timer.order = due_us;
        nk_heap_push(timers, &shard->timer);
    }
}

/* Gets that became ready inside a step are served after it: serving one may propose, and a ready is
 * void after the next step.  A get that steps again adds to the list that this loop empties. */
static void run_gets(struct shard *shard)
{
    if (shard->running) {
        return;
    }
    shard->running = true;
    while (!nk_list_empty(&shard->runnable)) {
        struct pending *pending = pending_of(shard->runnable.next);
        nk_list_remove(&pending->link);
        reads_look_up(shard, &pending);
    }
    shard->running = false;
}

enum nk_err shard_step(struct shard *shard, const struct raft_event *event,
                       raft_index *out_proposed)
{
    NK_ASSERT(shard->state == SHARD_RUNNING);
    struct raft_event next = *event;
    struct raft_ready ready;
    enum nk_err first = NK_OK;
    for (bool again = false;; again = true) {
        uint64_t now_ms = host_now_us(shard->host) / NK_US_PER_MS;
        enum nk_err err = raft_step(shard->raft, &next, now_ms, &ready);
        if (!again) {
            first = err;
            if (out_proposed != NULL) {
                *out_proposed = ready.proposed_first;
            }
        }
        /* One voter talks to nobody. */
        NK_ASSERT(ready.messages_now_count == 0);
        NK_ASSERT(ready.messages_after_sync_count == 0);
        if (ready.persist_id != 0) {
            stage(shard, &ready);
        }
        raft_index applied = apply(shard, &ready);
        if (shard->state == SHARD_FENCED) {
            return first;
        }
        for (size_t i = 0; i < ready.read_count; i++) {
            reads_confirmed(shard, &ready.reads[i]);
        }
        set_timer(shard, ready.next_tick_ms);
        if (applied == 0) {
            break;
        }
        next.type = RAFT_EVENT_APPLIED;
        next.u.applied = applied;
    }
    report(shard);
    run_gets(shard);
    return first;
}

static struct kv_stamp stamp_now(const struct shard *shard)
{
    const struct host *host = shard->host;
    return (struct kv_stamp){
        .now_ms = nk_max_u64(nk_wall_ms(&host->env->clock), kv_time_ms(shard->kv)),
        .session_ttl_ms = host->config->limits.idempotency_ttl_ms,
        .session_count_max = host->config->limits.idempotency_max_per_shard,
    };
}

enum nk_err shard_propose(struct shard *shard, enum kv_op op, struct nk_bytes request,
                          struct pending *pending)
{
    struct host *host = shard->host;
    struct kv_stamp stamp = stamp_now(shard);
    nk_buf_clear(&host->scratch);
    kv_command_encode(op, &stamp, request, &host->scratch);
    struct nk_bytes payload = nk_buf_bytes(&host->scratch);
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE};
    event.u.propose.payloads = &payload;
    event.u.propose.count = 1;
    /* One voter's proposal is never committed inside the step that proposes it, since its own disk
     * comes first; so the pending can join the list afterwards. */
    raft_index index = 0;
    enum nk_err err = shard_step(shard, &event, &index);
    if (err != NK_OK) {
        return err;
    }
    struct raft_status status;
    raft_get_status(shard->raft, host_now_us(host) / NK_US_PER_MS, &status);
    pending->term = status.term;
    shard_wait_applied(shard, pending, index);
    if (shard->proposed_at_us == 0) {
        shard->proposed_at_us = host_now_us(host);
    }
    return NK_OK;
}

enum nk_err shard_await_clock(struct shard *shard, struct pending *pending,
                              const char **out_message)
{
    /* That the round is full does not matter: one CLOCK of each shard is little. */
    enum nk_err err = host_log_refusal(shard->host, out_message);
    if (err != NK_OK) {
        return err;
    }
    if (shard->clock_index != 0) {
        shard_wait_applied(shard, pending, shard->clock_index);
        return NK_OK;
    }
    err = shard_propose(shard, KV_OP_CLOCK, nk_bytes_of(NULL, 0), pending);
    if (err == NK_OK) {
        shard->clock_index = pending->index;
    } else if (err == NK_BUSY) {
        *out_message = "OVERLOADED: too many writes wait in this shard";
    } else {
        err = NK_NOT_LEADER;
        *out_message = "NOT_LEADER";
    }
    return err;
}

void shard_wait_applied(struct shard *shard, struct pending *pending, raft_index index)
{
    NK_ASSERT(index > 0);
    pending->index = index;
    struct nk_list *after = shard->proposed.prev;
    while (after != &shard->proposed && pending_of(after)->index > index) {
        after = after->prev;
    }
    nk_list_insert_before(after->next, &pending->link);
}

/* ---- Requests ---- */

/* A write whose apply would have to read the disk is fetched for first, once: `fetched`.  The apply
 * would stop all shards meanwhile, and cannot be put off, since its order is the log's. */
static void propose_write(struct shard *shard, struct caller caller,
                          Norikv__Internal__V1__ShardOp op, uint64_t deadline_us,
                          struct nk_bytes request, bool fetched)
{
    struct host *host = shard->host;
    bool is_put = op == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PUT;
    enum kv_op command = is_put ? KV_OP_PUT : KV_OP_DELETE;
    struct kv_stamp stamp = stamp_now(shard);
    enum nk_err memory = fetched ? kv_request_check(shard->kv, command, request)
                                 : kv_foresee(shard->kv, command, &stamp, request, &host->value);
    /* Gateways read more leniently than the library that carries requests out. */
    if (memory == NK_INVALID) {
        wire_reply(host, caller, NK_INVALID,
                   "the request is no valid protobuf message of its type, or beyond a limit", NULL);
        return;
    }
    if (host->disk_full && is_put) {
        wire_reply(host, caller, NK_NO_SPACE, "DISK_FULL", NULL);
        return;
    }
    const char *message;
    enum nk_err err = host_log_refusal(host, &message);
    if (err != NK_OK) {
        wire_reply(host, caller, err, message, NULL);
        return;
    }
    if (lsm_write_wait_us(shard->db, host_now_us(host)) > WRITE_WAIT_US_MAX) {
        wire_reply(host, caller, NK_BUSY, "OVERLOADED: the disk does not keep up", NULL);
        return;
    }
    if (memory == NK_WOULD_BLOCK) {
        struct pending *cold = pending_new(host, caller, op, deadline_us, request);
        reads_fetch(shard, &cold, nk_buf_bytes(&host->value));
        return;
    }
    struct pending *pending = pending_new(host, caller, op, deadline_us, nk_bytes_of(NULL, 0));
    err = shard_propose(shard, command, request, pending);
    if (err == NK_BUSY) {
        wire_reply(host, caller, NK_BUSY, "OVERLOADED: too many writes wait in this shard", NULL);
        pending_free(host, &pending);
    } else if (err != NK_OK) {
        wire_reply(host, caller, NK_NOT_LEADER, "NOT_LEADER", NULL);
        pending_free(host, &pending);
    }
}

/* A write that the next round has no room for is held: until it is proposed it takes its bytes only
 * once, and its deadline or its caller can still drop it. */
static void serve_write(struct shard *shard, struct caller caller, Norikv__Internal__V1__ShardOp op,
                        uint64_t deadline_us, struct nk_bytes request, bool fetched)
{
    struct host *host = shard->host;
    const char *message;
    if (host_log_refusal(host, &message) != NK_OK ||
        (nk_list_empty(&host->held) && !host_round_full(host))) {
        propose_write(shard, caller, op, deadline_us, request, fetched);
        return;
    }
    struct pending *pending = pending_new(host, caller, op, deadline_us, request);
    pending->shard = shard;
    pending->fetched = fetched;
    pending_await(host, &host->held, pending);
}

void shard_serve_fetched(struct shard *shard, struct pending **pending)
{
    struct host *host = shard->host;
    const struct pending *write = *pending;
    if (host->stopping) { /* refused as a new one is: the stop waits for the log */
        wire_reply(host, write->caller, NK_UNAVAILABLE, HOST_STOPPING_TEXT, NULL);
    } else if (write->deadline_us > host_now_us(host)) {
        serve_write(shard, write->caller, write->op, write->deadline_us,
                    nk_bytes_of(write->request, write->request_size), true);
    }
    pending_free(host, pending);
}

void shard_serve_held(struct host *host)
{
    uint64_t now_us = host_now_us(host);
    while (!nk_list_empty(&host->held) && !host_round_full(host)) {
        struct pending *pending = pending_of(host->held.next);
        pending_resume(pending);
        if (pending->shard->state == SHARD_FENCED) {
            wire_reply(host, pending->caller, NK_FENCED, SHARD_FENCED_TEXT, NULL);
        } else if (pending->deadline_us > now_us) {
            propose_write(pending->shard, pending->caller, pending->op, pending->deadline_us,
                          nk_bytes_of(pending->request, pending->request_size), pending->fetched);
        }
        pending_free(host, &pending);
    }
}

/* Requests that came while nobody led, in order. */
static void serve_waiting(struct shard *shard)
{
    struct host *host = shard->host;
    struct nk_list ready;
    nk_list_init(&ready);
    while (!nk_list_empty(&shard->waiting)) {
        struct nk_list *link = shard->waiting.next;
        nk_list_remove(link);
        nk_list_append(&ready, link);
    }
    uint64_t now_us = host_now_us(host);
    while (!nk_list_empty(&ready)) {
        struct pending *pending = pending_of(ready.next);
        pending_resume(pending);
        if (shard->state == SHARD_FENCED) {
            wire_reply(host, pending->caller, NK_FENCED, SHARD_FENCED_TEXT, NULL);
            pending_free(host, &pending);
        } else if (pending->deadline_us <= now_us) {
            pending_free(host, &pending); /* the gateway has answered by its own clock */
        } else if (is_write(pending->op)) {
            serve_write(shard, pending->caller, pending->op, pending->deadline_us,
                        nk_bytes_of(pending->request, pending->request_size), false);
            pending_free(host, &pending);
        } else {
            reads_serve(shard, &pending);
        }
    }
}

static bool leads(struct shard *shard)
{
    struct raft_status status;
    raft_get_status(shard->raft, host_now_us(shard->host) / NK_US_PER_MS, &status);
    return status.role == RAFT_ROLE_LEADER;
}

void shard_request(struct shard *shard, struct caller caller,
                   const Norikv__Internal__V1__ShardRequest *request)
{
    struct host *host = shard->host;
    if (shard->state == SHARD_FENCED) {
        wire_reply(host, caller, NK_FENCED, SHARD_FENCED_TEXT, NULL);
        return;
    }
    uint64_t deadline_us = host_now_us(host) + (uint64_t)request->timeout_ms * NK_US_PER_MS;
    struct nk_bytes bytes = nk_bytes_of(request->request.data, request->request.len);
    if (leads(shard)) {
        if (is_write(request->op)) {
            serve_write(shard, caller, request->op, deadline_us, bytes, false);
        } else {
            struct pending *pending = pending_new(host, caller, request->op, deadline_us, bytes);
            reads_serve(shard, &pending);
        }
        return;
    }
    const char *message;
    enum nk_err err = host_log_refusal(host, &message);
    if (err != NK_OK) { /* nobody can win an election that the log does not take */
        wire_reply(host, caller, err, message, NULL);
        return;
    }
    struct pending *pending = pending_new(host, caller, request->op, deadline_us, bytes);
    pending_await(host, &shard->waiting, pending);
}

/* ---- Events ---- */

static void step_and_serve(struct shard *shard, const struct raft_event *event)
{
    if (shard->state == SHARD_FENCED) {
        return;
    }
    (void)shard_step(shard, event, NULL);
    if (shard->state == SHARD_RUNNING && !nk_list_empty(&shard->waiting) && leads(shard)) {
        serve_waiting(shard);
    }
}

void shard_persisted(struct shard *shard, uint64_t persist_id)
{
    struct raft_event event = {.type = RAFT_EVENT_PERSISTED};
    event.u.persist_id = persist_id;
    step_and_serve(shard, &event);
}

void shard_tick(struct shard *shard)
{
    struct raft_event event = {.type = RAFT_EVENT_TICK};
    step_and_serve(shard, &event);
}

void shard_campaign(struct shard *shard)
{
    struct raft_event event = {.type = RAFT_EVENT_CAMPAIGN};
    step_and_serve(shard, &event);
}

static void sweep(struct host *host, struct nk_list *list, uint64_t now_us)
{
    for (struct nk_list *link = list->next; link != list;) {
        struct pending *pending = pending_of(link);
        link = link->next;
        if (pending->deadline_us <= now_us) {
            pending_free(host, &pending);
        }
    }
}

void shard_sweep(struct shard *shard, uint64_t now_us)
{
    sweep(shard->host, &shard->waiting, now_us);
    sweep(shard->host, &shard->proposed, now_us);
    sweep(shard->host, &shard->reading, now_us);
    sweep(shard->host, &shard->fetching, now_us);
}

void shard_sweep_held(struct host *host, uint64_t now_us)
{
    sweep(host, &host->held, now_us);
}

static struct shard *shard_new(struct host *host, uint32_t id)
{
    struct shard *shard = nk_alloc_zero(1, sizeof *shard);
    shard->host = host;
    shard->id = id;
    nk_list_init(&shard->waiting);
    nk_list_init(&shard->proposed);
    nk_list_init(&shard->reading);
    nk_list_init(&shard->fetching);
    nk_list_init(&shard->runnable);
    nk_list_init(&shard->link);
    return shard;
}

void shard_open_fenced(struct host *host, uint32_t id, const struct lsm_fault *fault,
                       struct shard **out_shard)
{
    struct shard *shard = shard_new(host, id);
    metrics_shard_open(shard);
    mark_fenced(shard, fault->err, "starting", fault);
    *out_shard = shard;
}

enum nk_err shard_open(struct host *host, uint32_t id, struct lsm_db *db,
                       const struct raft_restore *restore, struct shard **out_shard)
{
    struct shard *shard = shard_new(host, id);
    shard->db = db;
    struct kv_options kv_options = {.shard = id};
    enum nk_err err = kv_open(db, &kv_options, &shard->kv);
    if (err != NK_OK) {
        nk_free(shard);
        return err;
    }
    const struct nk_config *config = host->config;
    struct raft_options options = {
        .id = host->self,
        .voters = {host->self},
        .voter_count = 1,
        .seed = nk_prng_next(&host->prng),
        .election_timeout_min_ms = config->raft.election_timeout_min_ms,
        .election_timeout_max_ms = config->raft.election_timeout_max_ms,
        .heartbeat_interval_ms = config->raft.heartbeat_ms,
        .lease_ms = config->raft.lease_ms,
        .entries_per_append_max = config->raft.max_entries_per_append,
        .bytes_per_append_max = (uint32_t)NK_FRAME_BYTES_SOFT,
        .unapplied_bytes_max = (size_t)(16 * NK_MIB),
    };
    raft_open(&options, restore, host_now_us(host) / NK_US_PER_MS, &shard->raft);
    shard->term_staged = restore->term;
    shard->vote_staged = restore->voted_for;
    metrics_shard_open(shard);
    *out_shard = shard;
    return NK_OK;
}

void shard_close(struct shard **shard_p)
{
    struct shard *shard = *shard_p;
    if (shard == NULL) {
        return;
    }
    NK_ASSERT(shard->works == 0);
    NK_ASSERT(shard->readers == 0);
    NK_ASSERT(nk_list_empty(&shard->fetching));
    struct nk_list *lists[] = {&shard->waiting, &shard->proposed, &shard->reading,
                               &shard->runnable};
    for (size_t i = 0; i < NK_COUNT_OF(lists); i++) {
        while (!nk_list_empty(lists[i])) {
            struct pending *pending = pending_of(lists[i]->next);
            pending_free(shard->host, &pending);
        }
    }
    charge_entries(shard, 0);
    nk_heap_remove(&shard->host->timers, &shard->timer);
    nk_list_remove(&shard->link);
    metrics_shard_close(shard);
    raft_close(&shard->raft);
    kv_close(&shard->kv);
    lsm_close(&shard->db);
    nk_free(shard);
    *shard_p = NULL;
}

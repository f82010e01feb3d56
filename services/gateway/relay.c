#include "services/gateway/relay.h"

#include "common/base/assert.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "proto/frame.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "services/gateway/status.h"
#include "services/gateway/utf8.h"

/* A received batch is unpacked into at most this: its bytes, and the structs around them. */
#define ARENA_BYTES_MAX   (2 * NK_FRAME_BYTES_MAX)
#define ARENA_CHUNK_BYTES ((size_t)(64 * NK_KIB))

typedef Norikv__Internal__V1__ShardReplies shard_replies;
typedef Norikv__Internal__V1__ShardReply shard_reply;

static enum nk_err admit(struct gateway_relay *relay, struct gateway_request *request,
                         struct nk_text *text);
static void dispatch(struct gateway_relay *relay, struct gateway_entry *entry);
static void pause_before_retry(struct gateway_relay *relay, struct gateway_entry *entry);
static void answered(struct gateway_relay *relay, struct gateway_entry *entry,
                     const shard_reply *reply);
static void repeat(struct gateway_relay *relay, struct gateway_entry *entry, bool at_once);
static void node_lost(struct gateway_relay *relay, uint32_t number);
static void link_refused(void *ctx, uint32_t number, enum nk_err err);
static void expire(struct gateway_relay *relay, struct gateway_entry *entry);
static void end_unsent(struct gateway_relay *relay, struct gateway_entry *entry);
static void end(struct gateway_relay *relay, struct gateway_entry *entry, enum nk_err err,
                const char *message);
static void end_request(struct gateway_relay *relay, struct gateway_request *request,
                        enum nk_err err, const char *message);
static struct gateway_history history_of(const struct gateway_entry *entry);
static void hint_leader(struct gateway_relay *relay, struct gateway_entry *entry);

static const char unknown_text[] =
    "the write was sent and not confirmed in time; it may have been applied, or may yet be";
static const char lost_text[] =
    "the shardhost that had the write went away; it may have been applied";
static const char stopping_text[] = "this gateway is stopping; nothing was proposed";

void gateway_relay_init(struct gateway_relay *relay, const struct gateway_relay_options *options)
{
    *relay = (struct gateway_relay){.options = *options};
    gateway_router_init(&relay->router, options->total_shards);
    gateway_inflight_init(&relay->inflight, options->inflight_max, options->inflight_bytes_max);
    gateway_links_init(&relay->links, options->env);
    nk_arena_init(&relay->arena, ARENA_CHUNK_BYTES, ARENA_BYTES_MAX);
    nk_prng_init(&relay->prng, options->env->random_seed);
}

void gateway_relay_deinit(struct gateway_relay *relay)
{
    gateway_relay_stop(relay);
    gateway_relay_abandon(relay);
    gateway_links_deinit(&relay->links);
    gateway_inflight_deinit(&relay->inflight);
    gateway_router_deinit(&relay->router);
    nk_arena_deinit(&relay->arena);
}

void gateway_relay_accept(struct gateway_relay *relay, struct gateway_request *request,
                          uint64_t now_us)
{
    relay->now_us = now_us;
    char memory[GATEWAY_TEXT_BYTES_MAX];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    enum nk_err err = admit(relay, request, &text);
    if (err != NK_OK) {
        end_request(relay, request, err, memory);
    }
}

void gateway_relay_withdraw(struct gateway_relay *relay, struct gateway_request *request)
{
    struct gateway_entry *entry = request->entry;
    if (entry != NULL) {
        gateway_link_cancel(&relay->links, entry);
        gateway_inflight_remove(&relay->inflight, entry);
    }
}

void gateway_relay_follow(struct gateway_relay *relay, const struct nk_cluster *cluster,
                          uint64_t now_us)
{
    relay->now_us = now_us;
    gateway_router_update(&relay->router, cluster);
    for (uint32_t i = 0; i < relay->router.node_count; i++) {
        if (gateway_link_follow(&relay->links, i, &relay->router.nodes[i])) {
            node_lost(relay, i);
        }
    }
    /* Whoever waited for somebody to ask need not wait for the end of its pause. */
    struct nk_list waiting;
    nk_list_init(&waiting);
    struct gateway_entry *entry = NULL;
    while ((entry = gateway_inflight_due(&relay->inflight, UINT64_MAX)) != NULL) {
        nk_heap_remove(&relay->inflight.retries, &entry->retry);
        nk_list_append(&waiting, &entry->place);
    }
    while (!nk_list_empty(&waiting)) {
        dispatch(relay, NK_CONTAINER_OF(waiting.next, struct gateway_entry, place));
    }
}

bool gateway_relay_receive(struct gateway_relay *relay, nk_peer from, struct nk_bytes message,
                           uint64_t now_us)
{
    relay->now_us = now_us;
    nk_arena_reset(&relay->arena);
    const shard_replies *replies = (const shard_replies *)nk_unpack(
        &norikv__internal__v1__shard_replies__descriptor, message, &relay->arena);
    if (replies == NULL) {
        return false;
    }
    for (size_t i = 0; i < replies->n_replies; i++) {
        const shard_reply *reply = replies->replies[i];
        struct gateway_entry *entry = gateway_inflight_find(&relay->inflight, reply->id);
        /* Late answers to what has ended are no garbage.  Nor are those of an incarnation that was
         * given up: its request is with another one now, whose answer counts. */
        if (entry != NULL && entry->state == GATEWAY_ENTRY_SENT &&
            entry->session == replies->session && relay->links.links[entry->target].peer == from) {
            answered(relay, entry, reply);
        }
    }
    return true;
}

uint64_t gateway_relay_tick(struct gateway_relay *relay, uint64_t now_us)
{
    relay->now_us = now_us;
    struct gateway_entry *entry = NULL;
    while ((entry = gateway_inflight_expired(&relay->inflight, now_us)) != NULL) {
        expire(relay, entry);
    }
    while ((entry = gateway_inflight_due(&relay->inflight, now_us)) != NULL) {
        dispatch(relay, entry);
    }
    gateway_links_flush(&relay->links, &relay->inflight, now_us, link_refused, relay);
    return gateway_inflight_next_us(&relay->inflight);
}

void gateway_relay_stop(struct gateway_relay *relay)
{
    relay->stopping = true;
    struct gateway_entry *entry = NULL;
    while ((entry = gateway_inflight_due(&relay->inflight, UINT64_MAX)) != NULL) {
        end_unsent(relay, entry);
    }
    for (size_t i = 0; i < relay->router.node_count; i++) {
        struct nk_list *unsent = &relay->links.links[i].unsent;
        while (!nk_list_empty(unsent)) {
            end_unsent(relay, NK_CONTAINER_OF(unsent->next, struct gateway_entry, place));
        }
    }
}

void gateway_relay_abandon(struct gateway_relay *relay)
{
    struct gateway_entry *entry = NULL;
    while ((entry = gateway_inflight_expired(&relay->inflight, UINT64_MAX)) != NULL) {
        expire(relay, entry);
    }
}

void gateway_relay_refuse(struct gateway_request *request)
{
    struct nk_text text;
    nk_text_init(&text, request->text, sizeof request->text);
    request->err = NK_UNAVAILABLE;
    gateway_status_text(gateway_status_of(request->err), stopping_text, &text);
}

/* Takes the request in and sends it on its way, or says why not. */
static enum nk_err admit(struct gateway_relay *relay, struct gateway_request *request,
                         struct nk_text *text)
{
    struct gateway_checked checked = {0};
    uint32_t shard = 0; /* of a probe */
    if (request->op != GATEWAY_OP_PROBE) {
        enum nk_err err =
            gateway_check(request->op, request->message, &relay->options.limits, &checked, text);
        if (err != NK_OK) {
            return err;
        }
        shard = nk_shard_of_key(checked.key, relay->options.total_shards);
    }
    if (relay->stopping) {
        nk_text_add(text, stopping_text);
        return NK_UNAVAILABLE;
    }
    uint64_t deadline_us = request->deadline_us;
    if (deadline_us == UINT64_MAX) {
        deadline_us = relay->now_us + relay->options.request_timeout_us;
    }
    struct gateway_entry *entry = NULL;
    enum nk_err err = gateway_inflight_add(&relay->inflight, request, deadline_us, &entry);
    if (err != NK_OK) {
        nk_text_add(text, "this gateway has as many requests in flight as it may");
        return err;
    }
    entry->shard = shard;
    entry->has_idempotency_key = checked.has_idempotency_key;
    if (deadline_us <= relay->now_us) {
        expire(relay, entry);
    } else {
        dispatch(relay, entry);
    }
    return NK_OK;
}

static void dispatch(struct gateway_relay *relay, struct gateway_entry *entry)
{
    uint32_t target =
        gateway_router_pick(&relay->router, entry->shard, entry->hint, entry->attempt_count);
    entry->hint = GATEWAY_NODE_NONE;
    if (target == GATEWAY_NODE_NONE) {
        pause_before_retry(relay, entry);
    } else {
        gateway_link_enqueue(&relay->links, &relay->inflight, target, entry);
    }
}

static void pause_before_retry(struct gateway_relay *relay, struct gateway_entry *entry)
{
    entry->attempt_count++;
    gateway_inflight_wait(&relay->inflight, entry,
                          relay->now_us + gateway_retry_pause_us(entry->attempt_count));
}

static void answered(struct gateway_relay *relay, struct gateway_entry *entry,
                     const shard_reply *reply)
{
    enum nk_err err = (enum nk_err)reply->err;
    struct gateway_history history = history_of(entry);
    switch (gateway_verdict_answered(&history, err)) {
    case GATEWAY_VERDICT_ANSWER:
        entry->request->response = nk_bytes_of(reply->response.data, reply->response.len);
        end(relay, entry, err, reply->message);
        break;
    case GATEWAY_VERDICT_UNKNOWN:
        end(relay, entry, NK_TIMEOUT, unknown_text);
        break;
    case GATEWAY_VERDICT_RETRY: {
        uint32_t hint = gateway_router_find(&relay->router, reply->leader_node);
        bool at_once =
            entry->attempt_count == 0 && hint != GATEWAY_NODE_NONE && hint != entry->target;
        entry->hint = hint;
        entry->last_err = err;
        repeat(relay, entry, at_once);
        break;
    }
    }
}

/* Another attempt: at once when there is news about whom to ask, else after a pause. */
static void repeat(struct gateway_relay *relay, struct gateway_entry *entry, bool at_once)
{
    if (relay->stopping) {
        end_unsent(relay, entry);
    } else if (at_once) {
        entry->attempt_count++;
        dispatch(relay, entry);
    } else {
        pause_before_retry(relay, entry);
    }
}

/* The incarnation behind link `number` is gone: nothing more will happen to what it had. */
static void node_lost(struct gateway_relay *relay, uint32_t number)
{
    struct gateway_link *link = &relay->links.links[number];
    struct nk_list unsent;
    nk_list_init(&unsent);
    while (!nk_list_empty(&link->unsent)) {
        struct nk_list *node = link->unsent.next;
        nk_list_remove(node);
        nk_list_append(&unsent, node);
    }
    while (!nk_list_empty(&link->sent)) {
        struct gateway_entry *entry = NK_CONTAINER_OF(link->sent.next, struct gateway_entry, place);
        struct gateway_history history = history_of(entry);
        if (gateway_verdict_lost(&history) == GATEWAY_VERDICT_RETRY) {
            entry->maybe_done =
                entry->request->op == GATEWAY_OP_PUT || entry->request->op == GATEWAY_OP_DELETE;
            repeat(relay, entry, true);
        } else {
            end(relay, entry, NK_TIMEOUT, lost_text);
        }
    }
    /* What was never sent starts anew: the router has changed, so it may go elsewhere. */
    while (!nk_list_empty(&unsent)) {
        repeat(relay, NK_CONTAINER_OF(unsent.next, struct gateway_entry, place), true);
    }
}

static void link_refused(void *ctx, uint32_t number, enum nk_err err)
{
    struct gateway_relay *relay = ctx;
    struct nk_list *unsent = &relay->links.links[number].unsent;
    while (!nk_list_empty(unsent)) {
        struct gateway_entry *entry = NK_CONTAINER_OF(unsent->next, struct gateway_entry, place);
        if (err == NK_BUSY && !entry->maybe_done) {
            end(relay, entry, NK_BUSY, "the queue towards the shardhost is full");
        } else {
            entry->last_err = err;
            pause_before_retry(relay, entry);
        }
    }
}

/* The caller's time is over. */
static void expire(struct gateway_relay *relay, struct gateway_entry *entry)
{
    struct gateway_history history = history_of(entry);
    bool outstanding = entry->state == GATEWAY_ENTRY_SENT;
    bool refused = entry->last_err != NK_OK; /* whoever was taken for the leader is not */
    bool has_leader = gateway_router_has_leader(&relay->router, entry->shard) && !refused;
    enum nk_err err = gateway_expired_err(&history, outstanding, has_leader);
    gateway_link_cancel(&relay->links, entry);
    if (err == NK_TIMEOUT) {
        end(relay, entry, err, unknown_text);
    } else if (err == NK_EXPIRED) {
        end(relay, entry, err, "the deadline passed before there was an answer; nothing was done");
    } else {
        hint_leader(relay, entry);
        end(relay, entry, err, "no leader of the key's shard in time; nothing was proposed");
    }
}

/* The gateway stops before this attempt could be made. */
static void end_unsent(struct gateway_relay *relay, struct gateway_entry *entry)
{
    if (entry->maybe_done) {
        end(relay, entry, NK_TIMEOUT, lost_text);
    } else {
        end(relay, entry, NK_UNAVAILABLE, stopping_text);
    }
}

static void end(struct gateway_relay *relay, struct gateway_entry *entry, enum nk_err err,
                const char *message)
{
    struct gateway_request *request = entry->request;
    gateway_inflight_remove(&relay->inflight, entry);
    end_request(relay, request, err, message);
}

static void end_request(struct gateway_relay *relay, struct gateway_request *request,
                        enum nk_err err, const char *message)
{
    struct nk_text text;
    nk_text_init(&text, request->text, sizeof request->text);
    const struct gateway_status *status = gateway_status_of(err);
    request->err = err;
    if (err != NK_OK && status->grpc != GATEWAY_GRPC_INTERNAL) {
        gateway_status_text(status, message, &text);
        gateway_utf8_sanitize(request->text);
    } else if (err != NK_OK) {
        gateway_relay_fault(relay, err, message, &text);
    }
    relay->options.ended(relay->options.ctx, request);
}

/* What went wrong inside is for the operator's eyes: the caller gets a number to name. */
void gateway_relay_fault(struct gateway_relay *relay, enum nk_err err, const char *detail,
                         struct nk_text *text)
{
    char id[17];
    struct nk_text id_text;
    nk_text_init(&id_text, id, sizeof id);
    nk_text_add_hex(&id_text, nk_prng_next(&relay->prng), 16);
    nk_text_add(text, "internal error, id ");
    nk_text_add(text, id);
    nk_log_error(&relay->options.env->log, "gateway.relay", "a request ended in a fault",
                 NK_LOG_TEXT("id", id), NK_LOG_TEXT("err", nk_err_name(err)),
                 NK_LOG_TEXT("detail", detail));
}

static struct gateway_history history_of(const struct gateway_entry *entry)
{
    return (struct gateway_history){
        .op = entry->request->op,
        .has_idempotency_key = entry->has_idempotency_key,
        .maybe_done = entry->maybe_done,
    };
}

static void hint_leader(struct gateway_relay *relay, struct gateway_entry *entry)
{
    uint32_t leader =
        entry->hint != GATEWAY_NODE_NONE ? entry->hint : relay->router.routes[entry->shard].leader;
    if (leader != GATEWAY_NODE_NONE) {
        static_assert(sizeof entry->request->leader_hint ==
                          sizeof relay->router.nodes[leader].rpc_address,
                      "both hold one address");
        memcpy(entry->request->leader_hint, relay->router.nodes[leader].rpc_address,
               sizeof entry->request->leader_hint);
    }
}

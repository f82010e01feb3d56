/* One event in, one ready out.
 *
 * First the rules for terms that all messages share (thesis 3.3), then the file that knows the
 * message; at the end what has changed becomes the ready.  A ready carries a persist id when there
 * is something new for the disk, and also when a message must wait for what earlier readies carry:
 * then the id alone says "when all before is durable". */

#include "node.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

#define RAFT_OUTBOX_FIRST ((size_t)8)

static void begin(struct raft_node *node, uint64_t now_ms);
static void end(struct raft_node *node, struct raft_ready *out_ready);
static void tick(struct raft_node *node);
static void persisted(struct raft_node *node, uint64_t persist_id);
static void receive(struct raft_node *node, const struct raft_message *message);
static void receive_in_term(struct raft_node *node, const struct raft_message *message);
static void receive_from_the_past(struct raft_node *node, const struct raft_message *message);
static bool sound(const struct raft_node *node, const struct raft_message *message);
static bool sound_entries(const struct raft_message *message);
static void outbox_clear(struct raft_outbox *outbox);
static void outbox_fill(struct raft_outbox *outbox, const struct raft_log *log);
static struct raft_message *outbox_add(const struct raft_node *node, struct raft_outbox *outbox,
                                       enum raft_message_type type, raft_id to, raft_term term);

enum nk_err raft_step(struct raft_node *node, const struct raft_event *event, uint64_t now_ms,
                      struct raft_ready *out_ready)
{
    begin(node, now_ms);
    enum nk_err err = NK_OK;
    raft_index proposed_first = 0;
    switch (event->type) {
    case RAFT_EVENT_TICK:
        tick(node);
        break;
    case RAFT_EVENT_MESSAGE:
        receive(node, event->u.message);
        break;
    case RAFT_EVENT_PROPOSE:
        err =
            raft_propose(node, event->u.propose.payloads, event->u.propose.count, &proposed_first);
        break;
    case RAFT_EVENT_PERSISTED:
        persisted(node, event->u.persist_id);
        break;
    case RAFT_EVENT_APPLIED:
        raft_log_set_applied(&node->log, event->u.applied);
        raft_release(node);
        break;
    case RAFT_EVENT_READ:
        err = raft_read_ask(node, event->u.read_id);
        break;
    case RAFT_EVENT_CAMPAIGN:
        raft_campaign_asked(node);
        break;
    }
    end(node, out_ready);
    out_ready->proposed_first = proposed_first;
    return err;
}

struct raft_message *raft_send_now(struct raft_node *node, enum raft_message_type type, raft_id to,
                                   raft_term term)
{
    return outbox_add(node, &node->messages_now, type, to, term);
}

struct raft_message *raft_send_after_sync(struct raft_node *node, enum raft_message_type type,
                                          raft_id to, raft_term term)
{
    return outbox_add(node, &node->messages_after_sync, type, to, term);
}

/* The last ready is no longer borrowed: what only it needed may go. */
static void begin(struct raft_node *node, uint64_t now_ms)
{
    NK_ASSERT(now_ms >= node->now_ms);
    node->now_ms = now_ms;
    outbox_clear(&node->messages_now);
    outbox_clear(&node->messages_after_sync);
    raft_reads_forget_answered(node);
    if (node->role == RAFT_ROLE_LEADER) {
        raft_release(node); /* acknowledgements have come */
    }
}

static void end(struct raft_node *node, struct raft_ready *out_ready)
{
    struct raft_log *log = &node->log;
    *out_ready = (struct raft_ready){
        .term = node->term,
        .voted_for = node->voted_for,
        .reads = node->reads.items,
        .read_count = node->reads.answered,
    };
    bool must_wait = node->messages_after_sync.count > 0 && raft_persists_pending(&node->persists);
    if (log->handed < raft_log_last(log) || node->hard_state_changed || must_wait) {
        out_ready->persist_id = raft_persists_issue(&node->persists, raft_log_last(log));
    }
    if (node->hard_state_changed) {
        node->hard_state_id = out_ready->persist_id;
        node->hard_state_changed = false;
    }
    if (log->handed < raft_log_last(log)) {
        out_ready->entries = raft_log_at(log, log->handed + 1);
        out_ready->entry_count = (size_t)(raft_log_last(log) - log->handed);
        log->handed = raft_log_last(log);
    }
    if (log->delivered < log->commit) {
        out_ready->committed = raft_log_at(log, log->delivered + 1);
        out_ready->committed_count = (size_t)(log->commit - log->delivered);
        log->delivered = log->commit;
    }
    outbox_fill(&node->messages_now, log);
    out_ready->messages_now = node->messages_now.messages;
    out_ready->messages_now_count = node->messages_now.count;
    out_ready->messages_after_sync = node->messages_after_sync.messages;
    out_ready->messages_after_sync_count = node->messages_after_sync.count;
    out_ready->next_tick_ms = node->role == RAFT_ROLE_LEADER ? raft_leader_next_tick(node)
                                                             : raft_election_next_tick(node);
    NK_INVARIANT(raft_node_check(node));
}

static void tick(struct raft_node *node)
{
    if (node->role == RAFT_ROLE_LEADER) {
        raft_leader_tick(node);
    } else {
        raft_election_tick(node);
    }
}

static void persisted(struct raft_node *node, uint64_t persist_id)
{
    raft_index last = raft_persists_report(&node->persists, persist_id);
    node->log.persisted = nk_max_u64(node->log.persisted, last);
    raft_log_persisted(node);
    raft_election_persisted(node);
}

static void receive(struct raft_node *node, const struct raft_message *message)
{
    if (!sound(node, message)) {
        return;
    }
    if (message->type == RAFT_MESSAGE_PRE_VOTE) {
        raft_receive_pre_vote(node, message); /* has its own view of terms */
        return;
    }
    if (message->type == RAFT_MESSAGE_VOTE && raft_loyal(node)) {
        return; /* does not even raise the term (thesis 4.2.3) */
    }
    /* A granted pre-vote names a term that nobody has entered yet. */
    bool names_future = message->type == RAFT_MESSAGE_PRE_VOTE_REPLY && !message->reject;
    if (message->term > node->term && !names_future) {
        raft_follow(node, message->term, message->type == RAFT_MESSAGE_APPEND ? message->from : 0);
    }
    if (message->term < node->term) {
        receive_from_the_past(node, message);
    } else {
        receive_in_term(node, message);
    }
}

static void receive_in_term(struct raft_node *node, const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_MESSAGE_PRE_VOTE:
        NK_ASSERT(false); /* dealt with by receive() */
        break;
    case RAFT_MESSAGE_PRE_VOTE_REPLY:
        raft_receive_pre_vote_reply(node, message);
        break;
    case RAFT_MESSAGE_VOTE:
        raft_receive_vote(node, message);
        break;
    case RAFT_MESSAGE_VOTE_REPLY:
        raft_receive_vote_reply(node, message);
        break;
    case RAFT_MESSAGE_APPEND:
        raft_receive_append(node, message);
        break;
    case RAFT_MESSAGE_APPEND_REPLY:
        raft_receive_append_reply(node, message);
        break;
    }
}

/* Who leads or wants to lead in an old term is told the new one; old answers mean nothing. */
static void receive_from_the_past(struct raft_node *node, const struct raft_message *message)
{
    if (message->type == RAFT_MESSAGE_VOTE) {
        raft_send_now(node, RAFT_MESSAGE_VOTE_REPLY, message->from, node->term)->reject = true;
    } else if (message->type == RAFT_MESSAGE_APPEND) {
        raft_send_now(node, RAFT_MESSAGE_APPEND_REPLY, message->from, node->term)->reject = true;
    }
}

/* Whether the message is one that a member could have sent to us.  Nothing behind this check may
 * fail whatever the message says; what honest members never say is dropped or harmless. */
static bool sound(const struct raft_node *node, const struct raft_message *message)
{
    bool known_type =
        message->type >= RAFT_MESSAGE_PRE_VOTE && message->type <= RAFT_MESSAGE_APPEND_REPLY;
    bool from_member = message->from != node->options.id &&
                       raft_position(node, message->from) < node->options.voter_count;
    if (!known_type || !from_member || message->to != node->options.id) {
        return false;
    }
    if (message->term >= RAFT_NUMBER_LIMIT || message->index >= RAFT_NUMBER_LIMIT) {
        return false;
    }
    bool reply = message->type == RAFT_MESSAGE_PRE_VOTE_REPLY ||
                 message->type == RAFT_MESSAGE_VOTE_REPLY ||
                 message->type == RAFT_MESSAGE_APPEND_REPLY;
    if (reply) {
        return true;
    }
    /* A request is of some term, and its last or previous entry is of no later one. */
    return message->term > 0 && message->index_term <= message->term &&
           (message->index == 0) == (message->index_term == 0) && sound_entries(message);
}

static bool sound_entries(const struct raft_message *message)
{
    if (message->entry_count > 0 && message->type != RAFT_MESSAGE_APPEND) {
        return false;
    }
    raft_term term = nk_max_u64(message->index_term, 1);
    for (size_t i = 0; i < message->entry_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        bool sound_kind = entry->kind == RAFT_ENTRY_COMMAND ||
                          (entry->kind == RAFT_ENTRY_NOOP && entry->payload.size == 0);
        bool sound_payload = entry->payload.size == 0 || entry->payload.data != NULL;
        if (!sound_kind || !sound_payload || entry->index != message->index + 1 + i ||
            entry->term < term) {
            return false;
        }
        term = entry->term;
    }
    return term <= message->term;
}

static void outbox_clear(struct raft_outbox *outbox)
{
    outbox->count = 0;
    if (outbox->capacity > RAFT_OUTBOX_FIRST) {
        nk_free(outbox->messages);
        outbox->messages = NULL;
        outbox->capacity = 0;
    }
}

/* The log does not move any more in this step: appends may point into it. */
static void outbox_fill(struct raft_outbox *outbox, const struct raft_log *log)
{
    for (size_t i = 0; i < outbox->count; i++) {
        struct raft_message *message = &outbox->messages[i];
        if (message->entry_count > 0) {
            message->entries = raft_log_at(log, message->index + 1);
        }
    }
}

static struct raft_message *outbox_add(const struct raft_node *node, struct raft_outbox *outbox,
                                       enum raft_message_type type, raft_id to, raft_term term)
{
    if (outbox->count == outbox->capacity) {
        outbox->capacity = nk_max_size(2 * outbox->capacity, RAFT_OUTBOX_FIRST);
        outbox->messages =
            nk_realloc(outbox->messages, outbox->capacity * sizeof *outbox->messages);
    }
    struct raft_message *message = &outbox->messages[outbox->count];
    outbox->count++;
    *message = (struct raft_message){
        .type = type,
        .from = node->options.id,
        .to = to,
        .term = term,
    };
    return message;
}

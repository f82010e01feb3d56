/* State and messages as one line of text, for traces, scripts and people. */

#include "node.h"

static const char *role_name(enum raft_role role)
{
    switch (role) {
    case RAFT_ROLE_FOLLOWER:
        return "follower";
    case RAFT_ROLE_PRE_CANDIDATE:
        return "pre-candidate";
    case RAFT_ROLE_CANDIDATE:
        return "candidate";
    case RAFT_ROLE_LEADER:
        return "leader";
    }
    return "unknown";
}

static const char *type_name(enum raft_message_type type)
{
    switch (type) {
    case RAFT_MESSAGE_PRE_VOTE:
        return "pre-vote";
    case RAFT_MESSAGE_PRE_VOTE_REPLY:
        return "pre-vote-reply";
    case RAFT_MESSAGE_VOTE:
        return "vote";
    case RAFT_MESSAGE_VOTE_REPLY:
        return "vote-reply";
    case RAFT_MESSAGE_APPEND:
        return "append";
    case RAFT_MESSAGE_APPEND_REPLY:
        return "append-reply";
    }
    return "unknown";
}

static void add_number(struct nk_text *out, const char *name, uint64_t number)
{
    nk_text_add(out, name);
    nk_text_add_u64(out, number);
}

/* term.index, as versions are written everywhere. */
static void add_position(struct nk_text *out, const char *name, raft_term term, raft_index index)
{
    add_number(out, name, term);
    add_number(out, ".", index);
}

static void add_progress(const struct raft_node *node, const struct raft_progress *peer,
                         struct nk_text *out)
{
    add_number(out, " [", peer->id);
    add_number(out, " match=", peer->match);
    add_number(out, " next=", peer->next);
    if (peer->next <= node->log.base) {
        nk_text_add(out, " behind");
    } else if (peer->state == RAFT_PROGRESS_PROBE) {
        nk_text_add(out, peer->probe_sent ? " probe-sent" : " probe");
    } else {
        add_number(out, " inflight=", peer->inflight_count);
    }
    nk_text_add(out, "]");
}

void raft_describe(const struct raft_node *node, struct nk_text *out)
{
    const struct raft_log *log = &node->log;
    nk_text_add(out, role_name(node->role));
    add_number(out, " term=", node->term);
    add_number(out, " vote=", node->voted_for);
    add_number(out, " leader=", node->leader);
    add_position(out, " base=", log->base_term, log->base);
    add_position(out, " last=", raft_log_last_term(log), raft_log_last(log));
    add_number(out, " persisted=", log->persisted);
    add_number(out, " commit=", log->commit);
    add_number(out, " applied=", log->applied);
    if (node->role != RAFT_ROLE_LEADER) {
        return;
    }
    nk_text_add(out, raft_lease_valid(node, node->now_ms) ? " lease" : " no-lease");
    if (node->reads.count > node->reads.answered) {
        add_number(out, " reads=", node->reads.count - node->reads.answered);
    }
    for (size_t i = 0; i < node->options.voter_count; i++) {
        if (i != node->self) {
            add_progress(node, &node->progress[i], out);
        }
    }
}

void raft_describe_message(const struct raft_message *message, struct nk_text *out)
{
    add_number(out, "", message->from);
    add_number(out, ">", message->to);
    nk_text_add(out, " ");
    nk_text_add(out, type_name(message->type));
    add_number(out, " term=", message->term);
    switch (message->type) {
    case RAFT_MESSAGE_PRE_VOTE:
    case RAFT_MESSAGE_VOTE:
        add_position(out, " last=", message->index_term, message->index);
        break;
    case RAFT_MESSAGE_PRE_VOTE_REPLY:
    case RAFT_MESSAGE_VOTE_REPLY:
        nk_text_add(out, message->reject ? " rejected" : " granted");
        break;
    case RAFT_MESSAGE_APPEND:
        add_position(out, " previous=", message->index_term, message->index);
        add_number(out, " entries=", message->entry_count);
        add_number(out, " commit=", message->commit);
        add_number(out, " round=", message->read_round);
        break;
    case RAFT_MESSAGE_APPEND_REPLY:
        if (message->reject) {
            add_position(out, " rejected hint=", message->index_term, message->index);
        } else {
            add_number(out, " match=", message->index);
        }
        add_number(out, " round=", message->read_round);
        break;
    }
}

#pragma once

/* One node under test; its peers, its disk and its state machine are the test's words.  The node is
 * member 1 of 1 .. voter_count.  Every call is one step and leaves its ready in `ready`. */

#include "services/shardhost/raft/raft.h"

struct solo {
    struct raft_options options;
    struct raft_node *node;
    uint64_t now_ms;
    struct raft_ready ready;
};

#define SOLO_TIMEOUT_MIN_MS ((uint64_t)1000)
#define SOLO_TIMEOUT_MAX_MS ((uint64_t)2000)
#define SOLO_HEARTBEAT_MS   ((uint64_t)100)
#define SOLO_LEASE_MS       ((uint64_t)900)

struct raft_options solo_options(size_t voter_count);

void solo_open(struct solo *solo, size_t voter_count); /* a new member */
void solo_open_with(struct solo *solo, const struct raft_options *options,
                    const struct raft_restore *restore);
/* A member that has `count` persisted entries, of `terms`, none applied, and waited long enough
 * since its restart to be loyal to nobody. */
void solo_open_log(struct solo *solo, size_t voter_count, raft_term term, const raft_term *terms,
                   size_t count);
void solo_close(struct solo *solo);

void solo_tick(struct solo *solo, uint64_t after_ms);
void solo_receive(struct solo *solo, const struct raft_message *message);
void solo_persisted(struct solo *solo); /* reports the last ready's persist_id */
void solo_persisted_id(struct solo *solo, uint64_t persist_id);
void solo_applied(struct solo *solo, raft_index index);
void solo_campaign(struct solo *solo);
enum nk_err solo_propose(struct solo *solo, size_t count, size_t size_bytes); /* payloads of 'x' */
enum nk_err solo_read(struct solo *solo, uint64_t id);

/* Elects the node, with the votes of all others, and persists its noop.  Nobody has answered. */
void solo_lead(struct solo *solo);

/* An append to the node as the leader `from` of `term` would send it: entries of `terms` behind
 * `previous`. */
void solo_append(struct solo *solo, raft_id from, raft_term term, raft_index previous,
                 raft_term previous_term, const raft_term *terms, size_t count, raft_index commit);

/* An answer to the node's appends, in its term. */
void solo_acked(struct solo *solo, raft_id from, raft_index match, uint64_t round);
void solo_refused(struct solo *solo, raft_id from, raft_index hint, raft_term hint_term,
                  uint64_t round);

struct raft_status solo_status(const struct solo *solo);

/* The first message to `to` of that type in the last ready, from either list; NULL: none. */
const struct raft_message *solo_sent(const struct solo *solo, enum raft_message_type type,
                                     raft_id to);
bool solo_sent_now(const struct solo *solo, const struct raft_message *message);
size_t solo_sent_count(const struct solo *solo, enum raft_message_type type, raft_id to);

#include "solo.h"

#include "common/base/assert.h"
#include "common/base/units.h"

static const struct nk_bytes empty = {NULL, 0};

static void step(struct solo *solo, const struct raft_event *event)
{
    enum nk_err err = raft_step(solo->node, event, solo->now_ms, &solo->ready);
    NK_ASSERT(err == NK_OK);
}

struct raft_options solo_options(size_t voter_count)
{
    struct raft_options options = {
        .id = 1,
        .voter_count = voter_count,
        .seed = 7,
        .election_timeout_min_ms = SOLO_TIMEOUT_MIN_MS,
        .election_timeout_max_ms = SOLO_TIMEOUT_MAX_MS,
        .heartbeat_interval_ms = SOLO_HEARTBEAT_MS,
        .lease_ms = SOLO_LEASE_MS,
        .entries_per_append_max = 100,
        .bytes_per_append_max = (uint32_t)(64 * NK_KIB),
        .unapplied_bytes_max = (size_t)(64 * NK_KIB),
        .retained_bytes_max = (size_t)(64 * NK_KIB),
    };
    for (size_t i = 0; i < voter_count; i++) {
        options.voters[i] = i + 1;
    }
    return options;
}

void solo_open(struct solo *solo, size_t voter_count)
{
    struct raft_options options = solo_options(voter_count);
    struct raft_restore restore = {0};
    solo_open_with(solo, &options, &restore);
}

void solo_open_with(struct solo *solo, const struct raft_options *options,
                    const struct raft_restore *restore)
{
    *solo = (struct solo){.options = *options};
    raft_open(&solo->options, restore, solo->now_ms, &solo->node);
}

void solo_open_log(struct solo *solo, size_t voter_count, raft_term term, const raft_term *terms,
                   size_t count)
{
    struct raft_entry entries[64];
    NK_ASSERT(count <= NK_COUNT_OF(entries));
    for (size_t i = 0; i < count; i++) {
        entries[i] = (struct raft_entry){i + 1, terms[i], RAFT_ENTRY_COMMAND, empty};
    }
    struct raft_options options = solo_options(voter_count);
    struct raft_restore restore = {.term = term, .entries = entries, .entry_count = count};
    solo_open_with(solo, &options, &restore);
    solo->now_ms = SOLO_TIMEOUT_MIN_MS;
}

void solo_close(struct solo *solo)
{
    raft_close(&solo->node);
}

void solo_tick(struct solo *solo, uint64_t after_ms)
{
    solo->now_ms += after_ms;
    struct raft_event event = {.type = RAFT_EVENT_TICK};
    step(solo, &event);
}

void solo_receive(struct solo *solo, const struct raft_message *message)
{
    struct raft_event event = {.type = RAFT_EVENT_MESSAGE, .u.message = message};
    step(solo, &event);
}

void solo_persisted(struct solo *solo)
{
    NK_ASSERT(solo->ready.persist_id != 0);
    solo_persisted_id(solo, solo->ready.persist_id);
}

void solo_persisted_id(struct solo *solo, uint64_t persist_id)
{
    struct raft_event event = {.type = RAFT_EVENT_PERSISTED, .u.persist_id = persist_id};
    step(solo, &event);
}

void solo_applied(struct solo *solo, raft_index index)
{
    struct raft_event event = {.type = RAFT_EVENT_APPLIED, .u.applied = index};
    step(solo, &event);
}

void solo_campaign(struct solo *solo)
{
    struct raft_event event = {.type = RAFT_EVENT_CAMPAIGN};
    step(solo, &event);
}

enum nk_err solo_propose(struct solo *solo, size_t count, size_t size_bytes)
{
    static uint8_t bytes[128 * 1024];
    NK_ASSERT(size_bytes <= sizeof bytes);
    memset(bytes, 'x', sizeof bytes);
    struct nk_bytes payloads[256];
    NK_ASSERT(count <= NK_COUNT_OF(payloads));
    for (size_t i = 0; i < count; i++) {
        payloads[i] = nk_bytes_of(bytes, size_bytes);
    }
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE, .u.propose = {payloads, count}};
    return raft_step(solo->node, &event, solo->now_ms, &solo->ready);
}

enum nk_err solo_read(struct solo *solo, uint64_t id)
{
    struct raft_event event = {.type = RAFT_EVENT_READ, .u.read_id = id};
    return raft_step(solo->node, &event, solo->now_ms, &solo->ready);
}

void solo_lead(struct solo *solo)
{
    solo_campaign(solo);
    for (raft_id id = 2; id <= solo->options.voter_count; id++) {
        struct raft_message grant = {
            .type = RAFT_MESSAGE_PRE_VOTE_REPLY,
            .from = id,
            .to = 1,
            .term = solo_status(solo).term + 1,
        };
        if (solo_status(solo).role == RAFT_ROLE_PRE_CANDIDATE) {
            solo_receive(solo, &grant);
        }
    }
    solo_persisted(solo);
    for (raft_id id = 2; id <= solo->options.voter_count; id++) {
        struct raft_message grant = {
            .type = RAFT_MESSAGE_VOTE_REPLY,
            .from = id,
            .to = 1,
            .term = solo_status(solo).term,
        };
        if (solo_status(solo).role == RAFT_ROLE_CANDIDATE) {
            solo_receive(solo, &grant);
        }
    }
    NK_ASSERT(solo_status(solo).role == RAFT_ROLE_LEADER);
    solo_persisted(solo);
}

void solo_append(struct solo *solo, raft_id from, raft_term term, raft_index previous,
                 raft_term previous_term, const raft_term *terms, size_t count, raft_index commit)
{
    struct raft_entry entries[64];
    NK_ASSERT(count <= NK_COUNT_OF(entries));
    for (size_t i = 0; i < count; i++) {
        entries[i] = (struct raft_entry){previous + 1 + i, terms[i], RAFT_ENTRY_COMMAND, empty};
    }
    struct raft_message append = {
        .type = RAFT_MESSAGE_APPEND,
        .from = from,
        .to = 1,
        .term = term,
        .index = previous,
        .index_term = previous_term,
        .commit = commit,
        .read_round = 1,
        .entries = entries,
        .entry_count = count,
    };
    solo_receive(solo, &append);
}

void solo_acked(struct solo *solo, raft_id from, raft_index match, uint64_t round)
{
    struct raft_message reply = {
        .type = RAFT_MESSAGE_APPEND_REPLY,
        .from = from,
        .to = 1,
        .term = solo_status(solo).term,
        .index = match,
        .read_round = round,
    };
    solo_receive(solo, &reply);
}

void solo_refused(struct solo *solo, raft_id from, raft_index hint, raft_term hint_term,
                  uint64_t round)
{
    struct raft_message reply = {
        .type = RAFT_MESSAGE_APPEND_REPLY,
        .from = from,
        .to = 1,
        .term = solo_status(solo).term,
        .reject = true,
        .index = hint,
        .index_term = hint_term,
        .read_round = round,
    };
    solo_receive(solo, &reply);
}

struct raft_status solo_status(const struct solo *solo)
{
    struct raft_status status;
    raft_get_status(solo->node, solo->now_ms, &status);
    return status;
}

static const struct raft_message *find(const struct raft_message *messages, size_t count,
                                       enum raft_message_type type, raft_id to)
{
    for (size_t i = 0; i < count; i++) {
        if (messages[i].type == type && messages[i].to == to) {
            return &messages[i];
        }
    }
    return NULL;
}

const struct raft_message *solo_sent(const struct solo *solo, enum raft_message_type type,
                                     raft_id to)
{
    const struct raft_ready *ready = &solo->ready;
    const struct raft_message *message =
        find(ready->messages_now, ready->messages_now_count, type, to);
    return message != NULL
               ? message
               : find(ready->messages_after_sync, ready->messages_after_sync_count, type, to);
}

bool solo_sent_now(const struct solo *solo, const struct raft_message *message)
{
    for (size_t i = 0; i < solo->ready.messages_now_count; i++) {
        if (message == &solo->ready.messages_now[i]) {
            return true;
        }
    }
    return false;
}

size_t solo_sent_count(const struct solo *solo, enum raft_message_type type, raft_id to)
{
    size_t count = 0;
    for (size_t i = 0; i < solo->ready.messages_now_count; i++) {
        const struct raft_message *message = &solo->ready.messages_now[i];
        count += message->type == type && message->to == to;
    }
    return count;
}

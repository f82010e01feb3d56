#include "cluster.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/hash.h"
#include "common/base/heap.h"
#include "common/base/prng.h"
#include "common/base/units.h"

#define CLUSTER_TERMS_MAX ((size_t)4096)

/* An entry as disks and checks keep it. */
struct stored {
    raft_term term; /* 0: no such entry */
    enum raft_entry_kind kind;
    size_t size;
    uint8_t bytes[CLUSTER_PAYLOAD_BYTES_MAX];
};

/* What a disk holds: entries by index - 1. */
struct disk {
    raft_term term;
    raft_id voted_for;
    struct stored *entries;
    size_t capacity;
    raft_index last;
    raft_index flushed; /* the state machine's durable position */
    raft_term flushed_term;
};

/* Something that will happen to one node; void if the node has been restarted since. */
enum happening_kind {
    HAPPENING_MESSAGE,
    HAPPENING_DISK,
    HAPPENING_APPLIED,
};

struct happening {
    struct nk_heap_node by_time; /* order: when, in ms */
    enum happening_kind kind;
    size_t node;
    uint64_t incarnation;
    struct raft_message message;
    raft_index applied;
    const uint8_t *payload; /* applied: borrowed from the node until it is reported */
    size_t payload_size;
    uint64_t payload_hash;
};

/* A persist under way: what the disk will hold, and the messages that wait for it. */
struct persist {
    struct persist *next;
    uint64_t id;
    raft_term term;
    raft_id voted_for;
    raft_index first;
    struct stored *entries;
    size_t entry_count;
    struct raft_message *messages;
    size_t message_count;
};

struct member {
    struct raft_node *node; /* NULL: crashed */
    uint64_t incarnation;
    uint64_t next_tick_ms;
    enum raft_role role; /* as last seen, for the trace */
    raft_term term;
    raft_index commit;
    struct disk disk;
    struct disk memory; /* the log as the node has it, from its readies */
    struct persist *persists;
    struct persist **persists_tail;
    bool disk_held;
    uint64_t disk_free_ms; /* when the disk has done all that was given to it */
    uint64_t apply_free_ms;
    raft_index applied;
    raft_index kept;        /* durable in the log and known committed */
    raft_index match_shown; /* by the trace, in its last acknowledgement */
    raft_term match_shown_term;
};

struct asked_read {
    uint64_t id;
    size_t node;
    uint64_t incarnation;
    raft_index commit_max; /* when asked */
};

/* All that was ever appended at one index. */
struct history {
    struct version {
        struct stored entry;
        raft_term previous_term;
    } * versions;
    size_t version_count;
    struct stored committed; /* term 0: not yet */
};

struct cluster {
    struct cluster_options options;
    struct nk_prng prng;
    uint64_t now_ms;
    struct nk_heap heap;
    struct member members[RAFT_VOTERS_MAX];
    bool cut[RAFT_VOTERS_MAX][RAFT_VOTERS_MAX];
    struct history *history; /* by index - 1 */
    size_t history_capacity;
    raft_index commit_max;
    struct {
        size_t node;
        uint64_t incarnation; /* 0: nobody led this term */
    } leaders[CLUSTER_TERMS_MAX];
    struct asked_read *reads;
    size_t read_count;
    size_t read_capacity;
    uint64_t trace_hash;
    char violation[256];
};

static void member_open(struct cluster *cluster, size_t position, uint64_t seed);
static enum nk_err member_step(struct cluster *cluster, size_t position,
                               const struct raft_event *event);

/* --- Checks --- */

static void violate(struct cluster *cluster, const char *what, size_t position, uint64_t number)
{
    if (cluster->violation[0] != '\0') {
        return;
    }
    struct nk_text text;
    nk_text_init(&text, cluster->violation, sizeof cluster->violation);
    nk_text_add_u64(&text, cluster->now_ms);
    nk_text_add(&text, " ms, node ");
    nk_text_add_u64(&text, position + 1);
    nk_text_add(&text, ": ");
    nk_text_add(&text, what);
    nk_text_add(&text, " ");
    nk_text_add_u64(&text, number);
    if (cluster->options.trace != NULL) {
        cluster->options.trace(cluster->options.trace_ctx, cluster->now_ms, cluster->violation);
    }
}

static bool stored_equal(const struct stored *a, const struct stored *b)
{
    return a->term == b->term && a->kind == b->kind &&
           nk_bytes_equal(nk_bytes_of(a->bytes, a->size), nk_bytes_of(b->bytes, b->size));
}

static struct stored stored_of(const struct raft_entry *entry)
{
    struct stored stored = {.term = entry->term, .kind = entry->kind, .size = entry->payload.size};
    NK_ASSERT(stored.size <= sizeof stored.bytes);
    if (stored.size > 0) {
        memcpy(stored.bytes, entry->payload.data, stored.size);
    }
    return stored;
}

static struct history *history_at(struct cluster *cluster, raft_index index)
{
    if (index > cluster->history_capacity) {
        size_t capacity = nk_max_size(2 * cluster->history_capacity, (size_t)index + 255);
        cluster->history = nk_realloc(cluster->history, capacity * sizeof *cluster->history);
        memset(cluster->history + cluster->history_capacity, 0,
               (capacity - cluster->history_capacity) * sizeof *cluster->history);
        cluster->history_capacity = capacity;
    }
    return &cluster->history[index - 1];
}

static raft_term disk_term(const struct disk *disk, raft_index index)
{
    if (index == 0 || index == disk->flushed) {
        return disk->flushed_term;
    }
    return index > disk->last ? 0 : disk->entries[index - 1].term;
}

/* Log matching: one (index, term) has one content and one predecessor, everywhere and for ever. */
static void check_appended(struct cluster *cluster, size_t position, raft_index index)
{
    const struct disk *log = &cluster->members[position].memory;
    struct history *history = history_at(cluster, index);
    const struct stored *entry = &log->entries[index - 1];
    raft_term previous_term = index == 1 ? 0 : disk_term(log, index - 1);
    for (size_t i = 0; i < history->version_count; i++) {
        const struct version *version = &history->versions[i];
        if (version->entry.term == entry->term) {
            if (!stored_equal(&version->entry, entry) || version->previous_term != previous_term) {
                violate(cluster, "log matching: another entry of the same term at", position,
                        index);
            }
            return;
        }
    }
    history->versions =
        nk_realloc(history->versions, (history->version_count + 1) * sizeof *history->versions);
    history->versions[history->version_count].entry = *entry;
    history->versions[history->version_count].previous_term = previous_term;
    history->version_count++;
}

/* State machine safety: all apply the same entry at an index. */
static void check_committed(struct cluster *cluster, size_t position,
                            const struct raft_entry *entry)
{
    struct history *history = history_at(cluster, entry->index);
    struct stored stored = stored_of(entry);
    if (history->committed.term == 0) {
        history->committed = stored;
    } else if (!stored_equal(&history->committed, &stored)) {
        violate(cluster, "state machine safety: applied another entry at", position, entry->index);
    }
}

/* A commit stands on a majority of disks. */
static void check_commit_durable(struct cluster *cluster, size_t position, raft_index commit)
{
    raft_term term = history_at(cluster, commit)->committed.term;
    size_t durable = 0;
    for (size_t i = 0; i < cluster->options.node_count; i++) {
        const struct disk *disk = &cluster->members[i].disk;
        durable += disk->flushed >= commit || disk_term(disk, commit) == term;
    }
    if (durable <= cluster->options.node_count / 2) {
        violate(cluster, "committed without a majority of disks", position, commit);
    }
}

/* Election safety and leader completeness. */
static void check_new_leader(struct cluster *cluster, size_t position, raft_term term)
{
    const struct member *member = &cluster->members[position];
    NK_ASSERT(term < CLUSTER_TERMS_MAX);
    if (cluster->leaders[term].incarnation != 0 &&
        (cluster->leaders[term].node != position ||
         cluster->leaders[term].incarnation != member->incarnation)) {
        violate(cluster, "election safety: a second leader in term", position, term);
    }
    cluster->leaders[term].node = position;
    cluster->leaders[term].incarnation = member->incarnation;
    for (raft_index i = member->disk.flushed + 1; i <= cluster->commit_max; i++) {
        if (disk_term(&member->memory, i) != history_at(cluster, i)->committed.term) {
            violate(cluster, "leader completeness: the new leader lacks", position, i);
        }
    }
}

static void check_read(struct cluster *cluster, size_t position, const struct raft_read *read)
{
    for (size_t i = 0; i < cluster->read_count; i++) {
        struct asked_read *asked = &cluster->reads[i];
        if (asked->id != read->id || asked->node != position ||
            asked->incarnation != cluster->members[position].incarnation) {
            continue;
        }
        if (read->confirmed && read->index < asked->commit_max) {
            violate(cluster, "a confirmed read misses a commit, read", position, read->id);
        }
        *asked = cluster->reads[--cluster->read_count];
        return;
    }
    violate(cluster, "an answer without a question, read", position, read->id);
}

/* --- Trace --- */

static void trace_line(struct cluster *cluster, const struct nk_text *text, bool quiet)
{
    struct nk_bytes line = nk_bytes_of(text->data, text->size);
    cluster->trace_hash = nk_xxh64(line, cluster->trace_hash + cluster->now_ms);
    if (cluster->options.trace != NULL && !quiet) {
        cluster->options.trace(cluster->options.trace_ctx, cluster->now_ms, text->data);
    }
}

/* Heartbeats are not worth seeing, nor answers that tell nothing new. */
static bool routine(struct cluster *cluster, const struct raft_message *message)
{
    if (message->type == RAFT_MESSAGE_APPEND) {
        return message->entry_count == 0;
    }
    if (message->type != RAFT_MESSAGE_APPEND_REPLY || message->reject) {
        return false;
    }
    struct member *member = &cluster->members[message->from - 1];
    bool news = message->index > member->match_shown || message->term > member->match_shown_term;
    if (news) {
        member->match_shown = message->index;
        member->match_shown_term = message->term;
    }
    return !news;
}

static void trace_message(struct cluster *cluster, const struct raft_message *message,
                          const char *fate)
{
    bool quiet = routine(cluster, message) && !cluster->options.trace_heartbeats;
    char line[256];
    struct nk_text text;
    nk_text_init(&text, line, sizeof line);
    raft_describe_message(message, &text);
    nk_text_add(&text, fate);
    trace_line(cluster, &text, quiet);
}

static void trace_node(struct cluster *cluster, size_t position, const char *what,
                       const uint64_t *number)
{
    char line[256];
    struct nk_text text;
    nk_text_init(&text, line, sizeof line);
    nk_text_add_u64(&text, position + 1);
    nk_text_add(&text, " ");
    nk_text_add(&text, what);
    if (number != NULL) {
        nk_text_add_u64(&text, *number);
    }
    trace_line(cluster, &text, false);
}

/* What became durable or was applied; not part of the hash, as it only repeats what follows. */
static void trace_disk(struct cluster *cluster, size_t position, const char *what, uint64_t first,
                       const char *between, uint64_t second)
{
    if (cluster->options.trace == NULL || !cluster->options.trace_disks) {
        return;
    }
    char line[128];
    struct nk_text text;
    nk_text_init(&text, line, sizeof line);
    nk_text_add_u64(&text, position + 1);
    nk_text_add(&text, what);
    nk_text_add_u64(&text, first);
    nk_text_add(&text, between);
    nk_text_add_u64(&text, second);
    cluster->options.trace(cluster->options.trace_ctx, cluster->now_ms, line);
}

static void observe(struct cluster *cluster, size_t position)
{
    struct member *member = &cluster->members[position];
    struct raft_status status;
    raft_get_status(member->node, cluster->now_ms, &status);
    if (status.term < member->term) {
        violate(cluster, "the term fell to", position, status.term);
    }
    if (status.role != member->role || status.term != member->term) {
        const char *name = status.role == RAFT_ROLE_LEADER          ? "is leader in term "
                           : status.role == RAFT_ROLE_CANDIDATE     ? "is candidate in term "
                           : status.role == RAFT_ROLE_PRE_CANDIDATE ? "is pre-candidate in term "
                                                                    : "is follower in term ";
        trace_node(cluster, position, name, &status.term);
        if (status.role == RAFT_ROLE_LEADER && member->role != RAFT_ROLE_LEADER) {
            check_new_leader(cluster, position, status.term);
        }
        member->role = status.role;
        member->term = status.term;
    }
    if (status.commit > member->commit) {
        member->commit = status.commit;
        trace_node(cluster, position, "commits up to ", &status.commit);
        if (status.commit > cluster->commit_max) {
            cluster->commit_max = status.commit;
            check_commit_durable(cluster, position, status.commit);
        }
    }
    for (size_t i = 0; i < cluster->options.node_count; i++) {
        struct raft_node *node = cluster->members[i].node;
        if (node != NULL) {
            raft_get_status(node, cluster->now_ms, &status);
            if (status.lease_valid && status.commit < cluster->commit_max) {
                violate(cluster, "a lease holder misses the commit of", i, cluster->commit_max);
            }
        }
    }
}

/* --- The host of one node --- */

static void disk_put(struct disk *disk, raft_index index, const struct stored *entry)
{
    if (index > disk->capacity) {
        size_t capacity = nk_max_size(2 * disk->capacity, (size_t)index + 63);
        disk->entries = nk_realloc(disk->entries, capacity * sizeof *disk->entries);
        memset(disk->entries + disk->capacity, 0,
               (capacity - disk->capacity) * sizeof *disk->entries);
        disk->capacity = capacity;
    }
    disk->entries[index - 1] = *entry;
    disk->last = index; /* what was behind is void */
}

static struct happening *happening_new(struct cluster *cluster, size_t position,
                                       enum happening_kind kind, uint64_t when_ms)
{
    struct happening *happening = nk_alloc_zero(1, sizeof *happening);
    happening->by_time.order = when_ms;
    happening->kind = kind;
    happening->node = position;
    happening->incarnation = cluster->members[position].incarnation;
    nk_heap_push(&cluster->heap, &happening->by_time);
    return happening;
}

static struct raft_message message_copy(const struct raft_message *message)
{
    struct raft_message copy = *message;
    if (message->entry_count > 0) {
        struct raft_entry *entries = nk_alloc(message->entry_count * sizeof *entries);
        for (size_t i = 0; i < message->entry_count; i++) {
            entries[i] = message->entries[i];
            uint8_t *payload = nk_alloc(entries[i].payload.size);
            if (entries[i].payload.size > 0) {
                memcpy(payload, entries[i].payload.data, entries[i].payload.size);
            }
            entries[i].payload.data = payload;
        }
        copy.entries = entries;
    }
    return copy;
}

static void message_free(struct raft_message *message)
{
    for (size_t i = 0; i < message->entry_count; i++) {
        nk_free((void *)message->entries[i].payload.data);
    }
    if (message->entry_count > 0) {
        nk_free((void *)message->entries);
    }
}

static void message_send(struct cluster *cluster, const struct raft_message *message)
{
    const struct cluster_options *options = &cluster->options;
    if (nk_prng_chance(&cluster->prng, options->drop_per_million)) {
        trace_message(cluster, message, " (lost)");
        return;
    }
    trace_message(cluster, message, "");
    size_t copies = nk_prng_chance(&cluster->prng, options->duplicate_per_million) ? 2 : 1;
    for (size_t i = 0; i < copies; i++) {
        uint64_t delay_ms =
            nk_prng_between(&cluster->prng, options->delay_ms_min, options->delay_ms_max);
        struct happening *arrival = happening_new(cluster, (size_t)message->to - 1,
                                                  HAPPENING_MESSAGE, cluster->now_ms + delay_ms);
        arrival->message = message_copy(message);
    }
}

static void persist_free(struct persist *persist)
{
    for (size_t i = 0; i < persist->message_count; i++) {
        message_free(&persist->messages[i]);
    }
    nk_free(persist->messages);
    nk_free(persist->entries);
    nk_free(persist);
}

static void persist_start(struct cluster *cluster, size_t position, const struct raft_ready *ready)
{
    struct member *member = &cluster->members[position];
    struct persist *persist = nk_alloc_zero(1, sizeof *persist);
    persist->id = ready->persist_id;
    persist->term = ready->term;
    persist->voted_for = ready->voted_for;
    persist->entry_count = ready->entry_count;
    persist->entries = nk_alloc_zero(ready->entry_count, sizeof *persist->entries);
    for (size_t i = 0; i < ready->entry_count; i++) {
        persist->first = ready->entries[0].index;
        persist->entries[i] = stored_of(&ready->entries[i]);
        disk_put(&member->memory, persist->first + i, &persist->entries[i]);
        check_appended(cluster, position, persist->first + i);
    }
    persist->message_count = ready->messages_after_sync_count;
    persist->messages = nk_alloc_zero(persist->message_count, sizeof *persist->messages);
    for (size_t i = 0; i < persist->message_count; i++) {
        persist->messages[i] = message_copy(&ready->messages_after_sync[i]);
    }
    *member->persists_tail = persist;
    member->persists_tail = &persist->next;
    uint64_t took_ms =
        nk_prng_between(&cluster->prng, cluster->options.disk_ms_min, cluster->options.disk_ms_max);
    member->disk_free_ms = nk_max_u64(member->disk_free_ms, cluster->now_ms) + took_ms;
    (void)happening_new(cluster, position, HAPPENING_DISK, member->disk_free_ms);
}

/* The first `entry_count` entries of the persist, and its term and vote before them. */
static void persist_write(struct disk *disk, const struct persist *persist, size_t entry_count)
{
    disk->term = persist->term;
    disk->voted_for = persist->voted_for;
    for (size_t i = 0; i < entry_count; i++) {
        disk_put(disk, persist->first + i, &persist->entries[i]);
    }
}

static void persist_finish(struct cluster *cluster, size_t position)
{
    struct member *member = &cluster->members[position];
    struct persist *persist = member->persists;
    if (persist == NULL || member->disk_held) {
        return; /* done early when the disk was released, or late */
    }
    member->persists = persist->next;
    if (member->persists == NULL) {
        member->persists_tail = &member->persists;
    }
    persist_write(&member->disk, persist, persist->entry_count);
    if (persist->entry_count > 0) {
        raft_index last = member->disk.last;
        trace_disk(cluster, position, " has on disk ", disk_term(&member->disk, last), ".", last);
    } else {
        trace_disk(cluster, position, " has on disk term=", persist->term,
                   " vote=", persist->voted_for);
    }
    for (size_t i = 0; i < persist->message_count; i++) {
        message_send(cluster, &persist->messages[i]);
    }
    struct raft_event event = {.type = RAFT_EVENT_PERSISTED, .u.persist_id = persist->id};
    persist_free(persist);
    (void)member_step(cluster, position, &event);
}

static void apply_start(struct cluster *cluster, size_t position, const struct raft_ready *ready)
{
    struct member *member = &cluster->members[position];
    for (size_t i = 0; i < ready->committed_count; i++) {
        const struct raft_entry *entry = &ready->committed[i];
        check_committed(cluster, position, entry);
        uint64_t took_ms = nk_prng_between(&cluster->prng, 0, cluster->options.apply_ms_max);
        member->apply_free_ms = nk_max_u64(member->apply_free_ms, cluster->now_ms) + took_ms;
        struct happening *applied =
            happening_new(cluster, position, HAPPENING_APPLIED, member->apply_free_ms);
        applied->applied = entry->index;
        applied->payload = entry->payload.data;
        applied->payload_size = entry->payload.size;
        applied->payload_hash = nk_xxh64(entry->payload, 0);
    }
}

/* Entries that some member still needs from the others' logs must not leave them: there are no
 * snapshots here. */
static void flush_maybe(struct cluster *cluster, size_t position)
{
    struct member *member = &cluster->members[position];
    if (!nk_prng_chance(&cluster->prng, cluster->options.flush_per_million)) {
        return;
    }
    raft_index index = member->applied;
    for (size_t i = 0; i < cluster->options.node_count; i++) {
        index = nk_min_u64(index, cluster->members[i].kept);
    }
    if (index > member->disk.flushed) {
        member->disk.flushed_term = history_at(cluster, index)->committed.term;
        member->disk.flushed = index;
    }
}

static void apply_finish(struct cluster *cluster, size_t position,
                         const struct happening *happening)
{
    struct member *member = &cluster->members[position];
    struct nk_bytes payload = nk_bytes_of(happening->payload, happening->payload_size);
    if (nk_xxh64(payload, 0) != happening->payload_hash) {
        violate(cluster, "a payload changed before it was reported applied", position,
                happening->applied);
    }
    member->applied = happening->applied;
    trace_disk(cluster, position, " applies ",
               history_at(cluster, happening->applied)->committed.term, ".", happening->applied);
    member->kept = nk_max_u64(member->kept, member->disk.flushed);
    while (member->kept < member->applied &&
           disk_term(&member->disk, member->kept + 1) ==
               history_at(cluster, member->kept + 1)->committed.term) {
        member->kept++;
    }
    flush_maybe(cluster, position);
    struct raft_event event = {.type = RAFT_EVENT_APPLIED, .u.applied = happening->applied};
    (void)member_step(cluster, position, &event);
}

static enum nk_err member_step(struct cluster *cluster, size_t position,
                               const struct raft_event *event)
{
    struct member *member = &cluster->members[position];
    struct raft_ready ready;
    enum nk_err err = raft_step(member->node, event, cluster->now_ms, &ready);
    member->next_tick_ms = ready.next_tick_ms;
    for (size_t i = 0; i < ready.messages_now_count; i++) {
        message_send(cluster, &ready.messages_now[i]);
    }
    if (ready.persist_id != 0) {
        persist_start(cluster, position, &ready);
    } else {
        for (size_t i = 0; i < ready.messages_after_sync_count; i++) {
            message_send(cluster, &ready.messages_after_sync[i]);
        }
    }
    apply_start(cluster, position, &ready);
    for (size_t i = 0; i < ready.read_count; i++) {
        const struct raft_read *read = &ready.reads[i];
        trace_node(cluster, position, read->confirmed ? "confirms read " : "gives up read ",
                   &read->id);
        check_read(cluster, position, read);
    }
    observe(cluster, position);
    return err;
}

static void member_open(struct cluster *cluster, size_t position, uint64_t seed)
{
    struct member *member = &cluster->members[position];
    const struct cluster_options *options = &cluster->options;
    struct raft_options node_options = {
        .id = position + 1,
        .voter_count = options->node_count,
        .seed = seed,
        .election_timeout_min_ms = 1000,
        .election_timeout_max_ms = 2000,
        .heartbeat_interval_ms = 150,
        .lease_ms = 900,
        .entries_per_append_max = options->entries_per_append_max,
        .bytes_per_append_max = 4096,
        .unapplied_bytes_max = options->unapplied_bytes_max,
        .retained_bytes_max = options->retained_bytes_max,
    };
    for (size_t i = 0; i < options->node_count; i++) {
        node_options.voters[i] = i + 1;
    }
    const struct disk *disk = &member->disk;
    struct raft_restore restore = {
        .term = disk->term,
        .voted_for = disk->voted_for,
        .applied = disk->flushed,
        .applied_term = disk->flushed_term,
    };
    struct raft_entry *entries = NULL;
    if (disk->last > disk->flushed) {
        restore.entry_count = (size_t)(disk->last - disk->flushed);
        entries = nk_alloc(restore.entry_count * sizeof *entries);
        for (size_t i = 0; i < restore.entry_count; i++) {
            const struct stored *stored = &disk->entries[disk->flushed + i];
            entries[i] = (struct raft_entry){
                .index = disk->flushed + 1 + i,
                .term = stored->term,
                .kind = stored->kind,
                .payload = nk_bytes_of(stored->bytes, stored->size),
            };
        }
        restore.entries = entries;
    }
    raft_open(&node_options, &restore, cluster->now_ms, &member->node);
    nk_free(entries);
    member->incarnation++;
    member->next_tick_ms = cluster->now_ms;
    member->role = RAFT_ROLE_FOLLOWER;
    member->term = disk->term;
    member->commit = disk->flushed;
    member->applied = disk->flushed;
    member->apply_free_ms = 0;
    member->disk_free_ms = 0;
    member->memory.flushed = disk->flushed;
    member->memory.flushed_term = disk->flushed_term;
    member->memory.last = disk->flushed;
    for (raft_index i = disk->flushed + 1; i <= disk->last; i++) {
        disk_put(&member->memory, i, &disk->entries[i - 1]);
    }
}

/* --- The cluster --- */

struct cluster_options cluster_options_calm(size_t node_count, uint64_t seed)
{
    return (struct cluster_options){
        .node_count = node_count,
        .seed = seed,
        .delay_ms_min = 10,
        .delay_ms_max = 10,
        .disk_ms_min = 2,
        .disk_ms_max = 2,
        .entries_per_append_max = 100,
        .unapplied_bytes_max = (size_t)NK_MIB,
        .retained_bytes_max = (size_t)(16 * NK_MIB),
    };
}

struct cluster *cluster_open(const struct cluster_options *options)
{
    NK_ASSERT(options->node_count <= RAFT_VOTERS_MAX);
    struct cluster *cluster = nk_alloc_zero(1, sizeof *cluster);
    cluster->options = *options;
    nk_prng_init(&cluster->prng, options->seed);
    nk_heap_init(&cluster->heap);
    for (size_t i = 0; i < options->node_count; i++) {
        cluster->members[i].persists_tail = &cluster->members[i].persists;
        member_open(cluster, i, nk_prng_next(&cluster->prng));
    }
    return cluster;
}

void cluster_close(struct cluster **cluster)
{
    struct cluster *c = *cluster;
    for (size_t i = 0; i < c->options.node_count; i++) {
        if (c->members[i].node != NULL) {
            cluster_crash(c, i + 1);
        }
        nk_free(c->members[i].disk.entries);
        nk_free(c->members[i].memory.entries);
    }
    for (struct nk_heap_node *top = nk_heap_peek(&c->heap); top != NULL;
         top = nk_heap_peek(&c->heap)) {
        struct happening *happening = NK_CONTAINER_OF(top, struct happening, by_time);
        nk_heap_remove(&c->heap, top);
        message_free(&happening->message);
        nk_free(happening);
    }
    nk_heap_deinit(&c->heap);
    for (size_t i = 0; i < c->history_capacity; i++) {
        nk_free(c->history[i].versions);
    }
    nk_free(c->history);
    nk_free(c->reads);
    nk_free(c);
    *cluster = NULL;
}

uint64_t cluster_now_ms(const struct cluster *cluster)
{
    return cluster->now_ms;
}

static void happen(struct cluster *cluster, struct happening *happening)
{
    size_t position = happening->node;
    struct member *member = &cluster->members[position];
    if (happening->kind == HAPPENING_MESSAGE) {
        size_t from = (size_t)happening->message.from - 1;
        if (cluster->cut[from][position]) {
            trace_message(cluster, &happening->message, " (cut off)");
        } else if (member->node != NULL) {
            struct raft_event event = {.type = RAFT_EVENT_MESSAGE,
                                       .u.message = &happening->message};
            (void)member_step(cluster, position, &event);
        }
    } else if (member->node != NULL && member->incarnation == happening->incarnation) {
        if (happening->kind == HAPPENING_DISK) {
            persist_finish(cluster, position);
        } else {
            apply_finish(cluster, position, happening);
        }
    }
    message_free(&happening->message);
    nk_free(happening);
}

void cluster_advance(struct cluster *cluster, uint64_t span_ms)
{
    uint64_t until_ms = cluster->now_ms + span_ms;
    for (;;) {
        struct nk_heap_node *top = nk_heap_peek(&cluster->heap);
        uint64_t next_ms = top != NULL ? top->order : UINT64_MAX;
        size_t ticking = cluster->options.node_count;
        for (size_t i = 0; i < cluster->options.node_count; i++) {
            const struct member *member = &cluster->members[i];
            if (member->node != NULL && member->next_tick_ms < next_ms) {
                next_ms = member->next_tick_ms;
                ticking = i;
            }
        }
        if (next_ms > until_ms) {
            break;
        }
        cluster->now_ms = nk_max_u64(cluster->now_ms, next_ms);
        if (ticking < cluster->options.node_count) {
            struct raft_event event = {.type = RAFT_EVENT_TICK};
            (void)member_step(cluster, ticking, &event);
        } else {
            nk_heap_remove(&cluster->heap, top);
            happen(cluster, NK_CONTAINER_OF(top, struct happening, by_time));
        }
    }
    cluster->now_ms = until_ms;
}

void cluster_calm(struct cluster *cluster)
{
    cluster->options.drop_per_million = 0;
    cluster->options.duplicate_per_million = 0;
    for (size_t i = 0; i < cluster->options.node_count; i++) {
        cluster_disk_hold(cluster, i + 1, false);
    }
}

void cluster_cut(struct cluster *cluster, raft_id from, raft_id to)
{
    cluster->cut[from - 1][to - 1] = true;
}

void cluster_isolate(struct cluster *cluster, raft_id id)
{
    for (size_t i = 0; i < cluster->options.node_count; i++) {
        cluster->cut[i][id - 1] = true;
        cluster->cut[id - 1][i] = true;
    }
}

void cluster_heal(struct cluster *cluster)
{
    memset(cluster->cut, 0, sizeof cluster->cut);
}

void cluster_disk_hold(struct cluster *cluster, raft_id id, bool held)
{
    struct member *member = &cluster->members[id - 1];
    if (member->disk_held && !held) {
        for (const struct persist *persist = member->persists; persist != NULL;
             persist = persist->next) {
            (void)happening_new(cluster, (size_t)id - 1, HAPPENING_DISK, cluster->now_ms);
        }
    }
    member->disk_held = held;
}

void cluster_crash(struct cluster *cluster, raft_id id)
{
    struct member *member = &cluster->members[id - 1];
    NK_ASSERT(member->node != NULL);
    raft_close(&member->node);
    /* Of what was under way any beginning may have reached the disk: some persists whole, the next
     * one without all of its entries, or with the term and vote alone. */
    bool surviving = true;
    while (member->persists != NULL) {
        struct persist *persist = member->persists;
        member->persists = persist->next;
        if (surviving) {
            surviving = nk_prng_below(&cluster->prng, 2) == 0;
            if (surviving) {
                persist_write(&member->disk, persist, persist->entry_count);
            } else if (nk_prng_below(&cluster->prng, 2) == 0) {
                size_t kept = (size_t)nk_prng_between(&cluster->prng, 0, persist->entry_count);
                persist_write(&member->disk, persist, kept);
            }
        }
        persist_free(persist);
    }
    member->persists_tail = &member->persists;
    size_t kept = 0;
    for (size_t i = 0; i < cluster->read_count; i++) {
        if (cluster->reads[i].node != (size_t)id - 1) {
            cluster->reads[kept++] = cluster->reads[i];
        }
    }
    cluster->read_count = kept;
    trace_node(cluster, (size_t)id - 1, "crashes", NULL);
}

void cluster_restart(struct cluster *cluster, raft_id id)
{
    NK_ASSERT(cluster->members[id - 1].node == NULL);
    trace_node(cluster, (size_t)id - 1, "restarts", NULL);
    cluster->members[id - 1].disk_held = false;
    member_open(cluster, (size_t)id - 1, nk_prng_next(&cluster->prng));
}

bool cluster_alive(const struct cluster *cluster, raft_id id)
{
    return cluster->members[id - 1].node != NULL;
}

void cluster_campaign(struct cluster *cluster, raft_id id)
{
    struct raft_event event = {.type = RAFT_EVENT_CAMPAIGN};
    (void)member_step(cluster, (size_t)id - 1, &event);
}

enum nk_err cluster_propose(struct cluster *cluster, raft_id id, struct nk_bytes payload)
{
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE, .u.propose = {&payload, 1}};
    return member_step(cluster, (size_t)id - 1, &event);
}

enum nk_err cluster_read(struct cluster *cluster, raft_id id, uint64_t read_id)
{
    if (cluster->read_count == cluster->read_capacity) {
        cluster->read_capacity = nk_max_size(2 * cluster->read_capacity, 16);
        cluster->reads =
            nk_realloc(cluster->reads, cluster->read_capacity * sizeof *cluster->reads);
    }
    size_t position = (size_t)id - 1;
    cluster->reads[cluster->read_count++] = (struct asked_read){
        .id = read_id,
        .node = position,
        .incarnation = cluster->members[position].incarnation,
        .commit_max = cluster->commit_max,
    };
    struct raft_event event = {.type = RAFT_EVENT_READ, .u.read_id = read_id};
    enum nk_err err = member_step(cluster, position, &event);
    if (err != NK_OK) {
        cluster->read_count--; /* not asked; nothing was answered in this step, so it is the last */
    }
    return err;
}

void cluster_status(const struct cluster *cluster, raft_id id, struct raft_status *out_status)
{
    raft_get_status(cluster->members[id - 1].node, cluster->now_ms, out_status);
}

void cluster_describe(const struct cluster *cluster, raft_id id, struct nk_text *out)
{
    if (cluster->members[id - 1].node == NULL) {
        nk_text_add(out, "crashed");
    } else {
        raft_describe(cluster->members[id - 1].node, out);
    }
}

raft_id cluster_leader(const struct cluster *cluster)
{
    raft_id leader = 0;
    raft_term term = 0;
    for (size_t i = 0; i < cluster->options.node_count; i++) {
        const struct member *member = &cluster->members[i];
        if (member->node != NULL && member->role == RAFT_ROLE_LEADER && member->term > term) {
            leader = i + 1;
            term = member->term;
        }
    }
    return leader;
}

raft_index cluster_commit_max(const struct cluster *cluster)
{
    return cluster->commit_max;
}

bool cluster_converged(const struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->options.node_count; i++) {
        const struct member *member = &cluster->members[i];
        if (member->node == NULL || member->applied != cluster->commit_max) {
            return false;
        }
    }
    return true;
}

size_t cluster_reads_open(const struct cluster *cluster)
{
    return cluster->read_count;
}

const char *cluster_violation(const struct cluster *cluster)
{
    return cluster->violation[0] != '\0' ? cluster->violation : NULL;
}

uint64_t cluster_trace_hash(const struct cluster *cluster)
{
    return cluster->trace_hash;
}

/* Entries in one array that is used as a sliding window: appended at the end, released at the
 * front, moved down when the room in front is at least as large as what moves, so each entry is
 * moved a constant number of times on average.  A plain array rather than a ring because the host
 * gets runs of it (raft_ready.entries, committed, raft_message.entries).
 *
 * Payloads live in blocks, one allocation for each proposed or received batch.  A block covers a
 * run of indexes and is freed with the last of them; blocks are kept in index order, so release
 * looks only at the oldest and truncation only at the newest. */

#include "log.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

/* An empty log keeps at most this much room, so that an idle group costs little. */
#define RAFT_LOG_IDLE_SLOTS  ((size_t)64)
#define RAFT_LOG_FIRST_SLOTS ((size_t)8)

struct raft_log_block {
    struct nk_list link;
    raft_index first; /* first <= last */
    raft_index last;
    uint8_t data[];
};

static void reserve(struct raft_log *log, size_t extra);
static uint8_t *block_add(struct raft_log *log, size_t entry_count, size_t size_bytes);
static struct raft_log_block *block_of(struct nk_list *link);

void raft_log_init(struct raft_log *log, raft_index base, raft_term base_term)
{
    NK_ASSERT((base == 0) == (base_term == 0));
    *log = (struct raft_log){
        .base = base,
        .base_term = base_term,
        .handed = base,
        .persisted = base,
        .commit = base,
        .delivered = base,
        .applied = base,
    };
    nk_list_init(&log->blocks);
}

void raft_log_deinit(struct raft_log *log)
{
    while (!nk_list_empty(&log->blocks)) {
        struct raft_log_block *block = block_of(log->blocks.next);
        nk_list_remove(&block->link);
        nk_free(block);
    }
    nk_free(log->slots);
    log->slots = NULL;
}

const struct raft_entry *raft_log_at(const struct raft_log *log, raft_index index)
{
    NK_ASSERT(index > log->base);
    NK_ASSERT(index - log->base <= log->count);
    return &log->slots[log->head + (size_t)(index - log->base - 1)];
}

raft_term raft_log_term(const struct raft_log *log, raft_index index)
{
    return index == log->base ? log->base_term : raft_log_at(log, index)->term;
}

raft_term raft_log_last_term(const struct raft_log *log)
{
    return raft_log_term(log, raft_log_last(log));
}

raft_index raft_log_last_not_after(const struct raft_log *log, raft_index limit, raft_term term)
{
    raft_index high = nk_min_u64(limit, raft_log_last(log));
    if (high < log->base) {
        return high;
    }
    if (log->base_term > term) {
        return log->base > 0 ? log->base - 1 : 0;
    }
    /* Terms never fall, so a binary search finds the border: term(low) <= term always holds. */
    raft_index low = log->base;
    while (low < high) {
        raft_index middle = high - (high - low) / 2;
        if (raft_log_term(log, middle) <= term) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

void raft_log_append_payloads(struct raft_log *log, raft_term term, enum raft_entry_kind kind,
                              const struct nk_bytes *payloads, size_t count)
{
    NK_ASSERT(term >= raft_log_last_term(log));
    size_t size_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        size_bytes += payloads[i].size;
    }
    reserve(log, count);
    uint8_t *data = block_add(log, count, size_bytes);
    struct raft_entry *slot = log->slots + log->head + log->count;
    raft_index index = raft_log_last(log) + 1;
    for (size_t i = 0; i < count; i++) {
        struct nk_bytes payload = {NULL, payloads[i].size};
        if (payload.size > 0) {
            payload.data = memcpy(data, payloads[i].data, payload.size);
            data += payload.size;
        }
        slot[i] = (struct raft_entry){index + i, term, kind, payload};
    }
    log->count += count;
    log->unapplied_bytes += size_bytes + count * RAFT_ENTRY_BYTES;
}

void raft_log_append_entries(struct raft_log *log, const struct raft_entry *entries, size_t count)
{
    size_t size_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        size_bytes += entries[i].payload.size;
    }
    reserve(log, count);
    uint8_t *data = block_add(log, count, size_bytes);
    for (size_t i = 0; i < count; i++) {
        NK_ASSERT(entries[i].index == raft_log_last(log) + 1);
        NK_ASSERT(entries[i].term >= raft_log_last_term(log));
        struct raft_entry *slot = &log->slots[log->head + log->count];
        *slot = entries[i];
        slot->payload.data = NULL;
        if (slot->payload.size > 0) {
            slot->payload.data = memcpy(data, entries[i].payload.data, slot->payload.size);
            data += slot->payload.size;
        }
        log->count++;
    }
    log->unapplied_bytes += size_bytes + count * RAFT_ENTRY_BYTES;
}

void raft_log_truncate(struct raft_log *log, raft_index first)
{
    NK_ASSERT(first > log->commit);
    while (raft_log_last(log) >= first) {
        log->unapplied_bytes -= raft_entry_bytes(raft_log_at(log, raft_log_last(log)));
        log->count--;
    }
    log->handed = nk_min_u64(log->handed, first - 1);
    log->persisted = nk_min_u64(log->persisted, first - 1);
    while (!nk_list_empty(&log->blocks)) {
        struct raft_log_block *newest = block_of(log->blocks.prev);
        if (newest->first < first) {
            newest->last = nk_min_u64(newest->last, first - 1);
            break;
        }
        nk_list_remove(&newest->link);
        nk_free(newest);
    }
}

void raft_log_set_applied(struct raft_log *log, raft_index index)
{
    NK_ASSERT(index >= log->applied);
    NK_ASSERT(index <= log->delivered);
    size_t bytes = 0;
    for (raft_index i = log->applied + 1; i <= index; i++) {
        bytes += raft_entry_bytes(raft_log_at(log, i));
    }
    NK_ASSERT(bytes <= log->unapplied_bytes);
    log->unapplied_bytes -= bytes;
    log->retained_bytes += bytes;
    log->applied = index;
}

void raft_log_release(struct raft_log *log, raft_index needless, size_t retained_bytes_max)
{
    while (log->base < log->applied &&
           (log->base < needless || log->retained_bytes > retained_bytes_max)) {
        const struct raft_entry *oldest = &log->slots[log->head];
        log->retained_bytes -= raft_entry_bytes(oldest);
        log->base = oldest->index;
        log->base_term = oldest->term;
        log->head++;
        log->count--;
    }
    while (!nk_list_empty(&log->blocks)) {
        struct raft_log_block *oldest = block_of(log->blocks.next);
        if (oldest->last > log->base) {
            break;
        }
        nk_list_remove(&oldest->link);
        nk_free(oldest);
    }
    if (log->count == 0) {
        log->head = 0;
        if (log->capacity > RAFT_LOG_IDLE_SLOTS) {
            nk_free(log->slots);
            log->slots = NULL;
            log->capacity = 0;
        }
    }
}

size_t raft_log_batch(const struct raft_log *log, raft_index first, size_t count_max,
                      size_t bytes_max)
{
    size_t count = 0;
    size_t bytes = 0;
    for (raft_index index = first; index <= raft_log_last(log); index++) {
        bytes += raft_log_at(log, index)->payload.size;
        if (count > 0 && (count >= count_max || bytes > bytes_max)) {
            break;
        }
        count++;
    }
    return count;
}

bool raft_log_check(const struct raft_log *log)
{
    if (log->base > log->applied || log->applied > log->delivered || log->delivered > log->commit ||
        log->commit > raft_log_last(log) || log->handed > raft_log_last(log) ||
        log->persisted > log->handed || log->head + log->count > log->capacity ||
        (log->base == 0) != (log->base_term == 0)) {
        return false;
    }
    size_t unapplied_bytes = 0;
    size_t retained_bytes = 0;
    raft_term term = log->base_term;
    for (size_t i = 0; i < log->count; i++) {
        const struct raft_entry *entry = &log->slots[log->head + i];
        if (entry->index != log->base + 1 + i || entry->term < term) {
            return false;
        }
        term = entry->term;
        *(entry->index > log->applied ? &unapplied_bytes : &retained_bytes) +=
            raft_entry_bytes(entry);
    }
    return unapplied_bytes == log->unapplied_bytes && retained_bytes == log->retained_bytes;
}

static void reserve(struct raft_log *log, size_t extra)
{
    size_t needed = log->count + extra;
    if (log->head + needed <= log->capacity) {
        return;
    }
    if (needed <= log->capacity / 2) {
        /* head > capacity / 2 >= count: nothing overlaps, and as much room was used up as moves. */
        memcpy(log->slots, log->slots + log->head, log->count * sizeof *log->slots);
        log->head = 0;
        return;
    }
    size_t capacity = nk_max_size(2 * needed, RAFT_LOG_FIRST_SLOTS);
    struct raft_entry *slots = nk_alloc(capacity * sizeof *slots);
    if (log->count > 0) {
        memcpy(slots, log->slots + log->head, log->count * sizeof *slots);
    }
    nk_free(log->slots);
    log->slots = slots;
    log->head = 0;
    log->capacity = capacity;
}

/* Memory for the payloads of the next `entry_count` entries; NULL when they have no bytes. */
static uint8_t *block_add(struct raft_log *log, size_t entry_count, size_t size_bytes)
{
    if (size_bytes == 0) {
        return NULL;
    }
    struct raft_log_block *block = nk_alloc(sizeof *block + size_bytes);
    block->first = raft_log_last(log) + 1;
    block->last = raft_log_last(log) + entry_count;
    nk_list_append(&log->blocks, &block->link);
    return block->data;
}

static struct raft_log_block *block_of(struct nk_list *link)
{
    return NK_CONTAINER_OF(link, struct raft_log_block, link);
}

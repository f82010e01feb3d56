#pragma once

/* The part of the log that is in memory: entries base + 1 .. last, contiguous.
 *
 *     base <= applied <= delivered <= commit <= last
 *     handed <= last       persisted <= handed       terms never fall
 *
 * `commit` and even `applied` may be ahead of `persisted`: a majority of other disks is enough.
 * Entry pointers stay valid until the next call that changes the log; the payload of an entry until
 * it is truncated (never below `commit`) or released (never above `applied`). */

#include "common/base/list.h"

#include "raft.h"

struct raft_log {
    raft_index base;     /* the entry before the first in memory; 0: there is none */
    raft_term base_term; /* 0 only when base is 0 */

    struct raft_entry *slots; /* slots[head .. head + count) hold the entries */
    size_t head;
    size_t count;
    size_t capacity;       /* head + count <= capacity; NULL slots only while 0 */
    struct nk_list blocks; /* payload memory, one block for each batch, by ascending index */

    raft_index handed;    /* given to the host to persist */
    raft_index persisted; /* reported durable */
    raft_index commit;
    raft_index delivered; /* given to the host to apply */
    raft_index applied;   /* reported applied */

    size_t unapplied_bytes; /* of entries applied + 1 .. last, see RAFT_ENTRY_BYTES */
    size_t retained_bytes;  /* of entries base + 1 .. applied */
};

/* Everything up to `base` is in the state machine. */
void raft_log_init(struct raft_log *log, raft_index base, raft_term base_term);
void raft_log_deinit(struct raft_log *log);

static inline raft_index raft_log_last(const struct raft_log *log)
{
    return log->base + log->count;
}

static inline size_t raft_entry_bytes(const struct raft_entry *entry)
{
    return RAFT_ENTRY_BYTES + entry->payload.size;
}

/* The entry at `index`; asserts base < index <= last. */
const struct raft_entry *raft_log_at(const struct raft_log *log, raft_index index);

/* Asserts base <= index <= last. */
raft_term raft_log_term(const struct raft_log *log, raft_index index);
raft_term raft_log_last_term(const struct raft_log *log);

/* The last index <= min(limit, last) whose term is <= `term`.  base - 1 (0 if base is 0) when that
 * lies below what is known. */
raft_index raft_log_last_not_after(const struct raft_log *log, raft_index limit, raft_term term);

/* Appends one entry for each payload, in `term`; the bytes are copied. */
void raft_log_append_payloads(struct raft_log *log, raft_term term, enum raft_entry_kind kind,
                              const struct nk_bytes *payloads, size_t count);

/* Appends entries that continue the log; copied.  Asserts index and term order. */
void raft_log_append_entries(struct raft_log *log, const struct raft_entry *entries, size_t count);

/* Drops the entries from `first` on; asserts commit < first. */
void raft_log_truncate(struct raft_log *log, raft_index first);

/* Moves `applied` to `index`; asserts applied <= index <= delivered. */
void raft_log_set_applied(struct raft_log *log, raft_index index);

/* Forgets applied entries, oldest first: all up to `needless`, then as many as it takes to retain
 * at most `retained_bytes_max`. */
void raft_log_release(struct raft_log *log, raft_index needless, size_t retained_bytes_max);

/* How many entries from `first` on make one append: at least one if there is one, then while
 * neither limit is passed. */
size_t raft_log_batch(const struct raft_log *log, raft_index first, size_t count_max,
                      size_t bytes_max);

/* Whether all invariants hold; slow. */
bool raft_log_check(const struct raft_log *log);

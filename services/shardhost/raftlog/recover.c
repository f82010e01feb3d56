/* Reading the log again: FORMAT.md, "Recovery", whose steps this file follows in order.
 *
 * Everything is read and judged before anything is changed, so a log that is refused stays as it
 * was found. */

#include "services/shardhost/raftlog/recover.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

#define READ_AHEAD_BYTES ((size_t)NK_MIB)

/* One segment as it was found. */
struct found {
    uint64_t sequence;
    uint64_t previous_length; /* this and the version are from its head */
    uint32_t version;
};

struct recovery {
    struct raftlog_store *store;
    struct raftlog_ledger *ledger;
    void (*visit)(void *visitor, const struct raftlog_record *record);
    void *visitor;
    struct found *segments; /* rising and consecutive once sorted */
    size_t segment_count;
    size_t segment_capacity;
    uint64_t newest; /* of them; 0: there is none */
    bool old_seen;   /* a dropped segment; there must be a younger one */

    /* The segment that is being read. */
    char name[RAFTLOG_NAME_BYTES];
    struct nk_file *file;
    uint64_t file_size;
    struct nk_buf window; /* the file from window_offset on */
    uint64_t window_offset;
    uint64_t cut_bytes; /* behind the end of the log */
};

struct batch {
    struct raftlog_batch_head head;
    struct nk_bytes bytes; /* in the window */
};

static enum nk_err fault(struct recovery *recovery, enum nk_err err, uint64_t offset,
                         const char *what)
{
    return raftlog_store_fault(recovery->store, err, recovery->name, offset, what);
}

/* --- Directory and names. */

static enum nk_err make_directory(struct recovery *recovery)
{
    struct raftlog_store *store = recovery->store;
    enum nk_err err = nk_fs_mkdir(&store->fs, store->directory);
    if (err != NK_OK && err != NK_CONFLICT) {
        return fault(recovery, err, 0, "the directory cannot be made");
    }
    /* Also where it existed: whoever made it may have died before this. */
    char *parent = nk_strdup(store->directory);
    char *slash = strrchr(parent, '/');
    *(slash != NULL ? slash : parent) = '\0';
    err = nk_fs_sync_dir(&store->fs, parent);
    nk_free(parent);
    if (err == NK_OK) {
        err = nk_fs_sync_dir(&store->fs, store->directory);
    }
    return err == NK_OK ? NK_OK : fault(recovery, err, 0, "the directory cannot be synced");
}

static void see_name(void *visitor, const char *name)
{
    struct recovery *recovery = visitor;
    uint64_t sequence = 0;
    switch (raftlog_segment_name_parse(name, &sequence)) {
    case RAFTLOG_NAME_FOREIGN:
        return;
    case RAFTLOG_NAME_OLD:
        recovery->old_seen = true;
        raftlog_store_add_spare(recovery->store, name);
        return;
    case RAFTLOG_NAME_NEW:
        raftlog_store_add_spare(recovery->store, name);
        return;
    case RAFTLOG_NAME_TOP:
        recovery->store->marked = nk_max_u64(recovery->store->marked, sequence);
        return;
    case RAFTLOG_NAME_SEGMENT:
        break;
    }
    if (recovery->segment_count == recovery->segment_capacity) {
        recovery->segment_capacity = 2 * recovery->segment_capacity + 8;
        recovery->segments = nk_realloc(recovery->segments,
                                        recovery->segment_capacity * sizeof recovery->segments[0]);
    }
    recovery->segments[recovery->segment_count++].sequence = sequence;
    recovery->newest = nk_max_u64(recovery->newest, sequence);
}

static int compare_found(const void *a, const void *b)
{
    uint64_t left = ((const struct found *)a)->sequence;
    uint64_t right = ((const struct found *)b)->sequence;
    return (left > right) - (left < right);
}

static enum nk_err find_segments(struct recovery *recovery)
{
    struct raftlog_store *store = recovery->store;
    enum nk_err err = nk_fs_list(&store->fs, store->directory, see_name, recovery);
    if (err != NK_OK) {
        return fault(recovery, err, 0, "the directory cannot be read");
    }
    if (store->marked > recovery->newest) {
        raftlog_segment_name(store->marked, ".log", recovery->name);
        return fault(recovery, NK_CORRUPT, 0, "the newest segment is missing");
    }
    if (recovery->segment_count == 0) {
        return recovery->old_seen ? fault(recovery, NK_CORRUPT, 0, "all segments are missing")
                                  : NK_OK;
    }
    qsort(recovery->segments, recovery->segment_count, sizeof recovery->segments[0], compare_found);
    for (size_t i = 1; i < recovery->segment_count; i++) {
        if (recovery->segments[i].sequence != recovery->segments[i - 1].sequence + 1) {
            raftlog_segment_name(recovery->segments[i - 1].sequence + 1, ".log", recovery->name);
            return fault(recovery, NK_CORRUPT, 0, "a segment is missing");
        }
    }
    return NK_OK;
}

/* --- Files. */

static void close_segment(struct recovery *recovery)
{
    nk_fs_close(&recovery->store->fs, &recovery->file);
    recovery->name[0] = '\0';
    nk_buf_clear(&recovery->window);
}

static enum nk_err open_segment(struct recovery *recovery, uint64_t sequence, enum nk_fs_open mode)
{
    NK_ASSERT(recovery->file == NULL);
    raftlog_segment_name(sequence, ".log", recovery->name);
    char *path = raftlog_store_path(recovery->store, recovery->name);
    enum nk_err err = nk_fs_open(&recovery->store->fs, path, mode, &recovery->file);
    nk_free(path);
    if (err == NK_OK) {
        err = nk_fs_size(&recovery->store->fs, recovery->file, &recovery->file_size);
    }
    return err == NK_OK ? NK_OK : fault(recovery, err, 0, "a segment cannot be opened");
}

/* Makes [offset, offset + size) of the file readable at *out_bytes until the next load. */
static enum nk_err load(struct recovery *recovery, uint64_t offset, size_t size,
                        struct nk_bytes *out_bytes)
{
    NK_ASSERT(offset <= recovery->file_size);
    NK_ASSERT(size <= recovery->file_size - offset);
    struct nk_buf *window = &recovery->window;
    uint64_t skipped = offset - recovery->window_offset;
    bool inside = offset >= recovery->window_offset && skipped <= window->size &&
                  size <= window->size - skipped;
    if (!inside) {
        size_t ahead =
            (size_t)nk_min_u64(nk_max_size(size, READ_AHEAD_BYTES), recovery->file_size - offset);
        nk_buf_clear(window);
        size_t read = 0;
        enum nk_err err = nk_fs_pread(&recovery->store->fs, recovery->file, offset,
                                      nk_buf_extend(window, ahead), ahead, &read);
        if (err != NK_OK || read != ahead) {
            nk_buf_clear(window);
            return fault(recovery, err != NK_OK ? err : NK_IO, offset, "a segment cannot be read");
        }
        recovery->window_offset = offset;
        skipped = 0;
    }
    *out_bytes = nk_bytes_of(window->data + skipped, size);
    return NK_OK;
}

static enum nk_err read_heads(struct recovery *recovery)
{
    for (size_t i = 0; i < recovery->segment_count; i++) {
        struct found *found = &recovery->segments[i];
        enum nk_err err = open_segment(recovery, found->sequence, NK_FS_READ);
        if (err != NK_OK) {
            return err;
        }
        if (recovery->file_size < RAFTLOG_SECTOR_BYTES) {
            return fault(recovery, NK_CORRUPT, 0, "a segment has no head");
        }
        struct nk_bytes sector;
        err = load(recovery, 0, RAFTLOG_SECTOR_BYTES, &sector);
        if (err != NK_OK) {
            return err;
        }
        struct raftlog_segment_head head;
        err = raftlog_segment_head_decode(sector.data, &head);
        if (err == NK_FORMAT_TOO_NEW) {
            return fault(recovery, err, 0, "a later version wrote this segment");
        }
        if (err != NK_OK || head.sequence != found->sequence) {
            return fault(recovery, NK_CORRUPT, 0, "the head of a segment is wrong");
        }
        found->previous_length = head.previous_length;
        found->version = head.version;
        close_segment(recovery);
    }
    return NK_OK;
}

/* --- Batches. */

/* *out_valid says whether a batch lies at `offset` and ends at `limit` at the latest. */
static enum nk_err read_batch(struct recovery *recovery, uint64_t sequence, uint64_t offset,
                              uint64_t limit, struct batch *out_batch, bool *out_valid)
{
    *out_valid = false;
    if (limit - offset < RAFTLOG_BATCH_HEAD_BYTES) {
        return NK_OK;
    }
    struct batch batch;
    enum nk_err err = load(recovery, offset, RAFTLOG_BATCH_HEAD_BYTES, &batch.bytes);
    if (err != NK_OK ||
        !raftlog_batch_head_decode(batch.bytes.data, sequence, offset, limit, &batch.head)) {
        return err;
    }
    err = load(recovery, offset, batch.head.length, &batch.bytes);
    if (err != NK_OK || !raftlog_batch_intact(batch.bytes)) {
        return err;
    }
    *out_batch = batch;
    *out_valid = true;
    return NK_OK;
}

/* The checksum says that we wrote the batch: records that make no sense are never a torn write. */
static enum nk_err visit_records(struct recovery *recovery, const struct batch *batch)
{
    struct nk_bytes left = nk_bytes_of(batch->bytes.data + RAFTLOG_BATCH_HEAD_BYTES,
                                       batch->bytes.size - RAFTLOG_BATCH_HEAD_BYTES);
    for (uint32_t i = 0; i < batch->head.record_count; i++) {
        struct raftlog_record record;
        if (!raftlog_record_decode(&left, &record)) {
            return fault(recovery, NK_CORRUPT, batch->head.offset, "a record makes no sense");
        }
        raftlog_ledger_note(recovery->ledger, &record);
        recovery->visit(recovery->visitor, &record);
    }
    return left.size == 0 ? NK_OK
                          : fault(recovery, NK_CORRUPT, batch->head.offset,
                                  "a batch has more than its records");
}

/* Visits the batches from the first on, up to `limit` or the first that is not valid.  *out_end is
 * behind the last valid one, *out_round_start where the round of that one began. */
static enum nk_err visit_batches(struct recovery *recovery, uint64_t sequence, uint64_t limit,
                                 uint64_t *out_end, uint64_t *out_round_start)
{
    uint64_t offset = RAFTLOG_SECTOR_BYTES;
    *out_round_start = offset;
    while (offset < limit) {
        struct batch batch;
        bool valid;
        enum nk_err err = read_batch(recovery, sequence, offset, limit, &batch, &valid);
        if (err == NK_OK && valid) {
            err = visit_records(recovery, &batch);
        }
        if (err != NK_OK) {
            return err;
        }
        if (!valid) {
            break;
        }
        *out_round_start = batch.head.round_start;
        offset += raftlog_sectors(batch.head.length);
    }
    *out_end = offset;
    return NK_OK;
}

static enum nk_err read_closed(struct recovery *recovery, const struct found *found,
                               uint64_t length)
{
    enum nk_err err = open_segment(recovery, found->sequence, NK_FS_READ);
    if (err != NK_OK) {
        return err;
    }
    if (length > recovery->file_size) {
        return fault(recovery, NK_CORRUPT, recovery->file_size, "a segment is too short");
    }
    uint64_t end;
    uint64_t round_start;
    err = visit_batches(recovery, found->sequence, length, &end, &round_start);
    if (err == NK_OK && end != length) {
        err = fault(recovery, NK_CORRUPT, end, "a bad batch in a closed segment");
    }
    if (err == NK_OK) {
        close_segment(recovery);
    }
    return err;
}

/* --- The tail. */

static bool all_zero(struct nk_bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Notes what at `offset`, at or behind the end of the log, is no valid batch but was written there.
 * In a segment that was used before, only the head of a batch tells that; in one that never was,
 * every byte but zero. */
static enum nk_err note_cut(struct recovery *recovery, uint64_t sequence, uint64_t end,
                            uint64_t offset)
{
    bool fresh = recovery->segments[0].sequence == 1; /* nothing was ever dropped */
    size_t size = (size_t)nk_min_u64(RAFTLOG_SECTOR_BYTES, recovery->file_size - offset);
    struct nk_bytes sector;
    enum nk_err err = load(recovery, offset, size, &sector);
    if (err != NK_OK) {
        return err;
    }
    uint64_t written = 0;
    if (size >= RAFTLOG_BATCH_HEAD_BYTES) {
        written = raftlog_batch_claim(sector.data, sequence, offset, recovery->file_size);
    }
    if (written == 0 && fresh && !all_zero(sector)) {
        written = size;
    }
    if (written > 0) {
        uint64_t limit = nk_min_u64(offset + written, recovery->file_size);
        recovery->cut_bytes = nk_max_u64(recovery->cut_bytes, limit - end);
    }
    return NK_OK;
}

/* The last segment has no valid batch at `end`.  If anything valid behind it belongs to a round
 * that began later, then `end` had been synced: NK_CORRUPT.  *out_leftover: there are valid batches
 * of the round that is torn at `end`. */
static enum nk_err judge_tail(struct recovery *recovery, uint64_t sequence, uint64_t end,
                              bool *out_leftover)
{
    *out_leftover = false;
    uint64_t offset = end;
    while (offset < recovery->file_size) {
        struct batch batch;
        bool valid = false; /* at `end` there is none */
        enum nk_err err = NK_OK;
        if (offset > end) {
            err = read_batch(recovery, sequence, offset, recovery->file_size, &batch, &valid);
        }
        if (err == NK_OK && !valid) {
            err = note_cut(recovery, sequence, end, offset);
        }
        if (err != NK_OK) {
            return err;
        }
        if (!valid) {
            offset += RAFTLOG_SECTOR_BYTES;
            continue;
        }
        if (batch.head.round_start > end) {
            return fault(recovery, NK_CORRUPT, end, "a bad batch with synced data behind it");
        }
        *out_leftover = true;
        recovery->cut_bytes = offset + batch.head.length - end;
        offset += raftlog_sectors(batch.head.length);
    }
    return NK_OK;
}

/* Makes the log durable as it was found.  What a dead process wrote last may be in the page cache
 * and not on disk, and if its sync failed no later sync would tell: so the last round is written
 * once more. */
static enum nk_err settle_tail(struct recovery *recovery, uint64_t round_start, uint64_t end,
                               bool leftover)
{
    const struct nk_fs *fs = &recovery->store->fs;
    enum nk_err err = NK_OK;
    if (leftover) {
        err = nk_fs_truncate(fs, recovery->file, end);
    }
    if (err == NK_OK && round_start < end) {
        size_t size = (size_t)(end - round_start);
        uint8_t *round = nk_alloc_zero(1, size); /* padding may lie beyond the end of the file */
        size_t there = (size_t)nk_min_u64(size, recovery->file_size - round_start);
        size_t read = 0;
        err = nk_fs_pread(fs, recovery->file, round_start, round, there, &read);
        if (err == NK_OK && read != there) {
            err = NK_IO;
        }
        if (err == NK_OK) {
            err = nk_fs_pwrite(fs, recovery->file, round_start, nk_bytes_of(round, size));
        }
        nk_free(round);
    }
    if (err == NK_OK) {
        err = nk_fs_sync(fs, recovery->file);
    }
    return err == NK_OK ? NK_OK : fault(recovery, err, end, "the tail cannot be settled");
}

static enum nk_err read_last(struct recovery *recovery, const struct found *found,
                             struct raftlog_end *out_end)
{
    enum nk_err err = open_segment(recovery, found->sequence, NK_FS_WRITE);
    if (err != NK_OK) {
        return err;
    }
    uint64_t end;
    uint64_t round_start;
    err = visit_batches(recovery, found->sequence, recovery->file_size, &end, &round_start);
    bool leftover = false;
    if (err == NK_OK) {
        err = judge_tail(recovery, found->sequence, end, &leftover);
    }
    if (err == NK_OK) {
        err = settle_tail(recovery, round_start, end, leftover);
    }
    if (err != NK_OK) {
        return err;
    }
    struct raftlog_cut *cut = &recovery->store->cut;
    (void)snprintf(cut->file, sizeof cut->file, "%s/%s", recovery->store->directory,
                   recovery->name);
    cut->offset = end;
    cut->size_bytes = recovery->cut_bytes;
    recovery->store->file = recovery->file;
    recovery->store->sequence = found->sequence;
    recovery->file = NULL;
    out_end->sequence = found->sequence;
    out_end->offset = end;
    out_end->closed = found->version < RAFTLOG_FORMAT_VERSION; /* its reader knows no later one */
    return NK_OK;
}

static enum nk_err read_segments(struct recovery *recovery, struct raftlog_end *out_end)
{
    enum nk_err err = read_heads(recovery);
    for (size_t i = 0; err == NK_OK && i < recovery->segment_count; i++) {
        const struct found *found = &recovery->segments[i];
        raftlog_ledger_grow(recovery->ledger, found->sequence);
        err = i + 1 < recovery->segment_count
                  ? read_closed(recovery, found, found[1].previous_length)
                  : read_last(recovery, found, out_end);
    }
    if (err == NK_OK) {
        nk_gauge_set(&recovery->store->stats.segments, (int64_t)recovery->segment_count);
    }
    return err;
}

static void see_log(void *visitor, const char *name)
{
    bool *exists = visitor;
    uint64_t sequence;
    enum raftlog_name kind = raftlog_segment_name_parse(name, &sequence);
    if (kind == RAFTLOG_NAME_SEGMENT || kind == RAFTLOG_NAME_OLD) {
        *exists = true;
    }
}

enum nk_err raftlog_exists(const struct nk_fs *fs, const char *directory, bool *out_exists)
{
    *out_exists = false;
    enum nk_err err = nk_fs_list(fs, directory, see_log, out_exists);
    return err == NK_NOT_FOUND ? NK_OK : err;
}

static enum nk_err make_first(struct recovery *recovery, struct raftlog_end *out_end)
{
    struct raftlog_segment_head head = {.sequence = 1, .previous_length = 0};
    raftlog_ledger_grow(recovery->ledger, head.sequence);
    out_end->sequence = head.sequence;
    out_end->offset = RAFTLOG_SECTOR_BYTES;
    return raftlog_store_roll(recovery->store, &head);
}

enum nk_err raftlog_recover(struct raftlog_store *store, struct raftlog_ledger *ledger,
                            void (*visit)(void *visitor, const struct raftlog_record *record),
                            void *visitor, struct raftlog_end *out_end)
{
    struct recovery recovery = {
        .store = store, .ledger = ledger, .visit = visit, .visitor = visitor};
    enum nk_err err = make_directory(&recovery);
    if (err == NK_OK) {
        err = find_segments(&recovery);
    }
    if (err == NK_OK) {
        err = recovery.segment_count > 0 ? read_segments(&recovery, out_end)
                                         : make_first(&recovery, out_end);
    }
    if (err == NK_OK) {
        err = raftlog_store_trim_spares(store);
    }
    if (err == NK_OK) {
        err = raftlog_store_mark(store);
        err = err == NK_NO_SPACE ? NK_OK : err; /* the first round does it */
    }
    nk_fs_close(&store->fs, &recovery.file);
    nk_buf_deinit(&recovery.window);
    nk_free(recovery.segments);
    return err;
}

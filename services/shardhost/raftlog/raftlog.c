/* The public face: the loop's side (staged round, ledger, end of the log) and the worker's side
 * (store) meet here.  They share one thing, the running round, which belongs to the loop until
 * raftlog_begin, to the worker until raftlog_write has returned, and then to the loop again. */

#include "services/shardhost/raftlog/raftlog.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

#include "services/shardhost/raftlog/ledger.h"
#include "services/shardhost/raftlog/recover.h"
#include "services/shardhost/raftlog/round.h"
#include "services/shardhost/raftlog/store.h"

struct raftlog {
    /* Loop. */
    struct raftlog_ledger ledger;
    struct raftlog_end end; /* of everything staged so far, written or not */
    struct raftlog_round rounds[2];
    struct raftlog_round *staged;
    struct raftlog_round *running; /* NULL: no round runs */
    uint64_t segment_bytes;

    /* Worker. */
    struct raftlog_store store;
    enum nk_err dead; /* the fault after which nothing is written any more */
};

enum nk_err raftlog_open(const struct nk_fs *fs, const char *directory,
                         const struct raftlog_options *options,
                         void (*visit)(void *visitor, const struct raftlog_record *record),
                         void *visitor, struct raftlog **out_log, struct raftlog_fault *out_fault)
{
    NK_ASSERT(options->segment_bytes >= 2 * RAFTLOG_SECTOR_BYTES);
    struct raftlog *log = nk_alloc_zero(1, sizeof *log);
    raftlog_store_init(&log->store, fs, directory, options);
    raftlog_ledger_init(&log->ledger);
    raftlog_round_init(&log->rounds[0]);
    raftlog_round_init(&log->rounds[1]);
    log->staged = &log->rounds[0];
    log->segment_bytes = options->segment_bytes;
    enum nk_err err = raftlog_recover(&log->store, &log->ledger, visit, visitor, &log->end);
    if (err != NK_OK) {
        if (out_fault != NULL) {
            *out_fault = log->store.fault;
        }
        raftlog_close(&log);
        return err;
    }
    NK_INVARIANT(raftlog_ledger_check(&log->ledger));
    *out_log = log;
    return NK_OK;
}

const struct raftlog_cut *raftlog_cut(const struct raftlog *log)
{
    return log->store.cut.size_bytes > 0 ? &log->store.cut : NULL;
}

void raftlog_close(struct raftlog **log)
{
    if (log == NULL || *log == NULL) {
        return;
    }
    raftlog_round_deinit(&(*log)->rounds[0]);
    raftlog_round_deinit(&(*log)->rounds[1]);
    raftlog_ledger_deinit(&(*log)->ledger);
    raftlog_store_deinit(&(*log)->store);
    nk_free(*log);
    *log = NULL;
}

static void stage(struct raftlog *log, const struct raftlog_record *record)
{
    uint64_t sequence = log->end.sequence;
    struct raftlog_record filled = *record;
    if (record->kind == RAFTLOG_STATE) {
        filled.released = raftlog_ledger_released(&log->ledger, record->shard);
    }
    raftlog_round_add(log->staged, &filled, log->segment_bytes, &log->end);
    if (log->end.sequence != sequence) {
        raftlog_ledger_grow(&log->ledger, log->end.sequence);
    }
    raftlog_ledger_note(&log->ledger, &filled);
}

void raftlog_stage(struct raftlog *log, const struct raftlog_record *record)
{
    NK_ASSERT(record->kind != RAFTLOG_FORGET);
    NK_ASSERT(record->released == 0); /* who stages does not know */
    stage(log, record);
}

size_t raftlog_staged_bytes(const struct raftlog *log)
{
    return log->staged->bytes.size;
}

/* Segments that nobody needs go with this round, oldest first, after it is durable: it may hold
 * what voids their entries, and it is given the states that only they have.  Segments that begin in
 * this very step wait for a later round, else many states in small segments would chase themselves.
 */
static void plan_drops(struct raftlog *log)
{
    uint64_t newest = log->end.sequence;
    for (struct raftlog_segment *segment = raftlog_ledger_unheld(&log->ledger);
         segment != NULL && segment->sequence < newest;
         segment = raftlog_ledger_unheld(&log->ledger)) {
        struct raftlog_record state;
        while (raftlog_ledger_state_in(segment, &state)) {
            stage(log, &state);
        }
        raftlog_round_add_drop(log->staged, segment->sequence);
        raftlog_ledger_drop(&log->ledger, segment);
    }
}

bool raftlog_begin(struct raftlog *log)
{
    NK_ASSERT(log->running == NULL);
    if (log->staged->record_count == 0 &&
        !raftlog_ledger_worth_dropping(&log->ledger, log->segment_bytes)) {
        return false;
    }
    plan_drops(log);
    NK_INVARIANT(raftlog_ledger_check(&log->ledger));
    raftlog_round_finish(log->staged, &log->end);
    log->running = log->staged;
    log->staged = log->running == &log->rounds[0] ? &log->rounds[1] : &log->rounds[0];
    return true;
}

static enum nk_err write_part(struct raftlog *log, size_t i)
{
    const struct raftlog_part *part = &log->running->parts[i];
    struct raftlog_store *store = &log->store;
    if (part->sequence != store->sequence) {
        struct raftlog_segment_head head = {
            .sequence = part->sequence,
            .previous_length = part->previous_length,
        };
        enum nk_err err = raftlog_store_roll(store, &head);
        if (err != NK_OK) {
            return err;
        }
    }
    return raftlog_store_append(store, part->offset, raftlog_round_seal(log->running, i));
}

enum nk_err raftlog_write(struct raftlog *log)
{
    NK_ASSERT(log->running != NULL);
    if (log->dead != NK_OK) {
        return log->dead;
    }
    struct raftlog_round *round = log->running;
    enum nk_err err = NK_OK;
    while (err == NK_OK && round->parts_done < round->part_count) {
        err = write_part(log, round->parts_done);
        round->parts_done += err == NK_OK ? 1 : 0;
    }
    while (err == NK_OK && round->drops_done < round->drop_count) {
        err = raftlog_store_drop(&log->store, round->drops[round->drops_done]);
        round->drops_done += err == NK_OK ? 1 : 0;
    }
    if (err == NK_OK) {
        nk_counter_add(&log->store.stats.records, round->record_count);
    } else if (err != NK_NO_SPACE) {
        log->dead = err;
    }
    return err;
}

void raftlog_end(struct raftlog *log)
{
    NK_ASSERT(log->running != NULL);
    NK_ASSERT(log->running->parts_done == log->running->part_count);
    raftlog_round_clear(log->running);
    log->running = NULL;
}

void raftlog_release(struct raftlog *log, uint32_t shard, uint64_t index)
{
    raftlog_ledger_release(&log->ledger, shard, index);
}

void raftlog_forget(struct raftlog *log, uint32_t shard)
{
    if (raftlog_ledger_knows(&log->ledger, shard)) {
        struct raftlog_record record = {.kind = RAFTLOG_FORGET, .shard = shard};
        stage(log, &record);
    }
}

bool raftlog_oldest_holder(const struct raftlog *log, bool (*skip)(void *ctx, uint32_t shard),
                           void *ctx, uint32_t *out_shard, uint64_t *out_index)
{
    const struct raftlog_hold *hold = raftlog_ledger_oldest_hold(&log->ledger, skip, ctx);
    if (hold == NULL) {
        return false;
    }
    *out_shard = hold->shard->id;
    *out_index = hold->index_max;
    return true;
}

struct raftlog_stats *raftlog_stats(struct raftlog *log)
{
    return &log->store.stats;
}

const struct raftlog_fault *raftlog_last_fault(const struct raftlog *log)
{
    return &log->store.fault;
}

void raftlog_describe(const struct raftlog *log, struct nk_text *out)
{
    nk_text_add(out, "raftlog segments=");
    nk_text_add_u64(out, log->ledger.segment_count);
    nk_text_add(out, " shards=");
    nk_text_add_u64(out, log->ledger.shards.count);
    nk_text_add(out, " end=");
    nk_text_add_u64(out, log->end.sequence);
    nk_text_add(out, ".");
    nk_text_add_u64(out, log->end.offset);
    nk_text_add(out, " staged=");
    nk_text_add_u64(out, log->staged->record_count);
    nk_text_add(out, log->running != NULL ? " running=" : " idle");
    if (log->running != NULL) {
        nk_text_add_u64(out, log->running->record_count);
    }
    uint32_t shard;
    uint64_t index;
    if (raftlog_oldest_holder(log, NULL, NULL, &shard, &index)) {
        nk_text_add(out, " held_by=");
        nk_text_add_u64(out, shard);
        nk_text_add(out, "@");
        nk_text_add_u64(out, index);
    }
}

#include "services/shardhost/raftlog/ledger.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"
#include "services/shardhost/raftlog/layout.h"

static struct raftlog_segment *segment_of(struct nk_list *link)
{
    return NK_CONTAINER_OF(link, struct raftlog_segment, link);
}

static struct raftlog_hold *hold_of_shard(struct nk_list *link)
{
    return NK_CONTAINER_OF(link, struct raftlog_hold, of_shard);
}

static struct raftlog_segment *newest(const struct raftlog_ledger *ledger)
{
    NK_ASSERT(ledger->segment_count > 0);
    return segment_of(ledger->segments.prev);
}

static struct nk_bytes key_of(const uint32_t *id)
{
    return nk_bytes_of(id, sizeof *id);
}

static struct raftlog_shard *shard_get(struct raftlog_ledger *ledger, uint32_t id)
{
    struct raftlog_shard *shard = nk_map_get(&ledger->shards, key_of(&id));
    if (shard == NULL) {
        shard = nk_alloc_zero(1, sizeof *shard);
        shard->id = id;
        nk_list_init(&shard->holds);
        nk_list_init(&shard->state);
        (void)nk_map_put(&ledger->shards, key_of(&id), shard);
    }
    return shard;
}

static void link_state(struct raftlog_shard *shard, struct raftlog_segment *segment)
{
    nk_list_remove(&shard->state);
    nk_list_append(&segment->states, &shard->state);
    shard->state_sequence = segment->sequence;
}

static void hold_free(struct raftlog_hold *hold)
{
    nk_list_remove(&hold->of_segment);
    nk_list_remove(&hold->of_shard);
    nk_free(hold);
}

/* What the hold was for has been released: before its segment goes, the STATE has to tell. */
static void hold_release(struct raftlog_hold *hold)
{
    struct raftlog_shard *shard = hold->shard;
    struct raftlog_segment *segment = hold->segment;
    hold_free(hold);
    if (!nk_list_empty(&shard->state) && segment->sequence < shard->state_sequence) {
        link_state(shard, segment);
    }
}

static void shard_free(struct raftlog_shard *shard)
{
    while (!nk_list_empty(&shard->holds)) {
        hold_free(hold_of_shard(shard->holds.next));
    }
    nk_list_remove(&shard->state);
    nk_free(shard);
}

void raftlog_ledger_init(struct raftlog_ledger *ledger)
{
    memset(ledger, 0, sizeof *ledger);
    nk_map_init(&ledger->shards);
    nk_list_init(&ledger->segments);
}

void raftlog_ledger_deinit(struct raftlog_ledger *ledger)
{
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&ledger->shards, &position); entry != NULL;
         entry = nk_map_next(&ledger->shards, &position)) {
        shard_free(entry->value);
    }
    nk_map_deinit(&ledger->shards);
    while (!nk_list_empty(&ledger->segments)) {
        raftlog_ledger_drop(ledger, segment_of(ledger->segments.next));
    }
}

void raftlog_ledger_grow(struct raftlog_ledger *ledger, uint64_t sequence)
{
    if (ledger->segment_count > 0) {
        NK_ASSERT(newest(ledger)->sequence + 1 == sequence);
    }
    struct raftlog_segment *segment = nk_alloc_zero(1, sizeof *segment);
    segment->sequence = sequence;
    nk_list_init(&segment->holds);
    nk_list_init(&segment->states);
    nk_list_append(&ledger->segments, &segment->link);
    ledger->segment_count++;
}

/* What is at `index` or above is void: no segment is held for it. */
static void void_from(struct raftlog_shard *shard, uint64_t index)
{
    for (struct nk_list *link = shard->holds.prev; link != &shard->holds;) {
        struct raftlog_hold *hold = hold_of_shard(link);
        link = link->prev;
        if (hold->index_max < index) {
            return;
        }
        hold->index_max = index - 1;
        if (hold->index_max <= shard->released) {
            hold_release(hold);
        } else if (hold->of_shard.prev != &shard->holds &&
                   hold_of_shard(hold->of_shard.prev)->index_max >= hold->index_max) {
            /* Everything it held is void; an older segment holds what is left. */
            hold_free(hold);
        }
    }
}

static void note_entry(struct raftlog_ledger *ledger, struct raftlog_shard *shard, uint64_t index)
{
    void_from(shard, index);
    if (index <= shard->released) {
        return;
    }
    struct raftlog_segment *segment = newest(ledger);
    struct raftlog_hold *hold =
        nk_list_empty(&shard->holds) ? NULL : hold_of_shard(shard->holds.prev);
    if (hold == NULL || hold->segment != segment) {
        hold = nk_alloc_zero(1, sizeof *hold);
        hold->segment = segment;
        hold->shard = shard;
        nk_list_init(&hold->of_segment);
        nk_list_init(&hold->of_shard);
        nk_list_append(&segment->holds, &hold->of_segment);
        nk_list_append(&shard->holds, &hold->of_shard);
    }
    hold->index_max = index;
}

void raftlog_ledger_note(struct raftlog_ledger *ledger, const struct raftlog_record *record)
{
    if (record->kind == RAFTLOG_FORGET) {
        struct raftlog_shard *shard = nk_map_remove(&ledger->shards, key_of(&record->shard));
        if (shard != NULL) {
            shard_free(shard);
        }
        return;
    }
    struct raftlog_shard *shard = shard_get(ledger, record->shard);
    if (record->kind == RAFTLOG_ENTRY) {
        note_entry(ledger, shard, record->index);
        return;
    }
    NK_ASSERT(record->kind == RAFTLOG_STATE);
    shard->state_term = record->term;
    shard->state_vote = record->index;
    shard->told = record->released;
    link_state(shard, newest(ledger));
}

void raftlog_ledger_release(struct raftlog_ledger *ledger, uint32_t shard_id, uint64_t index)
{
    struct raftlog_shard *shard = nk_map_get(&ledger->shards, key_of(&shard_id));
    if (shard == NULL || index <= shard->released) {
        return;
    }
    shard->released = index;
    while (!nk_list_empty(&shard->holds)) {
        struct raftlog_hold *hold = hold_of_shard(shard->holds.next);
        if (hold->index_max > index) {
            return;
        }
        hold_release(hold);
    }
}

uint64_t raftlog_ledger_released(const struct raftlog_ledger *ledger, uint32_t shard_id)
{
    const struct raftlog_shard *shard = nk_map_get(&ledger->shards, key_of(&shard_id));
    return shard == NULL ? 0 : nk_max_u64(shard->released, shard->told);
}

bool raftlog_ledger_knows(const struct raftlog_ledger *ledger, uint32_t shard)
{
    return nk_map_get(&ledger->shards, key_of(&shard)) != NULL;
}

struct raftlog_segment *raftlog_ledger_unheld(const struct raftlog_ledger *ledger)
{
    if (ledger->segment_count < 2) {
        return NULL;
    }
    struct raftlog_segment *oldest = segment_of(ledger->segments.next);
    return nk_list_empty(&oldest->holds) ? oldest : NULL;
}

bool raftlog_ledger_worth_dropping(const struct raftlog_ledger *ledger, uint64_t segment_bytes)
{
    uint64_t freed = 0;
    uint64_t written = 0;
    for (struct nk_list *link = ledger->segments.next; link != ledger->segments.prev;
         link = link->next) {
        const struct raftlog_segment *segment = segment_of(link);
        if (!nk_list_empty(&segment->holds)) {
            break;
        }
        freed += segment_bytes;
        for (struct nk_list *state = segment->states.next; state != &segment->states;
             state = state->next) {
            written += RAFTLOG_STATE_BYTES_MAX;
        }
    }
    return freed > 0 && 2 * written <= freed;
}

bool raftlog_ledger_state_in(const struct raftlog_segment *segment,
                             struct raftlog_record *out_record)
{
    if (nk_list_empty(&segment->states)) {
        return false;
    }
    const struct raftlog_shard *shard =
        NK_CONTAINER_OF(segment->states.next, struct raftlog_shard, state);
    memset(out_record, 0, sizeof *out_record);
    out_record->kind = RAFTLOG_STATE;
    out_record->shard = shard->id;
    out_record->term = shard->state_term;
    out_record->index = shard->state_vote;
    out_record->released = nk_max_u64(shard->released, shard->told);
    return true;
}

void raftlog_ledger_drop(struct raftlog_ledger *ledger, struct raftlog_segment *segment)
{
    NK_ASSERT(ledger->segments.next == &segment->link);
    NK_ASSERT(nk_list_empty(&segment->holds));
    NK_ASSERT(nk_list_empty(&segment->states));
    nk_list_remove(&segment->link);
    ledger->segment_count--;
    nk_free(segment);
}

const struct raftlog_hold *raftlog_ledger_oldest_hold(const struct raftlog_ledger *ledger,
                                                      bool (*skip)(void *ctx, uint32_t shard),
                                                      void *ctx)
{
    for (struct nk_list *link = ledger->segments.next; link != ledger->segments.prev;
         link = link->next) {
        const struct raftlog_segment *segment = segment_of(link);
        for (struct nk_list *of = segment->holds.next; of != &segment->holds; of = of->next) {
            const struct raftlog_hold *hold = NK_CONTAINER_OF(of, struct raftlog_hold, of_segment);
            if (skip == NULL || !skip(ctx, hold->shard->id)) {
                return hold;
            }
        }
    }
    return NULL;
}

bool raftlog_ledger_check(const struct raftlog_ledger *ledger)
{
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&ledger->shards, &position); entry != NULL;
         entry = nk_map_next(&ledger->shards, &position)) {
        const struct raftlog_shard *shard = entry->value;
        uint64_t index = shard->released;
        uint64_t sequence = 0;
        for (struct nk_list *link = shard->holds.next; link != &shard->holds; link = link->next) {
            const struct raftlog_hold *hold = hold_of_shard(link);
            NK_ASSERT(hold->index_max > index);
            NK_ASSERT(hold->segment->sequence > sequence);
            index = hold->index_max;
            sequence = hold->segment->sequence;
        }
    }
    return true;
}

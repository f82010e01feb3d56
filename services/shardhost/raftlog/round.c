#include "services/shardhost/raftlog/round.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/units.h"

#define NO_BATCH           SIZE_MAX
#define BYTES_RETAINED_MAX ((size_t)(8 * NK_MIB))

void raftlog_round_init(struct raftlog_round *round)
{
    memset(round, 0, sizeof *round);
    round->batch_start = NO_BATCH;
}

void raftlog_round_deinit(struct raftlog_round *round)
{
    nk_buf_deinit(&round->bytes);
    nk_free(round->parts);
    nk_free(round->drops);
    raftlog_round_init(round);
}

void raftlog_round_clear(struct raftlog_round *round)
{
    NK_ASSERT(round->batch_start == NO_BATCH);
    if (round->bytes.capacity > BYTES_RETAINED_MAX) {
        nk_buf_deinit(&round->bytes);
    }
    nk_buf_clear(&round->bytes);
    round->part_count = 0;
    round->record_count = 0;
    round->parts_done = 0;
    round->drops_done = 0;
    round->drop_count = 0;
}

static void add_part(struct raftlog_round *round, uint64_t previous_length,
                     const struct raftlog_end *end)
{
    NK_ASSERT(round->batch_start == NO_BATCH);
    if (round->part_count == round->part_capacity) {
        round->part_capacity = 2 * round->part_capacity + 4;
        round->parts = nk_realloc(round->parts, round->part_capacity * sizeof round->parts[0]);
    }
    struct raftlog_part *part = &round->parts[round->part_count++];
    part->sequence = end->sequence;
    part->previous_length = previous_length;
    part->offset = end->offset;
    part->start = round->bytes.size;
}

/* Pads the open batch and writes its head, all but the checksum. */
static void close_batch(struct raftlog_round *round, struct raftlog_end *end)
{
    if (round->batch_start == NO_BATCH) {
        return;
    }
    const struct raftlog_part *part = &round->parts[round->part_count - 1];
    size_t length = round->bytes.size - round->batch_start;
    size_t padded = (size_t)raftlog_sectors(length);
    memset(nk_buf_extend(&round->bytes, padded - length), 0, padded - length);
    struct raftlog_batch_head head = {
        .length = (uint32_t)length,
        .sequence = (uint32_t)part->sequence,
        .record_count = round->batch_records,
        .offset = end->offset,
        .round_start = part->offset,
    };
    raftlog_batch_head_encode(&head, round->bytes.data + round->batch_start);
    end->offset += padded;
    round->batch_start = NO_BATCH;
    round->batch_records = 0;
}

/* Closes what the record does not fit into: the open batch, then the segment. */
static void make_room(struct raftlog_round *round, size_t record_size, uint64_t segment_bytes,
                      struct raftlog_end *end)
{
    size_t open_size = round->batch_start == NO_BATCH ? 0 : round->bytes.size - round->batch_start;
    if (open_size > 0 && open_size + record_size > RAFTLOG_BATCH_BYTES_MAX) {
        close_batch(round, end);
        open_size = 0;
    }
    size_t head_size = open_size == 0 ? RAFTLOG_BATCH_HEAD_BYTES : 0;
    bool segment_empty = end->offset == RAFTLOG_SECTOR_BYTES && open_size == 0;
    bool full = !segment_empty &&
                end->offset + raftlog_sectors(open_size + head_size + record_size) > segment_bytes;
    if (full || end->closed) {
        close_batch(round, end);
        end->closed = false;
        uint64_t previous_length = end->offset;
        end->sequence++;
        end->offset = RAFTLOG_SECTOR_BYTES;
        add_part(round, previous_length, end);
    }
}

void raftlog_round_add(struct raftlog_round *round, const struct raftlog_record *record,
                       uint64_t segment_bytes, struct raftlog_end *end)
{
    NK_ASSERT(end->offset % RAFTLOG_SECTOR_BYTES == 0);
    make_room(round, raftlog_record_size(record), segment_bytes, end);
    if (round->part_count == 0) {
        add_part(round, 0, end);
    }
    if (round->batch_start == NO_BATCH) {
        round->batch_start = round->bytes.size;
        (void)nk_buf_extend(&round->bytes, RAFTLOG_BATCH_HEAD_BYTES);
    }
    raftlog_record_encode(record, &round->bytes);
    round->batch_records++;
    round->record_count++;
}

void raftlog_round_add_drop(struct raftlog_round *round, uint64_t sequence)
{
    if (round->drop_count == round->drop_capacity) {
        round->drop_capacity = 2 * round->drop_capacity + 4;
        round->drops = nk_realloc(round->drops, round->drop_capacity * sizeof round->drops[0]);
    }
    round->drops[round->drop_count++] = sequence;
}

void raftlog_round_finish(struct raftlog_round *round, struct raftlog_end *end)
{
    close_batch(round, end);
}

struct nk_bytes raftlog_round_seal(struct raftlog_round *round, size_t part)
{
    NK_ASSERT(part < round->part_count);
    NK_ASSERT(round->batch_start == NO_BATCH);
    size_t start = round->parts[part].start;
    size_t end = part + 1 < round->part_count ? round->parts[part + 1].start : round->bytes.size;
    for (size_t at = start; at < end;) {
        uint8_t *batch = round->bytes.data + at;
        at += (size_t)raftlog_sectors(raftlog_batch_seal(batch));
        NK_ASSERT(at <= end);
    }
    return nk_bytes_of(round->bytes.data + start, end - start);
}

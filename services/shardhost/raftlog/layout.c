/* See FORMAT.md; the numbers in comments here are the numbers of its conditions. */

#include "services/shardhost/raftlog/layout.h"

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/plant.h"

static const uint8_t magic[8] = {'N', 'K', 'R', 'A', 'F', 'T', 'L', 'G'};

#define VERSION_OLDEST       1 /* that can be read */

#define HEAD_VERSION         8
#define HEAD_CRC             12
#define HEAD_SEQUENCE        16
#define HEAD_PREVIOUS_LENGTH 24

/* The checksum of a head sector is taken with its own field zero. */
static uint32_t head_crc(const uint8_t sector[RAFTLOG_SECTOR_BYTES])
{
    static const uint8_t zero[4] = {0};
    uint32_t crc = nk_crc32c(nk_bytes_of(sector, HEAD_CRC));
    crc = nk_crc32c_extend(crc, nk_bytes_of(zero, sizeof zero));
    return nk_crc32c_extend(
        crc, nk_bytes_of(sector + HEAD_SEQUENCE, RAFTLOG_SECTOR_BYTES - HEAD_SEQUENCE));
}

static bool segment_head_sane(const struct raftlog_segment_head *head)
{
    if (head->sequence <= 1) {
        return head->sequence == 1 && head->previous_length == 0;
    }
    return head->previous_length >= RAFTLOG_SECTOR_BYTES &&
           head->previous_length % RAFTLOG_SECTOR_BYTES == 0;
}

void raftlog_segment_head_encode(const struct raftlog_segment_head *head,
                                 uint8_t out[RAFTLOG_SECTOR_BYTES])
{
    NK_ASSERT(segment_head_sane(head));
    memset(out, 0, RAFTLOG_SECTOR_BYTES);
    memcpy(out, magic, sizeof magic);
    nk_put_u32(out + HEAD_VERSION, RAFTLOG_FORMAT_VERSION);
    nk_put_u64(out + HEAD_SEQUENCE, head->sequence);
    nk_put_u64(out + HEAD_PREVIOUS_LENGTH, head->previous_length);
    nk_put_u32(out + HEAD_CRC, head_crc(out));
}

enum nk_err raftlog_segment_head_decode(const uint8_t in[RAFTLOG_SECTOR_BYTES],
                                        struct raftlog_segment_head *out_head)
{
    if (memcmp(in, magic, sizeof magic) != 0 || nk_get_u32(in + HEAD_CRC) != head_crc(in)) {
        return NK_CORRUPT;
    }
    uint32_t version = nk_get_u32(in + HEAD_VERSION);
    if (version < VERSION_OLDEST || version > RAFTLOG_FORMAT_VERSION) {
        return version > RAFTLOG_FORMAT_VERSION ? NK_FORMAT_TOO_NEW : NK_CORRUPT;
    }
    struct raftlog_segment_head head = {
        .version = version,
        .sequence = nk_get_u64(in + HEAD_SEQUENCE),
        .previous_length = nk_get_u64(in + HEAD_PREVIOUS_LENGTH),
    };
    if (!segment_head_sane(&head)) {
        return NK_CORRUPT;
    }
    *out_head = head;
    return NK_OK;
}

#define BATCH_CRC          0
#define BATCH_LENGTH       4
#define BATCH_SEQUENCE     8
#define BATCH_RECORD_COUNT 12
#define BATCH_OFFSET       16
#define BATCH_ROUND_START  24

void raftlog_batch_head_encode(const struct raftlog_batch_head *head,
                               uint8_t out[RAFTLOG_BATCH_HEAD_BYTES])
{
    NK_ASSERT(head->offset % RAFTLOG_SECTOR_BYTES == 0);
    NK_ASSERT(head->round_start % RAFTLOG_SECTOR_BYTES == 0);
    NK_ASSERT(head->round_start >= RAFTLOG_SECTOR_BYTES);
    NK_ASSERT(head->round_start <= head->offset);
    NK_ASSERT(head->record_count > 0);
    nk_put_u32(out + BATCH_CRC, 0);
    nk_put_u32(out + BATCH_LENGTH, head->length);
    nk_put_u32(out + BATCH_SEQUENCE, head->sequence);
    nk_put_u32(out + BATCH_RECORD_COUNT, head->record_count);
    nk_put_u64(out + BATCH_OFFSET, head->offset);
    nk_put_u64(out + BATCH_ROUND_START, head->round_start);
}

static uint32_t batch_crc(const uint8_t *batch, uint32_t length)
{
    return nk_crc32c(nk_bytes_of(batch + BATCH_LENGTH, length - BATCH_LENGTH));
}

uint32_t raftlog_batch_seal(uint8_t *batch)
{
    uint32_t length = nk_get_u32(batch + BATCH_LENGTH);
    NK_ASSERT(length > RAFTLOG_BATCH_HEAD_BYTES);
    nk_put_u32(batch + BATCH_CRC, batch_crc(batch, length));
    return length;
}

bool raftlog_batch_head_decode(const uint8_t in[RAFTLOG_BATCH_HEAD_BYTES], uint64_t sequence,
                               uint64_t offset, uint64_t limit, struct raftlog_batch_head *out_head)
{
    struct raftlog_batch_head head = {
        .length = nk_get_u32(in + BATCH_LENGTH),
        .sequence = nk_get_u32(in + BATCH_SEQUENCE),
        .record_count = nk_get_u32(in + BATCH_RECORD_COUNT),
        .offset = nk_get_u64(in + BATCH_OFFSET),
        .round_start = nk_get_u64(in + BATCH_ROUND_START),
    };
    if (head.sequence != (uint32_t)sequence || head.offset != offset ||         /* B1, B2 */
        head.round_start < RAFTLOG_SECTOR_BYTES || head.round_start > offset || /* B3 */
        head.round_start % RAFTLOG_SECTOR_BYTES != 0 ||
        head.length < RAFTLOG_BATCH_HEAD_BYTES + RAFTLOG_RECORD_HEAD_BYTES || /* B4 */
        head.length > limit - offset) {
        return false;
    }
    *out_head = head;
    return true;
}

uint64_t raftlog_batch_claim(const uint8_t in[RAFTLOG_BATCH_HEAD_BYTES], uint64_t sequence,
                             uint64_t offset, uint64_t limit)
{
    struct raftlog_batch_head head;
    if (raftlog_batch_head_decode(in, sequence, offset, limit, &head)) {
        return raftlog_sectors(head.length);
    }
    bool claims = nk_get_u32(in + BATCH_SEQUENCE) == (uint32_t)sequence &&
                  nk_get_u32(in + BATCH_LENGTH) >= RAFTLOG_BATCH_HEAD_BYTES;
    return claims ? RAFTLOG_SECTOR_BYTES : 0;
}

bool raftlog_batch_intact(struct nk_bytes batch)
{
    NK_ASSERT(batch.size >= RAFTLOG_BATCH_HEAD_BYTES);
    return NK_PLANTED(NK_PLANT_TORN_TAIL_ACCEPTED) ||
           nk_get_u32(batch.data + BATCH_CRC) == batch_crc(batch.data, (uint32_t)batch.size);
}

#define RECORD_LENGTH     0
#define RECORD_KIND       4
#define RECORD_ENTRY_KIND 5
#define RECORD_ZERO       6
#define RECORD_SHARD      8
#define RECORD_TERM       12
#define RECORD_INDEX      20

#define RELEASED_BYTES    ((size_t)8) /* of a STATE that tells what was released */

static bool record_sane(const struct raftlog_record *record)
{
    switch (record->kind) {
    case RAFTLOG_ENTRY:
        return record->index > 0 && record->released == 0;
    case RAFTLOG_STATE:
        return record->entry_kind == 0 && record->payload.size == 0;
    case RAFTLOG_FORGET:
        return record->entry_kind == 0 && record->payload.size == 0 && record->term == 0 &&
               record->index == 0 && record->released == 0;
    }
    return false;
}

static size_t body_size(const struct raftlog_record *record)
{
    return record->released > 0 ? RELEASED_BYTES : record->payload.size;
}

size_t raftlog_record_size(const struct raftlog_record *record)
{
    return RAFTLOG_RECORD_HEAD_BYTES + body_size(record);
}

void raftlog_record_encode(const struct raftlog_record *record, struct nk_buf *out)
{
    NK_ASSERT(record_sane(record));
    NK_ASSERT(record->payload.size <= RAFTLOG_PAYLOAD_BYTES_MAX);
    uint8_t *head = nk_buf_extend(out, RAFTLOG_RECORD_HEAD_BYTES);
    nk_put_u32(head + RECORD_LENGTH, (uint32_t)body_size(record));
    head[RECORD_KIND] = (uint8_t)record->kind;
    head[RECORD_ENTRY_KIND] = record->entry_kind;
    nk_put_u16(head + RECORD_ZERO, 0);
    nk_put_u32(head + RECORD_SHARD, record->shard);
    nk_put_u64(head + RECORD_TERM, record->term);
    nk_put_u64(head + RECORD_INDEX, record->index);
    nk_buf_append(out, record->payload);
    if (record->released > 0) {
        nk_put_u64(nk_buf_extend(out, RELEASED_BYTES), record->released);
    }
}

bool raftlog_record_decode(struct nk_bytes *bytes, struct raftlog_record *out_record)
{
    if (bytes->size < RAFTLOG_RECORD_HEAD_BYTES) {
        return false;
    }
    const uint8_t *head = bytes->data;
    uint32_t length = nk_get_u32(head + RECORD_LENGTH);
    if (length > bytes->size - RAFTLOG_RECORD_HEAD_BYTES || nk_get_u16(head + RECORD_ZERO) != 0) {
        return false;
    }
    struct raftlog_record record = {
        .kind = (enum raftlog_kind)head[RECORD_KIND],
        .shard = nk_get_u32(head + RECORD_SHARD),
        .term = nk_get_u64(head + RECORD_TERM),
        .index = nk_get_u64(head + RECORD_INDEX),
        .entry_kind = head[RECORD_ENTRY_KIND],
        .payload = nk_bytes_of(head + RAFTLOG_RECORD_HEAD_BYTES, length),
    };
    if (record.kind == RAFTLOG_STATE && length == RELEASED_BYTES) {
        record.released = nk_get_u64(record.payload.data);
        if (record.released == 0) {
            return false; /* it would have no such bytes */
        }
        record.payload = nk_bytes_of(NULL, 0);
    }
    if (!record_sane(&record)) {
        return false;
    }
    size_t taken = RAFTLOG_RECORD_HEAD_BYTES + length;
    *bytes = nk_bytes_of(head + taken, bytes->size - taken);
    *out_record = record;
    return true;
}

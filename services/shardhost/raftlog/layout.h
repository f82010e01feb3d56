#pragma once

/* The bytes of the log: FORMAT.md.  Encoding and checking only; no files here. */

#include "common/base/buf.h"

#include "services/shardhost/raftlog/raftlog.h"

#define RAFTLOG_FORMAT_VERSION    ((uint32_t)2)
#define RAFTLOG_SECTOR_BYTES      ((size_t)512)
#define RAFTLOG_BATCH_HEAD_BYTES  ((size_t)32)
#define RAFTLOG_RECORD_HEAD_BYTES ((size_t)28)
#define RAFTLOG_STATE_BYTES_MAX   (RAFTLOG_RECORD_HEAD_BYTES + 8)
#define RAFTLOG_BATCH_BYTES_MAX   ((size_t)1 << 20) /* more only for a single record */
#define RAFTLOG_PAYLOAD_BYTES_MAX ((size_t)1 << 28)
#define RAFTLOG_SEQUENCE_MAX      ((uint64_t)1 << 62)

struct raftlog_segment_head {
    uint64_t sequence;        /* from 1 */
    uint64_t previous_length; /* where segment sequence - 1 ends; 0 for the first */
    uint32_t version;         /* as it was read; the present one is written */
};

struct raftlog_batch_head {
    uint32_t length;   /* with this head, without padding */
    uint32_t sequence; /* of the segment, low 32 bits */
    uint32_t record_count;
    uint64_t offset;      /* in the file */
    uint64_t round_start; /* offset at which the round of this batch begins; <= offset */
};

/* `size` rounded up to whole sectors. */
static inline uint64_t raftlog_sectors(uint64_t size)
{
    return (size + RAFTLOG_SECTOR_BYTES - 1) / RAFTLOG_SECTOR_BYTES * RAFTLOG_SECTOR_BYTES;
}

void raftlog_segment_head_encode(const struct raftlog_segment_head *head,
                                 uint8_t out[RAFTLOG_SECTOR_BYTES]);

/* NK_CORRUPT; NK_FORMAT_TOO_NEW. */
NK_MUST_CHECK enum nk_err raftlog_segment_head_decode(const uint8_t in[RAFTLOG_SECTOR_BYTES],
                                                      struct raftlog_segment_head *out_head);

/* Everything but the checksum. */
void raftlog_batch_head_encode(const struct raftlog_batch_head *head,
                               uint8_t out[RAFTLOG_BATCH_HEAD_BYTES]);

/* Fills in the checksum of the whole batch, whose head and records are in place.  Returns its
 * length. */
uint32_t raftlog_batch_seal(uint8_t *batch);

/* Whether the head is that of a batch which could lie at `offset` of segment `sequence` and end at
 * `limit` at the latest.  Says nothing about the records. */
bool raftlog_batch_head_decode(const uint8_t in[RAFTLOG_BATCH_HEAD_BYTES], uint64_t sequence,
                               uint64_t offset, uint64_t limit,
                               struct raftlog_batch_head *out_head);

/* How many bytes at `offset` say that they are a batch of segment `sequence`, believable or not: at
 * least a sector; 0: they do not say so. */
uint64_t raftlog_batch_claim(const uint8_t in[RAFTLOG_BATCH_HEAD_BYTES], uint64_t sequence,
                             uint64_t offset, uint64_t limit);

/* Whether the checksum of the batch is right; `batch` has the length that its head says. */
bool raftlog_batch_intact(struct nk_bytes batch);

/* How many bytes the record takes. */
size_t raftlog_record_size(const struct raftlog_record *record);

void raftlog_record_encode(const struct raftlog_record *record, struct nk_buf *out);

/* Takes the next record off the front of `*bytes`; its payload is borrowed from there.  False: it
 * makes no sense. */
bool raftlog_record_decode(struct nk_bytes *bytes, struct raftlog_record *out_record);

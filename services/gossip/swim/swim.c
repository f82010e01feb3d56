/* A group of one.  It has nobody to probe and nobody to tell, so it sends nothing; whoever sends to
 * it is a stranger.  Packets are looked at all the same, so that a misdirected or damaged one shows
 * in the counts for what it is:
 *
 *   0  u16  magic 0x534E ("NS", little-endian)
 *   2  u8   version: 1
 *   3  u8   type: 1 ping, 2 ping-req, 3 ack
 *   4  u32  crc32c of bytes 0..3 and everything behind byte 8
 *   8       the message of that type */
#include "services/gossip/swim/swim.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"

#define PACKET_MAGIC        0x534E
#define PACKET_VERSION      1
#define PACKET_TYPE_MAX     3
#define PACKET_HEADER_BYTES ((size_t)8)
#define PACKET_BYTES_MAX    ((size_t)1400) /* fits an Ethernet frame: never fragmented */

struct swim {
    struct swim_member self;
    bool announced; /* the event about ourselves is out */
    struct swim_counts counts;
};

void swim_open(const char *node_id, uint64_t incarnation, struct swim **out_swim)
{
    size_t size = strlen(node_id);
    NK_ASSERT(size > 0);
    NK_ASSERT(size <= NK_NODE_ID_BYTES_MAX);
    NK_ASSERT(incarnation > 0);
    struct swim *swim = nk_alloc_zero(1, sizeof *swim);
    memcpy(swim->self.node_id, node_id, size + 1);
    swim->self.incarnation = incarnation;
    swim->self.state = SWIM_STATE_ALIVE;
    *out_swim = swim;
}

void swim_close(struct swim **swim)
{
    if (swim != NULL && *swim != NULL) {
        nk_free(*swim);
        *swim = NULL;
    }
}

static void give(struct swim *swim, struct swim_output *out_output)
{
    memset(out_output, 0, sizeof *out_output);
    out_output->next_tick_ms = UINT64_MAX;
    if (!swim->announced) {
        swim->announced = true;
        out_output->events = &swim->self;
        out_output->event_count = 1;
    }
}

void swim_tick(struct swim *swim, uint64_t now_ms, struct swim_output *out_output)
{
    (void)now_ms;
    give(swim, out_output);
}

static bool well_formed(struct nk_bytes packet)
{
    if (packet.size < PACKET_HEADER_BYTES || packet.size > PACKET_BYTES_MAX ||
        nk_get_u16(packet.data) != PACKET_MAGIC || packet.data[2] != PACKET_VERSION ||
        packet.data[3] == 0 || packet.data[3] > PACKET_TYPE_MAX) {
        return false;
    }
    struct nk_bytes message =
        nk_bytes_of(packet.data + PACKET_HEADER_BYTES, packet.size - PACKET_HEADER_BYTES);
    uint32_t crc = nk_crc32c_extend(nk_crc32c(nk_bytes_of(packet.data, 4)), message);
    return nk_get_u32(packet.data + 4) == crc;
}

void swim_receive(struct swim *swim, struct nk_bytes packet, uint64_t now_ms,
                  struct swim_output *out_output)
{
    (void)now_ms;
    if (well_formed(packet)) {
        swim->counts.strangers++;
    } else {
        swim->counts.malformed++;
    }
    give(swim, out_output);
}

size_t swim_member_count(const struct swim *swim)
{
    (void)swim;
    return 1;
}

const struct swim_member *swim_member_at(const struct swim *swim, size_t i)
{
    NK_ASSERT(i < swim_member_count(swim));
    return &swim->self;
}

const struct swim_counts *swim_counts(const struct swim *swim)
{
    return &swim->counts;
}

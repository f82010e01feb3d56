/* A frame that was changed anywhere is refused, and decoding costs what the arena allows. */

#include <signal.h>

#include <criterion/criterion.h>

#include "common/base/alloc.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/limits.h"
#include "proto/frame.h"
#include "proto/norikv/internal/v1/gossip.pb-c.h"
#include "proto/norikv/internal/v1/shard.pb-c.h"
#include "proto/norikv/v1/kv.pb-c.h"

TestSuite(proto_frame, .timeout = 20);

static void pack_heartbeat(struct nk_buf *out)
{
    Norikv__Internal__V1__Heartbeat heartbeat = NORIKV__INTERNAL__V1__HEARTBEAT__INIT;
    heartbeat.node_id = (char *)"node0";
    heartbeat.role = (char *)"gateway";
    heartbeat.session = 77;
    heartbeat.epoch_seen = UINT64_MAX;
    nk_frame_pack(out, NK_FRAME_HEARTBEAT, &heartbeat.base);
}

static enum nk_err parse(struct nk_bytes frame)
{
    enum nk_frame_type type;
    struct nk_bytes message;
    return nk_frame_parse(frame, &type, &message);
}

/* Makes the checksum right again after a change of the header. */
static void seal(struct nk_buf *frame)
{
    uint32_t crc = nk_crc32c(nk_bytes_of(frame->data, 8));
    crc = nk_crc32c_extend(
        crc, nk_bytes_of(frame->data + NK_FRAME_HEADER_BYTES, frame->size - NK_FRAME_HEADER_BYTES));
    nk_put_u32(frame->data + 8, crc);
}

Test(proto_frame, what_was_packed_is_parsed)
{
    struct nk_buf frame = {0};
    nk_buf_append_string(&frame, "before");
    size_t start = frame.size;
    pack_heartbeat(&frame);
    enum nk_frame_type type = 0;
    struct nk_bytes message = {0};
    struct nk_bytes bytes = nk_bytes_of(frame.data + start, frame.size - start);
    cr_assert_eq(nk_frame_parse(bytes, &type, &message), NK_OK);
    cr_expect_eq(type, NK_FRAME_HEARTBEAT);
    struct nk_arena arena;
    nk_arena_init(&arena, 512, 4096);
    const Norikv__Internal__V1__Heartbeat *heartbeat =
        (void *)nk_unpack(&norikv__internal__v1__heartbeat__descriptor, message, &arena);
    cr_assert_not_null(heartbeat);
    cr_expect_str_eq(heartbeat->node_id, "node0");
    cr_expect_str_eq(heartbeat->role, "gateway");
    cr_expect_eq(heartbeat->session, 77);
    cr_expect_eq(heartbeat->epoch_seen, UINT64_MAX);
    nk_arena_deinit(&arena);
    nk_buf_deinit(&frame);
}

Test(proto_frame, the_header_has_the_promised_bytes)
{
    struct nk_buf frame = {0};
    Norikv__Internal__V1__StateRequest request = NORIKV__INTERNAL__V1__STATE_REQUEST__INIT;
    nk_frame_pack(&frame, NK_FRAME_STATE_REQUEST, &request.base);
    cr_assert_eq(frame.size, NK_FRAME_HEADER_BYTES);
    cr_expect_arr_eq(frame.data, ((uint8_t[]){'N', 'K', 1, 7, 0, 0, 0, 0}), 8);
    cr_expect_eq(nk_get_u32(frame.data + 8), nk_crc32c(nk_bytes_of(frame.data, 8)));
    cr_expect_eq(parse(nk_buf_bytes(&frame)), NK_OK, "an empty message is one");
    nk_buf_deinit(&frame);
}

Test(proto_frame, every_flipped_bit_is_refused)
{
    struct nk_buf frame = {0};
    pack_heartbeat(&frame);
    for (size_t at = 0; at < frame.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            frame.data[at] ^= (uint8_t)(1 << bit);
            cr_expect_eq(parse(nk_buf_bytes(&frame)), NK_CORRUPT, "byte %zu bit %d", at, bit);
            frame.data[at] ^= (uint8_t)(1 << bit);
        }
    }
    cr_expect_eq(parse(nk_buf_bytes(&frame)), NK_OK);
    nk_buf_deinit(&frame);
}

Test(proto_frame, every_other_value_of_any_byte_is_refused)
{
    struct nk_buf frame = {0};
    pack_heartbeat(&frame);
    for (size_t at = 0; at < frame.size; at++) {
        uint8_t right = frame.data[at];
        for (unsigned value = 0; value < 256; value++) {
            frame.data[at] = (uint8_t)value;
            enum nk_err expected = value == right ? NK_OK : NK_CORRUPT;
            cr_assert_eq(parse(nk_buf_bytes(&frame)), expected, "byte %zu is %u", at, value);
        }
        frame.data[at] = right;
    }
    nk_buf_deinit(&frame);
}

Test(proto_frame, every_truncation_and_every_longer_frame_is_refused)
{
    struct nk_buf frame = {0};
    pack_heartbeat(&frame);
    for (size_t size = 0; size < frame.size; size++) {
        /* A block of exactly that size, so that the sanitizer sees a read past its end. */
        uint8_t *cut = nk_alloc(size);
        memcpy(cut, frame.data, size);
        cr_expect_eq(parse(nk_bytes_of(cut, size)), NK_CORRUPT, "%zu bytes", size);
        nk_free(cut);
    }
    cr_expect_eq(parse(nk_bytes_of(NULL, 0)), NK_CORRUPT);
    nk_buf_append_u8(&frame, 0);
    cr_expect_eq(parse(nk_buf_bytes(&frame)), NK_CORRUPT, "one byte more");
    nk_buf_deinit(&frame);
}

struct header_case {
    size_t at;
    uint8_t value;
    enum nk_err err;
};

Test(proto_frame, sealed_frames_with_another_version_or_type_are_told_apart)
{
    static const struct header_case cases[] = {
        {2, NK_FRAME_VERSION + 1, NK_FORMAT_TOO_NEW},
        {2, 255, NK_FORMAT_TOO_NEW},
        {2, 0, NK_CORRUPT},
        {3, 0, NK_CORRUPT},
        {3, NK_FRAME_TYPE_LIMIT, NK_CORRUPT},
        {3, 255, NK_CORRUPT},
        {0, 'M', NK_CORRUPT},
        {1, 0, NK_CORRUPT},
        {3, NK_FRAME_REGISTER, NK_OK},
        {3, NK_FRAME_TYPE_LIMIT - 1, NK_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct nk_buf frame = {0};
        pack_heartbeat(&frame);
        frame.data[cases[i].at] = cases[i].value;
        seal(&frame);
        cr_expect_eq(parse(nk_buf_bytes(&frame)), cases[i].err, "case %zu", i);
        nk_buf_deinit(&frame);
    }
}

Test(proto_frame, a_refused_frame_leaves_the_results_alone)
{
    enum nk_frame_type type = NK_FRAME_REGISTER;
    struct nk_bytes message = nk_bytes_of_string("kept");
    cr_expect_eq(nk_frame_parse(nk_bytes_of_string("no frame at all"), &type, &message),
                 NK_CORRUPT);
    cr_expect_eq(type, NK_FRAME_REGISTER);
    cr_expect(nk_bytes_equal(message, nk_bytes_of_string("kept")));
}

/* One request of `size` bytes in all. */
static void pack_request(struct nk_buf *out, size_t size)
{
    Norikv__Internal__V1__ShardRequest request = NORIKV__INTERNAL__V1__SHARD_REQUEST__INIT;
    Norikv__Internal__V1__ShardRequest *requests[] = {&request};
    Norikv__Internal__V1__ShardRequests batch = NORIKV__INTERNAL__V1__SHARD_REQUESTS__INIT;
    request.request.data = nk_alloc_zero(size, 1);
    request.request.len = size;
    batch.requests = requests;
    batch.n_requests = 1;
    nk_frame_pack(out, NK_FRAME_SHARD_REQUESTS, &batch.base);
    nk_free(request.request.data);
}

Test(proto_frame, the_largest_request_fits_a_frame)
{
    struct nk_buf frame = {0};
    pack_request(&frame, NK_REQUEST_BYTES_MAX);
    cr_expect_eq(parse(nk_buf_bytes(&frame)), NK_OK);
    nk_buf_deinit(&frame);
}

Test(proto_frame, a_frame_beyond_the_limit_is_refused)
{
    struct nk_buf frame = {0};
    pack_heartbeat(&frame);
    size_t extra = NK_FRAME_BYTES_MAX + 1 - frame.size;
    memset(nk_buf_extend(&frame, extra), 0, extra);
    nk_put_u32(frame.data + 4, (uint32_t)(frame.size - NK_FRAME_HEADER_BYTES));
    seal(&frame);
    cr_expect_eq(parse(nk_buf_bytes(&frame)), NK_CORRUPT);
    nk_buf_deinit(&frame);
}

Test(proto_frame, packing_beyond_the_limit_is_a_programmer_error, .signal = SIGABRT)
{
    struct nk_buf frame = {0};
    pack_request(&frame, NK_FRAME_BYTES_MAX);
}

Test(proto_frame, empty_bytes_are_a_message_with_defaults)
{
    struct nk_arena arena;
    nk_arena_init(&arena, 512, 4096);
    const Norikv__V1__PutRequest *put =
        (void *)nk_unpack(&norikv__v1__put_request__descriptor, nk_bytes_of(NULL, 0), &arena);
    cr_assert_not_null(put);
    cr_expect_eq(put->key.len, 0);
    cr_expect_str_eq(put->idempotency_key, "");
    cr_expect_null(put->if_match);
    nk_arena_deinit(&arena);
}

Test(proto_frame, bytes_that_are_no_message_give_none)
{
    static const struct {
        const char *what;
        uint8_t bytes[12];
        size_t size;
    } cases[] = {
        {"a field cut after its tag", {0x0A}, 1},
        {"a length beyond the end", {0x0A, 0x05, 'a'}, 3},
        {"a varint without an end",
         {0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
         11},
        {"field number 0", {0x00, 0x01}, 2},
        {"a group", {0x0B, 0x0C}, 2},
        {"a length of 2^32 - 1", {0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F}, 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct nk_arena arena;
        nk_arena_init(&arena, 512, 4096);
        cr_expect_null(nk_unpack(&norikv__v1__put_request__descriptor,
                                 nk_bytes_of(cases[i].bytes, cases[i].size), &arena),
                       "%s", cases[i].what);
        nk_arena_deinit(&arena);
    }
}

/* Two bytes of input make a message of over a hundred bytes in memory. */
Test(proto_frame, the_arena_bounds_what_hostile_bytes_cost)
{
    enum { COUNT = 100000, LIMIT = 64 * 1024 };
    struct nk_buf bytes = {0};
    for (int i = 0; i < COUNT; i++) {
        nk_buf_append_u8(&bytes, 0x12); /* ShardRequests.requests, empty */
        nk_buf_append_u8(&bytes, 0x00);
    }
    struct nk_arena arena;
    nk_arena_init(&arena, 4096, LIMIT);
    cr_expect_null(
        nk_unpack(&norikv__internal__v1__shard_requests__descriptor, nk_buf_bytes(&bytes), &arena));
    cr_expect_leq(arena.used_bytes, LIMIT);
    cr_expect_leq(arena.total_bytes, 2 * LIMIT);
    nk_arena_reset(&arena);
    cr_expect_not_null(nk_unpack(&norikv__internal__v1__shard_requests__descriptor,
                                 nk_bytes_of(bytes.data, 20), &arena),
                       "usable after the refusal");
    nk_arena_deinit(&arena);
    nk_buf_deinit(&bytes);
}

/* With a limit that grows byte by byte, every allocation of the decoder fails once. */
Test(proto_frame, every_failing_allocation_gives_none_and_loses_nothing)
{
    struct nk_buf frame = {0};
    Norikv__Internal__V1__Member member = NORIKV__INTERNAL__V1__MEMBER__INIT;
    Norikv__Internal__V1__Member *members[] = {&member, &member, &member};
    Norikv__Internal__V1__StateUpdate update = NORIKV__INTERNAL__V1__STATE_UPDATE__INIT;
    member.node_id = (char *)"node0";
    member.talk_address = (char *)"tcp://127.0.0.1:1";
    member.cluster_id = (ProtobufCBinaryData){16, (uint8_t *)"0123456789abcdef"};
    update.members = members;
    update.n_members = 3;
    nk_frame_pack(&frame, NK_FRAME_STATE_UPDATE, &update.base);
    struct nk_bytes message =
        nk_bytes_of(frame.data + NK_FRAME_HEADER_BYTES, frame.size - NK_FRAME_HEADER_BYTES);
    size_t limit = 16;
    bool unpacked = false;
    for (; !unpacked; limit += 16) {
        cr_assert_lt(limit, 65536);
        struct nk_arena arena;
        nk_arena_init(&arena, 128, limit);
        const Norikv__Internal__V1__StateUpdate *copy =
            (void *)nk_unpack(&norikv__internal__v1__state_update__descriptor, message, &arena);
        unpacked = copy != NULL;
        if (unpacked) {
            cr_expect_eq(copy->n_members, 3);
            cr_expect_str_eq(copy->members[2]->node_id, "node0");
            cr_expect_eq(copy->members[2]->cluster_id.len, 16);
        }
        nk_arena_deinit(&arena);
    }
    cr_expect_gt(limit, 256, "it takes more than one block");
    nk_buf_deinit(&frame);
}

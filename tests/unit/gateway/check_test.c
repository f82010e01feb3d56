/* The check of a public request where it lies. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/base/prng.h"
#include "proto/frame.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/gateway/check.h"

TestSuite(gateway_check, .timeout = 20);

static const struct gateway_limits limits = {.key_bytes_max = 8, .value_bytes_max = 16};

#define BYTES(text)                                                                                \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }
#define NO_MESSAGE                                                                                 \
    "the request is no valid protobuf message of its type, or one of more than 64 fields"
#define NO_CONSISTENCY                                                                             \
    "\" is none of lease, linearizable, strong, bounded_staleness, stale_ok, eventual"

static enum nk_err check(enum gateway_op op, struct nk_bytes message,
                         struct gateway_checked *out_checked, char *text, size_t size)
{
    struct nk_text out;
    nk_text_init(&out, text, size);
    return gateway_check(op, message, &limits, out_checked, &out);
}

Test(gateway_check, a_good_request_gives_its_key)
{
    static const struct {
        enum gateway_op op;
        struct nk_bytes message;
        const char *key;
        bool idempotency;
    } cases[] = {
        {GATEWAY_OP_PUT, BYTES("\x0a\x01k"), "k", false},
        {GATEWAY_OP_PUT, BYTES("\x0a\x01k\x12\x01v\x18\x05\x22\x02id\x2a\x04\x08\x01\x10\x02"), "k",
         true},
        {GATEWAY_OP_PUT,
         BYTES("\x0a\x01"
               "a\x0a\x01"
               "b"),
         "b", false}, /* the last one wins, as in every parser */
        {GATEWAY_OP_PUT, BYTES("\x0a\x01k\x22\x02id\x22\x00"), "k", false},
        {GATEWAY_OP_PUT, BYTES("\x0a\x01k\x2a\x00"), "k", false},
        {GATEWAY_OP_PUT, BYTES("\x0a\x01k\x7a\x03new\x30\x01"), "k", false}, /* a newer client */
        {GATEWAY_OP_GET, BYTES("\x0a\x01k"), "k", false},
        {GATEWAY_OP_GET, BYTES("\x0a\x01k\x12\x08stale_ok"), "k", false},
        {GATEWAY_OP_GET, BYTES("\x0a\x01k\x1a\x02id"), "k", false}, /* a get has no such field */
        {GATEWAY_OP_DELETE, BYTES("\x0a\x01k\x12\x02id\x1a\x04\x08\x01\x10\x02"), "k", true},
        {GATEWAY_OP_PUT,
         BYTES("\x0a\x08"
               "12345678"),
         "12345678", false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gateway_checked checked = {0};
        char text[256];
        cr_expect_eq(check(cases[i].op, cases[i].message, &checked, text, sizeof text), NK_OK,
                     "case %zu: %s", i, text);
        cr_expect(nk_bytes_equal(checked.key, nk_bytes_of_string(cases[i].key)), "case %zu", i);
        cr_expect_eq(checked.has_idempotency_key, cases[i].idempotency, "case %zu", i);
        cr_expect_str_eq(text, "", "case %zu", i);
    }
}

Test(gateway_check, a_bad_request_is_told_what_is_wrong)
{
    static const struct {
        enum gateway_op op;
        struct nk_bytes message;
        enum nk_err err;
        const char *text;
    } cases[] = {
        {GATEWAY_OP_PUT, BYTES(""), NK_INVALID, "key is empty; it must have 1 to 8 bytes"},
        {GATEWAY_OP_GET, BYTES("\x0a\x01k\x0a\x00"), NK_INVALID,
         "key is empty; it must have 1 to 8 bytes"},
        {GATEWAY_OP_GET,
         BYTES("\x0a\x09"
               "123456789"),
         NK_TOO_LARGE, "key has 9 bytes; the limit is 8"},
        {GATEWAY_OP_PUT,
         BYTES("\x0a\x01k\x12\x11"
               "12345678901234567"),
         NK_TOO_LARGE, "value has 17 bytes; the limit is 16"},
        {GATEWAY_OP_PUT,
         BYTES("\x0a\x01k\x22\x03"
               "a\0b"),
         NK_INVALID, "idempotency_key must be UTF-8 without NUL"},
        {GATEWAY_OP_DELETE, BYTES("\x0a\x01k\x12\x02\xc3\x28"), NK_INVALID,
         "idempotency_key must be UTF-8 without NUL"},
        {GATEWAY_OP_GET, BYTES("\x0a\x01k\x12\x05Lease"), NK_INVALID,
         "consistency \"Lease" NO_CONSISTENCY},
        {GATEWAY_OP_GET, BYTES("\x0a\x01k\x12\x02\"\n"), NK_INVALID,
         "consistency \"\"\\x0a" NO_CONSISTENCY},
        {GATEWAY_OP_PUT, BYTES("\x0a\x02k"), NK_INVALID, NO_MESSAGE}, /* cut */
        {GATEWAY_OP_PUT, BYTES("\x08\x01"), NK_INVALID, NO_MESSAGE},  /* a key that is a number */
        {GATEWAY_OP_PUT, BYTES("\x0a\x01k\x1a\x01x"), NK_INVALID, NO_MESSAGE}, /* ttl_ms as bytes */
        {GATEWAY_OP_PUT, BYTES("\x0a\x01k\x28\x01"), NK_INVALID, NO_MESSAGE},  /* if_match */
        {GATEWAY_OP_PUT, BYTES("\x0a\x01k\x2a\x01\x08"), NK_INVALID, NO_MESSAGE},
        {GATEWAY_OP_DELETE, BYTES("\x0a\x01k\x1a\x02\x0a\x00"), NK_INVALID, NO_MESSAGE},
        {GATEWAY_OP_GET, BYTES("\x0a\x01k\x13\x14"), NK_INVALID, NO_MESSAGE}, /* a group */
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct gateway_checked checked = {0};
        char text[256];
        cr_expect_eq(check(cases[i].op, cases[i].message, &checked, text, sizeof text),
                     cases[i].err, "case %zu", i);
        cr_expect_str_eq(text, cases[i].text, "case %zu", i);
    }
}

Test(gateway_check, an_idempotency_key_may_be_as_long_as_its_limit)
{
    for (size_t over = 0; over < 2; over++) {
        struct nk_buf message = {0};
        nk_buf_append(&message, nk_bytes_of("\x0a\x01k\x22", 4));
        size_t size = NK_IDEMPOTENCY_KEY_BYTES_MAX + over;
        nk_buf_append_u8(&message, (uint8_t)(0x80 | (size & 0x7f)));
        nk_buf_append_u8(&message, (uint8_t)(size >> 7));
        memset(nk_buf_extend(&message, size), 'i', size);
        struct gateway_checked checked;
        char text[256];
        cr_expect_eq(check(GATEWAY_OP_PUT, nk_buf_bytes(&message), &checked, text, sizeof text),
                     over == 0 ? NK_OK : NK_TOO_LARGE);
        cr_expect_str_eq(text, over == 0 ? "" : "idempotency_key has 129 bytes; the limit is 128");
        nk_buf_deinit(&message);
    }
}

Test(gateway_check, the_number_of_fields_is_bounded)
{
    for (size_t count = 64; count <= 65; count++) {
        for (size_t inside = 0; inside < 2; inside++) {
            struct nk_buf message = {0};
            nk_buf_append(&message, nk_bytes_of("\x0a\x01k", 3));
            if (inside == 1) { /* in the version instead */
                nk_buf_append_u8(&message, 0x2a);
                nk_buf_append_u8(&message, (uint8_t)(0x80 | (count * 2 & 0x7f)));
                nk_buf_append_u8(&message, (uint8_t)(count * 2 >> 7));
            }
            for (size_t i = inside == 1 ? 0 : 1; i < count; i++) {
                nk_buf_append(&message, nk_bytes_of("\x78\x01", 2));
            }
            struct gateway_checked checked;
            char text[256];
            cr_expect_eq(check(GATEWAY_OP_PUT, nk_buf_bytes(&message), &checked, text, sizeof text),
                         count == 64 ? NK_OK : NK_INVALID, "%zu fields, %zu", count, inside);
            nk_buf_deinit(&message);
        }
    }
}

Test(gateway_check, every_name_of_a_consistency_is_known)
{
    static const char *const names[] = {"",         "lease",    "linearizable",     "strong",
                                        "stale_ok", "eventual", "bounded_staleness"};
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        struct nk_buf message = {0};
        nk_buf_append(&message, nk_bytes_of("\x0a\x01k\x12", 4));
        nk_buf_append_u8(&message, (uint8_t)strlen(names[i]));
        nk_buf_append_string(&message, names[i]);
        struct gateway_checked checked;
        char text[256];
        cr_expect_eq(check(GATEWAY_OP_GET, nk_buf_bytes(&message), &checked, text, sizeof text),
                     NK_OK, "case %zu", i);
        nk_buf_deinit(&message);
    }
}

/* The key that routes a request must be the one that the shardhost will use: two readers that
 * disagree would write a key to a shard where nobody looks for it. */
Test(gateway_check, what_protobuf_reads_is_what_was_checked)
{
    static const struct nk_bytes seeds[] = {
        BYTES("\x0a\x01k\x12\x01v\x18\x05\x22\x02id\x2a\x04\x08\x01\x10\x02"),
        BYTES("\x0a\x03key\x0a\x02k2\x12\x00\x7a\x03new"),
        BYTES("\x0a\x01k\x2a\x02\x08\x01\x2a\x02\x10\x02\x22\x01i"),
    };
    struct nk_prng prng;
    nk_prng_init(&prng, 91733);
    size_t both = 0;
    for (size_t run = 0; run < 200000; run++) {
        struct nk_bytes seed = seeds[run % NK_COUNT_OF(seeds)];
        uint8_t bytes[64];
        size_t size = seed.size;
        memcpy(bytes, seed.data, size);
        for (uint64_t i = nk_prng_between(&prng, 1, 3); i > 0; i--) {
            bytes[nk_prng_below(&prng, size)] = (uint8_t)nk_prng_next(&prng);
        }
        struct nk_bytes message = nk_bytes_of(bytes, nk_prng_between(&prng, 1, size));
        struct nk_arena arena;
        nk_arena_init(&arena, 1024, 0);
        const Norikv__V1__PutRequest *put = (const Norikv__V1__PutRequest *)nk_unpack(
            &norikv__v1__put_request__descriptor, message, &arena);
        struct gateway_checked checked = {0};
        char text[256];
        if (check(GATEWAY_OP_PUT, message, &checked, text, sizeof text) == NK_OK && put != NULL) {
            both++;
            cr_assert(nk_bytes_equal(checked.key, nk_bytes_of(put->key.data, put->key.len)),
                      "run %zu", run);
            cr_assert_eq(checked.has_idempotency_key, put->idempotency_key[0] != '\0', "run %zu",
                         run);
            cr_assert_leq(put->value.len, limits.value_bytes_max, "run %zu", run);
        }
        nk_arena_deinit(&arena);
    }
    cr_expect_gt(both, 10000); /* else it would prove little */
}

Test(gateway_check, an_answer_tells_whether_the_key_was_there)
{
    static const struct {
        enum gateway_op op;
        struct nk_bytes response;
        bool found;
    } cases[] = {
        {GATEWAY_OP_PUT, BYTES(""), true},
        {GATEWAY_OP_GET, BYTES(""), false},
        {GATEWAY_OP_GET, BYTES("\x0a\x01v"), false},
        {GATEWAY_OP_GET, BYTES("\x12\x04\x08\x01\x10\x02"), true},
        {GATEWAY_OP_DELETE, BYTES("\x12\x04\x08\x01\x10\x02"), false},
        {GATEWAY_OP_DELETE, BYTES("\x08\x01\x12\x04\x08\x01\x10\x02"), true},
        {GATEWAY_OP_DELETE, BYTES("\x08\x00"), false},
        {GATEWAY_OP_GET, BYTES("\xff"), false},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(gateway_answer_found(cases[i].op, cases[i].response), cases[i].found,
                     "case %zu", i);
    }
}

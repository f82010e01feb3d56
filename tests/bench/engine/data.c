#include "tests/bench/engine/data.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"

#define POOL_BYTES   ((size_t)1 << 20)
#define REPEAT_BYTES 64
#define HEAD_BYTES   16
#define BODY_BYTES   (DATA_VALUE_BYTES - HEAD_BYTES)
#define ROUNDS       4

static struct {
    uint64_t key_count;
    unsigned half_bits; /* 2 * half_bits hold any id */
    uint64_t round_keys[ROUNDS];
    uint8_t *pool;
} data;

static uint64_t mix(uint64_t number)
{
    number = (number ^ (number >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    number = (number ^ (number >> 27)) * UINT64_C(0x94D049BB133111EB);
    return number ^ (number >> 31);
}

void data_init(uint64_t key_count, uint64_t seed)
{
    NK_ASSERT(key_count > 0);
    struct nk_prng prng;
    nk_prng_init(&prng, seed);
    data.key_count = key_count;
    data.half_bits = 1;
    while (UINT64_C(1) << (2 * data.half_bits) < key_count) {
        data.half_bits++;
    }
    for (size_t i = 0; i < ROUNDS; i++) {
        data.round_keys[i] = nk_prng_next(&prng);
    }
    data.pool = nk_alloc(POOL_BYTES);
    for (size_t at = 0; at < POOL_BYTES; at += 2 * REPEAT_BYTES) {
        for (size_t i = 0; i < REPEAT_BYTES; i += 8) {
            nk_put_u64(data.pool + at + i, nk_prng_next(&prng));
        }
        memcpy(data.pool + at + REPEAT_BYTES, data.pool + at, REPEAT_BYTES);
    }
}

void data_deinit(void)
{
    nk_free(data.pool);
    data.pool = NULL;
}

static void put_hex(uint64_t number, uint8_t out_key[DATA_KEY_BYTES])
{
    for (size_t i = DATA_KEY_BYTES; i > 0; i--) {
        out_key[i - 1] = (uint8_t) "0123456789abcdef"[number & 15];
        number >>= 4;
    }
}

void data_key(uint64_t id, uint8_t out_key[DATA_KEY_BYTES])
{
    put_hex(2 * id, out_key);
}

void data_missing_key(uint64_t id, uint8_t out_key[DATA_KEY_BYTES])
{
    put_hex(2 * id + 1, out_key);
}

void data_value(uint64_t id, struct nk_prng *prng, uint8_t out_value[DATA_VALUE_BYTES])
{
    uint64_t place = nk_prng_below(prng, POOL_BYTES - BODY_BYTES);
    nk_put_u64(out_value, mix(id + 1));
    nk_put_u64(out_value + 8, place);
    memcpy(out_value + HEAD_BYTES, data.pool + place, BODY_BYTES);
}

bool data_value_is(uint64_t id, struct nk_bytes value, bool whole)
{
    if (value.size != DATA_VALUE_BYTES || nk_get_u64(value.data) != mix(id + 1)) {
        return false;
    }
    if (!whole) {
        return true;
    }
    uint64_t place = nk_get_u64(value.data + 8);
    return place < POOL_BYTES - BODY_BYTES &&
           memcmp(value.data + HEAD_BYTES, data.pool + place, BODY_BYTES) == 0;
}

/* A Feistel network over the next power of four; what falls beyond the ids is sent through it
 * again. */
uint64_t data_shuffled(uint64_t position)
{
    uint64_t mask = (UINT64_C(1) << data.half_bits) - 1;
    uint64_t id = position;
    do {
        uint64_t left = id >> data.half_bits;
        uint64_t right = id & mask;
        for (size_t i = 0; i < ROUNDS; i++) {
            uint64_t next = left ^ (mix(right + data.round_keys[i]) & mask);
            left = right;
            right = next;
        }
        id = left << data.half_bits | right;
    } while (id >= data.key_count);
    return id;
}

/* The placement of keys is a promise to clients: they compute it themselves. */

#include <signal.h>

#include <criterion/criterion.h>

#include "common/base/hash.h"
#include "common/base/units.h"

TestSuite(base_hash, .timeout = 10);

struct placement {
    const char *key;
    uint64_t hash;
    uint32_t shard_of_1024;
    uint32_t shard_of_256;
};

static const struct placement placements[] = {
    {"hello", UINT64_C(2794345569481354659), 309, 118},
    {"world", UINT64_C(16679358290033791471), 752, 4},
    {"user:123", UINT64_C(12838382303697200627), 928, 59},
    {"user:456", UINT64_C(15127664767043746295), 768, 91},
    {"order:789", UINT64_C(16039549273304380186), 564, 7},
    {"session:abc", UINT64_C(6709427766188742023), 48, 48},
    {"metrics:cpu", UINT64_C(11466248021713662033), 336, 82},
    {"", UINT64_C(17241709254077376921), 332, 40},
    {"a", UINT64_C(15154266338359012955), 894, 17},
    {"Hello \xE4\xB8\x96\xE7\x95\x8C", UINT64_C(15196255900769524241), 228, 228},
};

Test(base_hash, keys_fall_into_the_shards_that_clients_compute)
{
    for (size_t i = 0; i < NK_COUNT_OF(placements); i++) {
        struct nk_bytes key = nk_bytes_of_string(placements[i].key);
        cr_expect_eq(nk_xxh64(key, 0), placements[i].hash, "case %zu", i);
        cr_expect_eq(nk_shard_of_key(key, 1024), placements[i].shard_of_1024, "case %zu", i);
        cr_expect_eq(nk_shard_of_key(key, 256), placements[i].shard_of_256, "case %zu", i);
    }
}

Test(base_hash, the_empty_key_may_be_null)
{
    cr_expect_eq(nk_xxh64(nk_bytes_of(NULL, 0), 0), UINT64_C(17241709254077376921));
}

Test(base_hash, the_seed_changes_the_hash)
{
    struct nk_bytes key = nk_bytes_of_string("hello");
    cr_expect_neq(nk_xxh64(key, 0), nk_xxh64(key, 1));
}

Test(base_hash, a_new_bucket_only_takes_keys_and_moves_none_between_the_others)
{
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t key = i * UINT64_C(0x9E3779B97F4A7C15);
        uint32_t before = nk_jump_hash(key, 1);
        cr_assert_eq(before, 0);
        for (uint32_t count = 2; count <= 40; count++) {
            uint32_t after = nk_jump_hash(key, count);
            cr_assert(after == before || after == count - 1, "key %zu of %u", (size_t)i, count);
            before = after;
        }
    }
}

Test(base_hash, the_bucket_is_below_the_count_for_the_largest_counts)
{
    static const uint32_t counts[] = {1, 2, 65536, UINT32_MAX - 1, UINT32_MAX};
    for (size_t i = 0; i < NK_COUNT_OF(counts); i++) {
        for (uint64_t key = 0; key < 1000; key++) {
            cr_assert_lt(nk_jump_hash(key * UINT64_C(0x9E3779B97F4A7C15), counts[i]), counts[i]);
        }
    }
}

Test(base_hash, no_buckets_is_a_programmer_error, .signal = SIGABRT)
{
    (void)nk_jump_hash(1, 0);
}

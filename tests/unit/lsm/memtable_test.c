#include "services/shardhost/lsm/memtable.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/prng.h"
#include "common/base/units.h"

TestSuite(lsm_memtable, .timeout = 60);

static struct nk_gauge in_use;
static struct lsm_chunk_pool pool;
static struct lsm_memtable *memtable;

static void setup(void)
{
    lsm_chunk_pool_init(&pool, NK_GIB, &in_use);
    lsm_memtable_new(&pool, &memtable);
}

static void teardown(void)
{
    lsm_memtable_release(&memtable);
    cr_expect_eq(nk_gauge_get(&in_use), 0);
    lsm_chunk_pool_deinit(&pool);
}

static void add(struct nk_bytes key, uint64_t index, const char *value)
{
    struct lsm_record record = {
        .key = key, .value = nk_bytes_of_string(value), .version = {1, index}};
    lsm_memtable_add(memtable, &record);
}

static void add_text(const char *key, uint64_t index, const char *value)
{
    add(nk_bytes_of_string(key), index, value);
}

static bool finds(struct nk_bytes key, uint64_t index_max, uint64_t expected_index)
{
    struct lsm_entry entry;
    struct nk_bytes value;
    return lsm_memtable_get(memtable, key, index_max, &entry, &value) &&
           entry.version.index == expected_index;
}

static bool misses(struct nk_bytes key, uint64_t index_max)
{
    struct lsm_entry entry;
    struct nk_bytes value;
    return !lsm_memtable_get(memtable, key, index_max, &entry, &value);
}

Test(lsm_memtable, an_empty_one_holds_nothing_and_costs_no_chunk, .init = setup, .fini = teardown)
{
    struct lsm_memtable_cursor cursor;
    lsm_memtable_cursor_open(&cursor, memtable, nk_bytes_of("", 0), UINT64_MAX);
    cr_expect_null(cursor.node);
    cr_expect(misses(nk_bytes_of_string("a"), UINT64_MAX));
    cr_expect_eq(lsm_memtable_bytes(memtable), 0);
    cr_expect_eq(pool.held_bytes, 0);
}

Test(lsm_memtable, the_newest_version_at_or_below_an_index_is_found, .init = setup,
     .fini = teardown)
{
    struct nk_bytes key = nk_bytes_of_string("key");
    add(key, 10, "ten");
    add(key, 20, "twenty");
    add(key, 30, "thirty");
    cr_expect(misses(key, 9));
    cr_expect(finds(key, 10, 10));
    cr_expect(finds(key, 19, 10));
    cr_expect(finds(key, 20, 20));
    cr_expect(finds(key, 29, 20));
    cr_expect(finds(key, UINT64_MAX, 30));
}

Test(lsm_memtable, of_two_records_with_one_index_the_later_one_wins, .init = setup,
     .fini = teardown)
{
    add_text("key", 5, "first");
    add_text("key", 5, "second");
    struct lsm_entry entry;
    struct nk_bytes value;
    cr_assert(lsm_memtable_get(memtable, nk_bytes_of_string("key"), 5, &entry, &value));
    cr_expect(nk_bytes_equal(value, nk_bytes_of_string("second")));
}

Test(lsm_memtable, everything_a_record_says_comes_back, .init = setup, .fini = teardown)
{
    struct lsm_record record = {
        .key = nk_bytes_of_string("gone"),
        .version = {7, 9},
        .expire_at_ms = 1234567,
        .tombstone = true,
    };
    lsm_memtable_add(memtable, &record);
    struct lsm_entry entry;
    struct nk_bytes value;
    cr_assert(lsm_memtable_get(memtable, record.key, UINT64_MAX, &entry, &value));
    cr_expect_eq(entry.version.term, 7);
    cr_expect_eq(entry.version.index, 9);
    cr_expect_eq(entry.expire_at_ms, 1234567);
    cr_expect(entry.tombstone);
    cr_expect_eq(value.size, 0);
}

Test(lsm_memtable, a_cursor_sees_the_newest_visible_version_of_each_key, .init = setup,
     .fini = teardown)
{
    add_text("a", 1, "a1");
    add_text("b", 2, "b2");
    add_text("a", 3, "a3");
    add_text("c", 4, "c4");
    add_text("b", 5, "b5");
    struct lsm_memtable_cursor cursor;
    lsm_memtable_cursor_open(&cursor, memtable, nk_bytes_of("", 0), 3);
    static const char *const expected[] = {"a3", "b2"};
    for (size_t i = 0; i < NK_COUNT_OF(expected); i++) {
        cr_assert_not_null(cursor.node);
        cr_expect(
            nk_bytes_equal(lsm_memtable_cursor_value(&cursor), nk_bytes_of_string(expected[i])));
        lsm_memtable_cursor_next(&cursor);
    }
    cr_expect_null(cursor.node);
    lsm_memtable_cursor_open(&cursor, memtable, nk_bytes_of_string("aa"), UINT64_MAX);
    cr_assert_not_null(cursor.node);
    cr_expect(nk_bytes_equal(lsm_memtable_cursor_value(&cursor), nk_bytes_of_string("b5")));
}

Test(lsm_memtable, a_cursor_walks_back_over_what_is_visible, .init = setup, .fini = teardown)
{
    add_text("a", 1, "a1");
    add_text("b", 2, "b2");
    add_text("a", 3, "a3");
    add_text("c", 4, "c4");
    add_text("b", 5, "b5");
    struct lsm_memtable_cursor cursor;
    lsm_memtable_cursor_open_back(&cursor, memtable, NULL, false, 3);
    static const char *const expected[] = {"b2", "a3"};
    for (size_t i = 0; i < NK_COUNT_OF(expected); i++) {
        cr_assert_not_null(cursor.node);
        cr_expect(
            nk_bytes_equal(lsm_memtable_cursor_value(&cursor), nk_bytes_of_string(expected[i])));
        lsm_memtable_cursor_prev(&cursor);
    }
    cr_expect_null(cursor.node);
    struct nk_bytes b = nk_bytes_of_string("b");
    lsm_memtable_cursor_open_back(&cursor, memtable, &b, true, UINT64_MAX);
    cr_expect(nk_bytes_equal(lsm_memtable_cursor_value(&cursor), nk_bytes_of_string("b5")));
    lsm_memtable_cursor_open_back(&cursor, memtable, &b, false, UINT64_MAX);
    cr_expect(nk_bytes_equal(lsm_memtable_cursor_value(&cursor), nk_bytes_of_string("a3")));
}

/* ---- Order, whatever the keys are like ---- */

struct sample {
    uint8_t bytes[1025];
    size_t size;
};

static int compare_samples(const void *a, const void *b)
{
    const struct sample *left = a;
    const struct sample *right = b;
    return nk_bytes_compare(nk_bytes_of(left->bytes, left->size),
                            nk_bytes_of(right->bytes, right->size));
}

enum kind {
    KIND_RANDOM,
    KIND_DECIMAL,
    KIND_RISING,
    KIND_FALLING,
    KIND_ZEROS,      /* differ only in how many zero bytes follow, often */
    KIND_LONG,       /* share about 255 bytes */
    KIND_LONG_ZEROS, /* the same, followed by zeros */
    KIND_COUNT,
};

static void draw(struct sample *sample, enum kind kind, size_t i, struct nk_prng *prng)
{
    memset(sample, 0, sizeof *sample);
    switch (kind) {
    case KIND_RANDOM:
        sample->size = nk_prng_between(prng, 1, 20);
        for (size_t at = 0; at < sample->size; at++) {
            sample->bytes[at] = (uint8_t)nk_prng_next(prng);
        }
        break;
    case KIND_DECIMAL:
    case KIND_RISING:
    case KIND_FALLING: {
        unsigned long long number = kind == KIND_DECIMAL  ? nk_prng_below(prng, 100000)
                                    : kind == KIND_RISING ? i
                                                          : 1000000 - i;
        sample->size = (size_t)snprintf((char *)sample->bytes, 32, "user:%016llu", number);
        break;
    }
    case KIND_ZEROS:
        sample->size = nk_prng_between(prng, 1, 12);
        sample->bytes[nk_prng_below(prng, 12)] = (uint8_t)nk_prng_below(prng, 3);
        break;
    default:
        memset(sample->bytes, 'p', 250);
        sample->size = nk_prng_between(prng, 250, 300);
        for (size_t at = 250; at < sample->size; at++) {
            bool zero = kind == KIND_LONG_ZEROS || nk_prng_chance(prng, 500000);
            sample->bytes[at] = zero ? 0 : (uint8_t)nk_prng_below(prng, 3);
        }
    }
}

static size_t without_duplicates(struct sample *samples, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || compare_samples(&samples[kept - 1], &samples[i]) != 0) {
            samples[kept++] = samples[i];
        }
    }
    return kept;
}

static void keys_come_out_sorted(enum kind kind, size_t count)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 42 + kind);
    struct sample *samples = calloc(count, sizeof *samples);
    cr_assert_not_null(samples);
    for (size_t i = 0; i < count; i++) {
        draw(&samples[i], kind, i, &prng);
        add(nk_bytes_of(samples[i].bytes, samples[i].size), i + 1, "value");
    }
    cr_expect_eq(lsm_memtable_count(memtable), count);
    qsort(samples, count, sizeof *samples, compare_samples);
    size_t distinct = without_duplicates(samples, count);
    struct lsm_memtable_cursor cursor;
    lsm_memtable_cursor_open(&cursor, memtable, nk_bytes_of("", 0), UINT64_MAX);
    for (size_t i = 0; i < distinct; i++) {
        struct nk_bytes key = nk_bytes_of(samples[i].bytes, samples[i].size);
        cr_assert(cursor.node != NULL, "kind %d: ends at %zu of %zu", (int)kind, i, distinct);
        cr_assert(nk_bytes_equal(lsm_memtable_cursor_key(&cursor), key), "kind %d: key %zu",
                  (int)kind, i);
        cr_assert_not(misses(key, UINT64_MAX), "kind %d: key %zu is not found", (int)kind, i);
        /* The same with one byte more is a key only if it is the next sample. */
        struct sample longer = samples[i];
        longer.bytes[longer.size++] = 0;
        bool is_next = i + 1 < distinct && compare_samples(&longer, &samples[i + 1]) == 0;
        cr_assert(misses(nk_bytes_of(longer.bytes, longer.size), UINT64_MAX) != is_next,
                  "kind %d: key %zu and a zero", (int)kind, i);
        lsm_memtable_cursor_next(&cursor);
    }
    cr_expect_null(cursor.node);
    free(samples);
}

Test(lsm_memtable, keys_of_every_kind_come_out_sorted)
{
    for (enum kind kind = 0; kind < KIND_COUNT; kind++) {
        setup();
        keys_come_out_sorted(kind, 6000);
        teardown();
    }
}

/* ---- Memory ---- */

Test(lsm_memtable, small_ones_stay_small, .init = setup, .fini = teardown)
{
    add_text("a", 1, "b");
    cr_expect_eq(lsm_memtable_bytes(memtable), LSM_CHUNK_BYTES_MIN);
    for (uint64_t i = 0; i < 1000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%04u", (unsigned)i);
        add_text(key, 2 + i, "0123456789012345678901234567890123456789");
    }
    /* 1000 nodes of about 104 bytes, and at most a quarter more. */
    cr_expect_leq(lsm_memtable_bytes(memtable), 104 * 1000 * 5 / 4 + LSM_CHUNK_BYTES_MIN);
    cr_expect_eq(nk_gauge_get(&in_use), (int64_t)lsm_memtable_bytes(memtable));
}

Test(lsm_memtable, a_large_record_takes_a_chunk_of_its_own_size, .init = setup, .fini = teardown)
{
    static uint8_t large[1 << 20];
    memset(large, 'L', sizeof large);
    add_text("small", 1, "value");
    size_t before = lsm_memtable_bytes(memtable);
    struct lsm_record record = {.key = nk_bytes_of_string("large"),
                                .value = nk_bytes_of(large, sizeof large),
                                .version = {1, 2}};
    lsm_memtable_add(memtable, &record);
    size_t grown = lsm_memtable_bytes(memtable) - before;
    cr_expect_geq(grown, sizeof large);
    cr_expect_leq(grown, sizeof large + 1024);
    add_text("after", 3, "value");
    cr_expect_eq(lsm_memtable_bytes(memtable) - before, grown);
    struct lsm_entry entry;
    struct nk_bytes value;
    cr_assert(lsm_memtable_get(memtable, record.key, UINT64_MAX, &entry, &value));
    cr_expect(nk_bytes_equal(value, record.value));
    cr_expect(finds(nk_bytes_of_string("after"), UINT64_MAX, 3));
}

Test(lsm_memtable, an_empty_key_is_a_programmer_error, .signal = SIGABRT)
{
    setup();
    add(nk_bytes_of("", 0), 1, "value");
}

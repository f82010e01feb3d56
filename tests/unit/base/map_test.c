/* Against a plain array, and the order of the walk. */

#include <signal.h>

#include <criterion/criterion.h>

#include "common/base/map.h"
#include "common/base/prng.h"
#include "common/base/units.h"

TestSuite(base_map, .timeout = 20);

static struct nk_bytes key_of(const char *text)
{
    return nk_bytes_of_string(text);
}

Test(base_map, an_empty_map_answers)
{
    struct nk_map map;
    nk_map_init(&map);
    size_t position = 0;
    cr_expect_null(nk_map_get(&map, key_of("a")));
    cr_expect_null(nk_map_remove(&map, key_of("a")));
    cr_expect_null(nk_map_next(&map, &position));
    nk_map_deinit(&map);
}

Test(base_map, put_returns_what_was_there_before)
{
    struct nk_map map;
    nk_map_init(&map);
    int one;
    int two;
    cr_expect_null(nk_map_put(&map, key_of("a"), &one));
    cr_expect_eq(nk_map_put(&map, key_of("a"), &two), &one);
    cr_expect_eq(map.count, 1);
    cr_expect_eq(nk_map_get(&map, key_of("a")), &two);
    cr_expect_eq(nk_map_remove(&map, key_of("a")), &two);
    cr_expect_eq(map.count, 0);
    cr_expect_null(nk_map_get(&map, key_of("a")));
    nk_map_deinit(&map);
}

Test(base_map, keys_are_bytes_and_copied)
{
    struct nk_map map;
    nk_map_init(&map);
    int empty;
    int zero;
    int prefix;
    char key[] = {'a', '\0', 'b'};
    (void)nk_map_put(&map, nk_bytes_of(NULL, 0), &empty);
    (void)nk_map_put(&map, nk_bytes_of(key, 3), &zero);
    (void)nk_map_put(&map, nk_bytes_of(key, 1), &prefix);
    key[0] = 'x';
    cr_expect_eq(nk_map_get(&map, nk_bytes_of("", 0)), &empty);
    cr_expect_eq(nk_map_get(&map, nk_bytes_of("a\0b", 3)), &zero);
    cr_expect_eq(nk_map_get(&map, nk_bytes_of("a", 1)), &prefix);
    cr_expect_null(nk_map_get(&map, nk_bytes_of(key, 3)));
    nk_map_deinit(&map);
}

Test(base_map, the_walk_goes_in_the_order_of_first_insertion)
{
    struct nk_map map;
    nk_map_init(&map);
    static const char *const keys[] = {"zulu", "alpha", "mike", "bravo", "yankee"};
    static char values[NK_COUNT_OF(keys)];
    for (size_t i = 0; i < NK_COUNT_OF(keys); i++) {
        (void)nk_map_put(&map, key_of(keys[i]), &values[i]);
    }
    (void)nk_map_put(&map, key_of("zulu"), &values[0]); /* a new value keeps its place */
    (void)nk_map_remove(&map, key_of("mike"));
    (void)nk_map_remove(&map, key_of("alpha"));
    (void)nk_map_put(&map, key_of("alpha"), &values[1]); /* put again: last */
    static const char *const expected[] = {"zulu", "bravo", "yankee", "alpha"};
    size_t position = 0;
    for (size_t i = 0; i < NK_COUNT_OF(expected); i++) {
        struct nk_map_entry *entry = nk_map_next(&map, &position);
        cr_assert_not_null(entry);
        cr_expect(nk_bytes_equal(nk_bytes_of(entry->key, entry->key_size), key_of(expected[i])),
                  "place %zu", i);
    }
    cr_expect_null(nk_map_next(&map, &position));
    nk_map_deinit(&map);
}

Test(base_map, the_walk_survives_the_removal_of_what_it_returned)
{
    struct nk_map map;
    nk_map_init(&map);
    uint64_t numbers[100];
    for (uint64_t i = 0; i < NK_COUNT_OF(numbers); i++) {
        numbers[i] = i;
        (void)nk_map_put(&map, nk_map_key_u64(&numbers[i]), &numbers[i]);
    }
    size_t position = 0;
    size_t seen = 0;
    for (struct nk_map_entry *entry; (entry = nk_map_next(&map, &position)) != NULL; seen++) {
        cr_assert_eq(*(uint64_t *)entry->value, seen);
        (void)nk_map_remove(&map, nk_bytes_of(entry->key, entry->key_size));
    }
    cr_expect_eq(seen, NK_COUNT_OF(numbers));
    cr_expect_eq(map.count, 0);
    nk_map_deinit(&map);
}

enum { MODEL_KEYS = 500 };

static void expect_same_as_model(const struct nk_map *map, void *const model[MODEL_KEYS])
{
    size_t live = 0;
    for (uint64_t key = 0; key < MODEL_KEYS; key++) {
        cr_assert_eq(nk_map_get(map, nk_map_key_u64(&key)), model[key]);
        live += model[key] != NULL;
    }
    cr_assert_eq(map->count, live);
}

Test(base_map, random_puts_and_removals_equal_a_plain_array)
{
    struct nk_map map;
    nk_map_init(&map);
    static void *model[MODEL_KEYS];
    static char values[64];
    struct nk_prng prng;
    nk_prng_init(&prng, 3);
    for (int step = 0; step < 60000; step++) {
        uint64_t key = nk_prng_below(&prng, MODEL_KEYS);
        struct nk_bytes bytes = nk_map_key_u64(&key);
        if (nk_prng_below(&prng, 100) < 55) {
            void *value = &values[nk_prng_below(&prng, sizeof values)];
            cr_assert_eq(nk_map_put(&map, bytes, value), model[key]);
            model[key] = value;
        } else {
            cr_assert_eq(nk_map_remove(&map, bytes), model[key]);
            model[key] = NULL;
        }
        if (step % 5000 == 0) {
            expect_same_as_model(&map, model);
        }
    }
    expect_same_as_model(&map, model);
    nk_map_deinit(&map);
}

Test(base_map, putting_and_removing_for_ever_does_not_grow)
{
    struct nk_map map;
    nk_map_init(&map);
    int value;
    for (uint64_t i = 0; i < 100000; i++) {
        (void)nk_map_put(&map, nk_map_key_u64(&i), &value);
        cr_assert_eq(nk_map_remove(&map, nk_map_key_u64(&i)), &value);
    }
    cr_expect_leq(map.slot_count, 64);
    nk_map_deinit(&map);
}

Test(base_map, null_is_no_value, .signal = SIGABRT)
{
    struct nk_map map;
    nk_map_init(&map);
    (void)nk_map_put(&map, key_of("a"), NULL);
}

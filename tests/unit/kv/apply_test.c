/* Puts, deletes and their preconditions: one test per sentence of the public contract. */

#include <criterion/criterion.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"

#include "store.h"

TestSuite(kv_apply, .timeout = 10);

Test(kv_apply, a_put_is_read_back_with_the_version_of_its_entry)
{
    struct store store;
    store_start(&store);
    struct kv_result result = store_put(&store, "a", "1");
    cr_expect_eq(result.err, NK_OK);
    cr_expect_eq(result.version.term, 3);
    cr_expect_eq(result.version.index, 1);
    cr_expect_not(result.replayed);
    struct kv_value value;
    struct nk_buf bytes = {0};
    cr_assert_eq(kv_get(store.kv, nk_bytes_of_string("a"), LSM_DISK, &value, &bytes), NK_OK);
    cr_expect(version_equal(value.version, result.version));
    cr_expect_eq(value.expire_at_ms, 0);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&bytes), nk_bytes_of_string("1")));
    nk_buf_deinit(&bytes);
    store_stop(&store);
}

Test(kv_apply, versions_of_a_key_strictly_grow_also_over_a_delete)
{
    struct store store;
    store_start(&store);
    uint64_t last = store_put(&store, "a", "1").version.index;
    for (size_t i = 0; i < 10; i++) {
        store.term += i % 3 == 0;
        struct kv_result result =
            i % 4 == 1 ? store_delete(&store, "a") : store_put(&store, "a", "x");
        cr_expect_gt(result.version.index, last);
        last = result.version.index;
    }
    store_stop(&store);
}

Test(kv_apply, an_empty_value_is_a_value)
{
    struct store store;
    store_start(&store);
    (void)store_put(&store, "a", "");
    struct kv_value value;
    struct nk_buf bytes = {0};
    cr_expect_eq(kv_get(store.kv, nk_bytes_of_string("a"), LSM_DISK, &value, &bytes), NK_OK);
    cr_expect_eq(bytes.size, 0);
    nk_buf_deinit(&bytes);
    store_stop(&store);
}

Test(kv_apply, a_delete_tells_whether_a_live_key_was_there)
{
    struct store store;
    store_start(&store);
    struct kv_result missing = store_delete(&store, "a");
    cr_expect_eq(missing.err, NK_OK);
    cr_expect_not(missing.tombstoned);
    cr_expect_eq(missing.version.index, 1);
    (void)store_put(&store, "a", "1");
    struct kv_result first = store_delete(&store, "a");
    cr_expect_eq(first.err, NK_OK);
    cr_expect(first.tombstoned);
    cr_expect_eq(first.version.index, 3);
    cr_expect_str_eq(store_get(&store, "a"), "");
    cr_expect_not(store_delete(&store, "a").tombstoned, "it is gone");
    store_stop(&store);
}

Test(kv_apply, deleting_a_missing_key_writes_no_record)
{
    struct store store;
    store_start(&store);
    (void)store_delete(&store, "a");
    struct lsm_entry entry;
    cr_expect_eq(lsm_get(store.db, nk_bytes_of_string("ka"), LSM_DISK, &entry, NULL), NK_NOT_FOUND);
    store_stop(&store);
}

/* ---- if_match ---- */

static struct kv_result put_if(struct store *store, const char *value, struct lsm_version if_match)
{
    struct request request = {
        .op = KV_OP_PUT, .key = "a", .value = value, .has_if_match = true, .if_match = if_match};
    return store_apply(store, &request);
}

static struct kv_result delete_if(struct store *store, struct lsm_version if_match)
{
    struct request request = {
        .op = KV_OP_DELETE, .key = "a", .has_if_match = true, .if_match = if_match};
    return store_apply(store, &request);
}

static const struct lsm_version must_not_exist = {0, 0};

Test(kv_apply, a_write_with_if_match_applies_only_at_that_version)
{
    struct store store;
    store_start(&store);
    struct lsm_version first = store_put(&store, "a", "1").version;
    struct kv_result second = put_if(&store, "2", first);
    cr_expect_eq(second.err, NK_OK);
    cr_expect_str_eq(store_get(&store, "a"), "2");

    struct kv_result stale = put_if(&store, "3", first);
    cr_expect_eq(stale.err, NK_CONFLICT);
    cr_expect(version_equal(stale.expected, first));
    cr_expect(version_equal(stale.found, second.version));
    cr_expect_str_eq(store_get(&store, "a"), "2");

    struct lsm_version other_term = {second.version.term + 1, second.version.index};
    cr_expect_eq(put_if(&store, "3", other_term).err, NK_CONFLICT);
    struct lsm_version only_term = {second.version.term, 0};
    cr_expect_eq(put_if(&store, "3", only_term).err, NK_CONFLICT);

    cr_expect_eq(delete_if(&store, first).err, NK_CONFLICT);
    struct kv_result gone = delete_if(&store, second.version);
    cr_expect_eq(gone.err, NK_OK);
    cr_expect(gone.tombstoned);
    store_stop(&store);
}

Test(kv_apply, if_match_on_a_missing_key_conflicts_and_finds_nothing)
{
    struct store store;
    store_start(&store);
    struct lsm_version version = {3, 1};
    struct kv_result never = put_if(&store, "1", version);
    cr_expect_eq(never.err, NK_CONFLICT);
    cr_expect(version_equal(never.found, must_not_exist));
    cr_expect(version_equal(never.expected, version));
    cr_expect_eq(delete_if(&store, version).err, NK_CONFLICT);

    version = store_put(&store, "a", "1").version;
    (void)store_delete(&store, "a");
    struct kv_result deleted = put_if(&store, "2", version);
    cr_expect_eq(deleted.err, NK_CONFLICT);
    cr_expect(version_equal(deleted.found, must_not_exist));
    store_stop(&store);
}

Test(kv_apply, if_match_zero_means_must_not_exist)
{
    struct store store;
    store_start(&store);
    struct kv_result created = put_if(&store, "1", must_not_exist);
    cr_expect_eq(created.err, NK_OK);
    struct kv_result again = put_if(&store, "2", must_not_exist);
    cr_expect_eq(again.err, NK_EXISTS);
    cr_expect(version_equal(again.found, created.version));
    cr_expect_str_eq(store_get(&store, "a"), "1");
    cr_expect_eq(delete_if(&store, must_not_exist).err, NK_EXISTS);
    (void)store_delete(&store, "a");
    struct kv_result absent = delete_if(&store, must_not_exist);
    cr_expect_eq(absent.err, NK_OK);
    cr_expect_not(absent.tombstoned);
    cr_expect_eq(put_if(&store, "3", must_not_exist).err, NK_OK);
    cr_expect_str_eq(store_get(&store, "a"), "3");
    store_stop(&store);
}

Test(kv_apply, preconditions_are_decided_against_records_on_disk_too)
{
    struct store store;
    store_start(&store);
    struct lsm_version version = store_put(&store, "a", "1").version;
    store_flush(&store);
    store_close(&store);
    store_recover(&store);
    cr_expect_eq(put_if(&store, "2", must_not_exist).err, NK_EXISTS);
    cr_expect_eq(put_if(&store, "2", version).err, NK_OK);
    store_stop(&store);
}

/* ---- Entries ---- */

Test(kv_apply, every_entry_moves_the_applied_position)
{
    struct store store;
    store_start(&store);
    struct lsm_version applied;
    struct nk_bytes image;
    (void)store_apply_payload(&store, nk_bytes_of(NULL, 0)); /* NOOP */
    lsm_applied(store.db, &applied, &image);
    cr_expect_eq(applied.index, 1);
    store_clock(&store, 2000);
    lsm_applied(store.db, &applied, &image);
    cr_expect_eq(applied.index, 2);
    (void)put_if(&store, "1", (struct lsm_version){9, 9}); /* a conflict */
    lsm_applied(store.db, &applied, &image);
    cr_expect_eq(applied.index, 3);
    cr_expect_eq(applied.term, 3);
    cr_expect_leq(image.size, LSM_STATE_BYTES_MAX);
    store_stop(&store);
}

Test(kv_apply, a_noop_changes_nothing_but_the_position)
{
    struct store store;
    store_start(&store);
    (void)store_put(&store, "a", "1");
    struct kv_result result = store_apply_payload(&store, nk_bytes_of(NULL, 0));
    cr_expect_eq(result.err, NK_OK);
    cr_expect_eq(kv_time_ms(store.kv), 1000);
    cr_expect_str_eq(store_get(&store, "a"), "1");
    store_stop(&store);
}

Test(kv_apply, keys_and_values_may_be_any_bytes_up_to_the_limits)
{
    struct store store;
    store_start(&store);
    char *key = nk_alloc_zero(1, NK_KEY_BYTES_MAX + 2);
    char *value = nk_alloc_zero(1, NK_VALUE_BYTES_MAX + 2);
    memset(key, 0xff, NK_KEY_BYTES_MAX);
    memset(value, 0x01, NK_VALUE_BYTES_MAX);
    struct kv_result result = store_put(&store, key, value);
    cr_expect_eq(result.err, NK_OK);
    struct kv_value found;
    struct nk_buf bytes = {0};
    cr_assert_eq(kv_get(store.kv, nk_bytes_of_string(key), LSM_DISK, &found, &bytes), NK_OK);
    cr_expect_eq(bytes.size, NK_VALUE_BYTES_MAX);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&bytes), nk_bytes_of_string(value)));
    nk_buf_deinit(&bytes);
    nk_free(key);
    nk_free(value);
    store_stop(&store);
}

/* Applies a request that kv_request_check refuses. */
static struct kv_result apply_unchecked(struct store *store, const struct request *request)
{
    struct nk_buf packed = {0};
    struct nk_buf payload = {0};
    request_pack(request, &packed);
    cr_expect_eq(kv_request_check(store->kv, request->op, nk_buf_bytes(&packed)), NK_INVALID);
    kv_command_encode(request->op, &store->stamp, nk_buf_bytes(&packed), &payload);
    struct kv_result result = store_apply_payload(store, nk_buf_bytes(&payload));
    nk_buf_deinit(&packed);
    nk_buf_deinit(&payload);
    return result;
}

Test(kv_apply, a_request_beyond_the_limits_has_no_effect_and_stops_nothing)
{
    struct store store;
    store_start(&store);
    char *key = nk_alloc_zero(1, NK_KEY_BYTES_MAX + 2);
    char *value = nk_alloc_zero(1, NK_VALUE_BYTES_MAX + 2);
    char session[NK_IDEMPOTENCY_KEY_BYTES_MAX + 2] = {0};
    memset(key, 'k', NK_KEY_BYTES_MAX + 1);
    memset(value, 'v', NK_VALUE_BYTES_MAX + 1);
    memset(session, 's', NK_IDEMPOTENCY_KEY_BYTES_MAX + 1);
    const struct request cases[] = {
        {.op = KV_OP_PUT, .key = "", .value = "1"},
        {.op = KV_OP_PUT, .key = key, .value = "1"},
        {.op = KV_OP_PUT, .key = "a", .value = value},
        {.op = KV_OP_PUT, .key = "a", .value = "1", .idempotency_key = session},
        {.op = KV_OP_DELETE, .key = ""},
        {.op = KV_OP_DELETE, .key = key},
        {.op = KV_OP_DELETE, .key = "a", .idempotency_key = session},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct kv_result result = apply_unchecked(&store, &cases[i]);
        cr_expect_eq(result.err, NK_INVALID, "case %zu", i);
        cr_expect_not(result.replayed);
    }
    cr_expect_eq(store_count(&store, 'k') + store_count(&store, 's') + store_count(&store, 'q'), 0);
    cr_expect_eq(store_put(&store, "a", "1").err, NK_OK);
    nk_free(key);
    nk_free(value);
    store_stop(&store);
}

Test(kv_apply, user_keys_cannot_reach_the_other_spaces)
{
    struct store store;
    store_start(&store);
    struct request keyed = {.op = KV_OP_PUT, .key = "a", .value = "1", .idempotency_key = "x"};
    (void)store_apply(&store, &keyed);
    cr_expect_str_eq(store_get(&store, "x"), "");
    cr_expect_str_eq(store_get(&store, "sx"), "");
    (void)store_put(&store, "sx", "mine");
    (void)store_delete(&store, "sx");
    cr_expect(store_apply(&store, &keyed).replayed);
    store_stop(&store);
}

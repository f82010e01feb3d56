/* Log time and expiry. */

#include <criterion/criterion.h>

#include "store.h"

TestSuite(kv_expire, .timeout = 10);

static struct kv_result put_ttl(struct store *store, const char *value, uint64_t ttl_ms)
{
    struct request request = {.op = KV_OP_PUT, .key = "a", .value = value, .ttl_ms = ttl_ms};
    return store_apply(store, &request);
}

Test(kv_expire, log_time_is_the_highest_stamp)
{
    struct store store;
    store_start(&store);
    cr_expect_eq(kv_time_ms(store.kv), 0);
    (void)store_put(&store, "a", "1");
    cr_expect_eq(kv_time_ms(store.kv), 1000);
    store.stamp.now_ms = 999;
    (void)store_put(&store, "a", "1");
    cr_expect_eq(kv_time_ms(store.kv), 1000);
    store_clock(&store, 5000);
    cr_expect_eq(kv_time_ms(store.kv), 5000);
    store_clock(&store, 10);
    cr_expect_eq(kv_time_ms(store.kv), 5000);
    store_stop(&store);
}

Test(kv_expire, an_expired_key_reads_as_missing_at_once)
{
    struct store store;
    store_start(&store);
    (void)put_ttl(&store, "1", 100);
    store_clock(&store, 1099);
    cr_expect_str_eq(store_get(&store, "a"), "1");
    struct kv_value value;
    struct nk_buf bytes = {0};
    cr_assert_eq(kv_get(store.kv, nk_bytes_of_string("a"), LSM_DISK, &value, &bytes), NK_OK);
    cr_expect_eq(value.expire_at_ms, 1100);
    store_clock(&store, 1100);
    cr_expect_eq(kv_get(store.kv, nk_bytes_of_string("a"), LSM_DISK, &value, &bytes), NK_NOT_FOUND);
    cr_expect_eq(bytes.size, 0, "nothing of the value leaks");
    nk_buf_deinit(&bytes);
    store_stop(&store);
}

Test(kv_expire, the_clock_that_jumps_back_does_not_bring_a_key_back)
{
    struct store store;
    store_start(&store);
    (void)put_ttl(&store, "1", 100);
    store_clock(&store, 2000);
    store.term++; /* another leader, whose clock is behind */
    store_clock(&store, 1000);
    cr_expect_str_eq(store_get(&store, "a"), "");
    (void)store_put(&store, "b", "1");
    cr_expect_str_eq(store_get(&store, "a"), "");
    store_stop(&store);
}

Test(kv_expire, a_ttl_counts_from_log_time_not_from_a_late_stamp)
{
    struct store store;
    store_start(&store);
    store_clock(&store, 5000);
    store.stamp.now_ms = 1000;
    (void)put_ttl(&store, "1", 100);
    cr_expect_str_eq(store_get(&store, "a"), "1");
    store_clock(&store, 5100);
    cr_expect_str_eq(store_get(&store, "a"), "");
    store_stop(&store);
}

Test(kv_expire, a_put_without_ttl_makes_the_key_permanent)
{
    struct store store;
    store_start(&store);
    (void)put_ttl(&store, "1", 100);
    (void)put_ttl(&store, "2", 0);
    store_clock(&store, UINT64_MAX - 1);
    cr_expect_str_eq(store_get(&store, "a"), "2");
    store_stop(&store);
}

Test(kv_expire, a_new_ttl_replaces_the_old_one)
{
    struct store store;
    store_start(&store);
    (void)put_ttl(&store, "1", 1000);
    (void)put_ttl(&store, "2", 10);
    store_clock(&store, 1010);
    cr_expect_str_eq(store_get(&store, "a"), "", "the older value does not show through");
    store_stop(&store);
}

Test(kv_expire, a_ttl_beyond_the_end_of_time_is_for_ever)
{
    struct store store;
    store_start(&store);
    (void)put_ttl(&store, "1", UINT64_MAX);
    store_clock(&store, UINT64_MAX - 1);
    cr_expect_str_eq(store_get(&store, "a"), "1");
    store_stop(&store);
}

Test(kv_expire, an_expired_key_is_missing_to_preconditions)
{
    struct store store;
    store_start(&store);
    struct lsm_version version = put_ttl(&store, "1", 100).version;
    store_clock(&store, 1100);
    struct request match = {
        .op = KV_OP_PUT, .key = "a", .value = "2", .has_if_match = true, .if_match = version};
    struct kv_result conflict = store_apply(&store, &match);
    cr_expect_eq(conflict.err, NK_CONFLICT);
    cr_expect_eq(conflict.found.index, 0);
    cr_expect_not(store_delete(&store, "a").tombstoned);
    match.if_match = (struct lsm_version){0, 0};
    cr_expect_eq(store_apply(&store, &match).err, NK_OK);
    cr_expect_str_eq(store_get(&store, "a"), "2");
    store_stop(&store);
}

Test(kv_expire, the_stamp_of_a_command_expires_keys_before_it_decides)
{
    struct store store;
    store_start(&store);
    (void)put_ttl(&store, "1", 100);
    store.stamp.now_ms = 1100;
    struct request create = {.op = KV_OP_PUT, .key = "a", .value = "2", .has_if_match = true};
    cr_expect_eq(store_apply(&store, &create).err, NK_OK);
    store_stop(&store);
}

Test(kv_expire, log_time_survives_a_restart)
{
    struct store store;
    store_start(&store);
    (void)put_ttl(&store, "1", 100);
    store_clock(&store, 1100);
    store_flush(&store);
    store_close(&store);
    store_recover(&store);
    cr_expect_eq(kv_time_ms(store.kv), 1100);
    cr_expect_str_eq(store_get(&store, "a"), "");
    store_stop(&store);
}

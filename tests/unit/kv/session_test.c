/* Idempotency keys. */

#include <assert.h>
#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/assert.h"
#include "common/base/limits.h"

#include "store.h"

TestSuite(kv_session, .timeout = 30);

static struct request keyed_put(const char *session, const char *key, const char *value)
{
    struct request request = {
        .op = KV_OP_PUT, .key = key, .value = value, .idempotency_key = session};
    return request;
}

static struct kv_result put_keyed(struct store *store, const char *session, const char *value)
{
    struct request request = keyed_put(session, "a", value);
    return store_apply(store, &request);
}

/* The first answer, marked as given again. */
static void expect_replay(const struct kv_result *first, const struct kv_result *again)
{
    struct kv_result expected = *first;
    expected.replayed = true;
    cr_expect(result_equal(&expected, again));
}

Test(kv_session, a_retry_returns_the_first_answer_and_has_no_effect)
{
    struct store store;
    store_start(&store);
    struct kv_result first = put_keyed(&store, "x", "1");
    cr_expect_not(first.replayed);
    (void)store_put(&store, "a", "2");
    struct kv_result again = put_keyed(&store, "x", "1");
    expect_replay(&first, &again);
    cr_expect_str_eq(store_get(&store, "a"), "2");
    store_stop(&store);
}

Test(kv_session, a_retried_delete_still_says_that_the_key_was_there)
{
    struct store store;
    store_start(&store);
    (void)store_put(&store, "a", "1");
    struct request request = {.op = KV_OP_DELETE, .key = "a", .idempotency_key = "x"};
    struct kv_result first = store_apply(&store, &request);
    cr_expect(first.tombstoned);
    (void)store_put(&store, "a", "2");
    struct kv_result again = store_apply(&store, &request);
    expect_replay(&first, &again);
    cr_expect_str_eq(store_get(&store, "a"), "2");
    store_stop(&store);
}

Test(kv_session, failed_preconditions_are_remembered_too)
{
    struct store store;
    store_start(&store);
    struct request create = keyed_put("x", "a", "2");
    create.has_if_match = true;
    struct lsm_version found = store_put(&store, "a", "1").version;
    struct kv_result exists = store_apply(&store, &create);
    cr_expect_eq(exists.err, NK_EXISTS);
    struct request match = keyed_put("y", "a", "3");
    match.has_if_match = true;
    match.if_match = (struct lsm_version){1, 1};
    struct kv_result conflict = store_apply(&store, &match);
    cr_expect_eq(conflict.err, NK_CONFLICT);
    cr_expect(version_equal(conflict.found, found));

    (void)store_delete(&store, "a"); /* now the create could succeed */
    struct kv_result again = store_apply(&store, &create);
    expect_replay(&exists, &again);
    again = store_apply(&store, &match);
    expect_replay(&conflict, &again);
    cr_expect_str_eq(store_get(&store, "a"), "");
    store_stop(&store);
}

Test(kv_session, the_same_key_with_a_different_request_is_invalid)
{
    struct store store;
    store_start(&store);
    struct request first = keyed_put("x", "a", "1");
    first.ttl_ms = 5;
    first.has_if_match = true;
    cr_assert_eq(store_apply(&store, &first).err, NK_OK);
    struct request other[7];
    for (size_t i = 0; i < NK_COUNT_OF(other); i++) {
        other[i] = first;
    }
    other[0].key = "b";
    other[1].value = "2";
    other[2].ttl_ms = 6;
    other[3].has_if_match = false;
    other[4].if_match.index = 1;
    other[5].if_match.term = 1;
    other[6].op = KV_OP_DELETE;
    for (size_t i = 0; i < NK_COUNT_OF(other); i++) {
        struct kv_result result = store_apply(&store, &other[i]);
        cr_expect_eq(result.err, NK_INVALID, "case %zu", i);
        cr_expect_not(result.replayed);
    }
    cr_expect_str_eq(store_get(&store, "a"), "1");
    cr_expect(store_apply(&store, &first).replayed, "the first request's answer is still there");
    store_stop(&store);
}

Test(kv_session, bytes_move_between_key_and_value_makes_another_request)
{
    struct store store;
    store_start(&store);
    struct request first = keyed_put("x", "ab", "c");
    struct request other = keyed_put("x", "a", "bc");
    (void)store_apply(&store, &first);
    cr_expect_eq(store_apply(&store, &other).err, NK_INVALID);
    store_stop(&store);
}

Test(kv_session, the_same_request_in_another_encoding_is_the_same)
{
    struct store store;
    store_start(&store);
    struct kv_result first = put_keyed(&store, "x", "1");
    /* idempotency_key, then value, then key, an explicit ttl of 0 and an unknown field. */
    static const uint8_t request[] = {0x22, 1, 'x', 0x12, 1, '1', 0x0a, 1, 'a', 0x18, 0, 0x78, 1};
    struct nk_buf payload = {0};
    kv_command_encode(KV_OP_PUT, &store.stamp, nk_bytes_of(request, sizeof request), &payload);
    struct kv_result again = store_apply_payload(&store, nk_buf_bytes(&payload));
    expect_replay(&first, &again);
    nk_buf_deinit(&payload);
    store_stop(&store);
}

Test(kv_session, the_longest_idempotency_key_works)
{
    struct store store;
    store_start(&store);
    char session[NK_IDEMPOTENCY_KEY_BYTES_MAX + 1] = {0};
    memset(session, 's', sizeof session - 1);
    store.stamp.session_count_max = 1;
    (void)put_keyed(&store, session, "1");
    cr_expect(put_keyed(&store, session, "1").replayed);
    session[0] = 'z';
    (void)put_keyed(&store, session, "1"); /* pushes the other out through the queue */
    session[0] = 's';
    cr_expect_not(put_keyed(&store, session, "1").replayed);
    store_stop(&store);
}

/* ---- Bounds ---- */

Test(kv_session, a_session_past_its_time_counts_as_absent)
{
    struct store store;
    store_start(&store);
    (void)put_keyed(&store, "x", "1");
    store.stamp.now_ms = 1499;
    cr_expect(put_keyed(&store, "x", "1").replayed);
    store.stamp.now_ms = 1500;
    struct kv_result other = put_keyed(&store, "x", "2");
    cr_expect_eq(other.err, NK_OK);
    cr_expect_not(other.replayed);
    cr_expect_str_eq(store_get(&store, "a"), "2");
    cr_expect(put_keyed(&store, "x", "2").replayed, "the new session counts from then on");
    store_stop(&store);
}

Test(kv_session, a_session_made_anew_outlives_the_end_of_the_old_one_in_the_queue)
{
    struct store store;
    store_start(&store);
    /* An entry with a long life at the head keeps the expired one behind it in the queue. */
    store.stamp.session_ttl_ms = 100000;
    (void)put_keyed(&store, "long", "0");
    store.stamp.session_ttl_ms = 10;
    (void)put_keyed(&store, "x", "1");
    store.stamp.now_ms = 2000;
    store.stamp.session_ttl_ms = 100000;
    cr_expect_not(put_keyed(&store, "x", "2").replayed);
    cr_expect_eq(store_count(&store, 'q'), 3);
    /* Now the head goes for want of room, and with it the expired entry of x. */
    store.stamp.session_count_max = 3;
    (void)put_keyed(&store, "y", "3");
    (void)put_keyed(&store, "z", "4");
    cr_expect_eq(store_count(&store, 'q'), 3);
    cr_expect(put_keyed(&store, "x", "2").replayed);
    cr_expect_not(put_keyed(&store, "long", "0").replayed);
    store_stop(&store);
}

Test(kv_session, the_oldest_go_first_when_there_are_too_many)
{
    struct store store;
    store_start(&store);
    store.stamp.session_count_max = 3;
    char session[16];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(session, sizeof session, "s%d", i);
        (void)put_keyed(&store, session, "1");
        cr_expect_leq(store_count(&store, 's'), 3);
        cr_expect_leq(store_count(&store, 'q'), 3);
    }
    for (int i = 9; i >= 7; i--) {
        (void)snprintf(session, sizeof session, "s%d", i);
        cr_expect(put_keyed(&store, session, "1").replayed, "%s", session);
    }
    cr_expect_not(put_keyed(&store, "s6", "1").replayed);
    store_stop(&store);
}

Test(kv_session, a_retry_does_not_make_a_session_younger)
{
    struct store store;
    store_start(&store);
    store.stamp.session_count_max = 2;
    (void)put_keyed(&store, "x", "1");
    (void)put_keyed(&store, "y", "1");
    cr_expect(put_keyed(&store, "x", "1").replayed);
    (void)put_keyed(&store, "z", "1");
    cr_expect_not(put_keyed(&store, "x", "1").replayed);
    store_stop(&store);
}

Test(kv_session, a_lowered_bound_is_reached_step_by_step)
{
    struct store store;
    store_start(&store);
    char session[16];
    for (int i = 0; i < 50; i++) {
        (void)snprintf(session, sizeof session, "s%d", i);
        (void)put_keyed(&store, session, "1");
    }
    cr_expect_eq(store_count(&store, 'q'), 50);
    store.stamp.session_count_max = 1;
    size_t before = 50;
    for (int i = 0; i < 10; i++) {
        (void)snprintf(session, sizeof session, "t%d", i);
        (void)put_keyed(&store, session, "1");
        size_t count = store_count(&store, 'q');
        cr_expect(count == 1 || count < before);
        before = count;
    }
    cr_expect_eq(before, 1);
    cr_expect_eq(store_count(&store, 's'), 1);
    store_stop(&store);
}

Test(kv_session, expired_sessions_leave_the_queue)
{
    struct store store;
    store_start(&store);
    (void)put_keyed(&store, "x", "1");
    (void)put_keyed(&store, "y", "1");
    store.stamp.now_ms = 3000;
    (void)put_keyed(&store, "z", "1");
    cr_expect_eq(store_count(&store, 'q'), 1);
    store_stop(&store);
}

Test(kv_session, a_bound_of_zero_remembers_nothing)
{
    struct store store;
    store_start(&store);
    store.stamp.session_count_max = 0;
    (void)put_keyed(&store, "x", "1");
    cr_expect_not(put_keyed(&store, "x", "1").replayed);
    cr_expect_eq(put_keyed(&store, "x", "2").err, NK_OK);
    cr_expect_eq(store_count(&store, 'q') + store_count(&store, 's'), 0);
    store_stop(&store);
}

Test(kv_session, the_end_of_time_is_no_expiry)
{
    struct store store;
    store_start(&store);
    store.stamp.session_ttl_ms = UINT64_MAX;
    (void)put_keyed(&store, "x", "1");
    store.stamp.now_ms = UINT64_MAX - 1;
    cr_expect(put_keyed(&store, "x", "1").replayed);
    store_stop(&store);
}

/* ---- Durability ---- */

Test(kv_session, a_retry_gets_the_first_answer_after_a_restart_and_under_another_leader)
{
    struct store store;
    store_start(&store);
    struct kv_result first = put_keyed(&store, "x", "1");
    store_flush(&store);
    store_close(&store);
    store_recover(&store);
    store.term++;
    struct kv_result again = put_keyed(&store, "x", "1");
    expect_replay(&first, &again);
    cr_expect_eq(put_keyed(&store, "x", "2").err, NK_INVALID);
    store_stop(&store);
}

Test(kv_session, the_queue_goes_on_after_a_restart)
{
    struct store store;
    store_start(&store);
    store.stamp.session_count_max = 2;
    (void)put_keyed(&store, "x", "1");
    (void)put_keyed(&store, "y", "1");
    store_flush(&store);
    store_close(&store);
    store_recover(&store);
    (void)put_keyed(&store, "z", "1");
    cr_expect_eq(store_count(&store, 's'), 2);
    cr_expect(put_keyed(&store, "y", "1").replayed);
    cr_expect_not(put_keyed(&store, "x", "1").replayed);
    store_stop(&store);
}

/* ---- Bytes on disk ---- */

static void expect_record(struct store *store, struct nk_bytes key, struct nk_bytes value,
                          uint64_t expire_at_ms)
{
    struct lsm_entry entry;
    struct nk_buf found = {0};
    cr_assert_eq(lsm_get(store->db, key, LSM_DISK, &entry, &found), NK_OK);
    cr_expect_eq(found.size, value.size);
    for (size_t i = 0; i < value.size && i < found.size; i++) {
        cr_expect_eq(found.data[i], value.data[i], "byte %zu: %#x", i, found.data[i]);
    }
    cr_expect_eq(entry.expire_at_ms, expire_at_ms);
    nk_buf_deinit(&found);
}

Test(kv_session, records_are_what_the_format_says)
{
    static const char outcome[] =
        "\x01\0\x03\0" /* version 1, no flag, NK_CONFLICT */
        "\x57\x53\x10\xef\x75\x4c\x35\x61\x0d\x23\x63\x22\x28\xf1\x10\x89" /* fingerprint */
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"                                 /* no version */
        "\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"                             /* found 3.1 */
        "\x09\0\0\0\0\0\0\0\x07\0\0\0\0\0\0";                              /* expected 9.7 */
    static_assert(sizeof outcome == 68, "its NUL is the last byte");
    static const uint8_t place[] = {'q', 0, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t entry[] = {1, 0xdc, 5, 0, 0, 0, 0, 0, 0, 'x', 'y'};
    struct store store;
    store_start(&store);
    (void)store_put(&store, "a", "1");
    struct request request = keyed_put("xy", "a", "2");
    request.has_if_match = true;
    request.if_match = (struct lsm_version){9, 7};
    cr_assert_eq(store_apply(&store, &request).err, NK_CONFLICT);
    expect_record(&store, nk_bytes_of_string("sxy"), nk_bytes_of(outcome, sizeof outcome), 1500);
    expect_record(&store, nk_bytes_of(place, sizeof place), nk_bytes_of(entry, sizeof entry), 0);
    store_stop(&store);
}

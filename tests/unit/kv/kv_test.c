/* Opening, reading, the state image. */

#include <criterion/criterion.h>

#include "common/base/limits.h"

#include "store.h"

TestSuite(kv, .timeout = 10);

Test(kv, a_missing_key_is_not_found)
{
    struct store store;
    store_start(&store);
    struct kv_value value;
    struct nk_buf bytes = {0};
    cr_expect_eq(kv_get(store.kv, nk_bytes_of_string("a"), LSM_DISK, &value, &bytes), NK_NOT_FOUND);
    cr_expect_eq(kv_get(store.kv, nk_bytes_of_string("a"), LSM_MEMORY, &value, &bytes),
                 NK_NOT_FOUND);
    nk_buf_deinit(&bytes);
    store_stop(&store);
}

Test(kv, a_key_that_cannot_be_is_not_found)
{
    struct store store;
    store_start(&store);
    uint8_t key[NK_KEY_BYTES_MAX + 1] = {0};
    struct kv_value value;
    struct nk_buf bytes = {0};
    struct kv_reader reader;
    kv_reader_acquire(store.kv, &reader);
    static const size_t sizes[] = {0, sizeof key};
    for (size_t i = 0; i < NK_COUNT_OF(sizes); i++) {
        struct nk_bytes name = nk_bytes_of(key, sizes[i]);
        cr_expect_eq(kv_get(store.kv, name, LSM_DISK, &value, &bytes), NK_NOT_FOUND);
        cr_expect_eq(kv_reader_get(&reader, name, &value, &bytes), NK_NOT_FOUND);
    }
    kv_reader_release(&reader);
    nk_buf_deinit(&bytes);
    store_stop(&store);
}

Test(kv, a_get_that_needs_the_disk_says_so_and_a_reader_finishes_it)
{
    struct store store;
    store_start(&store);
    struct lsm_version version = store_put(&store, "a", "1").version;
    store_flush(&store);
    store_close(&store);
    store_recover(&store);
    struct kv_value value;
    struct nk_buf bytes = {0};
    cr_assert_eq(kv_get(store.kv, nk_bytes_of_string("a"), LSM_MEMORY, &value, &bytes),
                 NK_WOULD_BLOCK);
    struct kv_reader reader;
    kv_reader_acquire(store.kv, &reader);
    cr_assert_eq(kv_reader_get(&reader, nk_bytes_of_string("a"), &value, &bytes), NK_OK);
    kv_reader_release(&reader);
    cr_expect(version_equal(value.version, version));
    cr_expect(nk_bytes_equal(nk_buf_bytes(&bytes), nk_bytes_of_string("1")));
    nk_buf_deinit(&bytes);
    store_stop(&store);
}

Test(kv, a_reader_sees_the_moment_it_was_acquired)
{
    struct store store;
    store_start(&store);
    struct request request = {.op = KV_OP_PUT, .key = "a", .value = "1", .ttl_ms = 100};
    (void)store_apply(&store, &request);
    struct kv_reader reader;
    kv_reader_acquire(store.kv, &reader);
    (void)store_put(&store, "b", "1");
    store_clock(&store, 5000);
    struct kv_value value;
    struct nk_buf bytes = {0};
    cr_expect_eq(kv_reader_get(&reader, nk_bytes_of_string("a"), &value, &bytes), NK_OK);
    cr_expect_eq(kv_reader_get(&reader, nk_bytes_of_string("b"), &value, &bytes), NK_NOT_FOUND);
    kv_reader_release(&reader);
    kv_reader_acquire(store.kv, &reader);
    cr_expect_eq(kv_reader_get(&reader, nk_bytes_of_string("a"), &value, &bytes), NK_NOT_FOUND);
    cr_expect_eq(bytes.size, 0);
    kv_reader_release(&reader);
    nk_buf_deinit(&bytes);
    store_stop(&store);
}

/* ---- The state image ---- */

static enum nk_err open_with_image(struct nk_bytes image, uint32_t shard, uint64_t time_ms)
{
    struct store store;
    store_start(&store);
    lsm_commit(store.db, (struct lsm_version){1, 1}, time_ms, image);
    struct kv_options options = {.shard = shard};
    struct kv *kv = NULL;
    enum nk_err err = kv_open(store.db, &options, &kv);
    cr_expect_eq(kv == NULL, err != NK_OK);
    kv_close(&kv);
    store_stop(&store);
    return err;
}

/* Version, shard, time, first and next place of the queue. */
static const uint8_t golden[29] = {1, STORE_SHARD, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0, 2, 0,
                                   0, 0,           0, 0, 0, 0,    5, 0, 0, 0, 0, 0, 0, 0};

Test(kv, the_state_image_is_checked)
{
    uint8_t image[sizeof golden + 1] = {0};
    memcpy(image, golden, sizeof golden);
    cr_expect_eq(open_with_image(nk_bytes_of(image, sizeof golden), STORE_SHARD, 0), NK_OK);
    cr_expect_eq(open_with_image(nk_bytes_of(image, sizeof golden), STORE_SHARD + 1, 0), NK_CORRUPT,
                 "another shard's");
    cr_expect_eq(open_with_image(nk_bytes_of(image, sizeof golden - 1), STORE_SHARD, 0),
                 NK_CORRUPT);
    cr_expect_eq(open_with_image(nk_bytes_of(image, sizeof golden + 1), STORE_SHARD, 0),
                 NK_CORRUPT);
    cr_expect_eq(open_with_image(nk_bytes_of(NULL, 0), STORE_SHARD, 0), NK_CORRUPT, "none at all");
    image[13] = 6; /* the queue begins behind its end */
    cr_expect_eq(open_with_image(nk_bytes_of(image, sizeof golden), STORE_SHARD, 0), NK_CORRUPT);
    image[0] = 0;
    cr_expect_eq(open_with_image(nk_bytes_of(image, sizeof golden), STORE_SHARD, 0), NK_CORRUPT);
    image[0] = 2;
    cr_expect_eq(open_with_image(nk_bytes_of(image, sizeof golden), STORE_SHARD, 0),
                 NK_FORMAT_TOO_NEW);
}

Test(kv, the_tree_is_not_ahead_of_the_time_in_the_image)
{
    struct nk_bytes image = nk_bytes_of(golden, sizeof golden); /* of time 1000 */
    cr_expect_eq(open_with_image(image, STORE_SHARD, 1000), NK_OK);
    cr_expect_eq(open_with_image(image, STORE_SHARD, 1001), NK_CORRUPT);
}

Test(kv, the_image_carries_time_and_queue)
{
    struct store store;
    store_start(&store);
    store.stamp.session_count_max = 3;
    for (char name[] = "a"; name[0] <= 'e'; name[0]++) {
        struct request request = {
            .op = KV_OP_PUT, .key = "k", .value = "v", .idempotency_key = name};
        (void)store_apply(&store, &request);
    }
    struct lsm_version applied;
    struct nk_bytes image;
    lsm_applied(store.db, &applied, &image);
    cr_expect(nk_bytes_equal(image, nk_bytes_of(golden, sizeof golden)));
    store_stop(&store);
}

/* ---- Damage: what the tree cannot have, if all is well ---- */

static void damage(struct store *store, struct nk_bytes key, struct nk_bytes value)
{
    struct lsm_version version = {store->term, ++store->entry_count};
    struct lsm_record record = {.key = key, .value = value, .version = version};
    lsm_write(store->db, &record);
    struct lsm_version applied;
    struct nk_bytes image;
    lsm_applied(store->db, &applied, &image);
    uint8_t copy[LSM_STATE_BYTES_MAX];
    memcpy(copy, image.data, image.size);
    lsm_commit(store->db, version, kv_time_ms(store->kv), nk_bytes_of(copy, image.size));
}

/* Applies a keyed put to a tree in which `key` has `value`; returns the fault. */
static enum nk_err apply_damaged(struct nk_bytes key, struct nk_bytes value, const char *session)
{
    struct store store;
    store_start(&store);
    store.stamp.session_count_max = 1;
    struct request request = {.op = KV_OP_PUT, .key = "k", .value = "v", .idempotency_key = "x"};
    (void)store_apply(&store, &request);
    struct store_entry first = store.entries[0];
    damage(&store, key, value);
    request.idempotency_key = session;
    struct nk_buf packed = {0};
    struct nk_buf payload = {0};
    request_pack(&request, &packed);
    kv_command_encode(KV_OP_PUT, &store.stamp, nk_buf_bytes(&packed), &payload);
    enum nk_err err = store_try(&store, nk_buf_bytes(&payload));
    nk_buf_deinit(&packed);
    nk_buf_deinit(&payload);
    nk_buf_deinit(&first.payload);
    store.entry_count = 0;
    store_stop(&store);
    return err;
}

Test(kv, damaged_session_records_are_faults)
{
    uint8_t record[69] = {1};
    struct nk_bytes key = nk_bytes_of_string("sx");
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 67), "x"), NK_CORRUPT, "short");
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 69), "x"), NK_CORRUPT, "long");
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 0), "x"), NK_CORRUPT, "empty");
    record[1] = 2;
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 68), "x"), NK_CORRUPT, "unknown flag");
    record[1] = 0;
    record[2] = NK_NOT_LEADER;
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 68), "x"), NK_CORRUPT, "no such outcome");
    record[0] = 2;
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 68), "x"), NK_FORMAT_TOO_NEW);
    record[0] = 0;
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 68), "x"), NK_CORRUPT, "version 0");
}

Test(kv, damaged_queue_entries_are_faults)
{
    static const uint8_t name[] = {'q', 0, 0, 0, 0, 0, 0, 0, 0};
    struct nk_bytes key = nk_bytes_of(name, sizeof name);
    uint8_t record[9 + 129] = {1, 0xff, 0xff, 0xff, 0xff};
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 9), "y"), NK_CORRUPT, "no key");
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, sizeof record), "y"), NK_CORRUPT, "long");
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 0), "y"), NK_CORRUPT, "empty");
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 10), "y"), NK_OK);
    record[0] = 0;
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 10), "y"), NK_CORRUPT, "version 0");
    record[0] = 2;
    cr_expect_eq(apply_damaged(key, nk_bytes_of(record, 10), "y"), NK_FORMAT_TOO_NEW);
}

Test(kv, close_accepts_nothing)
{
    struct kv *kv = NULL;
    kv_close(NULL);
    kv_close(&kv);
    cr_expect_null(kv);
}

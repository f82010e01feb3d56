/* After a crash the host applies its log again from where the tree is: every entry must give the
 * answer it gave before, and a client's retry the first one. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/alloc.h"

#include "store.h"

TestSuite(kv_replay, .timeout = 240);

#define COMMANDS 48

/* Puts, creates, deletes, retries and clocks, one after the other; the same for the same number. */
static void command(struct store *store, size_t number)
{
    char key[32];
    char session[32];
    (void)snprintf(key, sizeof key, "k%zu", number % 5);
    (void)snprintf(session, sizeof session, "s%zu", number / 2); /* each is used twice */
    struct request request = {.op = KV_OP_PUT, .key = key, .value = "v"};
    store->stamp.now_ms = 1000 + 10 * number;
    store->stamp.session_ttl_ms = 300;
    store->stamp.session_count_max = 6;
    switch (number % 6) {
    case 0:
        request.has_if_match = true;
        break;
    case 1:
        request.ttl_ms = 35;
        break;
    case 2:
    case 3:
        request.key = "counter";
        request.idempotency_key = session;
        break;
    case 4:
        request =
            (struct request){.op = KV_OP_DELETE, .key = "counter", .idempotency_key = session};
        break;
    default:
        request = (struct request){.op = KV_OP_CLOCK};
        break;
    }
    (void)store_apply(store, &request);
}

Test(kv_replay, a_crash_at_any_entry_with_a_flush_at_any_entry_changes_no_answer)
{
    for (size_t flush_at = 0; flush_at <= COMMANDS; flush_at += 3) {
        for (size_t crash_at = flush_at; crash_at <= COMMANDS; crash_at += 5) {
            struct nk_prng prng;
            nk_prng_init(&prng, flush_at * 1000 + crash_at);
            struct store store;
            store_start(&store);
            for (size_t number = 0; number < COMMANDS; number++) {
                if (number == flush_at) {
                    store_flush(&store);
                }
                if (number == crash_at) {
                    store_crash(&store, &prng);
                }
                command(&store, number);
            }
            /* Answers do not depend on crashes: the whole log from nothing gives them again. */
            struct store other;
            store_start(&other);
            for (size_t i = 0; i < store.entry_count; i++) {
                other.term = store.entries[i].version.term;
                struct kv_result again =
                    store_apply_payload(&other, nk_buf_bytes(&store.entries[i].payload));
                cr_assert(result_equal(&again, &store.entries[i].result),
                          "flush %zu crash %zu: %zu", flush_at, crash_at, i);
            }
            store_stop(&other);
            store_stop(&store);
        }
    }
}

Test(kv_replay, a_retry_whose_first_answer_was_lost_in_a_crash_has_one_effect)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    struct store store;
    store_start(&store);
    struct request create = {
        .op = KV_OP_PUT, .key = "a", .value = "1", .idempotency_key = "x", .has_if_match = true};
    struct kv_result first = store_apply(&store, &create);
    store_flush(&store);
    (void)store_put(&store, "b", "1");
    store_crash(&store, &prng);
    store.term++;
    struct kv_result again = store_apply(&store, &create);
    cr_expect_eq(again.err, NK_OK, "not \"exists\": the client sees that its create succeeded");
    cr_expect(again.replayed);
    cr_expect(version_equal(again.version, first.version));
    store_stop(&store);
}

/* ---- Every operation of the file system failing in turn ---- */

struct failing {
    struct store reference; /* has the log and the answers of a run without faults */
    struct nk_buf dump;
};

/* Opens on `fs` and applies the reference's log from where the tree is, flushing now and then;
 * stops at the first failure.  With `check` nothing may fail and answers and records must be the
 * same. */
static void live(struct failing *failing, struct sim_fs *fs, bool check)
{
    struct store *reference = &failing->reference;
    struct store store = *reference;
    store.fs = fs;
    store.handle = sim_fs_handle(fs);
    lsm_engine_open(&store.handle, &store.options, &store.engine);
    store.db = NULL;
    store.kv = NULL;
    enum nk_err err = lsm_open(store.engine, STORE_DIRECTORY, &store.db, NULL);
    if (err == NK_OK) {
        struct kv_options options = {.shard = STORE_SHARD};
        err = kv_open(store.db, &options, &store.kv);
        cr_assert_eq(err, NK_OK);
    }
    struct lsm_version applied = {0, 0};
    struct nk_bytes image;
    if (err == NK_OK) {
        lsm_applied(store.db, &applied, &image);
    }
    for (uint64_t i = applied.index; err == NK_OK && i < reference->entry_count; i++) {
        const struct store_entry *entry = &reference->entries[i];
        struct kv_result result;
        err = kv_apply(store.kv, entry->version, nk_buf_bytes(&entry->payload), &result);
        if (err == NK_OK) {
            cr_assert(result_equal(&result, &entry->result), "entry %llu",
                      (unsigned long long)i + 1);
        }
        if (err == NK_OK && i % 16 == 15) {
            err = store_flush_some(&store);
        }
    }
    if (check) {
        cr_assert_eq(err, NK_OK, "%s", nk_err_name(err));
        struct nk_buf dump = {0};
        store_dump(&store, &dump);
        cr_assert(nk_bytes_equal(nk_buf_bytes(&dump), nk_buf_bytes(&failing->dump)));
        nk_buf_deinit(&dump);
    }
    store_close(&store);
}

static void run_live(void *ctx, struct sim_fs *fs)
{
    live(ctx, fs, false);
}

static void check_live(void *ctx, struct sim_fs *fs)
{
    live(ctx, fs, true);
}

Test(kv_replay, every_failure_of_the_disk_leaves_a_state_from_which_the_log_gives_the_same)
{
    struct failing failing = {0};
    store_start(&failing.reference);
    for (size_t number = 0; number < COMMANDS; number++) {
        command(&failing.reference, number);
    }
    store_dump(&failing.reference, &failing.dump);
    const struct sim_fs_scenario scenario = {.run = run_live, .check = check_live, .ctx = &failing};
    cr_expect_gt(sim_fs_every_nth_failure(&scenario, SIM_FS_FAULT_IO, 1), 10);
    cr_expect_gt(sim_fs_every_nth_failure(&scenario, SIM_FS_FAULT_NO_SPACE, 2), 10);
    cr_expect_gt(sim_fs_every_nth_failure(&scenario, SIM_FS_FAULT_POWER_CUT, 3), 10);
    nk_buf_deinit(&failing.dump);
    store_stop(&failing.reference);
}

Test(kv_replay, a_read_that_fails_is_a_fault_and_not_an_answer)
{
    struct store store;
    store_start(&store);
    (void)store_put(&store, "a", "1");
    store_flush(&store);
    store_close(&store);
    store_recover(&store);
    struct request request = {.op = KV_OP_DELETE, .key = "a"};
    struct nk_buf packed = {0};
    struct nk_buf payload = {0};
    request_pack(&request, &packed);
    kv_command_encode(KV_OP_DELETE, &store.stamp, nk_buf_bytes(&packed), &payload);
    sim_fs_fail_at(store.fs, 1, NK_IO);
    cr_expect_eq(store_try(&store, nk_buf_bytes(&payload)), NK_IO);
    nk_buf_deinit(&packed);
    nk_buf_deinit(&payload);
    store_stop(&store);
}

/* Random commands against the model, with flushes, restarts and crashes in between; and the same
 * commands on two trees with different lives.  A failing seed is in the message. */

#include <criterion/criterion.h>

#include "common/base/alloc.h"
#include "common/base/prng.h"
#include "common/base/units.h"

#include "model.h"
#include "store.h"

TestSuite(kv_model, .timeout = 240);

#define SEEDS 300
#define STEPS 500

static const char *const values[] = {"", "1", "2", "three"};

/* A request that may succeed: versions that are or were current are drawn often. */
static struct request draw_request(struct nk_prng *prng, const struct model *model)
{
    size_t key = (size_t)nk_prng_below(prng, MODEL_KEYS);
    struct request request = {
        .op = nk_prng_chance(prng, 700000) ? KV_OP_PUT : KV_OP_DELETE,
        .key = model_key_names[key],
    };
    if (request.op == KV_OP_PUT) {
        request.value = values[nk_prng_below(prng, NK_COUNT_OF(values))];
        request.ttl_ms = nk_prng_chance(prng, 400000) ? nk_prng_between(prng, 1, 300) : 0;
    }
    if (nk_prng_chance(prng, 600000)) {
        request.idempotency_key = model_session_names[nk_prng_below(prng, MODEL_SESSIONS)];
    }
    request.has_if_match = nk_prng_chance(prng, 400000);
    if (request.has_if_match && nk_prng_chance(prng, 600000)) {
        request.if_match = model->keys[key].version;
    } else if (request.has_if_match && nk_prng_chance(prng, 300000)) {
        request.if_match = (struct lsm_version){3, nk_prng_between(prng, 1, 50)};
    }
    if (request.idempotency_key != NULL && nk_prng_chance(prng, 500000)) {
        for (size_t i = model->first; i < model->limit; i++) { /* a retry */
            if (model->sessions[i].request.idempotency_key == request.idempotency_key) {
                request = model->sessions[i].request;
            }
        }
    }
    return request;
}

static void draw_stamp(struct nk_prng *prng, struct kv_stamp *stamp)
{
    if (nk_prng_chance(prng, 50000)) {
        stamp->now_ms -=
            nk_min_u64(stamp->now_ms, nk_prng_below(prng, 500)); /* another leader, another clock */
    } else {
        stamp->now_ms += nk_prng_below(prng, 60);
    }
    if (nk_prng_chance(prng, 30000)) {
        stamp->session_ttl_ms = nk_prng_between(prng, 1, 2000);
    }
    if (nk_prng_chance(prng, 20000)) {
        stamp->session_count_max = (uint32_t)nk_prng_below(prng, 12);
    }
}

/* Something that must not show: a flush, a restart, a crash, a crash in the middle of a flush. */
static void disturb(struct store *store, struct nk_prng *prng)
{
    switch (nk_prng_below(prng, 4)) {
    case 0:
        store_flush(store);
        break;
    case 1:
        store_close(store);
        store_recover(store);
        break;
    case 2:
        store_crash(store, prng);
        break;
    default:
        store_cut_flush(store, nk_prng_between(prng, 0, 12));
        store_crash(store, prng);
        break;
    }
}

static void expect_same_keys(struct store *store, const struct model *model, uint64_t seed)
{
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        const char *expected = model_lives(model, i) ? model->keys[i].value : "";
        cr_assert_str_eq(store_get(store, model_key_names[i]), expected, "seed %llu, key %s",
                         (unsigned long long)seed, model_key_names[i]);
    }
    cr_assert_eq(kv_time_ms(store->kv), model->time_ms);
}

static void run_against_model(uint64_t seed)
{
    struct nk_prng prng;
    nk_prng_init(&prng, seed);
    struct store store;
    store_start(&store);
    struct model *model = nk_alloc_zero(1, sizeof *model);
    for (size_t step = 0; step < STEPS; step++) {
        draw_stamp(&prng, &store.stamp);
        store.term += nk_prng_chance(&prng, 20000);
        struct request request = {.op = KV_OP_CLOCK};
        if (!nk_prng_chance(&prng, 50000)) {
            request = draw_request(&prng, model);
        }
        struct lsm_version version = {store.term, store.entry_count + 1};
        struct kv_stamp stamp = store.stamp;
        struct kv_result expected = model_apply(model, &request, &stamp, version);
        struct kv_result result = store_apply(&store, &request);
        cr_assert(result_equal(&result, &expected), "seed %llu, step %zu: %s, expected %s",
                  (unsigned long long)seed, step, nk_err_name(result.err),
                  nk_err_name(expected.err));
        if (nk_prng_chance(&prng, 40000)) {
            disturb(&store, &prng);
            expect_same_keys(&store, model, seed);
        }
    }
    expect_same_keys(&store, model, seed);
    cr_assert_eq(store_count(&store, 'q'), model->limit - model->first);
    nk_free(model);
    store_stop(&store);
}

Test(kv_model, random_commands_give_what_the_model_gives)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_against_model(seed);
    }
}

Test(kv_model, the_same_commands_give_the_same_records_whatever_happens_in_between)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct model *model = nk_alloc_zero(1, sizeof *model);
        struct store calm;
        struct store troubled;
        store_start(&calm);
        store_start(&troubled);
        for (size_t step = 0; step < STEPS; step++) {
            draw_stamp(&prng, &calm.stamp);
            troubled.stamp = calm.stamp;
            struct request request = draw_request(&prng, model);
            struct lsm_version version = {calm.term, calm.entry_count + 1};
            (void)model_apply(model, &request, &calm.stamp, version);
            (void)store_apply(&calm, &request);
            (void)store_apply(&troubled, &request);
            if (nk_prng_chance(&prng, 40000)) {
                disturb(&troubled, &prng);
            }
        }
        struct nk_buf calm_dump = {0};
        struct nk_buf troubled_dump = {0};
        store_dump(&calm, &calm_dump);
        store_dump(&troubled, &troubled_dump);
        cr_expect(nk_bytes_equal(nk_buf_bytes(&calm_dump), nk_buf_bytes(&troubled_dump)),
                  "seed %llu", (unsigned long long)seed);
        nk_buf_deinit(&calm_dump);
        nk_buf_deinit(&troubled_dump);
        nk_free(model);
        store_stop(&calm);
        store_stop(&troubled);
    }
}

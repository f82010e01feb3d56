/* Operations drawn from a seed, compared with the model after each: write, get, iterate, hold
 * views, several jobs in slices, close, kill, crash.  The owner's log is the model: after an open,
 * entries behind lsm_applied are written again. */

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

#include "common/base/units.h"
#include "tests/unit/lsm/model.h"
#include "tests/unit/lsm/rig.h"

TestSuite(lsm_model, .timeout = 120);

#define VIEWS_MAX   3
#define PERMITS_MAX 4

struct held_view {
    struct lsm_view *view; /* NULL: free */
    uint64_t index;
    uint64_t durable; /* when it was taken */
};

struct run {
    struct rig rig;
    struct nk_prng prng;
    struct model model;
    struct held_view views[VIEWS_MAX];
    uint64_t durable;     /* what lsm_durable_index promised */
    size_t permits;       /* picked, work not ended */
    size_t permits_spent; /* of them, those whose job had no more to do */
    uint64_t seed;
    uint64_t steps;
};

/* A state to compare with: an index, and what was durable when it was looked at. */
struct moment {
    uint64_t index;
    uint64_t durable;
};

static struct moment now(const struct run *run)
{
    return (struct moment){run->model.index, run->durable};
}

static void compare(const struct run *run, size_t key, struct moment at, enum nk_err err,
                    const struct lsm_entry *entry, struct nk_bytes value)
{
    uint64_t index_max = at.index;
    const struct model_version *version = model_find(&run->model, key, index_max);
    cr_assert(err == NK_OK || err == NK_NOT_FOUND, "seed %llu step %llu: key %zu: %s",
              (unsigned long long)run->seed, (unsigned long long)run->steps, key, nk_err_name(err));
    cr_assert(model_matches(version, err == NK_OK ? entry : NULL, value, at.durable),
              "seed %llu step %llu: key %zu at index %llu differs", (unsigned long long)run->seed,
              (unsigned long long)run->steps, key, (unsigned long long)index_max);
}

/* First from memory, as the loop does it, then from disk if need be. */
static void get_and_compare(struct run *run, struct lsm_view *view, size_t key, struct moment at)
{
    struct lsm_entry entry;
    struct nk_buf value = {0};
    struct nk_bytes bytes = model_key_bytes(&run->model, key);
    enum nk_err err = view != NULL ? lsm_view_get(view, bytes, LSM_MEMORY, &entry, &value)
                                   : lsm_get(run->rig.db, bytes, LSM_MEMORY, &entry, &value);
    if (err == NK_WOULD_BLOCK) {
        err = view != NULL ? lsm_view_get(view, bytes, LSM_DISK, &entry, &value)
                           : lsm_get(run->rig.db, bytes, LSM_DISK, &entry, &value);
    }
    compare(run, key, at, err, &entry, nk_buf_bytes(&value));
    nk_buf_deinit(&value);
}

/* A walk over a view: the iterator stands before key `gap` of the model, between the bounds. */
struct walk {
    struct lsm_iter *iter;
    struct moment at;
    size_t first;
    size_t limit;
    size_t gap;
};

static void must_be_gone(const struct run *run, const struct walk *walk, size_t first, size_t limit)
{
    for (size_t key = first; key < limit; key++) {
        cr_assert(model_may_be_gone(model_find(&run->model, key, walk->at.index), walk->at.durable),
                  "seed %llu step %llu: key %zu is left out", (unsigned long long)run->seed,
                  (unsigned long long)run->steps, key);
    }
}

static size_t model_place(const struct run *run, struct nk_bytes found)
{
    size_t key = 0;
    while (key < MODEL_KEYS && !nk_bytes_equal(found, model_key_bytes(&run->model, key))) {
        key++;
    }
    cr_assert_lt(key, MODEL_KEYS);
    return key;
}

static void step_and_compare(struct run *run, struct walk *walk, bool forward)
{
    struct nk_bytes found;
    struct lsm_entry entry;
    struct nk_bytes value;
    enum nk_err err = forward ? lsm_iter_next(walk->iter, &found, &entry, &value)
                              : lsm_iter_prev(walk->iter, &found, &entry, &value);
    if (err == NK_NOT_FOUND) {
        must_be_gone(run, walk, forward ? walk->gap : walk->first,
                     forward ? walk->limit : walk->gap);
        walk->gap = forward ? walk->limit : walk->first;
        return;
    }
    cr_assert_eq(err, NK_OK, "seed %llu step %llu: %s", (unsigned long long)run->seed,
                 (unsigned long long)run->steps, nk_err_name(err));
    size_t key = model_place(run, found);
    cr_assert_geq(key, forward ? walk->gap : walk->first);
    cr_assert_lt(key, forward ? walk->limit : walk->gap);
    must_be_gone(run, walk, forward ? walk->gap : key + 1, forward ? key : walk->gap);
    compare(run, key, walk->at, err, &entry, value);
    walk->gap = forward ? key + 1 : key;
}

static void seek(struct run *run, struct walk *walk)
{
    size_t key = nk_prng_below(&run->prng, MODEL_KEYS + 1);
    if (key == MODEL_KEYS) {
        lsm_iter_seek_end(walk->iter);
    } else {
        lsm_iter_seek(walk->iter, model_key_bytes(&run->model, key));
    }
    walk->gap = key < walk->first ? walk->first : key > walk->limit ? walk->limit : key;
}

/* Between drawn bounds to and fro, mostly in one direction. */
static void iterate_and_compare(struct run *run, struct lsm_view *view, struct moment at)
{
    struct walk walk = {.at = at, .limit = MODEL_KEYS};
    struct nk_bytes start = nk_bytes_of("", 0);
    struct nk_bytes limit = nk_bytes_of("", 0);
    if (nk_prng_chance(&run->prng, 400000)) {
        walk.first = nk_prng_below(&run->prng, MODEL_KEYS);
        start = model_key_bytes(&run->model, walk.first);
    }
    if (nk_prng_chance(&run->prng, 400000)) {
        walk.limit = nk_prng_between(&run->prng, walk.first, MODEL_KEYS - 1);
        limit = model_key_bytes(&run->model, walk.limit);
    }
    walk.gap = walk.first;
    lsm_iter_open(view, start, limit, &walk.iter);
    uint32_t turns = (uint32_t)nk_prng_below(&run->prng, 2) * 150000;
    bool forward = nk_prng_chance(&run->prng, 600000);
    if (!forward) {
        lsm_iter_seek_end(walk.iter);
        walk.gap = walk.limit;
    }
    for (size_t steps = nk_prng_between(&run->prng, 1, 2 * MODEL_KEYS); steps > 0; steps--) {
        step_and_compare(run, &walk, forward != nk_prng_chance(&run->prng, turns));
        if (nk_prng_chance(&run->prng, turns / 5)) {
            seek(run, &walk);
        }
    }
    lsm_iter_close(&walk.iter);
}

/* All of it, in both directions. */
static void walk_all(struct run *run, struct lsm_view *view, struct moment at)
{
    struct walk walk = {.at = at, .limit = MODEL_KEYS};
    lsm_iter_open(view, nk_bytes_of("", 0), nk_bytes_of("", 0), &walk.iter);
    while (walk.gap < MODEL_KEYS) {
        step_and_compare(run, &walk, true);
    }
    while (walk.gap > 0) {
        step_and_compare(run, &walk, false);
    }
    lsm_iter_close(&walk.iter);
}

static void compare_all(struct run *run)
{
    for (size_t key = 0; key < MODEL_KEYS; key++) {
        get_and_compare(run, NULL, key, now(run));
    }
    struct lsm_view *view = lsm_view_acquire(run->rig.db);
    walk_all(run, view, now(run));
    lsm_view_release(&view);
}

static void drop_views(struct run *run)
{
    for (size_t i = 0; i < VIEWS_MAX; i++) {
        lsm_view_release(&run->views[i].view);
    }
}

static void end_work(struct run *run)
{
    lsm_work_ended(run->rig.db, run->rig.now_us);
    run->permits--;
    uint64_t durable = lsm_durable_index(run->rig.db);
    cr_assert_geq(durable, run->durable);
    run->durable = durable;
}

/* Opens, checks position, state and contents, then writes the rest of the log again. */
static void open_and_catch_up(struct run *run)
{
    rig_must_open(&run->rig);
    struct lsm_version applied;
    struct nk_bytes state;
    uint8_t expected[LSM_STATE_BYTES_MAX];
    lsm_applied(run->rig.db, &applied, &state);
    cr_assert(applied.index >= run->durable, "seed %llu step %llu: promised %llu, found %llu",
              (unsigned long long)run->seed, (unsigned long long)run->steps,
              (unsigned long long)run->durable, (unsigned long long)applied.index);
    cr_assert_leq(applied.index, run->model.index);
    cr_assert_eq(applied.term, applied.index == 0 ? 0 : 1 + applied.index / 100);
    cr_assert(nk_bytes_equal(state, model_state(applied.index, expected)));
    cr_assert_eq(lsm_durable_index(run->rig.db), applied.index);
    run->durable = applied.index;
    for (size_t key = 0; key < MODEL_KEYS; key++) {
        get_and_compare(run, NULL, key, (struct moment){applied.index, applied.index});
    }
    for (uint64_t index = applied.index + 1; index <= run->model.index; index++) {
        model_write_entry(&run->model, index, run->rig.db);
    }
}

static void close_all(struct run *run)
{
    drop_views(run);
    while (run->permits > 0) {
        end_work(run);
    }
    run->permits_spent = 0;
    rig_close(&run->rig);
}

/* Takes a permit, uses one, or gives one back. */
static void work_a_slice(struct run *run)
{
    run->rig.now_us += nk_prng_below(&run->prng, 50000);
    if (run->permits == 0 || (run->permits < PERMITS_MAX && nk_prng_chance(&run->prng, 300000))) {
        run->permits += lsm_engine_pick(run->rig.engine, run->rig.now_us) != NULL;
    }
    if (run->permits > run->permits_spent) {
        bool more = false;
        size_t budget = nk_prng_chance(&run->prng, 300000) ? SIZE_MAX : 1500;
        enum nk_err err = lsm_work(run->rig.db, budget, &more);
        cr_assert_eq(err, NK_OK, "seed %llu step %llu: %s: %s %s", (unsigned long long)run->seed,
                     (unsigned long long)run->steps, nk_err_name(err),
                     lsm_last_fault(run->rig.db)->file, lsm_last_fault(run->rig.db)->what);
        run->permits_spent += !more;
    }
    if (run->permits_spent > 0 || (run->permits > 0 && nk_prng_chance(&run->prng, 500000))) {
        run->permits_spent -= run->permits_spent > 0;
        end_work(run);
    }
}

static void take_or_check_view(struct run *run)
{
    struct held_view *held = &run->views[nk_prng_below(&run->prng, VIEWS_MAX)];
    if (held->view == NULL) {
        held->view = lsm_view_acquire(run->rig.db);
        held->index = run->model.index;
        held->durable = run->durable;
        return;
    }
    struct moment at = {held->index, held->durable};
    for (size_t i = 0; i < 4; i++) {
        get_and_compare(run, held->view, nk_prng_below(&run->prng, MODEL_KEYS), at);
    }
    iterate_and_compare(run, held->view, at);
    if (nk_prng_chance(&run->prng, 500000)) {
        lsm_view_release(&held->view);
    }
}

/* ---- Checkpoints ---- */

#define CHECKPOINT "lsm/checkpoint"

static void finish_work(struct run *run)
{
    while (run->permits > 0) {
        end_work(run);
    }
    run->permits_spent = 0;
    cr_assert_eq(rig_work(&run->rig, SIZE_MAX), NK_OK);
    run->durable = lsm_durable_index(run->rig.db);
}

/* What it holds when somebody opens it beside the database. */
static void check_checkpoint(struct run *run, uint64_t index)
{
    struct lsm_db *db = run->rig.db;
    cr_assert_eq(lsm_open(run->rig.engine, CHECKPOINT, &run->rig.db, NULL), NK_OK);
    for (size_t key = 0; key < MODEL_KEYS; key++) {
        get_and_compare(run, NULL, key, (struct moment){index, index});
    }
    lsm_close(&run->rig.db);
    run->rig.db = db;
}

/* Takes it back in, into the database as it is or into a new one. */
static void ingest_checkpoint(struct run *run, uint64_t index)
{
    drop_views(run);
    finish_work(run);
    for (size_t i = nk_prng_below(&run->prng, 30); i > 0; i--) { /* these go with the memtables */
        model_add_entry(&run->model, &run->prng);
        model_write_entry(&run->model, run->model.index, run->rig.db);
    }
    if (nk_prng_chance(&run->prng, 500000)) {
        rig_close(&run->rig);
        cr_assert_eq(lsm_remove(run->rig.engine, RIG_DIRECTORY), NK_OK);
        rig_must_open(&run->rig);
        run->durable = 0;
    }
    if (lsm_durable_index(run->rig.db) > index) {
        return;
    }
    lsm_ingest(run->rig.db, CHECKPOINT);
    while (lsm_ingesting(run->rig.db)) {
        work_a_slice(run);
    }
    struct lsm_version applied;
    struct nk_bytes state;
    uint8_t expected[LSM_STATE_BYTES_MAX];
    lsm_applied(run->rig.db, &applied, &state);
    cr_assert_eq(applied.index, index);
    cr_assert(nk_bytes_equal(state, model_state(index, expected)));
    run->durable = index;
    for (size_t key = 0; key < MODEL_KEYS; key++) {
        get_and_compare(run, NULL, key, (struct moment){index, index});
    }
    for (uint64_t next = index + 1; next <= run->model.index; next++) {
        model_write_entry(&run->model, next, run->rig.db);
    }
}

static void take_checkpoint(struct run *run)
{
    if (nk_prng_chance(&run->prng, 500000)) {
        lsm_request_flush(run->rig.db);
        finish_work(run);
    }
    struct lsm_checkpoint *checkpoint = lsm_checkpoint_begin(run->rig.db);
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_checkpoint_applied(checkpoint, &applied, &state);
    cr_assert_eq(applied.index, run->durable);
    for (size_t i = nk_prng_below(&run->prng, 4); i > 0; i--) {
        work_a_slice(run); /* its tables may go meanwhile */
    }
    cr_assert_eq(lsm_checkpoint_write(checkpoint, CHECKPOINT), NK_OK);
    cr_assert_eq(lsm_checkpoint_write(checkpoint, CHECKPOINT), NK_CONFLICT);
    lsm_checkpoint_end(&checkpoint);
    if (nk_prng_chance(&run->prng, 500000)) {
        check_checkpoint(run, applied.index);
    }
    if (nk_prng_chance(&run->prng, 500000)) {
        ingest_checkpoint(run, applied.index);
    }
    cr_assert_eq(lsm_remove(run->rig.engine, CHECKPOINT), NK_OK);
    cr_assert_not(sim_fs_exists(run->rig.sim, CHECKPOINT));
}

static void step(struct run *run)
{
    uint64_t choice = nk_prng_below(&run->prng, 1000);
    if (choice < 500) {
        model_add_entry(&run->model, &run->prng);
        model_write_entry(&run->model, run->model.index, run->rig.db);
    } else if (choice < 600) {
        get_and_compare(run, NULL, nk_prng_below(&run->prng, MODEL_KEYS), now(run));
    } else if (choice < 680) {
        take_or_check_view(run);
    } else if (choice < 950) {
        work_a_slice(run);
    } else if (choice < 980) {
        lsm_request_flush(run->rig.db);
    } else if (choice < 985) {
        compare_all(run);
    } else if (choice < 990) {
        take_checkpoint(run);
    } else {
        close_all(run);
        if (choice < 993) {
            sim_fs_kill(run->rig.sim);
        } else if (choice < 997) {
            sim_fs_crash(run->rig.sim, &run->prng);
        }
        open_and_catch_up(run);
    }
}

static void run_seed(uint64_t seed, uint64_t steps)
{
    struct run *run = calloc(1, sizeof *run);
    cr_assert(run != NULL);
    run->seed = seed;
    nk_prng_init(&run->prng, seed);
    model_init(&run->model, &run->prng);
    struct lsm_options options = rig_options();
    options.compression = (enum lsm_compression)nk_prng_below(&run->prng, 3);
    options.filter_bits_per_key = nk_prng_chance(&run->prng, 200000) ? 0 : 10;
    options.block_cache_bytes = nk_prng_chance(&run->prng, 300000) ? 0 : 24 << 10;
    options.open_files_max =
        nk_prng_chance(&run->prng, 500000) ? 0 : nk_prng_between(&run->prng, 1, 6);
    options.memtable_bytes = nk_prng_between(&run->prng, 4, 24) * NK_KIB;
    options.table_bytes = nk_prng_between(&run->prng, 1, 16) * NK_KIB;
    options.fanout = (uint32_t)nk_prng_between(&run->prng, 2, 5);
    options.level_count = (uint32_t)nk_prng_between(&run->prng, 3, 7);
    options.max_background_jobs = (uint32_t)nk_prng_between(&run->prng, 1, PERMITS_MAX);
    options.rate_limit_bytes_per_s =
        nk_prng_chance(&run->prng, 200000) ? nk_prng_between(&run->prng, 20, 2000) * NK_KIB : 0;
    rig_init(&run->rig, seed, &options);
    rig_must_open(&run->rig);
    for (run->steps = 0; run->steps < steps; run->steps++) {
        step(run);
    }
    compare_all(run);
    close_all(run);
    open_and_catch_up(run);
    compare_all(run);
    rig_deinit(&run->rig);
    model_deinit(&run->model);
    free(run);
}

/* NK_MODEL_SEEDS=N runs N seeds instead, from NK_MODEL_FIRST on. */
static uint64_t number_from_environment(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : fallback;
}

Test(lsm_model, many_short_runs_agree_with_a_sorted_array, .timeout = 86400)
{
    uint64_t first = number_from_environment("NK_MODEL_FIRST", 1);
    uint64_t count = number_from_environment("NK_MODEL_SEEDS", 60);
    for (uint64_t seed = first; seed < first + count; seed++) {
        run_seed(seed, 800);
    }
}

Test(lsm_model, long_runs_agree_with_a_sorted_array)
{
    for (uint64_t seed = 1001; seed <= 1003; seed++) {
        run_seed(seed, 10000);
    }
}

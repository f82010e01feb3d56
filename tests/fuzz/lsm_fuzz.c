/* Operations on one database, on files in memory: writes, flushes and compactions in slices, views,
 * checkpoints, failing calls, a full disk, kills and power losses, in the order that the input
 * says.
 *
 * The owner's log is the model: entry n is what was written and at what time of the owner.  Every
 * key says what its last entry says; only what is dead at the durable position may be gone.  A view
 * says what was committed when it was taken.  After a crash the database stands at least where it
 * had said that it was durable, and entries behind that are written again. */

#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/prng.h"
#include "common/base/units.h"
#include "services/shardhost/lsm/lsm.h"
#include "tests/sim/fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEYS        24
#define ENTRIES_MAX 400
#define LIVES_MAX   10 /* entries are written again in each */
#define KEY_MAX     100
#define VIEWS_MAX   3
#define PERMITS_MAX 3
#define LONG_VALUE  1500

struct entry {
    uint8_t key;
    bool tombstone;
    bool large;
    uint64_t expire_at_ms;
    uint64_t time_ms; /* of the commit */
};

/* What somebody may see: the log up to `index`, without what was dead at `durable`. */
struct moment {
    uint64_t index;
    uint64_t durable;
};

struct view {
    struct lsm_view *view; /* NULL: free */
    struct moment moment;
};

struct history {
    struct sim_fs *sim;
    struct nk_fs fs;
    struct nk_prng prng;
    struct lsm_engine *engine;
    struct lsm_db *db;
    struct entry entries[ENTRIES_MAX + 1]; /* from 1 on */
    uint64_t index;                        /* written and committed */
    uint64_t durable;                      /* as promised */
    uint64_t time_ms;
    uint64_t now_us;
    struct view views[VIEWS_MAX];
    size_t permits;
    size_t permits_spent; /* of them, those whose job has no more to do; they come back first */
    size_t lives;
    bool faulty; /* a call may fail that should not */
};

static const struct lsm_options options = {
    .memtable_bytes = 8 * NK_KIB,
    .write_buffer_total_bytes = 16 * NK_KIB,
    .block_cache_bytes = 32 * NK_KIB,
    .filter_bits_per_key = 8,
    .compression = LSM_COMPRESSION_LZ4,
    .table_bytes = 4 * NK_KIB,
    .fanout = 2,
    .level_count = 4,
    .max_background_jobs = PERMITS_MAX,
};

/* ---- The model ---- */

static struct nk_bytes key_bytes(size_t key, uint8_t out[KEY_MAX])
{
    memset(out, 'k', KEY_MAX);
    out[0] = (uint8_t)('a' + key / 8);
    out[1] = (uint8_t)('a' + key % 8);
    static const size_t sizes[] = {2, 3, 40, KEY_MAX};
    return nk_bytes_of(out, sizes[key % 4]);
}

static struct nk_bytes value_bytes(const struct history *history, uint64_t n,
                                   uint8_t out[LONG_VALUE])
{
    const struct entry *entry = &history->entries[n];
    memset(out, (int)(n % 251), LONG_VALUE);
    nk_put_u64(out, n);
    return nk_bytes_of(out, entry->tombstone ? 0 : entry->large ? LONG_VALUE : 8 + n % 30);
}

static uint64_t last_of(const struct history *history, size_t key, uint64_t index)
{
    while (index > 0 && history->entries[index].key != key) {
        index--;
    }
    return index;
}

/* Whether entry n need not be found any more. */
static bool may_be_gone(const struct history *history, uint64_t n, uint64_t durable)
{
    const struct entry *entry = &history->entries[n];
    return n == 0 || entry->tombstone ||
           (entry->expire_at_ms != 0 && durable > 0 &&
            entry->expire_at_ms <= history->entries[durable].time_ms);
}

static void check(const struct history *history, size_t key, struct moment moment, enum nk_err err,
                  const struct lsm_entry *found, struct nk_bytes value)
{
    uint64_t n = last_of(history, key, moment.index);
    if (err == NK_IO && history->faulty) {
        return;
    }
    if (err == NK_NOT_FOUND) {
        NK_ASSERT(may_be_gone(history, n, moment.durable));
        return;
    }
    NK_ASSERT(err == NK_OK);
    NK_ASSERT(n > 0);
    uint8_t memory[LONG_VALUE];
    NK_ASSERT(found->version.index == n);
    NK_ASSERT(found->version.term == 1 + n / 100);
    NK_ASSERT(found->tombstone == history->entries[n].tombstone);
    NK_ASSERT(found->expire_at_ms == history->entries[n].expire_at_ms);
    NK_ASSERT(nk_bytes_equal(value, value_bytes(history, n, memory)));
}

/* ---- Reading ---- */

static struct moment now(const struct history *history)
{
    return (struct moment){history->index, history->durable};
}

static void check_get(const struct history *history, struct lsm_db *db, size_t key,
                      struct moment moment)
{
    uint8_t memory[KEY_MAX];
    struct lsm_entry entry;
    struct nk_buf value = {0};
    enum nk_err err = lsm_get(db, key_bytes(key, memory), LSM_DISK, &entry, &value);
    check(history, key, moment, err, &entry, nk_buf_bytes(&value));
    nk_buf_deinit(&value);
}

static size_t key_number(struct nk_bytes bytes)
{
    uint8_t memory[KEY_MAX];
    NK_ASSERT(bytes.size >= 2);
    size_t key = (size_t)(bytes.data[0] - 'a') * 8 + (size_t)(bytes.data[1] - 'a');
    NK_ASSERT(key < KEYS);
    NK_ASSERT(nk_bytes_equal(bytes, key_bytes(key, memory)));
    return key;
}

/* One step in either direction.  `*at` is the key before which the iterator stands, between `start`
 * and `limit`; what it leaves out on its way must be what may be gone.  False: at the end. */
static bool check_step(const struct history *history, struct lsm_iter *iter, struct moment moment,
                       bool forward, size_t start, size_t limit, size_t *at)
{
    struct nk_bytes key;
    struct nk_bytes value;
    struct lsm_entry entry;
    enum nk_err err = forward ? lsm_iter_next(iter, &key, &entry, &value)
                              : lsm_iter_prev(iter, &key, &entry, &value);
    if (err == NK_IO && history->faulty) {
        return false;
    }
    NK_ASSERT(err == NK_OK || err == NK_NOT_FOUND);
    size_t found = err == NK_OK ? key_number(key) : forward ? limit : start;
    size_t first = forward ? *at : err == NK_OK ? found + 1 : start;
    size_t last = forward ? found : *at;
    NK_ASSERT(first <= last);
    for (size_t left_out = first; left_out < last; left_out++) {
        uint64_t n = last_of(history, left_out, moment.index);
        NK_ASSERT(may_be_gone(history, n, moment.durable));
    }
    if (err != NK_OK) {
        *at = found;
        return false;
    }
    NK_ASSERT(found >= start);
    NK_ASSERT(found < limit);
    check(history, found, moment, err, &entry, value);
    *at = forward ? found + 1 : found;
    return true;
}

/* There, back again, and to and fro as the bits of `turns` say. */
static void check_walk(const struct history *history, struct lsm_view *view, struct moment moment,
                       size_t start, size_t limit, uint8_t turns)
{
    uint8_t start_memory[KEY_MAX];
    uint8_t limit_memory[KEY_MAX];
    struct nk_bytes unbounded = nk_bytes_of(NULL, 0);
    struct lsm_iter *iter = NULL;
    size_t at = start;
    lsm_iter_open(view, start == 0 ? unbounded : key_bytes(start, start_memory),
                  limit == KEYS ? unbounded : key_bytes(limit, limit_memory), &iter);
    while (check_step(history, iter, moment, true, start, limit, &at)) {
    }
    while (check_step(history, iter, moment, false, start, limit, &at)) {
    }
    for (; turns > 0; turns >>= 1) {
        (void)check_step(history, iter, moment, turns % 2 != 0, start, limit, &at);
    }
    lsm_iter_close(&iter);
}

static void check_all(struct history *history)
{
    for (size_t key = 0; key < KEYS; key++) {
        check_get(history, history->db, key, now(history));
    }
    struct lsm_view *view = lsm_view_acquire(history->db);
    check_walk(history, view, now(history), 0, KEYS, 0x5B);
    lsm_view_release(&view);
}

static void change_view(struct history *history, uint8_t argument)
{
    struct view *view = &history->views[argument % VIEWS_MAX];
    if (view->view == NULL) {
        view->view = lsm_view_acquire(history->db);
        view->moment = now(history);
    } else {
        size_t start = argument / VIEWS_MAX % KEYS;
        size_t limit = start + (size_t)argument / 8 % (KEYS - start + 1);
        check_walk(history, view->view, view->moment, start, limit, argument);
        if (argument & 0x80) {
            lsm_view_release(&view->view);
        }
    }
}

/* ---- Writing ---- */

static void apply(struct history *history, uint64_t n)
{
    const struct entry *entry = &history->entries[n];
    uint8_t key[KEY_MAX];
    uint8_t value[LONG_VALUE];
    uint8_t state[8];
    struct lsm_record record = {
        .key = key_bytes(entry->key, key),
        .value = value_bytes(history, n, value),
        .version = {1 + n / 100, n},
        .expire_at_ms = entry->expire_at_ms,
        .tombstone = entry->tombstone,
    };
    nk_put_u64(state, n);
    lsm_write(history->db, &record);
    lsm_commit(history->db, record.version, entry->time_ms, nk_bytes_of(state, sizeof state));
}

static void write_entry(struct history *history, uint8_t argument)
{
    if (history->index == ENTRIES_MAX) {
        return;
    }
    uint64_t n = ++history->index;
    history->entries[n] = (struct entry){
        .key = argument % KEYS,
        .tombstone = argument / KEYS % 4 == 1,
        .large = argument / KEYS % 4 == 2,
        .expire_at_ms = argument / KEYS % 4 == 3 ? history->time_ms + argument : 0,
        .time_ms = history->time_ms,
    };
    apply(history, n);
}

/* ---- Opening, and the end of a process ---- */

static void open_database(struct history *history)
{
    lsm_engine_open(&history->fs, &options, &history->engine);
    enum nk_err err = lsm_remove(history->engine, "c"); /* what is left of a checkpoint */
    NK_ASSERT(err == NK_OK);
    err = lsm_open(history->engine, "d/e", &history->db, NULL);
    NK_ASSERT(err == NK_OK);
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_applied(history->db, &applied, &state);
    NK_ASSERT(applied.index >= history->durable);
    NK_ASSERT(applied.index <= history->index);
    NK_ASSERT(state.size == (applied.index > 0 ? 8u : 0u));
    if (applied.index > 0) {
        NK_ASSERT(nk_get_u64(state.data) == applied.index);
        NK_ASSERT(applied.term == 1 + applied.index / 100);
    }
    history->durable = applied.index;
    for (uint64_t n = applied.index + 1; n <= history->index; n++) {
        apply(history, n);
    }
}

static void give_back_permit(struct history *history)
{
    lsm_work_ended(history->db, history->now_us);
    history->permits--;
    history->permits_spent -= history->permits_spent > 0;
    uint64_t durable = lsm_durable_index(history->db);
    NK_ASSERT(durable >= history->durable);
    history->durable = durable;
}

static void close_database(struct history *history)
{
    while (history->permits > 0) {
        give_back_permit(history);
    }
    for (size_t i = 0; i < VIEWS_MAX; i++) {
        lsm_view_release(&history->views[i].view);
    }
    lsm_close(&history->db);
    lsm_engine_close(&history->engine);
}

/* 0: an ordered close; 1: kill -9, the machine lives on; 2: a power loss. */
static void end_life(struct history *history, uint8_t how)
{
    if (how % 3 != 0) {
        sim_fs_cut_power_after(history->sim, 0); /* what it still does reaches no disk */
    }
    close_database(history);
    if (how % 3 == 2) {
        sim_fs_crash(history->sim, &history->prng);
    } else if (how % 3 == 1 || history->faulty) {
        sim_fs_kill(history->sim);
    }
    sim_fs_limit_space(history->sim, UINT64_MAX);
    history->faulty = false;
    open_database(history);
}

/* ---- Checkpoints ---- */

static enum nk_err write_checkpoint(struct history *history)
{
    struct lsm_checkpoint *checkpoint = lsm_checkpoint_begin(history->db);
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_checkpoint_applied(checkpoint, &applied, &state);
    NK_ASSERT(applied.index == history->durable);
    enum nk_err err = lsm_checkpoint_write(checkpoint, "c");
    lsm_checkpoint_end(&checkpoint);
    return err;
}

/* The checkpoint is a database like any other, at the durable position. */
static enum nk_err check_checkpoint(const struct history *history)
{
    struct lsm_db *db = NULL;
    enum nk_err err = lsm_open(history->engine, "c", &db, NULL);
    if (err != NK_OK) {
        return err;
    }
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_applied(db, &applied, &state);
    NK_ASSERT(applied.index == history->durable);
    for (size_t key = 0; key < KEYS; key++) {
        check_get(history, db, key, (struct moment){history->durable, history->durable});
    }
    lsm_close(&db);
    return NK_OK;
}

static void make_checkpoint(struct history *history)
{
    enum nk_err err = write_checkpoint(history);
    if (err == NK_OK) {
        err = check_checkpoint(history);
    }
    enum nk_err removed = lsm_remove(history->engine, "c");
    if (err != NK_OK || removed != NK_OK) {
        NK_ASSERT(history->faulty);
        NK_ASSERT(err == NK_OK || err == NK_IO || err == NK_NO_SPACE);
        end_life(history, 1);
    }
}

/* ---- Work ---- */

static void take_permit(struct history *history)
{
    if (history->permits < PERMITS_MAX &&
        lsm_engine_pick(history->engine, history->now_us) != NULL) {
        history->permits++;
    }
}

/* A process whose disk fails ends. */
static void work(struct history *history, uint8_t argument)
{
    if (history->permits == history->permits_spent) {
        return;
    }
    bool more = false;
    enum nk_err err = lsm_work(history->db, (size_t)argument * 64, &more);
    NK_ASSERT(err == NK_OK || (history->faulty && (err == NK_IO || err == NK_NO_SPACE)));
    history->permits_spent += err != NK_OK || !more;
    if (err == NK_IO) {
        end_life(history, 1 + argument % 2);
    } else if (argument % 4 == 0) {
        give_back_permit(history);
    }
}

/* Until nobody has anything to do. */
static void work_it_off(struct history *history)
{
    while (history->permits > 0) {
        give_back_permit(history);
    }
    lsm_resume_work(history->db);
    lsm_request_flush(history->db);
    for (;;) {
        take_permit(history);
        if (history->permits == 0) {
            break;
        }
        bool more = false;
        enum nk_err err = lsm_work(history->db, 64 * NK_KIB, &more);
        NK_ASSERT(err == NK_OK);
        give_back_permit(history);
    }
    NK_ASSERT(history->durable == history->index);
}

static void arm(struct history *history, uint8_t argument)
{
    uint64_t operation = 1 + argument / 4;
    history->faulty = true;
    switch (argument % 4) {
    case 0:
        sim_fs_fail_at(history->sim, operation, NK_IO);
        break;
    case 1:
        sim_fs_fail_at(history->sim, operation, NK_NO_SPACE);
        break;
    case 2:
        sim_fs_cut_power_after(history->sim, operation);
        break;
    default:
        sim_fs_limit_space(history->sim, (uint64_t)operation * 512);
        break;
    }
}

static void operate(struct history *history, uint8_t operation, uint8_t argument)
{
    switch (operation % 16) {
    case 0:
        if (history->lives < LIVES_MAX) {
            history->lives++;
            end_life(history, argument);
        }
        break;
    case 1:
        arm(history, argument);
        break;
    case 2:
        history->time_ms += (uint64_t)argument * 4;
        break;
    case 3:
        lsm_request_flush(history->db);
        break;
    case 4:
        change_view(history, argument);
        break;
    case 5:
        check_get(history, history->db, argument % KEYS, now(history));
        break;
    case 6:
        sim_fs_limit_space(history->sim, UINT64_MAX);
        lsm_resume_work(history->db);
        break;
    case 7:
    case 8:
        take_permit(history);
        break;
    case 9:
    case 10:
        work(history, argument);
        break;
    case 11:
        make_checkpoint(history);
        break;
    default:
        write_entry(history, argument);
        break;
    }
    history->now_us += argument;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct history history;
    struct nk_reader input = nk_reader_of(nk_bytes_of(data, size));
    memset(&history, 0, sizeof history);
    history.sim = sim_fs_new(1);
    history.fs = sim_fs_handle(history.sim);
    history.time_ms = 1000;
    nk_prng_init(&history.prng, size);
    open_database(&history);
    while (nk_reader_left(&input) >= 2) {
        uint8_t operation = nk_read_u8(&input);
        operate(&history, operation, nk_read_u8(&input));
    }
    check_all(&history);
    end_life(&history, 2);
    check_all(&history);
    work_it_off(&history);
    check_all(&history);
    close_database(&history);
    sim_fs_free(&history.sim);
    return 0;
}

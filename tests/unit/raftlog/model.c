#include "model.h"

#include <criterion/criterion.h>

#include "common/base/alloc.h"

static size_t payload_size(const struct model *model, uint32_t shard, uint64_t term, uint64_t index)
{
    struct nk_prng prng;
    nk_prng_init(&prng, shard * 1000003 + term * 1009 + index);
    return (size_t)nk_prng_below(&prng, nk_prng_chance(&prng, 200000)
                                            ? model->payload_bytes_max + 1
                                            : model->payload_bytes_max / 16 + 1);
}

static void payload_fill(uint32_t shard, uint64_t term, uint64_t index, uint8_t *out, size_t size)
{
    struct nk_prng prng;
    nk_prng_init(&prng, shard * 7919 + term * 104729 + index + 1);
    for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
        uint64_t word = nk_prng_next(&prng);
        memcpy(out + i, &word, size - i < sizeof word ? size - i : sizeof word);
    }
}

static uint8_t entry_kind(uint64_t term, uint64_t index)
{
    return (uint8_t)(term * 7 + index);
}

static void view_apply(struct model_view *view, const struct model_operation *operation)
{
    struct model_shard *shard = &view->shards[operation->shard];
    switch (operation->kind) {
    case MODEL_ENTRY:
        shard->announced = shard->announced || (shard->last == 0 && shard->state_term != 0);
        for (uint64_t i = operation->index; i <= MODEL_INDEX_MAX; i++) {
            shard->term_at[i] = 0;
        }
        shard->term_at[operation->index] = operation->term;
        shard->last = operation->index;
        return;
    case MODEL_STATE:
        shard->state_term = operation->term;
        shard->state_vote = operation->index;
        return;
    case MODEL_RELEASE:
        shard->released = operation->index > shard->released ? operation->index : shard->released;
        shard->last = shard->released > shard->last ? shard->released : shard->last;
        return;
    case MODEL_FORGET:
        memset(shard, 0, sizeof *shard);
        return;
    }
}

static bool view_matches(const struct model_view *seen, const struct model_view *wanted)
{
    for (size_t i = 0; i < MODEL_SHARDS; i++) {
        const struct model_shard *a = &seen->shards[i];
        const struct model_shard *b = &wanted->shards[i];
        size_t first = (size_t)b->released + 1;
        if (a->state_term != b->state_term || a->state_vote != b->state_vote ||
            memcmp(a->term_at + first, b->term_at + first,
                   (MODEL_INDEX_MAX + 1 - first) * sizeof a->term_at[0]) != 0) {
            return false;
        }
    }
    return true;
}

struct visitor {
    struct model *model;
    struct model_view *seen;
};

static void visit(void *ctx, const struct raftlog_record *record)
{
    struct visitor *visitor = ctx;
    cr_assert_lt(record->shard, MODEL_SHARDS, "a record that was never staged");
    struct model_operation operation = {
        .shard = record->shard, .term = record->term, .index = record->index};
    switch (record->kind) {
    case RAFTLOG_ENTRY: {
        operation.kind = MODEL_ENTRY;
        cr_assert_leq(record->index, MODEL_INDEX_MAX);
        cr_assert_eq(record->entry_kind, entry_kind(record->term, record->index));
        size_t size = payload_size(visitor->model, record->shard, record->term, record->index);
        cr_assert_eq(record->payload.size, size);
        uint8_t *expected = nk_alloc(size);
        payload_fill(record->shard, record->term, record->index, expected, size);
        cr_assert(nk_bytes_equal(record->payload, nk_bytes_of(expected, size)), "a wrong payload");
        nk_free(expected);
        break;
    }
    case RAFTLOG_STATE:
        operation.kind = MODEL_STATE;
        visitor->seen->shards[record->shard].told = record->released;
        break;
    case RAFTLOG_FORGET:
        operation.kind = MODEL_FORGET;
        break;
    }
    view_apply(visitor->seen, &operation);
    visitor->model->visited++;
}

void model_init(struct model *model, uint64_t seed, const struct raftlog_options *options)
{
    memset(model, 0, sizeof *model);
    model->options = *options;
    model->term = 1;
    model->payload_bytes_max = 3000;
    nk_prng_init(&model->prng, seed);
}

static void check_released(const struct model *model, const struct model_view *seen)
{
    for (size_t i = 0; i < MODEL_SHARDS; i++) {
        const struct model_shard *found = &seen->shards[i];
        const struct model_shard *wanted = &model->latest.shards[i];
        cr_assert_leq(found->told, model->released_max[i], "told of more than was released");
        for (uint64_t index = found->told + 1; wanted->announced && index <= wanted->released;
             index++) {
            cr_assert(found->term_at[index] != 0 || wanted->term_at[index] == 0,
                      "an entry is gone and nothing tells of it");
        }
    }
}

/* What was seen is the acknowledged state plus a prefix of what was pending; that is what the log
 * goes on from. */
static void settle(struct model *model, const struct model_view *seen)
{
    struct model_view *view = &model->acknowledged;
    size_t i = 0;
    while (!view_matches(seen, view)) {
        cr_assert_lt(i, model->pending_count, "the log holds something else than what was staged");
        view_apply(view, &model->pending[i]);
        i++;
    }
    model->latest = *view;
    check_released(model, seen);
    model->pending_count = 0;
    model->begun_count = 0;
    model->running = false;
}

enum nk_err model_open(struct model *model, struct sim_fs *sim)
{
    struct nk_fs fs = sim_fs_handle(sim);
    struct model_view *seen = nk_alloc_zero(1, sizeof *seen);
    struct visitor visitor = {model, seen};
    struct raftlog_fault fault = {0};
    model->visited = 0;
    enum nk_err err =
        raftlog_open(&fs, "data/raft", &model->options, visit, &visitor, &model->log, &fault);
    if (err == NK_OK) {
        settle(model, seen);
    } else {
        cr_assert_null(model->log);
        cr_assert_eq(fault.err, err);
        cr_assert_not_null(fault.what);
    }
    nk_free(seen);
    return err;
}

void model_close(struct model *model)
{
    raftlog_close(&model->log);
}

static void add(struct model *model, const struct model_operation *operation)
{
    cr_assert_lt(model->pending_count, MODEL_OPERATION_MAX);
    model->pending[model->pending_count++] = *operation;
    view_apply(&model->latest, operation);
}

void model_entry(struct model *model, uint32_t shard, uint64_t index)
{
    struct model_operation operation = {MODEL_ENTRY, shard, model->term, index};
    size_t size = payload_size(model, shard, model->term, index);
    uint8_t *payload = nk_alloc(size);
    payload_fill(shard, model->term, index, payload, size);
    struct raftlog_record record = {
        .kind = RAFTLOG_ENTRY,
        .shard = shard,
        .term = model->term,
        .index = index,
        .entry_kind = entry_kind(model->term, index),
        .payload = nk_bytes_of(payload, size),
    };
    raftlog_stage(model->log, &record);
    nk_free(payload);
    add(model, &operation);
}

void model_state(struct model *model, uint32_t shard)
{
    model->term++;
    struct model_operation operation = {MODEL_STATE, shard, model->term,
                                        nk_prng_below(&model->prng, 4)};
    struct raftlog_record record = {
        .kind = RAFTLOG_STATE, .shard = shard, .term = operation.term, .index = operation.index};
    raftlog_stage(model->log, &record);
    add(model, &operation);
}

void model_release(struct model *model, uint32_t shard, uint64_t index)
{
    struct model_operation operation = {MODEL_RELEASE, shard, 0, index};
    raftlog_release(model->log, shard, index);
    if (index > model->released_max[shard]) {
        model->released_max[shard] = index;
    }
    add(model, &operation);
}

void model_forget(struct model *model, uint32_t shard)
{
    struct model_operation operation = {MODEL_FORGET, shard, 0, 0};
    raftlog_forget(model->log, shard);
    add(model, &operation);
}

bool model_begin(struct model *model)
{
    cr_assert(!model->running);
    model->running = raftlog_begin(model->log);
    if (model->running) {
        model->begun_count = model->pending_count;
    }
    return model->running;
}

enum nk_err model_write(struct model *model)
{
    cr_assert(model->running);
    enum nk_err err = raftlog_write(model->log);
    if (err != NK_OK) {
        return err;
    }
    raftlog_end(model->log);
    model->running = false;
    for (size_t i = 0; i < model->begun_count; i++) {
        view_apply(&model->acknowledged, &model->pending[i]);
    }
    model->pending_count -= model->begun_count;
    memmove(model->pending, model->pending + model->begun_count,
            model->pending_count * sizeof model->pending[0]);
    model->begun_count = 0;
    return NK_OK;
}

static void step_entry(struct model *model, uint32_t id)
{
    const struct model_shard *shard = &model->latest.shards[id];
    if (shard->last > shard->released && nk_prng_chance(&model->prng, 60000)) {
        model->term++; /* a new leader overwrites */
        model_entry(model, id, nk_prng_between(&model->prng, shard->released + 1, shard->last));
    } else if (shard->last < MODEL_INDEX_MAX) {
        model_entry(model, id, shard->last + 1);
    } else {
        model_forget(model, id);
    }
}

enum nk_err model_step(struct model *model)
{
    uint32_t id = (uint32_t)nk_prng_below(&model->prng, MODEL_SHARDS);
    const struct model_shard *shard = &model->latest.shards[id];
    uint64_t choice = nk_prng_below(&model->prng, 100);
    if (choice < 50) {
        step_entry(model, id);
    } else if (choice < 60) {
        model_state(model, id);
    } else if (choice < 70) {
        model_release(model, id, nk_prng_between(&model->prng, shard->released, shard->last));
    } else if (choice < 71) {
        model_forget(model, id);
    } else if (choice < 72 && shard->last + 10 < MODEL_INDEX_MAX) {
        model_release(model, id, shard->last + 10); /* a snapshot was installed */
    } else if (choice < 86) {
        if (!model->running) {
            (void)model_begin(model);
        }
    } else if (model->running) {
        return model_write(model);
    }
    return NK_OK;
}

/* common/env/meta.h in memory: what put returned NK_OK for is there for good.  A call may fail, and
 * a process may die in it; then the change was made or not. */

#include "tests/sim/sim.h"

#include "common/base/alloc.h"

/* What this call is to return; *out_happens: whether it does what it should. */
static enum nk_err meet_fault(struct sim_process *process, bool *out_happens)
{
    struct sim_meta_fault *fault = &process->meta_fault;
    *out_happens = true;
    if (process->kill_due || process->dying) {
        *out_happens = false;
        return NK_IO;
    }
    if (fault->countdown == 0 || --fault->countdown > 0) {
        return NK_OK;
    }
    sim_trace(process->world, "meta-fault", nk_err_name(fault->err), fault->happens);
    *out_happens = fault->happens;
    process->meta_failed = true;
    process->kill_due = fault->err == NK_OK;
    return fault->err == NK_OK ? NK_IO : fault->err;
}

static enum nk_err get(void *ctx, struct nk_bytes key, struct nk_buf *out_value)
{
    struct sim_process *process = ctx;
    bool happens;
    enum nk_err err = meet_fault(process, &happens);
    if (err != NK_OK) {
        return err;
    }
    struct nk_buf *value = nk_map_get(&process->facts, key);
    if (value == NULL) {
        return NK_NOT_FOUND;
    }
    nk_buf_clear(out_value);
    nk_buf_append(out_value, nk_buf_bytes(value));
    return NK_OK;
}

static enum nk_err put(void *ctx, struct nk_bytes key, struct nk_bytes bytes)
{
    struct sim_process *process = ctx;
    bool happens;
    enum nk_err err = meet_fault(process, &happens);
    if (!happens) {
        return err;
    }
    struct nk_buf *value = nk_map_get(&process->facts, key);
    if (value == NULL) {
        value = nk_alloc_zero(1, sizeof *value);
        (void)nk_map_put(&process->facts, key, value);
    }
    nk_buf_clear(value);
    nk_buf_append(value, bytes);
    return err;
}

static void free_value(struct nk_buf *value)
{
    if (value != NULL) {
        nk_buf_deinit(value);
        nk_free(value);
    }
}

static enum nk_err remove_key(void *ctx, struct nk_bytes key)
{
    struct sim_process *process = ctx;
    bool happens;
    enum nk_err err = meet_fault(process, &happens);
    if (happens) {
        free_value(nk_map_remove(&process->facts, key));
    }
    return err;
}

/* The least key above `after` that has the prefix; few keys, so a scan each time is fine. */
static struct nk_map_entry *next_in_order(struct nk_map *map, struct nk_bytes prefix,
                                          const struct nk_map_entry *after)
{
    struct nk_map_entry *best = NULL;
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(map, &position); entry != NULL;
         entry = nk_map_next(map, &position)) {
        struct nk_bytes key = nk_bytes_of(entry->key, entry->key_size);
        if (!nk_bytes_starts_with(key, prefix) ||
            (after != NULL &&
             nk_bytes_compare(key, nk_bytes_of(after->key, after->key_size)) <= 0)) {
            continue;
        }
        if (best == NULL || nk_bytes_compare(key, nk_bytes_of(best->key, best->key_size)) < 0) {
            best = entry;
        }
    }
    return best;
}

static enum nk_err list(void *ctx, struct nk_bytes prefix,
                        void (*visit)(void *visitor, struct nk_bytes key, struct nk_bytes value),
                        void *visitor)
{
    struct sim_process *process = ctx;
    bool happens;
    enum nk_err err = meet_fault(process, &happens);
    if (err != NK_OK) {
        return err;
    }
    struct nk_map_entry *entry = next_in_order(&process->facts, prefix, NULL);
    while (entry != NULL) {
        visit(visitor, nk_bytes_of(entry->key, entry->key_size), nk_buf_bytes(entry->value));
        entry = next_in_order(&process->facts, prefix, entry);
    }
    return NK_OK;
}

static const struct nk_meta_ops meta_ops = {get, put, remove_key, list};

void sim_meta_attach(struct sim_process *process)
{
    process->env.meta = (struct nk_meta){&meta_ops, process};
}

void sim_meta_close(struct sim_process *process)
{
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&process->facts, &position); entry != NULL;
         entry = nk_map_next(&process->facts, &position)) {
        free_value(entry->value);
    }
    nk_map_deinit(&process->facts);
}

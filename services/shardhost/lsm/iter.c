/* Forward iteration: the cursors of all memtables and tables of a view, merged by a heap.
 *
 * Cursors are numbered from the newest source to the oldest.  The heap orders by key, then by that
 * number, so the top is the newest record of the smallest key; the other cursors on the same key
 * stand on older records and are moved on together with it. */

#include "services/shardhost/lsm/view.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

struct source {
    struct lsm_memtable_cursor memtable;
    struct lsm_table_cursor *table; /* NULL: a memtable's */
    struct nk_bytes key;            /* where it stands */
};

struct lsm_iter {
    struct lsm_view *view;
    struct nk_buf key; /* where to start; then the key that was returned last */
    bool started;
    enum nk_err err; /* NK_OK, or how it ended */
    size_t source_count;
    struct source *sources; /* newest first */
    size_t heap_count;
    size_t *heap; /* numbers of sources that are not at their end */
};

void lsm_iter_open(struct lsm_view *view, struct nk_bytes start, struct lsm_iter **out_iter)
{
    struct lsm_iter *iter = nk_alloc_zero(1, sizeof *iter);
    iter->view = view;
    nk_buf_append(&iter->key, start);
    *out_iter = iter;
}

void lsm_iter_close(struct lsm_iter **iter)
{
    if (*iter == NULL) {
        return;
    }
    for (size_t i = 0; i < (*iter)->source_count; i++) {
        struct lsm_table_cursor *cursor = (*iter)->sources[i].table;
        if (cursor != NULL) {
            lsm_table_cursor_close(cursor);
            nk_free(cursor);
        }
    }
    nk_free((*iter)->sources);
    nk_free((*iter)->heap);
    nk_buf_deinit(&(*iter)->key);
    nk_free(*iter);
    *iter = NULL;
}

/* ---- The heap ---- */

static bool comes_before(const struct lsm_iter *iter, size_t a, size_t b)
{
    int order = nk_bytes_compare(iter->sources[a].key, iter->sources[b].key);
    return order != 0 ? order < 0 : a < b;
}

static void sift_down(struct lsm_iter *iter, size_t at)
{
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < iter->heap_count; child++) {
            if (comes_before(iter, iter->heap[child], iter->heap[least])) {
                least = child;
            }
        }
        if (least == at) {
            return;
        }
        size_t moved = iter->heap[at];
        iter->heap[at] = iter->heap[least];
        iter->heap[least] = moved;
        at = least;
    }
}

/* ---- Sources ---- */

/* Reads the key at which a source stands; NK_NOT_FOUND at its end. */
static enum nk_err stand(struct source *source, enum nk_err err)
{
    if (source->table == NULL) {
        if (source->memtable.node == NULL) {
            return NK_NOT_FOUND;
        }
        source->key = lsm_memtable_cursor_key(&source->memtable);
        return NK_OK;
    }
    if (err == NK_OK) {
        source->key = lsm_block_key(&source->table->at_data);
    }
    return err;
}

static enum nk_err move_on(struct source *source)
{
    if (source->table == NULL) {
        lsm_memtable_cursor_next(&source->memtable);
        return stand(source, NK_OK);
    }
    return stand(source, lsm_table_cursor_next(source->table));
}

/* Opens the next source at iter->key and puts it in the heap unless it is at its end. */
static enum nk_err add_source(struct lsm_iter *iter, const struct lsm_memtable *memtable,
                              struct lsm_table *table)
{
    struct source *source = &iter->sources[iter->source_count];
    struct nk_bytes start = nk_buf_bytes(&iter->key);
    enum nk_err err = NK_OK;
    if (memtable != NULL) {
        lsm_memtable_cursor_open(&source->memtable, memtable, start, iter->view->index_max);
    } else {
        source->table = nk_alloc(sizeof *source->table);
        err = lsm_table_cursor_open(source->table, table, start);
    }
    err = stand(source, err);
    if (err == NK_OK) {
        iter->heap[iter->heap_count++] = iter->source_count;
    }
    iter->source_count++;
    return err == NK_NOT_FOUND ? NK_OK : err;
}

static enum nk_err start(struct lsm_iter *iter)
{
    const struct lsm_sources *from = iter->view->sources;
    size_t room = from->memtable_count + lsm_levels_table_count(from->levels);
    iter->sources = nk_alloc_zero(room, sizeof *iter->sources);
    iter->heap = nk_alloc(room * sizeof *iter->heap);
    enum nk_err err = NK_OK;
    for (size_t i = 0; i < from->memtable_count && err == NK_OK; i++) {
        err = add_source(iter, from->memtables[i], NULL);
    }
    for (size_t level = 0; level < LSM_LEVEL_COUNT; level++) {
        const struct lsm_level *tables = &from->levels->levels[level];
        for (size_t i = 0; i < tables->count && err == NK_OK; i++) {
            err = add_source(iter, NULL, tables->tables[i]);
        }
    }
    for (size_t at = iter->heap_count; at-- > 0;) {
        sift_down(iter, at);
    }
    return err;
}

/* Leaves the key that was returned last behind, in every source that stands on it. */
static enum nk_err leave_key(struct lsm_iter *iter)
{
    while (iter->heap_count > 0) {
        struct source *top = &iter->sources[iter->heap[0]];
        if (!nk_bytes_equal(top->key, nk_buf_bytes(&iter->key))) {
            return NK_OK;
        }
        enum nk_err err = move_on(top);
        if (err == NK_NOT_FOUND) {
            iter->heap[0] = iter->heap[--iter->heap_count];
        } else if (err != NK_OK) {
            return err;
        }
        sift_down(iter, 0);
    }
    return NK_OK;
}

static enum nk_err advance(struct lsm_iter *iter)
{
    if (!iter->started) {
        iter->started = true;
        return start(iter);
    }
    return leave_key(iter);
}

enum nk_err lsm_iter_next(struct lsm_iter *iter, struct nk_bytes *out_key,
                          struct lsm_entry *out_entry, struct nk_bytes *out_value)
{
    if (iter->err == NK_OK) {
        iter->err = advance(iter);
    }
    if (iter->err == NK_OK && iter->heap_count == 0) {
        iter->err = NK_NOT_FOUND;
    }
    if (iter->err != NK_OK) {
        return iter->err;
    }
    const struct source *top = &iter->sources[iter->heap[0]];
    nk_buf_clear(&iter->key);
    nk_buf_append(&iter->key, top->key);
    *out_key = nk_buf_bytes(&iter->key);
    if (top->table == NULL) {
        *out_entry = lsm_memtable_cursor_entry(&top->memtable);
        *out_value = lsm_memtable_cursor_value(&top->memtable);
    } else {
        *out_entry = top->table->entry;
        *out_value = top->table->value;
    }
    return NK_OK;
}

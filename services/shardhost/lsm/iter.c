/* Iteration both ways: the cursors of all memtables, of each table of level 0 and of each other
 * level, merged by a heap.
 *
 * Sources are numbered from the newest to the oldest.  The heap orders by key in the direction of
 * the last step, then by that number, so the top is the newest record of the next key; sources on
 * the same key stand on older records and are moved on before that key is handed out.  Hence at
 * most one source stands on it, the top, whose key need not be copied.
 *
 * An iterator stands between two records.  After a step in one direction all sources stand on that
 * side; a step in the other direction begins with a search from the key at hand. */

#include "services/shardhost/lsm/view.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

struct source {
    struct lsm_memtable_cursor memtable; /* if there are no tables */
    struct lsm_table *const *tables;     /* in key order */
    size_t table_count;
    size_t at;                       /* the table that the cursor is in */
    struct lsm_table_cursor *cursor; /* NULL: not opened yet */
    struct nk_bytes key;             /* where it stands */
    uint64_t prefix;                 /* of that key */
};

enum place {
    PLACE_GAP,     /* between the keys before `gap` and those from it on */
    PLACE_ON_NEXT, /* behind the record of the top, which next() returned */
    PLACE_ON_PREV, /* before the record of the top, which prev() returned */
    PLACE_START,
    PLACE_END,
};

struct lsm_iter {
    struct lsm_view *view;
    struct nk_buf start; /* bounds; empty: none */
    struct nk_buf limit;
    struct nk_buf gap;
    enum place place;
    bool forward;    /* the order of the heap */
    enum nk_err err; /* a fault; it stays */
    size_t source_count;
    struct source *sources; /* newest first */
    size_t heap_count;
    size_t *heap; /* numbers of sources that are not at their end */
};

/* ---- Life ---- */

static void add_tables(struct lsm_iter *iter, struct lsm_table *const *tables, size_t count)
{
    struct source *source = &iter->sources[iter->source_count++];
    source->tables = tables;
    source->table_count = count;
}

void lsm_iter_open(struct lsm_view *view, struct nk_bytes start, struct nk_bytes limit,
                   struct lsm_iter **out_iter)
{
    struct lsm_iter *iter = nk_alloc_zero(1, sizeof *iter);
    const struct lsm_sources *from = view->sources;
    const struct lsm_level *levels = from->levels->levels;
    size_t room = from->memtable_count + levels[0].count + LSM_LEVEL_COUNT;
    iter->view = view;
    iter->sources = nk_alloc_zero(room, sizeof *iter->sources);
    iter->heap = nk_alloc(room * sizeof *iter->heap);
    for (size_t i = 0; i < from->memtable_count; i++) {
        iter->sources[iter->source_count++].memtable.memtable = from->memtables[i];
    }
    for (size_t i = 0; i < levels[0].count; i++) {
        add_tables(iter, &levels[0].tables[i], 1);
    }
    for (size_t i = 1; i < LSM_LEVEL_COUNT; i++) {
        if (levels[i].count > 0) {
            add_tables(iter, levels[i].tables, levels[i].count);
        }
    }
    nk_buf_append(&iter->start, start);
    nk_buf_append(&iter->limit, limit);
    iter->place = PLACE_START;
    *out_iter = iter;
}

void lsm_iter_close(struct lsm_iter **iter)
{
    if (*iter == NULL) {
        return;
    }
    for (size_t i = 0; i < (*iter)->source_count; i++) {
        struct lsm_table_cursor *cursor = (*iter)->sources[i].cursor;
        if (cursor != NULL) {
            lsm_table_cursor_close(cursor);
            nk_free(cursor);
        }
    }
    nk_free((*iter)->sources);
    nk_free((*iter)->heap);
    nk_buf_deinit(&(*iter)->start);
    nk_buf_deinit(&(*iter)->limit);
    nk_buf_deinit(&(*iter)->gap);
    nk_free(*iter);
    *iter = NULL;
}

/* ---- The heap ---- */

static bool comes_before(const struct lsm_iter *iter, size_t a, size_t b)
{
    const struct source *left = &iter->sources[a];
    const struct source *right = &iter->sources[b];
    if (left->prefix != right->prefix) {
        return (left->prefix < right->prefix) == iter->forward;
    }
    int order = nk_bytes_compare(left->key, right->key);
    if (order == 0) {
        return a < b;
    }
    return iter->forward ? order < 0 : order > 0;
}

static void sift_down(struct lsm_iter *iter, size_t at)
{
    size_t *heap = iter->heap;
    size_t moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= iter->heap_count) {
            break;
        }
        if (child + 1 < iter->heap_count && comes_before(iter, heap[child + 1], heap[child])) {
            child++;
        }
        if (comes_before(iter, moved, heap[child])) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* ---- Sources ---- */

static void set_key(struct source *source, struct nk_bytes key)
{
    source->key = key;
    source->prefix = lsm_key_prefix(key);
}

static enum nk_err stand_in_memtable(struct source *source)
{
    if (source->memtable.node == NULL) {
        return NK_NOT_FOUND;
    }
    set_key(source, lsm_memtable_cursor_key(&source->memtable));
    return NK_OK;
}

/* The cursor of the source, closed and made anew where it has to change its table. */
static struct lsm_table_cursor *cursor_in(struct source *source, size_t at)
{
    if (source->cursor == NULL) {
        source->cursor = nk_alloc(sizeof *source->cursor);
        lsm_table_cursor_init(source->cursor, source->tables[at]);
    } else if (source->at != at) {
        lsm_table_cursor_close(source->cursor);
        lsm_table_cursor_init(source->cursor, source->tables[at]);
    }
    source->at = at;
    return source->cursor;
}

/* Where the table at hand has nothing (more) in that direction, its neighbour has. */
static enum nk_err settle(struct source *source, enum nk_err err, bool forward)
{
    while (err == NK_NOT_FOUND &&
           (forward ? source->at + 1 < source->table_count : source->at > 0)) {
        struct lsm_table_cursor *cursor =
            cursor_in(source, forward ? source->at + 1 : source->at - 1);
        err = forward ? lsm_table_cursor_seek(cursor, nk_bytes_of("", 0))
                      : lsm_table_cursor_seek_back(cursor, NULL, false);
    }
    if (err == NK_OK) {
        set_key(source, lsm_table_cursor_key(source->cursor));
    }
    return err;
}

/* The first table that does not end before `key`; table_count: all do. */
static size_t find_table(const struct source *source, struct nk_bytes key)
{
    size_t first = 0;
    size_t limit = source->table_count;
    while (first < limit) {
        size_t middle = first + (limit - first) / 2;
        if (nk_bytes_compare(lsm_table_meta(source->tables[middle])->largest, key) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

/* To the first key at or after `key`, or the last one before it (or equal); NULL: the last. */
static enum nk_err seek_tables(struct source *source, const struct nk_bytes *key, bool equal,
                               bool forward)
{
    size_t at = key == NULL ? source->table_count : find_table(source, *key);
    if (at == source->table_count) {
        if (forward) {
            return NK_NOT_FOUND;
        }
        struct lsm_table_cursor *last = cursor_in(source, at - 1);
        return settle(source, lsm_table_cursor_seek_back(last, NULL, false), false);
    }
    struct lsm_table_cursor *cursor = cursor_in(source, at);
    enum nk_err err = forward ? lsm_table_cursor_seek(cursor, *key)
                              : lsm_table_cursor_seek_back(cursor, key, equal);
    return settle(source, err, forward);
}

static enum nk_err seek_source(const struct lsm_iter *iter, struct source *source,
                               const struct nk_bytes *key, bool equal, bool forward)
{
    if (source->tables != NULL) {
        return seek_tables(source, key, equal, forward);
    }
    const struct lsm_memtable *memtable = source->memtable.memtable;
    if (forward) {
        lsm_memtable_cursor_open(&source->memtable, memtable, *key, iter->view->index_max);
    } else {
        lsm_memtable_cursor_open_back(&source->memtable, memtable, key, equal,
                                      iter->view->index_max);
    }
    return stand_in_memtable(source);
}

static enum nk_err step_source(struct source *source, bool forward)
{
    if (source->tables == NULL) {
        if (forward) {
            lsm_memtable_cursor_next(&source->memtable);
        } else {
            lsm_memtable_cursor_prev(&source->memtable);
        }
        return stand_in_memtable(source);
    }
    enum nk_err err =
        forward ? lsm_table_cursor_next(source->cursor) : lsm_table_cursor_prev(source->cursor);
    return settle(source, err, forward);
}

/* ---- Moving all of them ---- */

/* All sources to one side of `key` (see seek_tables). */
static enum nk_err seek_all(struct lsm_iter *iter, const struct nk_bytes *key, bool equal,
                            bool forward)
{
    iter->heap_count = 0;
    iter->forward = forward;
    for (size_t i = 0; i < iter->source_count; i++) {
        enum nk_err err = seek_source(iter, &iter->sources[i], key, equal, forward);
        if (err == NK_OK) {
            iter->heap[iter->heap_count++] = i;
        } else if (err != NK_NOT_FOUND) {
            return err;
        }
    }
    for (size_t at = iter->heap_count; at-- > 0;) {
        sift_down(iter, at);
    }
    return NK_OK;
}

/* Moves the source at a place of the heap on. */
static enum nk_err advance(struct lsm_iter *iter, size_t at)
{
    enum nk_err err = step_source(&iter->sources[iter->heap[at]], iter->forward);
    if (err == NK_NOT_FOUND) {
        iter->heap[at] = iter->heap[--iter->heap_count];
        err = NK_OK;
    }
    if (err == NK_OK && at < iter->heap_count) {
        sift_down(iter, at);
    }
    return err;
}

static bool equals_top(const struct lsm_iter *iter, size_t at)
{
    const struct source *top = &iter->sources[iter->heap[0]];
    const struct source *source = &iter->sources[iter->heap[at]];
    return source->prefix == top->prefix && nk_bytes_equal(source->key, top->key);
}

/* Moves on whoever else stands on the key of the top. */
static enum nk_err skip_older(struct lsm_iter *iter)
{
    enum nk_err err = NK_OK;
    for (size_t child = 1; child <= 2 && err == NK_OK;) {
        if (child < iter->heap_count && equals_top(iter, child)) {
            err = advance(iter, child);
        } else {
            child++;
        }
    }
    return err;
}

/* The key that was returned last, copied: its source is about to move. */
static struct nk_bytes keep_key(struct lsm_iter *iter)
{
    nk_buf_clear(&iter->gap);
    nk_buf_append(&iter->gap, iter->sources[iter->heap[0]].key);
    return nk_buf_bytes(&iter->gap);
}

static enum nk_err step_forward(struct lsm_iter *iter)
{
    struct nk_bytes key = nk_buf_bytes(&iter->gap);
    switch (iter->place) {
    case PLACE_ON_NEXT:
        return advance(iter, 0);
    case PLACE_ON_PREV:
        key = keep_key(iter);
        break;
    case PLACE_START:
        key = nk_buf_bytes(&iter->start);
        break;
    case PLACE_GAP:
        break;
    case PLACE_END:
        return NK_NOT_FOUND;
    }
    return seek_all(iter, &key, false, true);
}

static enum nk_err step_back(struct lsm_iter *iter)
{
    struct nk_bytes key = nk_buf_bytes(&iter->gap);
    switch (iter->place) {
    case PLACE_ON_PREV:
        return advance(iter, 0);
    case PLACE_ON_NEXT:
        key = keep_key(iter);
        return seek_all(iter, &key, true, false);
    case PLACE_END:
        key = nk_buf_bytes(&iter->limit);
        return seek_all(iter, key.size > 0 ? &key : NULL, false, false);
    case PLACE_GAP:
        return seek_all(iter, &key, false, false);
    case PLACE_START:
        break;
    }
    return NK_NOT_FOUND;
}

static bool out_of_bounds(const struct lsm_iter *iter, struct nk_bytes key)
{
    return iter->forward
               ? iter->limit.size > 0 && nk_bytes_compare(key, nk_buf_bytes(&iter->limit)) >= 0
               : nk_bytes_compare(key, nk_buf_bytes(&iter->start)) < 0;
}

static enum nk_err step(struct lsm_iter *iter, bool forward, struct nk_bytes *out_key,
                        struct lsm_entry *out_entry, struct nk_bytes *out_value)
{
    if (iter->err != NK_OK) {
        return iter->err;
    }
    enum nk_err err = forward ? step_forward(iter) : step_back(iter);
    if (err == NK_OK) {
        err = skip_older(iter);
    }
    if (err == NK_OK &&
        (iter->heap_count == 0 || out_of_bounds(iter, iter->sources[iter->heap[0]].key))) {
        err = NK_NOT_FOUND;
    }
    if (err == NK_NOT_FOUND) {
        iter->place = forward ? PLACE_END : PLACE_START;
        return err;
    }
    if (err != NK_OK) {
        iter->err = err;
        return err;
    }
    iter->place = forward ? PLACE_ON_NEXT : PLACE_ON_PREV;
    const struct source *top = &iter->sources[iter->heap[0]];
    *out_key = top->key;
    if (top->tables == NULL) {
        *out_entry = lsm_memtable_cursor_entry(&top->memtable);
        *out_value = lsm_memtable_cursor_value(&top->memtable);
    } else {
        *out_entry = top->cursor->entry;
        *out_value = top->cursor->value;
    }
    return NK_OK;
}

enum nk_err lsm_iter_next(struct lsm_iter *iter, struct nk_bytes *out_key,
                          struct lsm_entry *out_entry, struct nk_bytes *out_value)
{
    return step(iter, true, out_key, out_entry, out_value);
}

enum nk_err lsm_iter_prev(struct lsm_iter *iter, struct nk_bytes *out_key,
                          struct lsm_entry *out_entry, struct nk_bytes *out_value)
{
    return step(iter, false, out_key, out_entry, out_value);
}

void lsm_iter_seek(struct lsm_iter *iter, struct nk_bytes key)
{
    if (nk_bytes_compare(key, nk_buf_bytes(&iter->start)) <= 0) {
        iter->place = PLACE_START;
    } else if (iter->limit.size > 0 && nk_bytes_compare(key, nk_buf_bytes(&iter->limit)) >= 0) {
        iter->place = PLACE_END;
    } else {
        nk_buf_clear(&iter->gap);
        nk_buf_append(&iter->gap, key);
        iter->place = PLACE_GAP;
    }
}

void lsm_iter_seek_end(struct lsm_iter *iter)
{
    iter->place = PLACE_END;
}

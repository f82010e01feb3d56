/* A heap of runs, by key and then by age.  Most comparisons end with the prefixes: two numbers that
 * lie side by side.  The run on top has the newest record of the smallest key; runs that stand on
 * the same key are moved on before that key is handed out, so that it can be borrowed from its
 * block. */

#include "services/shardhost/lsm/merge.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

void lsm_merge_init(struct lsm_merge *merge, size_t run_count, size_t ahead_bytes)
{
    NK_ASSERT(run_count > 0);
    memset(merge, 0, sizeof *merge);
    merge->runs = nk_alloc_zero(run_count, sizeof *merge->runs);
    merge->heap = nk_alloc(run_count * sizeof *merge->heap);
    merge->run_count = run_count;
    for (size_t i = 0; i < run_count; i++) {
        merge->runs[i].scan.ahead_bytes = ahead_bytes;
    }
}

void lsm_merge_deinit(struct lsm_merge *merge)
{
    for (size_t i = 0; i < merge->run_count; i++) {
        lsm_scan_deinit(&merge->runs[i].scan);
    }
    nk_free(merge->runs);
    nk_free(merge->heap);
    memset(merge, 0, sizeof *merge);
}

/* ---- The heap ---- */

static inline bool comes_before(const struct lsm_merge *merge, uint32_t a, uint32_t b)
{
    const struct lsm_merge_run *left = &merge->runs[a];
    const struct lsm_merge_run *right = &merge->runs[b];
    if (left->prefix != right->prefix) {
        return left->prefix < right->prefix;
    }
    int order = nk_bytes_compare(lsm_scan_key(&left->scan), lsm_scan_key(&right->scan));
    return order != 0 ? order < 0 : a < b;
}

static void sift_down(struct lsm_merge *merge, size_t at)
{
    if (merge->heap_count < 2) {
        return;
    }
    uint32_t *heap = merge->heap;
    uint32_t moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= merge->heap_count) {
            break;
        }
        if (child + 1 < merge->heap_count && comes_before(merge, heap[child + 1], heap[child])) {
            child++;
        }
        if (comes_before(merge, moved, heap[child])) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* ---- Runs ---- */

/* After the scan moved: goes on to the next table where it has ended, and notes the key. */
static enum nk_err settle(struct lsm_merge_run *run, enum nk_err err)
{
    while (err == NK_NOT_FOUND && run->next < run->count) {
        err = lsm_scan_open(&run->scan, run->tables[run->next++], nk_bytes_of("", 0));
    }
    if (err == NK_OK) {
        run->prefix = lsm_key_prefix(lsm_scan_key(&run->scan));
    }
    return err;
}

/* Moves the run at a place of the heap on; one that has ended leaves the heap. */
static enum nk_err advance(struct lsm_merge *merge, size_t at)
{
    struct lsm_merge_run *run = &merge->runs[merge->heap[at]];
    merge->passed_count++;
    enum nk_err err = settle(run, lsm_scan_next(&run->scan));
    if (err == NK_NOT_FOUND) {
        merge->heap[at] = merge->heap[--merge->heap_count];
        err = NK_OK;
        if (at == merge->heap_count) {
            return NK_OK;
        }
    }
    if (err == NK_OK) {
        sift_down(merge, at);
    }
    return err;
}

enum nk_err lsm_merge_start(struct lsm_merge *merge, struct nk_bytes start)
{
    NK_ASSERT(!merge->started);
    for (size_t i = 0; i < merge->run_count; i++) {
        struct lsm_merge_run *run = &merge->runs[i];
        enum nk_err err = NK_NOT_FOUND;
        while (err == NK_NOT_FOUND && run->next < run->count) {
            struct lsm_table *table = run->tables[run->next++];
            if (nk_bytes_compare(lsm_table_meta(table)->largest, start) >= 0) {
                err = lsm_scan_open(&run->scan, table, start);
            }
        }
        err = settle(run, err);
        if (err == NK_OK) {
            merge->heap[merge->heap_count++] = (uint32_t)i;
        } else if (err != NK_NOT_FOUND) {
            return err;
        }
    }
    for (size_t at = merge->heap_count; at-- > 0;) {
        sift_down(merge, at);
    }
    return NK_OK;
}

/* ---- Walking ---- */

static bool equals_top(const struct lsm_merge *merge, size_t at)
{
    const struct lsm_merge_run *top = &merge->runs[merge->heap[0]];
    const struct lsm_merge_run *run = &merge->runs[merge->heap[at]];
    return run->prefix == top->prefix &&
           nk_bytes_equal(lsm_scan_key(&run->scan), lsm_scan_key(&top->scan));
}

/* Moves on whoever else stands on the key of the top: they are below it on a path of equals. */
static enum nk_err skip_older(struct lsm_merge *merge)
{
    enum nk_err err = NK_OK;
    for (size_t child = 1; child <= 2 && err == NK_OK;) {
        if (child < merge->heap_count && equals_top(merge, child)) {
            err = advance(merge, child);
        } else {
            child++;
        }
    }
    return err;
}

enum nk_err lsm_merge_next(struct lsm_merge *merge, struct nk_bytes *out_key,
                           struct lsm_entry *out_entry, struct nk_bytes *out_value)
{
    enum nk_err err = merge->started && merge->heap_count > 0 ? advance(merge, 0) : NK_OK;
    if (err == NK_OK) {
        err = skip_older(merge);
    }
    if (err != NK_OK) {
        return err;
    }
    if (merge->heap_count == 0) {
        return NK_NOT_FOUND;
    }
    const struct lsm_merge_run *top = &merge->runs[merge->heap[0]];
    struct nk_bytes key = lsm_scan_key(&top->scan);
    if (merge->started && nk_bytes_compare(nk_bytes_of(merge->last, merge->last_size), key) >= 0) {
        return lsm_table_fault(top->scan.table, NK_CORRUPT, top->scan.block_offset,
                               "keys do not rise");
    }
    merge->started = true;
    merge->last_size = key.size;
    memcpy(merge->last, key.data, key.size);
    *out_key = key;
    *out_entry = top->scan.entry;
    *out_value = top->scan.value;
    return NK_OK;
}

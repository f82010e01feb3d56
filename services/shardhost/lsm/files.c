/* A clock over the open files, and a count of readers in each.
 *
 * The list has a latch, an atomic flag.  It is held for some tens of instructions as a rule, and
 * for two rounds of the clock's hand at most; never during a call to the system.  Whoever finds it
 * taken tries a bounded number of times and then does without: who has opened a file reads it alone
 * and closes it, and who is done with one leaves it to the next one who has the latch.  Nothing
 * ever waits for a thread that was put to sleep inside.
 *
 * A reader announces himself and then looks for the file; whoever closes takes the file away and
 * then looks for readers.  In the one order that there is of these four steps, one of the two sees
 * the other: the reader finds no file, or the closer finds a reader and puts the file back. */

#include "services/shardhost/lsm/files.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

#define CLOSED_AT_ONCE 8 /* of those that are too many, by one call */
#define LATCH_TRIES    64

void lsm_files_init(struct lsm_files *files, const struct nk_fs *fs, size_t count_max)
{
    NK_ASSERT(count_max > 0);
    files->fs = fs;
    files->count_max = count_max;
    files->count = 0;
    atomic_flag_clear(&files->latch);
    nk_list_init(&files->open);
    nk_mpsc_init(&files->leaving);
}

struct lsm_open_file *lsm_open_file_new(void)
{
    struct lsm_open_file *open_file = nk_alloc_zero(1, sizeof *open_file);
    atomic_init(&open_file->file, NULL);
    atomic_init(&open_file->pins, 0);
    atomic_init(&open_file->used, false);
    atomic_init(&open_file->listed, false);
    nk_list_init(&open_file->node);
    return open_file;
}

static bool latch(struct lsm_files *files)
{
    for (unsigned i = 0; i < LATCH_TRIES; i++) {
        if (!atomic_flag_test_and_set_explicit(&files->latch, memory_order_acquire)) {
            return true;
        }
    }
    return false;
}

static void unlatch(struct lsm_files *files)
{
    atomic_flag_clear_explicit(&files->latch, memory_order_release);
}

struct nk_file *lsm_open_file_pin(struct lsm_open_file *open_file)
{
    atomic_fetch_add_explicit(&open_file->pins, 1, memory_order_seq_cst);
    struct nk_file *file = atomic_load_explicit(&open_file->file, memory_order_seq_cst);
    if (file == NULL) {
        lsm_open_file_unpin(open_file);
        return NULL;
    }
    if (!atomic_load_explicit(&open_file->used, memory_order_relaxed)) {
        atomic_store_explicit(&open_file->used, true, memory_order_relaxed);
    }
    return file;
}

void lsm_open_file_unpin(struct lsm_open_file *open_file)
{
    uint32_t before = atomic_fetch_sub_explicit(&open_file->pins, 1, memory_order_release);
    NK_ASSERT(before > 0);
}

/* Takes the file away unless somebody reads it.  The latch is held. */
static struct nk_file *take_away(struct lsm_files *files, struct lsm_open_file *open_file)
{
    struct nk_file *file = atomic_exchange_explicit(&open_file->file, NULL, memory_order_seq_cst);
    NK_ASSERT(file != NULL);
    if (atomic_load_explicit(&open_file->pins, memory_order_seq_cst) > 0) {
        atomic_store_explicit(&open_file->file, file, memory_order_seq_cst);
        return NULL;
    }
    nk_list_remove(&open_file->node);
    atomic_store_explicit(&open_file->listed, false, memory_order_release);
    files->count--;
    return file;
}

/* One that is not used, or NULL.  The latch is held. */
static struct nk_file *take_oldest(struct lsm_files *files)
{
    for (size_t left = 2 * files->count; left > 0; left--) {
        struct lsm_open_file *oldest =
            NK_CONTAINER_OF(files->open.next, struct lsm_open_file, node);
        nk_list_remove(&oldest->node);
        nk_list_append(&files->open, &oldest->node);
        if (!atomic_exchange_explicit(&oldest->used, false, memory_order_relaxed)) {
            struct nk_file *file = take_away(files, oldest);
            if (file != NULL) {
                return file;
            }
        }
    }
    return NULL;
}

/* The latch is held. */
static void list_file(struct lsm_files *files, struct lsm_open_file *open_file,
                      struct nk_file *file)
{
    atomic_store_explicit(&open_file->listed, true, memory_order_relaxed);
    nk_list_append(&files->open, &open_file->node);
    files->count++;
    atomic_store_explicit(&open_file->used, true, memory_order_relaxed);
    atomic_store_explicit(&open_file->file, file, memory_order_seq_cst);
}

/* ---- Leaving ---- */

/* Those whose owners are done with them, out of the list.  The latch is held. */
static struct nk_mpsc_node *take_leaving(struct lsm_files *files)
{
    struct nk_mpsc_node *leaving = nk_mpsc_take_all(&files->leaving);
    for (struct nk_mpsc_node *node = leaving; node != NULL; node = node->next) {
        struct lsm_open_file *open_file = NK_CONTAINER_OF(node, struct lsm_open_file, leaving_node);
        if (nk_list_linked(&open_file->node)) { /* else the clock has closed it */
            nk_list_remove(&open_file->node);
            files->count--;
        }
    }
    return leaving;
}

static void free_open_file(struct lsm_files *files, struct lsm_open_file *open_file)
{
    struct nk_file *file = atomic_load_explicit(&open_file->file, memory_order_relaxed);
    NK_ASSERT(atomic_load_explicit(&open_file->pins, memory_order_relaxed) == 0);
    nk_fs_close(files->fs, &file);
    nk_free(open_file);
}

static void free_leaving(struct lsm_files *files, struct nk_mpsc_node *node)
{
    while (node != NULL) {
        struct lsm_open_file *open_file = NK_CONTAINER_OF(node, struct lsm_open_file, leaving_node);
        node = node->next;
        free_open_file(files, open_file);
    }
}

void lsm_files_remove(struct lsm_files *files, struct lsm_open_file **open_file)
{
    struct lsm_open_file *leaving = *open_file;
    *open_file = NULL;
    if (!atomic_load_explicit(&leaving->listed, memory_order_acquire)) {
        free_open_file(files, leaving); /* never opened, or others closed it and are done */
        return;
    }
    (void)nk_mpsc_push(&files->leaving, &leaving->leaving_node);
    if (latch(files)) {
        struct nk_mpsc_node *all = take_leaving(files);
        unlatch(files);
        free_leaving(files, all);
    }
}

void lsm_files_deinit(struct lsm_files *files)
{
    free_leaving(files, take_leaving(files));
    NK_ASSERT(files->count == 0);
}

/* ---- Opening ---- */

struct nk_file *lsm_files_add(struct lsm_files *files, struct lsm_open_file *open_file,
                              struct nk_file **file)
{
    struct nk_file *closed[CLOSED_AT_ONCE];
    size_t closed_count = 0;
    if (!latch(files)) {
        return NULL;
    }
    struct nk_mpsc_node *leaving = take_leaving(files);
    atomic_fetch_add_explicit(&open_file->pins, 1, memory_order_seq_cst);
    struct nk_file *present = atomic_load_explicit(&open_file->file, memory_order_relaxed);
    if (present == NULL) {
        while (files->count >= files->count_max && closed_count < CLOSED_AT_ONCE &&
               (closed[closed_count] = take_oldest(files)) != NULL) {
            closed_count++;
        }
        list_file(files, open_file, *file);
        present = *file;
        *file = NULL;
    }
    unlatch(files);
    free_leaving(files, leaving);
    nk_fs_close(files->fs, file); /* NULL, or one too many */
    for (size_t i = 0; i < closed_count; i++) {
        nk_fs_close(files->fs, &closed[i]);
    }
    return present;
}

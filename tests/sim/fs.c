/* Names and faults of the simulated files; the bytes of a file are fs_data.c's.
 *
 * A directory has two maps: `live` is what callers see, `promised` what is certain to survive.
 * Every change of a name is made in `live` and kept in `changes` until a sync_dir or a crash
 * applies it to `promised`; there it is put so that any subset, in order, makes sense (a removal
 * takes away only the file that it was about).  Invariant: a directory that no pending change names
 * has equal maps. */

#include "tests/sim/fs.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/units.h"

#include "tests/sim/fs_data.h"

struct node {
    struct nk_list link; /* in sim_fs.nodes */
    size_t references;   /* map entries, changes, open files */
    size_t names;        /* entries of `live` maps */
    size_t open_count;
    bool directory;
    bool marked;          /* directory, while changes are walked through */
    struct sim_data data; /* file */
    struct nk_map live;   /* directory: name -> node, referenced */
    struct nk_map promised;
};

/* A name that went from one place to another; a missing place is NULL (create, link, mkdir: no
 * `from`; remove: no `to`). */
struct change {
    struct node *from_directory;
    char *from;
    struct node *to_directory;
    char *to;
    struct node *node;
    bool due; /* during a sync: to be promised */
};

struct nk_file {
    struct sim_fs *fs;
    struct node *node;
    bool writable;
    uint64_t incarnation; /* of the fs when it was opened; it is dead when that is over */
};

struct sim_fs {
    struct nk_list nodes;
    struct node *root;
    struct change *changes;
    size_t change_count;
    size_t change_capacity;
    struct nk_prng prng;
    uint64_t incarnation;
    size_t open_count;
    uint64_t space_limit;
    uint64_t operations;
    uint64_t fail_operation; /* that number fails; 0 none */
    enum nk_err fail_err;
    uint64_t power_operation; /* later ones fail; UINT64_MAX none */
};

/* --- Nodes. */

static struct node *node_new(struct sim_fs *fs, bool directory)
{
    struct node *node = nk_alloc_zero(1, sizeof *node);
    nk_list_init(&node->link);
    nk_list_append(&fs->nodes, &node->link);
    node->directory = directory;
    sim_data_init(&node->data);
    nk_map_init(&node->live);
    nk_map_init(&node->promised);
    return node;
}

static struct node *node_of(struct nk_list *link)
{
    return NK_CONTAINER_OF(link, struct node, link);
}

static void node_free(struct node *node)
{
    nk_list_remove(&node->link);
    sim_data_deinit(&node->data);
    nk_map_deinit(&node->live);
    nk_map_deinit(&node->promised);
    nk_free(node);
}

static void drop_reference(struct node *node, struct nk_list *dying)
{
    NK_ASSERT(node->references > 0);
    node->references--;
    if (node->references == 0) {
        nk_list_remove(&node->link);
        nk_list_append(dying, &node->link);
    }
}

static void node_release(struct node *node)
{
    struct nk_list dying;
    nk_list_init(&dying);
    drop_reference(node, &dying);
    while (!nk_list_empty(&dying)) {
        struct node *dead = node_of(dying.next);
        size_t position = 0;
        for (struct nk_map_entry *entry = nk_map_next(&dead->live, &position); entry != NULL;
             entry = nk_map_next(&dead->live, &position)) {
            ((struct node *)entry->value)->names--;
            drop_reference(entry->value, &dying);
        }
        position = 0;
        for (struct nk_map_entry *entry = nk_map_next(&dead->promised, &position); entry != NULL;
             entry = nk_map_next(&dead->promised, &position)) {
            drop_reference(entry->value, &dying);
        }
        node_free(dead);
    }
}

static void live_put(struct node *directory, struct nk_bytes name, struct node *node)
{
    node->references++;
    node->names++;
    struct node *former = nk_map_put(&directory->live, name, node);
    if (former != NULL) {
        former->names--;
        node_release(former);
    }
}

static void live_remove(struct node *directory, struct nk_bytes name)
{
    struct node *former = nk_map_remove(&directory->live, name);
    NK_ASSERT(former != NULL);
    former->names--;
    node_release(former);
}

/* --- Paths. */

/* The directory in which `path` ends and the last part of it; NULL if a directory on the way is
 * missing.  A path that is not well-formed is a programming error. */
static struct node *walk(const struct sim_fs *fs, const char *path, struct nk_bytes *out_last)
{
    struct node *directory = fs->root;
    const char *part = path;
    for (;;) {
        const char *slash = strchr(part, '/');
        struct nk_bytes name =
            nk_bytes_of(part, slash != NULL ? (size_t)(slash - part) : strlen(part));
        NK_ASSERT(name.size > 0);
        NK_ASSERT(part[0] != '.' || (name.size > 1 && part[1] != '.'));
        if (slash == NULL) {
            *out_last = name;
            return directory;
        }
        directory = nk_map_get(&directory->live, name);
        if (directory == NULL || !directory->directory) {
            return NULL;
        }
        part = slash + 1;
    }
}

static struct node *find(const struct sim_fs *fs, const char *path)
{
    if (path[0] == '\0') {
        return fs->root;
    }
    struct nk_bytes name;
    struct node *directory = walk(fs, path, &name);
    return directory == NULL ? NULL : nk_map_get(&directory->live, name);
}

/* --- Changes of names. */

static char *text_of(struct nk_bytes name)
{
    char *text = nk_alloc(name.size + 1);
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    return text;
}

/* Makes the change in the live maps and keeps it for the promised ones. */
static void change_make(struct sim_fs *fs, struct node *node, struct node *from_directory,
                        struct nk_bytes from, struct node *to_directory, struct nk_bytes to)
{
    if (fs->change_count == fs->change_capacity) {
        fs->change_capacity = 2 * fs->change_capacity + 8;
        fs->changes = nk_realloc(fs->changes, fs->change_capacity * sizeof fs->changes[0]);
    }
    struct change *change = &fs->changes[fs->change_count++];
    memset(change, 0, sizeof *change);
    change->node = node;
    node->references++;
    if (from_directory != NULL) {
        change->from_directory = from_directory;
        change->from = text_of(from);
        from_directory->references++;
        live_remove(from_directory, from);
    }
    if (to_directory != NULL) {
        change->to_directory = to_directory;
        change->to = text_of(to);
        to_directory->references++;
        live_put(to_directory, to, node);
    }
}

static void change_promise(const struct change *change)
{
    if (change->from_directory != NULL) {
        struct nk_map *map = &change->from_directory->promised;
        struct nk_bytes name = nk_bytes_of_string(change->from);
        if (nk_map_get(map, name) == change->node) {
            (void)nk_map_remove(map, name);
            node_release(change->node);
        }
    }
    if (change->to_directory != NULL) {
        change->node->references++;
        struct node *former = nk_map_put(&change->to_directory->promised,
                                         nk_bytes_of_string(change->to), change->node);
        if (former != NULL) {
            node_release(former);
        }
    }
}

static void change_deinit(struct change *change)
{
    nk_free(change->from);
    nk_free(change->to);
    if (change->from_directory != NULL) {
        node_release(change->from_directory);
    }
    if (change->to_directory != NULL) {
        node_release(change->to_directory);
    }
    node_release(change->node);
}

static void mark_directories(const struct change *change, bool marked)
{
    if (change->from_directory != NULL) {
        change->from_directory->marked = marked;
    }
    if (change->to_directory != NULL) {
        change->to_directory->marked = marked;
    }
}

/* Marks the changes that a sync of `directory` promises: all that touch it and, since a rename out
 * of another directory must not overtake what was done there before, the earlier ones of that too.
 */
static void mark_due(struct sim_fs *fs, struct node *directory)
{
    directory->marked = true;
    for (size_t i = fs->change_count; i-- > 0;) {
        struct change *change = &fs->changes[i];
        struct node *from = change->from_directory;
        struct node *to = change->to_directory;
        change->due = (from != NULL && from->marked) || (to != NULL && to->marked);
        if (change->due) {
            mark_directories(change, true);
        }
    }
    for (size_t i = 0; i < fs->change_count; i++) {
        mark_directories(&fs->changes[i], false);
    }
    directory->marked = false;
}

/* Promises the first `count_max` of the changes that are due; the others stay pending. */
static void changes_sync(struct sim_fs *fs, struct node *directory, size_t count_max)
{
    mark_due(fs, directory);
    size_t kept = 0;
    size_t count = 0;
    for (size_t i = 0; i < fs->change_count; i++) {
        struct change *change = &fs->changes[i];
        if (change->due && count < count_max) {
            change_promise(change);
            change_deinit(change);
            count++;
        } else {
            fs->changes[kept++] = *change;
        }
    }
    fs->change_count = kept;
}

/* `live` is what is promised. */
static void directory_forget(struct node *directory)
{
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&directory->live, &position); entry != NULL;
         entry = nk_map_next(&directory->live, &position)) {
        ((struct node *)entry->value)->names--;
        node_release(entry->value);
    }
    nk_map_deinit(&directory->live);
    position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&directory->promised, &position); entry != NULL;
         entry = nk_map_next(&directory->promised, &position)) {
        live_put(directory, nk_bytes_of(entry->key, entry->key_size), entry->value);
    }
}

static void changes_crash(struct sim_fs *fs, struct nk_prng *prng)
{
    struct sim_survivors survivors = sim_survivors_draw(fs->change_count, prng);
    for (size_t i = 0; i < fs->change_count; i++) {
        if (sim_survives(&survivors, i, prng)) {
            change_promise(&fs->changes[i]);
        }
    }
    for (size_t i = 0; i < fs->change_count; i++) {
        struct node *directories[2] = {fs->changes[i].from_directory, fs->changes[i].to_directory};
        for (size_t j = 0; j < NK_COUNT_OF(directories); j++) {
            if (directories[j] != NULL && !directories[j]->marked) {
                directories[j]->marked = true;
                directory_forget(directories[j]);
            }
        }
    }
    for (size_t i = 0; i < fs->change_count; i++) {
        mark_directories(&fs->changes[i], false);
        change_deinit(&fs->changes[i]);
    }
    fs->change_count = 0;
}

/* --- Faults. */

/* Every operation begins here and fails with what this returns. */
static enum nk_err begin(struct sim_fs *fs, bool needs_space)
{
    if (fs->operations >= fs->power_operation) {
        return NK_IO;
    }
    fs->operations++;
    if (fs->operations != fs->fail_operation) {
        return NK_OK;
    }
    return fs->fail_err != NK_NO_SPACE || needs_space ? fs->fail_err : NK_OK;
}

static enum nk_err begin_file(struct nk_file *file, bool needs_space)
{
    return file->incarnation == file->fs->incarnation ? begin(file->fs, needs_space) : NK_IO;
}

static bool powered(const struct sim_fs *fs)
{
    return fs->operations < fs->power_operation;
}

/* Whether an operation on names that fails happens nevertheless. */
static bool happens(struct sim_fs *fs, enum nk_err fault)
{
    return fault == NK_OK || (fault == NK_IO && powered(fs) && nk_prng_chance(&fs->prng, 500000));
}

static uint64_t space_used(const struct sim_fs *fs)
{
    uint64_t used = 0;
    for (struct nk_list *link = fs->nodes.next; link != &fs->nodes; link = link->next) {
        const struct node *node = node_of(link);
        if (node->names > 0 || node->open_count > 0) {
            used += node->data.size;
        }
    }
    return used;
}

static bool fits(const struct sim_fs *fs, const struct node *node, uint64_t size)
{
    if (fs->space_limit == UINT64_MAX || size <= node->data.size) {
        return true;
    }
    uint64_t used = space_used(fs);
    return used <= fs->space_limit && size - node->data.size <= fs->space_limit - used;
}

/* --- The contract. */

static enum nk_err fs_open(void *ctx, const char *name, enum nk_fs_open mode,
                           struct nk_file **out_file)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, mode == NK_FS_CREATE);
    struct nk_bytes last;
    struct node *directory = walk(fs, name, &last);
    if (directory == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    struct node *node = nk_map_get(&directory->live, last);
    if (mode == NK_FS_CREATE && node == NULL && happens(fs, fault)) {
        node = node_new(fs, false);
        change_make(fs, node, NULL, last, directory, last);
    } else if (mode == NK_FS_CREATE && fault == NK_OK) {
        return NK_CONFLICT;
    }
    if (fault != NK_OK) {
        return fault;
    }
    if (node == NULL || node->directory) {
        return NK_NOT_FOUND;
    }
    struct nk_file *file = nk_alloc(sizeof *file);
    file->fs = fs;
    file->node = node;
    file->writable = mode != NK_FS_READ;
    file->incarnation = fs->incarnation;
    node->references++;
    node->open_count++;
    fs->open_count++;
    *out_file = file;
    return NK_OK;
}

static void fs_close(void *ctx, struct nk_file **file)
{
    struct sim_fs *fs = ctx;
    if (*file == NULL) {
        return;
    }
    NK_ASSERT((*file)->fs == fs);
    fs->open_count--;
    (*file)->node->open_count--;
    node_release((*file)->node);
    nk_free(*file);
    *file = NULL;
}

static enum nk_err fs_pread(void *ctx, struct nk_file *file, uint64_t offset, void *out_data,
                            size_t size, size_t *out_read)
{
    (void)ctx;
    enum nk_err fault = begin_file(file, false);
    if (fault != NK_OK) {
        return fault;
    }
    const struct sim_data *data = &file->node->data;
    *out_read = offset < data->size ? nk_min_size(size, data->size - (size_t)offset) : 0;
    if (*out_read > 0) {
        memcpy(out_data, data->bytes + offset, *out_read);
    }
    return NK_OK;
}

static enum nk_err fs_pwrite(void *ctx, struct nk_file *file, uint64_t offset,
                             struct nk_bytes bytes)
{
    struct sim_fs *fs = ctx;
    NK_ASSERT(file->writable);
    enum nk_err fault = begin_file(file, true);
    if (fault == NK_OK && !fits(fs, file->node, offset + bytes.size)) {
        fault = NK_NO_SPACE;
    }
    if (fault == NK_OK) {
        sim_data_write(&file->node->data, offset, bytes);
    } else if (file->incarnation == fs->incarnation && powered(fs) &&
               fits(fs, file->node, offset + bytes.size)) {
        sim_data_write_broken(&file->node->data, offset, bytes, &fs->prng);
    }
    return fault;
}

static enum nk_err fs_size(void *ctx, struct nk_file *file, uint64_t *out_size)
{
    (void)ctx;
    enum nk_err fault = begin_file(file, false);
    if (fault == NK_OK) {
        *out_size = file->node->data.size;
    }
    return fault;
}

static enum nk_err fs_truncate(void *ctx, struct nk_file *file, uint64_t size)
{
    struct sim_fs *fs = ctx;
    NK_ASSERT(file->writable);
    enum nk_err fault = begin_file(file, size > file->node->data.size);
    if (fault == NK_OK && !fits(fs, file->node, size)) {
        fault = NK_NO_SPACE;
    }
    if (file->incarnation == fs->incarnation && happens(fs, fault)) {
        sim_data_resize(&file->node->data, size);
    }
    return fault;
}

static enum nk_err fs_sync(void *ctx, struct nk_file *file)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin_file(file, false);
    if (fault == NK_OK) {
        sim_data_sync(&file->node->data);
    } else if (file->incarnation == fs->incarnation && powered(fs)) {
        sim_data_sync_broken(&file->node->data, &fs->prng);
    }
    return fault;
}

static enum nk_err fs_rename(void *ctx, const char *from, const char *to)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, true);
    struct nk_bytes from_last;
    struct nk_bytes to_last;
    struct node *from_directory = walk(fs, from, &from_last);
    struct node *to_directory = walk(fs, to, &to_last);
    struct node *node =
        from_directory == NULL ? NULL : nk_map_get(&from_directory->live, from_last);
    if (node == NULL || to_directory == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    struct node *former = nk_map_get(&to_directory->live, to_last);
    bool below_itself = strncmp(from, to, strlen(from)) == 0 && to[strlen(from)] == '/';
    if (below_itself ||
        (former != NULL && former != node && (former->directory || node->directory))) {
        return fault != NK_OK ? fault : NK_CONFLICT;
    }
    if (former != node && happens(fs, fault)) {
        change_make(fs, node, from_directory, from_last, to_directory, to_last);
    }
    return fault;
}

static enum nk_err fs_link(void *ctx, const char *from, const char *to)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, true);
    struct nk_bytes last;
    struct node *node = find(fs, from);
    struct node *directory = walk(fs, to, &last);
    if (node == NULL || node->directory || directory == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    if (nk_map_get(&directory->live, last) != NULL) {
        return fault != NK_OK ? fault : NK_CONFLICT;
    }
    if (happens(fs, fault)) {
        change_make(fs, node, NULL, last, directory, last);
    }
    return fault;
}

static enum nk_err fs_remove(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, false);
    struct nk_bytes last;
    struct node *directory = walk(fs, name, &last);
    struct node *node = directory == NULL ? NULL : nk_map_get(&directory->live, last);
    if (node == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    if (node->live.count > 0) {
        return fault != NK_OK ? fault : NK_CONFLICT;
    }
    if (happens(fs, fault)) {
        change_make(fs, node, directory, last, NULL, last);
    }
    return fault;
}

static enum nk_err fs_mkdir(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, true);
    struct nk_bytes last;
    struct node *directory = walk(fs, name, &last);
    if (directory == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    if (nk_map_get(&directory->live, last) != NULL) {
        return fault != NK_OK ? fault : NK_CONFLICT;
    }
    if (happens(fs, fault)) {
        change_make(fs, node_new(fs, true), NULL, last, directory, last);
    }
    return fault;
}

static enum nk_err fs_sync_dir(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, false);
    struct node *directory = find(fs, name);
    if (directory == NULL || !directory->directory) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    if (fault == NK_OK) {
        changes_sync(fs, directory, SIZE_MAX);
    } else if (powered(fs)) {
        changes_sync(fs, directory, (size_t)nk_prng_below(&fs->prng, fs->change_count + 1));
    }
    return fault;
}

static enum nk_err fs_list(void *ctx, const char *name,
                           void (*visit)(void *visitor, const char *name), void *visitor)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, false);
    if (fault != NK_OK) {
        return fault;
    }
    struct node *directory = find(fs, name);
    if (directory == NULL || !directory->directory) {
        return NK_NOT_FOUND;
    }
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&directory->live, &position); entry != NULL;
         entry = nk_map_next(&directory->live, &position)) {
        char *text = text_of(nk_bytes_of(entry->key, entry->key_size));
        visit(visitor, text);
        nk_free(text);
    }
    return NK_OK;
}

static enum nk_err fs_free_bytes(void *ctx, uint64_t *out_bytes)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, false);
    if (fault != NK_OK) {
        return fault;
    }
    uint64_t used = space_used(fs);
    *out_bytes = used < fs->space_limit ? fs->space_limit - used : 0;
    return NK_OK;
}

static const struct nk_fs_ops sim_fs_ops = {
    .open = fs_open,
    .close = fs_close,
    .pread = fs_pread,
    .pwrite = fs_pwrite,
    .size = fs_size,
    .truncate = fs_truncate,
    .sync = fs_sync,
    .rename = fs_rename,
    .link = fs_link,
    .remove = fs_remove,
    .mkdir = fs_mkdir,
    .sync_dir = fs_sync_dir,
    .list = fs_list,
    .free_bytes = fs_free_bytes,
};

/* --- The outside. */

struct sim_fs *sim_fs_new(uint64_t seed)
{
    struct sim_fs *fs = nk_alloc_zero(1, sizeof *fs);
    nk_list_init(&fs->nodes);
    nk_prng_init(&fs->prng, seed);
    fs->root = node_new(fs, true);
    fs->root->references = 1;
    fs->space_limit = UINT64_MAX;
    fs->power_operation = UINT64_MAX;
    return fs;
}

void sim_fs_free(struct sim_fs **fs)
{
    if (fs == NULL || *fs == NULL) {
        return;
    }
    NK_ASSERT((*fs)->open_count == 0);
    for (size_t i = 0; i < (*fs)->change_count; i++) {
        nk_free((*fs)->changes[i].from);
        nk_free((*fs)->changes[i].to);
    }
    nk_free((*fs)->changes);
    while (!nk_list_empty(&(*fs)->nodes)) {
        node_free(node_of((*fs)->nodes.next));
    }
    nk_free(*fs);
    *fs = NULL;
}

struct nk_fs sim_fs_handle(struct sim_fs *fs)
{
    struct nk_fs handle = {&sim_fs_ops, fs};
    return handle;
}

void sim_fs_kill(struct sim_fs *fs)
{
    fs->incarnation++;
    fs->fail_operation = 0;
    fs->power_operation = UINT64_MAX;
}

void sim_fs_crash(struct sim_fs *fs, struct nk_prng *prng)
{
    sim_fs_kill(fs);
    changes_crash(fs, prng);
    for (struct nk_list *link = fs->nodes.next; link != &fs->nodes; link = link->next) {
        sim_data_crash(&node_of(link)->data, prng);
    }
}

uint64_t sim_fs_operations(const struct sim_fs *fs)
{
    return fs->operations;
}

void sim_fs_fail_at(struct sim_fs *fs, uint64_t operation, enum nk_err err)
{
    NK_ASSERT(err == NK_IO || err == NK_NO_SPACE);
    fs->fail_operation = operation > 0 ? fs->operations + operation : 0;
    fs->fail_err = err;
}

void sim_fs_cut_power_after(struct sim_fs *fs, uint64_t operations)
{
    fs->power_operation = fs->operations + operations;
}

void sim_fs_limit_space(struct sim_fs *fs, uint64_t bytes)
{
    fs->space_limit = bytes;
}

bool sim_fs_exists(const struct sim_fs *fs, const char *name)
{
    return find(fs, name) != NULL;
}

void sim_fs_read(const struct sim_fs *fs, const char *name, struct nk_buf *out_contents)
{
    const struct node *node = find(fs, name);
    NK_ASSERT(node != NULL);
    NK_ASSERT(!node->directory);
    nk_buf_clear(out_contents);
    nk_buf_append(out_contents, nk_bytes_of(node->data.bytes, node->data.size));
}

static int compare_entries(const void *a, const void *b)
{
    const struct nk_map_entry *const *left = a;
    const struct nk_map_entry *const *right = b;
    return nk_bytes_compare(nk_bytes_of((*left)->key, (*left)->key_size),
                            nk_bytes_of((*right)->key, (*right)->key_size));
}

void sim_fs_list(const struct sim_fs *fs, const char *directory, struct nk_buf *out_names)
{
    const struct node *node = find(fs, directory);
    NK_ASSERT(node != NULL);
    NK_ASSERT(node->directory);
    struct nk_map_entry **entries = nk_alloc_zero(node->live.count, sizeof entries[0]);
    size_t count = 0;
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&node->live, &position); entry != NULL;
         entry = nk_map_next(&node->live, &position)) {
        entries[count++] = entry;
    }
    qsort(entries, count, sizeof entries[0], compare_entries);
    nk_buf_clear(out_names);
    for (size_t i = 0; i < count; i++) {
        nk_buf_append(out_names, nk_bytes_of(entries[i]->key, entries[i]->key_size));
        nk_buf_append_u8(out_names, '\n');
    }
    nk_free(entries);
}

void sim_fs_put(struct sim_fs *fs, const char *name, struct nk_bytes contents)
{
    char *path = nk_strdup(name);
    for (char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (find(fs, path) == NULL) {
            struct nk_bytes last;
            struct node *parent = walk(fs, path, &last);
            change_make(fs, node_new(fs, true), NULL, last, parent, last);
            changes_sync(fs, parent, SIZE_MAX);
        }
        *slash = '/';
    }
    nk_free(path);
    struct nk_bytes last;
    struct node *directory = walk(fs, name, &last);
    struct node *node = node_new(fs, false);
    sim_data_write(&node->data, 0, contents);
    sim_data_sync(&node->data);
    change_make(fs, node, NULL, last, directory, last);
    changes_sync(fs, directory, SIZE_MAX);
}

void sim_fs_flip(struct sim_fs *fs, const char *name, uint64_t offset, uint8_t mask)
{
    struct node *node = find(fs, name);
    NK_ASSERT(node != NULL);
    sim_data_flip(&node->data, offset, mask);
}

uint64_t sim_fs_every_nth_failure(const struct sim_fs_scenario *scenario, enum sim_fs_fault fault,
                                  uint64_t seed)
{
    for (uint64_t n = 1;; n++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed + n);
        struct sim_fs *fs = sim_fs_new(nk_prng_next(&prng));
        if (fault == SIM_FS_FAULT_POWER_CUT) {
            sim_fs_cut_power_after(fs, n - 1);
        } else {
            sim_fs_fail_at(fs, n, fault == SIM_FS_FAULT_IO ? NK_IO : NK_NO_SPACE);
        }
        scenario->run(scenario->ctx, fs);
        bool met = fs->operations >= n || !powered(fs);
        if (fault == SIM_FS_FAULT_POWER_CUT || nk_prng_chance(&prng, 500000)) {
            sim_fs_crash(fs, &prng);
        } else {
            sim_fs_kill(fs);
        }
        scenario->check(scenario->ctx, fs);
        sim_fs_free(&fs);
        if (!met) {
            return n;
        }
    }
}

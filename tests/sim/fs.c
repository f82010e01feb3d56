/* Faults and the contract; the names are fs_names.c's, the bytes of a file fs_data.c's. */

#include "tests/sim/fs.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"

#include "tests/sim/fs_names.h"

struct nk_file {
    struct sim_fs *fs;
    struct sim_node *node;
    bool writable;
    uint64_t incarnation; /* of the fs when it was opened; it is dead when that is over */
};

struct sim_fs {
    struct sim_names names;
    struct nk_prng prng;
    uint64_t incarnation;
    size_t open_count;
    uint64_t space_limit;
    uint64_t operations;
    uint64_t fail_operation; /* that number fails; 0 none */
    enum nk_err fail_err;
    uint64_t power_operation; /* later ones fail; UINT64_MAX none */
    bool last_gasp;           /* the first of them is under way when the power goes */
    bool under_way;           /* it is the one being carried out */
    uint64_t refused;         /* for want of power */
    uint64_t io_faults;
    uint64_t space_faults;
};

/* --- Faults. */

/* Every operation begins here and fails with what this returns. */
static enum nk_err begin(struct sim_fs *fs, bool needs_space)
{
    enum nk_err err = NK_OK;
    fs->under_way = false;
    if (fs->operations >= fs->power_operation) {
        err = NK_IO;
        fs->under_way = fs->last_gasp;
        fs->last_gasp = false;
        fs->refused++;
    } else {
        fs->operations++;
        if (fs->operations == fs->fail_operation && (fs->fail_err != NK_NO_SPACE || needs_space)) {
            err = fs->fail_err;
        }
    }
    fs->io_faults += err == NK_IO;
    fs->space_faults += err == NK_NO_SPACE;
    return err;
}

static enum nk_err begin_file(struct nk_file *file, bool needs_space)
{
    return file->incarnation == file->fs->incarnation ? begin(file->fs, needs_space) : NK_IO;
}

static bool powered(const struct sim_fs *fs)
{
    return fs->operations < fs->power_operation;
}

/* Whether an operation that fails may have happened, or part of it. */
static bool reaches_disk(const struct sim_fs *fs)
{
    return powered(fs) || fs->under_way;
}

/* Whether an operation on names that fails happens nevertheless. */
static bool happens(struct sim_fs *fs, enum nk_err fault)
{
    return fault == NK_OK ||
           (fault == NK_IO && reaches_disk(fs) && nk_prng_chance(&fs->prng, 500000));
}

static uint64_t space_used(const struct sim_fs *fs)
{
    uint64_t used = 0;
    for (struct nk_list *link = fs->names.nodes.next; link != &fs->names.nodes; link = link->next) {
        const struct sim_node *node = sim_node_of(link);
        if (node->names > 0 || node->open_count > 0) {
            used += node->data.size;
        }
    }
    return used;
}

static bool fits(const struct sim_fs *fs, const struct sim_node *node, uint64_t size)
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
    struct sim_node *directory = sim_names_walk(&fs->names, name, &last);
    if (directory == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    struct sim_node *node = nk_map_get(&directory->live, last);
    if (mode == NK_FS_CREATE && node == NULL && happens(fs, fault)) {
        node = sim_node_new(&fs->names, false);
        sim_names_change(&fs->names, node, NULL, last, directory, last);
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
    sim_node_release((*file)->node);
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
        fs->space_faults++;
    }
    if (fault == NK_OK) {
        sim_data_write(&file->node->data, offset, bytes);
    } else if (file->incarnation == fs->incarnation && reaches_disk(fs) &&
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
        fs->space_faults++;
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
    } else if (file->incarnation == fs->incarnation && reaches_disk(fs)) {
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
    struct sim_node *from_directory = sim_names_walk(&fs->names, from, &from_last);
    struct sim_node *to_directory = sim_names_walk(&fs->names, to, &to_last);
    struct sim_node *node =
        from_directory == NULL ? NULL : nk_map_get(&from_directory->live, from_last);
    if (node == NULL || to_directory == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    struct sim_node *former = nk_map_get(&to_directory->live, to_last);
    bool below_itself = strncmp(from, to, strlen(from)) == 0 && to[strlen(from)] == '/';
    if (below_itself ||
        (former != NULL && former != node && (former->directory || node->directory))) {
        return fault != NK_OK ? fault : NK_CONFLICT;
    }
    if (former != node && happens(fs, fault)) {
        sim_names_change(&fs->names, node, from_directory, from_last, to_directory, to_last);
    }
    return fault;
}

static enum nk_err fs_link(void *ctx, const char *from, const char *to)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, true);
    struct nk_bytes last;
    struct sim_node *node = sim_names_find(&fs->names, from);
    struct sim_node *directory = sim_names_walk(&fs->names, to, &last);
    if (node == NULL || node->directory || directory == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    if (nk_map_get(&directory->live, last) != NULL) {
        return fault != NK_OK ? fault : NK_CONFLICT;
    }
    if (happens(fs, fault)) {
        sim_names_change(&fs->names, node, NULL, last, directory, last);
    }
    return fault;
}

static enum nk_err fs_remove(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, false);
    struct nk_bytes last;
    struct sim_node *directory = sim_names_walk(&fs->names, name, &last);
    struct sim_node *node = directory == NULL ? NULL : nk_map_get(&directory->live, last);
    if (node == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    if (node->live.count > 0) {
        return fault != NK_OK ? fault : NK_CONFLICT;
    }
    if (happens(fs, fault)) {
        sim_names_change(&fs->names, node, directory, last, NULL, last);
    }
    return fault;
}

static enum nk_err fs_mkdir(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, true);
    struct nk_bytes last;
    struct sim_node *directory = sim_names_walk(&fs->names, name, &last);
    if (directory == NULL) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    if (nk_map_get(&directory->live, last) != NULL) {
        return fault != NK_OK ? fault : NK_CONFLICT;
    }
    if (happens(fs, fault)) {
        sim_names_change(&fs->names, sim_node_new(&fs->names, true), NULL, last, directory, last);
    }
    return fault;
}

static enum nk_err fs_sync_dir(void *ctx, const char *name)
{
    struct sim_fs *fs = ctx;
    enum nk_err fault = begin(fs, false);
    struct sim_node *directory = sim_names_find(&fs->names, name);
    if (directory == NULL || !directory->directory) {
        return fault != NK_OK ? fault : NK_NOT_FOUND;
    }
    if (fault == NK_OK) {
        sim_names_sync(&fs->names, directory, SIZE_MAX);
    } else if (reaches_disk(fs)) {
        sim_names_sync(&fs->names, directory,
                       (size_t)nk_prng_below(&fs->prng, fs->names.change_count + 1));
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
    struct sim_node *directory = sim_names_find(&fs->names, name);
    if (directory == NULL || !directory->directory) {
        return NK_NOT_FOUND;
    }
    size_t position = 0;
    for (struct nk_map_entry *entry = nk_map_next(&directory->live, &position); entry != NULL;
         entry = nk_map_next(&directory->live, &position)) {
        char *text = sim_text_of(nk_bytes_of(entry->key, entry->key_size));
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
    sim_names_init(&fs->names);
    nk_prng_init(&fs->prng, seed);
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
    sim_names_deinit(&(*fs)->names);
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
    fs->refused = 0;
}

void sim_fs_crash(struct sim_fs *fs, struct nk_prng *prng)
{
    sim_fs_kill(fs);
    sim_names_crash(&fs->names, prng);
    for (struct nk_list *link = fs->names.nodes.next; link != &fs->names.nodes; link = link->next) {
        sim_data_crash(&sim_node_of(link)->data, prng);
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
    fs->last_gasp = operations > 0;
    fs->refused = 0;
}

bool sim_fs_power_missed(const struct sim_fs *fs)
{
    return fs->refused > 0;
}

uint64_t sim_fs_io_faults(const struct sim_fs *fs)
{
    return fs->io_faults;
}

uint64_t sim_fs_space_faults(const struct sim_fs *fs)
{
    return fs->space_faults;
}

uint64_t sim_fs_used(const struct sim_fs *fs)
{
    return space_used(fs);
}

void sim_fs_limit_space(struct sim_fs *fs, uint64_t bytes)
{
    fs->space_limit = bytes;
}

bool sim_fs_exists(const struct sim_fs *fs, const char *name)
{
    return sim_names_find(&fs->names, name) != NULL;
}

void sim_fs_read(const struct sim_fs *fs, const char *name, struct nk_buf *out_contents)
{
    const struct sim_node *node = sim_names_find(&fs->names, name);
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
    const struct sim_node *node = sim_names_find(&fs->names, directory);
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
        if (sim_names_find(&fs->names, path) == NULL) {
            struct nk_bytes last;
            struct sim_node *parent = sim_names_walk(&fs->names, path, &last);
            sim_names_change(&fs->names, sim_node_new(&fs->names, true), NULL, last, parent, last);
            sim_names_sync(&fs->names, parent, SIZE_MAX);
        }
        *slash = '/';
    }
    nk_free(path);
    struct nk_bytes last;
    struct sim_node *directory = sim_names_walk(&fs->names, name, &last);
    struct sim_node *node = sim_node_new(&fs->names, false);
    sim_data_write(&node->data, 0, contents);
    sim_data_sync(&node->data);
    sim_names_change(&fs->names, node, NULL, last, directory, last);
    sim_names_sync(&fs->names, directory, SIZE_MAX);
}

void sim_fs_flip(struct sim_fs *fs, const char *name, uint64_t offset, uint8_t mask)
{
    struct sim_node *node = sim_names_find(&fs->names, name);
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

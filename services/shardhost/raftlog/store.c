#include "services/shardhost/raftlog/store.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

void raftlog_store_init(struct raftlog_store *store, const struct nk_fs *fs, const char *directory,
                        const struct raftlog_options *options)
{
    memset(store, 0, sizeof *store);
    store->fs = *fs;
    store->directory = nk_strdup(directory);
    store->options = *options;
}

void raftlog_store_deinit(struct raftlog_store *store)
{
    nk_fs_close(&store->fs, &store->file);
    nk_free(store->spares);
    nk_free(store->directory);
}

char *raftlog_store_path(const struct raftlog_store *store, const char *name)
{
    size_t directory_size = strlen(store->directory);
    size_t name_size = strlen(name);
    char *path = nk_alloc(directory_size + 1 + name_size + 1);
    memcpy(path, store->directory, directory_size);
    path[directory_size] = '/';
    memcpy(path + directory_size + 1, name, name_size + 1);
    return path;
}

void raftlog_segment_name(uint64_t sequence, const char *suffix, char out[RAFTLOG_NAME_BYTES])
{
    struct nk_text text;
    nk_text_init(&text, out, RAFTLOG_NAME_BYTES);
    nk_text_add_hex(&text, sequence, 16);
    nk_text_add(&text, suffix);
    NK_ASSERT(!text.truncated);
}

enum raftlog_name raftlog_segment_name_parse(const char *name, uint64_t *out_sequence)
{
    uint64_t sequence = 0;
    for (size_t i = 0; i < 16; i++) {
        char digit = name[i];
        if (digit >= '0' && digit <= '9') {
            sequence = sequence << 4 | (uint64_t)(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            sequence = sequence << 4 | (uint64_t)(digit - 'a' + 10);
        } else {
            return RAFTLOG_NAME_FOREIGN;
        }
    }
    static const struct {
        const char *suffix;
        enum raftlog_name kind;
    } suffixes[] = {
        {".log", RAFTLOG_NAME_SEGMENT},
        {".old", RAFTLOG_NAME_OLD},
        {".new", RAFTLOG_NAME_NEW},
        {".top", RAFTLOG_NAME_TOP},
    };
    if (sequence == 0 || sequence > RAFTLOG_SEQUENCE_MAX) {
        return RAFTLOG_NAME_FOREIGN;
    }
    for (size_t i = 0; i < NK_COUNT_OF(suffixes); i++) {
        if (strcmp(name + 16, suffixes[i].suffix) == 0) {
            *out_sequence = sequence;
            return suffixes[i].kind;
        }
    }
    return RAFTLOG_NAME_FOREIGN;
}

enum nk_err raftlog_store_fault(struct raftlog_store *store, enum nk_err err, const char *name,
                                uint64_t offset, const char *what)
{
    struct raftlog_fault *fault = &store->fault;
    memset(fault, 0, sizeof *fault);
    fault->err = nk_err_is_fault(err) || err == NK_NO_SPACE ? err : NK_IO;
    fault->offset = offset;
    fault->what = what;
    struct nk_text file;
    nk_text_init(&file, fault->file, sizeof fault->file);
    nk_text_add(&file, store->directory);
    if (name[0] != '\0') {
        nk_text_add(&file, "/");
        nk_text_add(&file, name);
    }
    return fault->err;
}

static enum nk_err sync_names(struct raftlog_store *store)
{
    if (nk_fs_sync_dir(&store->fs, store->directory) == NK_OK) {
        return NK_OK;
    }
    /* Whatever the reason, nobody knows which names are on disk: not to be tried again. */
    return raftlog_store_fault(store, NK_IO, "", 0, "the directory cannot be synced");
}

static enum nk_err remove_file(struct raftlog_store *store, const char *name)
{
    char *path = raftlog_store_path(store, name);
    enum nk_err err = nk_fs_remove(&store->fs, path);
    nk_free(path);
    return err == NK_OK ? NK_OK
                        : raftlog_store_fault(store, err, name, 0, "a file cannot be removed");
}

static enum nk_err rename_file(struct raftlog_store *store, const char *from, const char *to)
{
    char *from_path = raftlog_store_path(store, from);
    char *to_path = raftlog_store_path(store, to);
    enum nk_err err = nk_fs_rename(&store->fs, from_path, to_path);
    nk_free(from_path);
    nk_free(to_path);
    return err == NK_OK ? NK_OK
                        : raftlog_store_fault(store, err, from, 0, "a file cannot be renamed");
}

void raftlog_store_add_spare(struct raftlog_store *store, const char *name)
{
    if (store->spare_count == store->spare_capacity) {
        store->spare_capacity = 2 * store->spare_capacity + 4;
        store->spares = nk_realloc(store->spares, store->spare_capacity * sizeof store->spares[0]);
    }
    struct raftlog_spare *spare = &store->spares[store->spare_count++];
    NK_ASSERT(strlen(name) < sizeof spare->name);
    memcpy(spare->name, name, strlen(name) + 1);
}

enum nk_err raftlog_store_trim_spares(struct raftlog_store *store)
{
    while (store->spare_count > store->options.recycled_max) {
        enum nk_err err = remove_file(store, store->spares[store->spare_count - 1].name);
        if (err != NK_OK) {
            return err;
        }
        store->spare_count--;
    }
    return NK_OK;
}

/* Opens a file that is to become segment `sequence`; its name is a spare's. */
static enum nk_err open_spare(struct raftlog_store *store, uint64_t sequence,
                              struct raftlog_spare *out_spare, struct nk_file **out_file)
{
    bool recycled = store->spare_count > 0;
    struct raftlog_spare spare;
    if (recycled) {
        spare = store->spares[store->spare_count - 1];
    } else {
        raftlog_segment_name(sequence, ".new", spare.name);
    }
    char *path = raftlog_store_path(store, spare.name);
    struct nk_file *file = NULL;
    enum nk_err err = nk_fs_open(&store->fs, path, recycled ? NK_FS_WRITE : NK_FS_CREATE, &file);
    nk_free(path);
    if (err != NK_OK) {
        return raftlog_store_fault(store, err, spare.name, 0, "a new segment cannot be opened");
    }
    if (recycled) {
        store->spare_count--;
    }
    *out_spare = spare;
    *out_file = file;
    return NK_OK;
}

/* The file gets its head, and a length that is not above a segment's. */
static enum nk_err prepare(struct raftlog_store *store, struct nk_file *file, const char *name,
                           const struct raftlog_segment_head *head)
{
    uint8_t sector[RAFTLOG_SECTOR_BYTES];
    raftlog_segment_head_encode(head, sector);
    uint64_t size = 0;
    enum nk_err err = nk_fs_size(&store->fs, file, &size);
    if (err == NK_OK && size > store->options.segment_bytes) {
        err = nk_fs_truncate(&store->fs, file, store->options.segment_bytes);
    }
    if (err == NK_OK) {
        err = nk_fs_pwrite(&store->fs, file, 0, nk_bytes_of(sector, sizeof sector));
    }
    if (err == NK_OK) {
        err = nk_fs_sync(&store->fs, file);
    }
    return err == NK_OK ? NK_OK
                        : raftlog_store_fault(store, err, name, 0,
                                              "the head of a segment cannot be written");
}

enum nk_err raftlog_store_roll(struct raftlog_store *store, const struct raftlog_segment_head *head)
{
    NK_ASSERT(store->sequence == 0 || head->sequence == store->sequence + 1);
    struct raftlog_spare spare;
    struct nk_file *file;
    enum nk_err err = open_spare(store, head->sequence, &spare, &file);
    if (err != NK_OK) {
        return err;
    }
    err = prepare(store, file, spare.name, head);
    if (err == NK_OK) {
        char name[RAFTLOG_NAME_BYTES];
        raftlog_segment_name(head->sequence, ".log", name);
        err = rename_file(store, spare.name, name);
    }
    if (err == NK_NO_SPACE) {
        raftlog_store_add_spare(store, spare.name); /* the next attempt takes it */
    }
    if (err == NK_OK) {
        err = sync_names(store);
    }
    if (err != NK_OK) {
        nk_fs_close(&store->fs, &file);
        return err;
    }
    nk_fs_close(&store->fs, &store->file);
    store->file = file;
    store->sequence = head->sequence;
    nk_gauge_add(&store->stats.segments, 1);
    return NK_OK;
}

/* What of it a failed attempt has left is as good. */
static enum nk_err make_empty(struct raftlog_store *store, const char *name)
{
    char *path = raftlog_store_path(store, name);
    struct nk_file *file = NULL;
    enum nk_err err = nk_fs_open(&store->fs, path, NK_FS_CREATE, &file);
    nk_free(path);
    nk_fs_close(&store->fs, &file);
    return err == NK_OK || err == NK_CONFLICT
               ? NK_OK
               : raftlog_store_fault(store, err, name, 0, "a file cannot be made");
}

enum nk_err raftlog_store_mark(struct raftlog_store *store)
{
    NK_ASSERT(store->marked <= store->sequence);
    if (store->marked == store->sequence) {
        return NK_OK;
    }
    char name[RAFTLOG_NAME_BYTES];
    raftlog_segment_name(store->sequence, ".top", name);
    enum nk_err err;
    if (store->marked != 0) {
        char former[RAFTLOG_NAME_BYTES];
        raftlog_segment_name(store->marked, ".top", former);
        err = rename_file(store, former, name);
    } else {
        err = make_empty(store, name);
    }
    if (err == NK_OK) {
        err = sync_names(store);
    }
    if (err == NK_OK) {
        store->marked = store->sequence;
    }
    return err;
}

/* On a full disk the spares are the first to go. */
static enum nk_err give_up_spare(struct raftlog_store *store)
{
    NK_ASSERT(store->spare_count > 0);
    store->spare_count--;
    enum nk_err err = remove_file(store, store->spares[store->spare_count].name);
    return err == NK_OK ? sync_names(store) : err;
}

enum nk_err raftlog_store_append(struct raftlog_store *store, uint64_t offset,
                                 struct nk_bytes bytes)
{
    NK_ASSERT(store->file != NULL);
    NK_ASSERT(offset >= RAFTLOG_SECTOR_BYTES);
    enum nk_err err = raftlog_store_mark(store);
    if (err != NK_OK) {
        return err;
    }
    char name[RAFTLOG_NAME_BYTES];
    raftlog_segment_name(store->sequence, ".log", name);
    err = nk_fs_pwrite(&store->fs, store->file, offset, bytes);
    while (err == NK_NO_SPACE && store->spare_count > 0) {
        err = give_up_spare(store);
        if (err != NK_OK) {
            return err;
        }
        err = nk_fs_pwrite(&store->fs, store->file, offset, bytes);
    }
    if (err != NK_OK) {
        return raftlog_store_fault(store, err, name, offset, "a round cannot be written");
    }
    err = nk_fs_sync(&store->fs, store->file);
    if (err != NK_OK) {
        /* Not NK_NO_SPACE, whatever the fs says: what is on disk is unknown for good. */
        return raftlog_store_fault(store, NK_IO, name, offset, "a round cannot be synced");
    }
    nk_counter_add(&store->stats.syncs, 1);
    nk_counter_add(&store->stats.bytes, bytes.size);
    return NK_OK;
}

enum nk_err raftlog_store_drop(struct raftlog_store *store, uint64_t sequence)
{
    NK_ASSERT(sequence < store->sequence);
    char name[RAFTLOG_NAME_BYTES];
    raftlog_segment_name(sequence, ".log", name);
    enum nk_err err;
    if (store->spare_count < store->options.recycled_max) {
        char spare[RAFTLOG_NAME_BYTES];
        raftlog_segment_name(sequence, ".old", spare);
        err = rename_file(store, name, spare);
        if (err == NK_OK) {
            raftlog_store_add_spare(store, spare);
        }
    } else {
        err = remove_file(store, name);
    }
    if (err == NK_OK) {
        err = sync_names(store);
    }
    if (err == NK_OK) {
        nk_gauge_add(&store->stats.segments, -1);
    }
    return err;
}

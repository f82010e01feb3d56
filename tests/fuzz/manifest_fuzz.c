/* Manifests (services/shardhost/lsm/FORMAT.md, "Manifest"), through lsm_open on files in memory.
 *
 * First byte 0: the rest are the bytes of a manifest.  First byte 1: the same with the checksums
 * put right, so that what lies behind them is reached.  Whatever they are, the open is refused and
 * has changed nothing, or the database works: what is written and flushed then is there after the
 * next open; what is refused an inspection tells as damage.  First byte 2: a history of writes and
 * flushes, and then changes of its manifest.  The open is refused, or shows what was there after
 * one of the flushes; after a single change, the last. */

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/hash.h"
#include "common/base/units.h"
#include "services/shardhost/lsm/inspect/inspect.h"
#include "services/shardhost/lsm/manifest.h"
#include "services/shardhost/lsm/names.h"
#include "tests/sim/fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DIRECTORY   "d"
#define MANIFEST    DIRECTORY "/" LSM_MANIFEST_NAME
#define SLOT_STRIDE ((size_t)512)
#define RECORDS_AT  ((size_t)1024)
#define TABLES_MAX  64 /* files that are made for a hostile manifest */

static const struct lsm_options options = {
    .memtable_bytes = NK_MIB,
    .write_buffer_total_bytes = NK_MIB,
    .block_cache_bytes = 64 * NK_KIB,
    .filter_bits_per_key = 10,
    .compression = LSM_COMPRESSION_NONE,
};

struct rig {
    struct sim_fs *sim;
    struct nk_fs fs;
    struct lsm_engine *engine;
    struct lsm_db *db;
};

static void rig_init(struct rig *rig)
{
    rig->sim = sim_fs_new(1);
    rig->fs = sim_fs_handle(rig->sim);
    rig->db = NULL;
    lsm_engine_open(&rig->fs, &options, &rig->engine);
}

static void rig_deinit(struct rig *rig)
{
    lsm_close(&rig->db);
    lsm_engine_close(&rig->engine);
    sim_fs_free(&rig->sim);
}

static void put(struct rig *rig, const char *key, uint64_t index)
{
    uint8_t value[8];
    nk_put_u64(value, index);
    struct lsm_record record = {
        .key = nk_bytes_of_string(key),
        .value = nk_bytes_of(value, sizeof value),
        .version = {1, index},
    };
    lsm_write(rig->db, &record);
}

/* The state says again which index it belongs to. */
static void commit(struct rig *rig, uint64_t index)
{
    uint8_t state[8];
    nk_put_u64(state, ~index);
    lsm_commit(rig->db, (struct lsm_version){1, index}, index, nk_bytes_of(state, sizeof state));
}

static void flush(struct rig *rig)
{
    lsm_request_flush(rig->db);
    struct lsm_db *db = NULL;
    while ((db = lsm_engine_pick(rig->engine, 0)) != NULL) {
        bool more = true;
        while (more) {
            enum nk_err err = lsm_work(db, SIZE_MAX, &more);
            NK_ASSERT(err == NK_OK);
        }
        lsm_work_ended(db, 0);
    }
}

static uint64_t applied_index(struct rig *rig)
{
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_applied(rig->db, &applied, &state);
    NK_ASSERT(lsm_durable_index(rig->db) == applied.index);
    return applied.index;
}

/* Names and contents of all files. */
static uint64_t digest(const struct rig *rig)
{
    if (!sim_fs_exists(rig->sim, DIRECTORY)) {
        return 0;
    }
    struct nk_buf names = {0};
    struct nk_buf contents = {0};
    sim_fs_list(rig->sim, DIRECTORY, &names);
    uint64_t result = nk_xxh64(nk_buf_bytes(&names), 0);
    char path[NK_PATH_BYTES_MAX] = DIRECTORY "/";
    size_t used = strlen(path);
    for (size_t i = 0; i < names.size; i++) {
        bool end = names.data[i] == '\n';
        path[used] = end ? '\0' : (char)names.data[i];
        used++;
        if (end) {
            sim_fs_read(rig->sim, path, &contents);
            result = nk_xxh64(nk_buf_bytes(&contents), result);
            used = strlen(DIRECTORY "/");
        }
    }
    nk_buf_deinit(&names);
    nk_buf_deinit(&contents);
    return result;
}

static void drop_text(void *ctx, struct nk_bytes text)
{
    (void)ctx;
    NK_ASSERT(text.data[text.size - 1] == '\n');
}

/* Before the manifest is opened: an inspection, which changes nothing. */
static enum nk_err inspect(struct rig *rig, uint64_t *out_damages)
{
    struct lsm_inspect options_of_it = {
        .fs = &rig->fs, .prefix = "", .write = drop_text, .full_keys = true};
    uint64_t before = digest(rig);
    enum nk_err err = lsm_inspect_manifest(&options_of_it, MANIFEST, out_damages);
    NK_ASSERT(digest(rig) == before);
    return err;
}

/* A refused open says why and has changed nothing. */
static bool open_database(struct rig *rig)
{
    uint64_t damages = 0;
    enum nk_err inspected = inspect(rig, &damages);
    uint64_t before = digest(rig);
    struct lsm_fault fault = {0};
    enum nk_err err = lsm_open(rig->engine, DIRECTORY, &rig->db, &fault);
    if (err == NK_OK) {
        return true;
    }
    NK_ASSERT(err == NK_CORRUPT || err == NK_FORMAT_TOO_NEW);
    NK_ASSERT(fault.err == err);
    NK_ASSERT(fault.what[0] != '\0');
    NK_ASSERT(digest(rig) == before);
    if (strcmp(fault.file, MANIFEST) == 0) {
        NK_ASSERT(inspected == (err == NK_CORRUPT ? NK_OK : err));
        NK_ASSERT(err != NK_CORRUPT || damages > 0);
    }
    return false;
}

/* What is written now is there after the next open. */
static void use_database(struct rig *rig)
{
    uint64_t index = applied_index(rig);
    put(rig, "new", index + 1);
    commit(rig, index + 1);
    flush(rig);
    lsm_close(&rig->db);
    bool opened = open_database(rig);
    NK_ASSERT(opened);
    NK_ASSERT(applied_index(rig) == index + 1);
    struct lsm_entry entry;
    enum nk_err err = lsm_get(rig->db, nk_bytes_of_string("new"), LSM_DISK, &entry, NULL);
    NK_ASSERT(err == NK_OK);
    NK_ASSERT(entry.version.index == index + 1);
}

/* --- Bytes. */

/* A file for each table that the manifest names: that they exist is asked at the open.  False: the
 * database, if it is one, has come to the end of its numbers, which no life is long enough for. */
static bool make_tables(struct rig *rig, struct nk_bytes manifest)
{
    bool goes_on = false;
    struct lsm_catalog catalog;
    bool promised;
    uint64_t offset;
    lsm_catalog_init(&catalog);
    if (lsm_manifest_decode(manifest, &catalog, &promised, &offset) == NK_OK) {
        for (size_t i = 0; i < nk_min_size(catalog.table_count, TABLES_MAX); i++) {
            char name[LSM_FILE_NAME_BYTES_MAX];
            char path[NK_PATH_BYTES_MAX];
            lsm_table_name(catalog.tables[i].meta.number, name);
            lsm_path(DIRECTORY, name, path);
            sim_fs_put(rig->sim, path, nk_bytes_of_string("no table"));
        }
        goes_on = catalog.position.applied.index < UINT64_MAX &&
                  catalog.number_next + TABLES_MAX < LSM_TABLE_NUMBER_LIMIT;
    }
    lsm_catalog_deinit(&catalog);
    return goes_on;
}

static void fuzz_file(struct nk_bytes manifest)
{
    struct rig rig;
    rig_init(&rig);
    sim_fs_put(rig.sim, MANIFEST, manifest);
    bool goes_on = make_tables(&rig, manifest);
    if (open_database(&rig)) {
        struct lsm_shape shape;
        lsm_get_shape(rig.db, &shape);
        struct lsm_entry entry;
        enum nk_err err = lsm_get(rig.db, nk_bytes_of_string("k"), LSM_DISK, &entry, NULL);
        NK_ASSERT(err == NK_NOT_FOUND || (err == NK_CORRUPT && shape.table_count > 0));
        if (goes_on) {
            use_database(&rig);
        }
    }
    rig_deinit(&rig);
}

static void fuzz_sealed_file(struct nk_bytes bytes)
{
    uint8_t *file = nk_alloc(bytes.size + 1);
    memcpy(file, bytes.data, bytes.size);
    for (size_t i = 0; i < 2 && bytes.size >= RECORDS_AT; i++) {
        uint8_t *slot = file + i * SLOT_STRIDE;
        uint32_t crc = nk_crc32c(nk_bytes_of(slot, 12));
        nk_put_u32(slot + 12, nk_crc32c_extend(crc, nk_bytes_of(slot + 16, 16)));
    }
    for (size_t at = RECORDS_AT; bytes.size >= RECORDS_AT && bytes.size - at >= 8;) {
        uint8_t place[8];
        size_t size = nk_min_size(nk_get_u32(file + at + 4), bytes.size - at - 8);
        nk_put_u32(file + at + 4, (uint32_t)size);
        nk_put_u64(place, at);
        uint32_t crc = nk_crc32c(nk_bytes_of(file + at + 4, 4 + size));
        nk_put_u32(file + at, nk_crc32c_extend(crc, nk_bytes_of(place, sizeof place)));
        at += 8 + size;
    }
    fuzz_file(nk_bytes_of(file, bytes.size));
    nk_free(file);
}

/* --- Histories. */

#define KEYS        8
#define INDEX_MAX   512
#define FLUSHES_MAX 64

static const char *const keys[KEYS] = {"a", "aa", "ab", "b", "long key with a tail", "m", "x", "y"};

struct history {
    struct rig rig;
    uint64_t index;
    uint8_t written[INDEX_MAX + 1]; /* number of the key + 1, by index; 0: the entry wrote none */
    uint64_t flushed[FLUSHES_MAX];  /* indexes */
    size_t flush_count;
};

/* The database is what it was when `index` had been applied. */
static void check_state(struct history *history, uint64_t index)
{
    struct rig *rig = &history->rig;
    struct lsm_version applied;
    struct nk_bytes state;
    lsm_applied(rig->db, &applied, &state);
    if (index > 0) {
        NK_ASSERT(applied.term == 1);
        NK_ASSERT(state.size == 8);
        NK_ASSERT(nk_get_u64(state.data) == ~index);
    }
    struct nk_buf value = {0};
    for (size_t key = 0; key < KEYS; key++) {
        uint64_t newest = index;
        while (newest > 0 && history->written[newest] != key + 1) {
            newest--;
        }
        struct lsm_entry entry;
        enum nk_err err = lsm_get(rig->db, nk_bytes_of_string(keys[key]), LSM_DISK, &entry, &value);
        NK_ASSERT(err == (newest > 0 ? NK_OK : NK_NOT_FOUND));
        if (err == NK_OK) {
            NK_ASSERT(entry.version.index == newest);
            NK_ASSERT(value.size == 8);
            NK_ASSERT(nk_get_u64(value.data) == newest);
        }
    }
    nk_buf_deinit(&value);
}

static void operate(struct history *history, uint8_t operation)
{
    struct rig *rig = &history->rig;
    switch (operation % 8) {
    case 0:
        if (history->flush_count < FLUSHES_MAX && history->index > 0) {
            flush(rig);
            history->flushed[history->flush_count++] = history->index;
        }
        break;
    case 1: /* what was not flushed is lost, as the owner's log is not read here */
        history->index = history->flush_count > 0 ? history->flushed[history->flush_count - 1] : 0;
        memset(history->written + history->index + 1, 0, INDEX_MAX - (size_t)history->index);
        lsm_close(&rig->db);
        NK_ASSERT(open_database(rig));
        NK_ASSERT(applied_index(rig) == history->index);
        break;
    case 2: /* only the position moves */
        if (history->index < INDEX_MAX) {
            commit(rig, ++history->index);
        }
        break;
    default:
        if (history->index < INDEX_MAX) {
            uint8_t key = operation / 8 % KEYS;
            history->written[++history->index] = (uint8_t)(key + 1);
            put(rig, keys[key], history->index);
            commit(rig, history->index);
        }
        break;
    }
}

static void change(struct nk_buf *file, struct nk_reader *input)
{
    uint8_t kind = nk_read_u8(input);
    size_t at = nk_read_u16(input) % file->size;
    uint8_t byte = nk_read_u8(input);
    switch (kind % 8) {
    case 0:
        file->size = at;
        break;
    case 1:
        nk_buf_append(file, nk_bytes_of("behind", byte % 7));
        break;
    case 2:
        at -= at % 512;
        memset(file->data + at, 0, nk_min_size(512, file->size - at));
        break;
    case 3: { /* a run of bytes in the wrong place, perhaps a whole record */
        size_t to = nk_min_size(at + byte, file->size - 1);
        memmove(file->data + to, file->data + at, nk_min_size(128, file->size - to));
        break;
    }
    default:
        file->data[at] ^= byte;
        break;
    }
}

static size_t change_file(struct rig *rig, struct nk_reader *input)
{
    size_t changes = 0;
    struct nk_buf before = {0};
    struct nk_buf file = {0};
    sim_fs_read(rig->sim, MANIFEST, &before);
    nk_buf_append(&file, nk_buf_bytes(&before));
    while (nk_reader_left(input) >= 4 && file.size > 0) {
        change(&file, input);
        changes++;
    }
    if (nk_bytes_equal(nk_buf_bytes(&before), nk_buf_bytes(&file))) {
        changes = 0;
    }
    if (changes > 0) {
        sim_fs_put(rig->sim, MANIFEST, nk_buf_bytes(&file));
    }
    nk_buf_deinit(&before);
    nk_buf_deinit(&file);
    return changes;
}

static void check_after(struct history *history, size_t changes)
{
    struct rig *rig = &history->rig;
    uint64_t last = history->flushed[history->flush_count - 1];
    if (!open_database(rig)) {
        NK_ASSERT(changes > 0);
        return;
    }
    uint64_t index = applied_index(rig);
    bool known = index == 0;
    for (size_t i = 0; i < history->flush_count; i++) {
        known |= history->flushed[i] == index;
    }
    NK_ASSERT(known);
    if (changes <= 1) {
        NK_ASSERT(index == last);
    }
    check_state(history, index);
    use_database(rig);
}

static void fuzz_history(struct nk_reader *input)
{
    static struct history history;
    memset(&history, 0, sizeof history);
    rig_init(&history.rig);
    NK_ASSERT(lsm_open(history.rig.engine, DIRECTORY, &history.rig.db, NULL) == NK_OK);
    size_t count = nk_read_u8(input);
    for (size_t i = 0; i < count && nk_reader_left(input) > 0; i++) {
        operate(&history, nk_read_u8(input));
    }
    if (history.flush_count > 0) {
        lsm_close(&history.rig.db);
        check_after(&history, change_file(&history.rig, input));
    }
    rig_deinit(&history.rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nk_reader input = nk_reader_of(nk_bytes_of(data, size));
    uint8_t mode = nk_read_u8(&input);
    if (input.failed || mode > 2) {
        return 0;
    }
    struct nk_bytes rest = nk_bytes_of(input.next, nk_reader_left(&input));
    if (mode == 0) {
        fuzz_file(rest);
    } else if (mode == 1) {
        fuzz_sealed_file(rest);
    } else {
        fuzz_history(&input);
    }
    return 0;
}

/* The raft log against hostile files and hostile histories.
 *
 * First byte 0: the rest is up to three segment files, each behind a two-byte length.  Opening them
 * succeeds or refuses with a fault and leaves them alone; what a successful open showed, the next
 * one shows again, with what was written in between.
 * First byte 1: the same with the checksums put right, so that what lies behind them is reached.
 * First byte 2: the rest is a list of operations, with crashes and failing calls among them.  Every
 * entry carries its number; what comes back after a crash must be an unbroken run of numbers in
 * order that reaches at least to the last one acknowledged and leaves out none that is needed. */

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/hash.h"
#include "common/base/units.h"
#include "services/shardhost/raftlog/layout.h"
#include "services/shardhost/raftlog/raftlog.h"
#include "tests/sim/fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILES_MAX 3

static const char *const names[FILES_MAX] = {
    "raft/0000000000000001.log",
    "raft/0000000000000002.log",
    "raft/0000000000000003.log",
};

/* --- Files. */

struct seen {
    uint64_t digest;
    uint64_t count;
};

static void see(void *visitor, const struct raftlog_record *record)
{
    struct seen *seen = visitor;
    uint64_t head[5] = {record->kind, record->shard, record->term, record->index,
                        record->entry_kind};
    NK_ASSERT(record->kind >= RAFTLOG_ENTRY);
    NK_ASSERT(record->kind <= RAFTLOG_FORGET);
    seen->digest = nk_xxh64(nk_bytes_of(head, sizeof head), seen->digest);
    seen->digest = nk_xxh64(record->payload, seen->digest);
    seen->count++;
}

/* From the last to the first, so that a batch is sealed after what lies inside it. */
static void repair(uint8_t *file, size_t size)
{
    size_t sectors = size / RAFTLOG_SECTOR_BYTES;
    for (size_t i = sectors; i-- > 1;) {
        uint8_t *batch = file + i * RAFTLOG_SECTOR_BYTES;
        uint32_t length = nk_get_u32(batch + 4);
        if (length > RAFTLOG_BATCH_HEAD_BYTES && length <= size - i * RAFTLOG_SECTOR_BYTES) {
            (void)raftlog_batch_seal(batch);
        }
    }
    if (sectors > 0) {
        nk_put_u32(file + 12, 0);
        nk_put_u32(file + 12, nk_crc32c(nk_bytes_of(file, RAFTLOG_SECTOR_BYTES)));
    }
}

static struct sim_fs *make_files(struct nk_reader *input, bool sealed)
{
    struct sim_fs *sim = sim_fs_new(1);
    for (size_t i = 0; i < FILES_MAX && nk_reader_left(input) >= 2; i++) {
        size_t length = nk_min_size(nk_read_u16(input), nk_reader_left(input));
        struct nk_bytes bytes = nk_read_bytes(input, length);
        uint8_t *file = nk_alloc(length);
        memcpy(file, bytes.data, length);
        if (sealed) {
            repair(file, length);
        }
        sim_fs_put(sim, names[i], nk_bytes_of(file, length));
        nk_free(file);
    }
    return sim;
}

static uint64_t digest_of_files(const struct sim_fs *sim)
{
    uint64_t digest = 0;
    struct nk_buf contents = {0};
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (sim_fs_exists(sim, names[i])) {
            sim_fs_read(sim, names[i], &contents);
            digest = nk_xxh64(nk_buf_bytes(&contents), digest + 1);
        }
    }
    nk_buf_deinit(&contents);
    return digest;
}

static const struct raftlog_options options = {.segment_bytes = 4096, .recycled_max = 1};

static void fuzz_files(struct nk_reader *input, bool sealed)
{
    struct sim_fs *sim = make_files(input, sealed);
    struct nk_fs fs = sim_fs_handle(sim);
    uint64_t before = digest_of_files(sim);
    struct seen first = {0};
    struct raftlog *log = NULL;
    struct raftlog_fault fault = {0};
    enum nk_err err = raftlog_open(&fs, "raft", &options, see, &first, &log, &fault);
    if (err != NK_OK) {
        NK_ASSERT(err == NK_CORRUPT || err == NK_FORMAT_TOO_NEW);
        NK_ASSERT(fault.err == err);
        NK_ASSERT(digest_of_files(sim) == before);
        sim_fs_free(&sim);
        return;
    }
    struct raftlog_record record = {
        .kind = RAFTLOG_ENTRY, .shard = 1, .term = 2, .index = 3, .payload = {NULL, 0}};
    raftlog_stage(log, &record);
    NK_ASSERT(raftlog_begin(log));
    NK_ASSERT(raftlog_write(log) == NK_OK);
    raftlog_end(log);
    raftlog_close(&log);
    see(&first, &record);

    struct nk_prng prng;
    nk_prng_init(&prng, before);
    sim_fs_crash(sim, &prng);
    struct seen second = {0};
    NK_ASSERT(raftlog_open(&fs, "raft", &options, see, &second, &log, NULL) == NK_OK);
    raftlog_close(&log);
    NK_ASSERT(second.count == first.count);
    NK_ASSERT(second.digest == first.digest);
    sim_fs_free(&sim);
}

/* --- Histories. */

#define SHARDS      4
#define ENTRIES_MAX 4096

struct entry {
    uint32_t shard;
    uint64_t index;
    size_t size;
};

struct history {
    struct sim_fs *sim;
    struct nk_prng prng;
    struct raftlog *log;
    bool running;
    struct entry entries[ENTRIES_MAX]; /* the term of an entry is its number + 1 */
    size_t entry_count;
    size_t entries_begun;
    size_t entries_acknowledged;
    uint64_t last[SHARDS];
    uint64_t released[SHARDS];
    size_t forgotten[SHARDS]; /* entries below this number are void */

    size_t next; /* the visit: number expected next; SIZE_MAX before the first */
    size_t first;
};

static void visit(void *visitor, const struct raftlog_record *record)
{
    struct history *history = visitor;
    NK_ASSERT(record->shard < SHARDS);
    if (record->kind != RAFTLOG_ENTRY) {
        return;
    }
    NK_ASSERT(record->term > 0);
    NK_ASSERT(record->term <= history->entry_count);
    size_t number = (size_t)record->term - 1;
    if (history->next == SIZE_MAX) {
        history->first = number;
        history->next = number;
    }
    NK_ASSERT(number == history->next);
    const struct entry *entry = &history->entries[number];
    NK_ASSERT(record->shard == entry->shard);
    NK_ASSERT(record->index == entry->index);
    NK_ASSERT(record->payload.size == entry->size);
    for (size_t i = 0; i < entry->size; i++) {
        NK_ASSERT(record->payload.data[i] == (uint8_t)(number + i));
    }
    history->next++;
}

/* Nothing before `first` may be missed: it was released, forgotten or overwritten. */
static void check_needed(const struct history *history)
{
    uint64_t void_from[SHARDS];
    memset(void_from, 0xFF, sizeof void_from);
    for (size_t i = history->entry_count; i-- > 0;) {
        const struct entry *entry = &history->entries[i];
        bool needed = entry->index < void_from[entry->shard] &&
                      entry->index > history->released[entry->shard] &&
                      i >= history->forgotten[entry->shard];
        if (needed) {
            NK_ASSERT(i >= history->first);
        }
        void_from[entry->shard] = nk_min_u64(void_from[entry->shard], entry->index);
    }
}

static void open_and_check(struct history *history)
{
    struct nk_fs fs = sim_fs_handle(history->sim);
    history->next = SIZE_MAX;
    history->first = history->entry_count;
    enum nk_err err = raftlog_open(&fs, "raft", &options, visit, history, &history->log, NULL);
    NK_ASSERT(err == NK_OK);
    if (history->next == SIZE_MAX) {
        history->next = history->entries_acknowledged;
    }
    NK_ASSERT(history->next >= history->entries_acknowledged);
    history->entry_count = history->next; /* the others were staged and never were */
    history->entries_acknowledged = history->next;
    check_needed(history);
    history->running = false;
}

static void end_life(struct history *history, bool power_loss)
{
    raftlog_close(&history->log);
    if (power_loss) {
        sim_fs_crash(history->sim, &history->prng);
    } else {
        sim_fs_kill(history->sim);
    }
    open_and_check(history);
    memset(history->last, 0, sizeof history->last);
    for (size_t i = 0; i < history->entry_count; i++) {
        history->last[history->entries[i].shard] = history->entries[i].index;
    }
    for (size_t i = 0; i < SHARDS; i++) {
        history->last[i] = nk_max_u64(history->last[i], history->released[i]);
        history->forgotten[i] = nk_min_size(history->forgotten[i], history->entry_count);
    }
}

static void stage_entry(struct history *history, uint32_t shard, uint64_t index, size_t size)
{
    if (history->entry_count == ENTRIES_MAX) {
        return;
    }
    size_t number = history->entry_count++;
    struct entry *entry = &history->entries[number];
    entry->shard = shard;
    entry->index = index;
    entry->size = size;
    uint8_t payload[2048];
    NK_ASSERT(size <= sizeof payload);
    for (size_t i = 0; i < size; i++) {
        payload[i] = (uint8_t)(number + i);
    }
    struct raftlog_record record = {.kind = RAFTLOG_ENTRY,
                                    .shard = shard,
                                    .term = number + 1,
                                    .index = index,
                                    .payload = nk_bytes_of(payload, size)};
    raftlog_stage(history->log, &record);
    history->last[shard] = index;
}

static void write_round(struct history *history)
{
    if (!history->running) {
        history->running = raftlog_begin(history->log);
        history->entries_begun = history->entry_count;
        return;
    }
    enum nk_err err = raftlog_write(history->log);
    if (err == NK_OK) {
        raftlog_end(history->log);
        history->running = false;
        history->entries_acknowledged = history->entries_begun;
    } else if (err != NK_NO_SPACE) {
        end_life(history, nk_prng_chance(&history->prng, 500000));
    }
}

static void arm(struct history *history, uint8_t how)
{
    uint64_t operation = 1 + how / 4;
    switch (how % 4) {
    case 0:
        sim_fs_fail_at(history->sim, operation, NK_IO);
        break;
    case 1:
        sim_fs_fail_at(history->sim, operation, NK_NO_SPACE);
        break;
    default:
        sim_fs_cut_power_after(history->sim, operation);
        break;
    }
}

static void operate(struct history *history, uint8_t operation, uint8_t argument)
{
    uint32_t shard = operation / 16 % SHARDS;
    uint64_t last = history->last[shard];
    uint64_t released = history->released[shard];
    switch (operation % 16) {
    case 0: /* a shard begins anew */
        raftlog_forget(history->log, shard);
        history->forgotten[shard] = history->entry_count;
        history->last[shard] = 0;
        history->released[shard] = 0;
        break;
    case 1: {
        struct raftlog_record state = {
            .kind = RAFTLOG_STATE, .shard = shard, .term = argument, .index = argument % 3};
        raftlog_stage(history->log, &state);
        break;
    }
    case 2:
        history->released[shard] = nk_min_u64(last, released + argument % 8);
        raftlog_release(history->log, shard, history->released[shard]);
        break;
    case 3:
        if (last > released) {
            stage_entry(history, shard, last - argument % (last - released), argument);
        }
        break;
    case 4:
        arm(history, argument);
        break;
    case 5:
        end_life(history, argument % 2 == 0);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        write_round(history);
        break;
    default:
        stage_entry(history, shard, last + 1, (size_t)argument * 8);
        break;
    }
}

static void fuzz_history(struct nk_reader *input)
{
    static struct history history;
    memset(&history, 0, sizeof history);
    history.sim = sim_fs_new(1);
    nk_prng_init(&history.prng, nk_reader_left(input));
    open_and_check(&history);
    while (nk_reader_left(input) >= 2) {
        uint8_t operation = nk_read_u8(input);
        operate(&history, operation, nk_read_u8(input));
    }
    end_life(&history, true);
    raftlog_close(&history.log);
    sim_fs_free(&history.sim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nk_reader input = nk_reader_of(nk_bytes_of(data, size));
    uint8_t mode = nk_read_u8(&input);
    if (input.failed || mode > 2) {
        return 0;
    }
    if (mode == 2) {
        fuzz_history(&input);
    } else {
        fuzz_files(&input, mode == 1);
    }
    return 0;
}

/* Golden databases (tests/golden/lsm), whole and damaged, through files in memory: what is told is
 * right, and a byte that is wrong costs what it is in and nothing else. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "services/shardhost/lsm/catalog.h"
#include "services/shardhost/lsm/inspect/inspect.h"
#include "services/shardhost/lsm/manifest.h"
#include "tests/sim/fs.h"

TestSuite(lsm_inspect, .timeout = 600);

#define LINES_MAX 256

/* One database in the root of a file system, and what was said of it last. */
struct place {
    struct sim_fs *sim;
    struct nk_fs fs;
    struct nk_buf text;
    struct lsm_inspect inspect;
};

static void append(void *ctx, struct nk_bytes text)
{
    nk_buf_append(ctx, text);
}

static void read_golden(const char *way, const char *name, struct nk_buf *out)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/v2/%s/%s", GOLDEN_DIRECTORY, way, name);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    static uint8_t bytes[1 << 17];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    nk_buf_clear(out);
    nk_buf_append(out, nk_bytes_of(bytes, size));
}

static void put_golden(struct place *place, const char *way, const char *name)
{
    struct nk_buf bytes = {0};
    read_golden(way, name, &bytes);
    sim_fs_put(place->sim, name, nk_buf_bytes(&bytes));
    nk_buf_deinit(&bytes);
}

static void place_init(struct place *place, const char *way)
{
    memset(place, 0, sizeof *place);
    place->sim = sim_fs_new(1);
    place->fs = sim_fs_handle(place->sim);
    place->inspect = (struct lsm_inspect){
        .fs = &place->fs,
        .prefix = "",
        .write = append,
        .ctx = &place->text,
        .entries = true,
        .full_keys = true,
        .check = true,
    };
    put_golden(place, way, "manifest");
    put_golden(place, way, "0000000001.sst");
    put_golden(place, way, "0000000002.sst");
}

static void place_deinit(struct place *place)
{
    nk_buf_deinit(&place->text);
    sim_fs_free(&place->sim);
}

/* ---- Text ---- */

/* Lines of `text`, which loses its newlines. */
static size_t split(struct nk_buf *text, char *lines[LINES_MAX])
{
    size_t count = 0;
    nk_buf_append_u8(text, 0);
    char *at = (char *)text->data;
    for (char *line = strsep(&at, "\n"); line != NULL && *line != '\0'; line = strsep(&at, "\n")) {
        cr_assert_lt(count, LINES_MAX);
        lines[count++] = line;
    }
    return count;
}

static bool begins(const char *line, const char *with)
{
    return strncmp(line, with, strlen(with)) == 0;
}

/* What an inspection of a whole file says, with the place in the file that each line is about. */
struct baseline {
    struct nk_buf text;
    char *lines[LINES_MAX];
    size_t first[LINES_MAX]; /* the bytes [first, limit) */
    size_t limit[LINES_MAX];
    size_t count;
};

/* `head` begins the lines that name a place, `size` their field with its size, to which `extra` is
 * added; the lines that begin with `detail` behind it are about the same place. */
static void take_baseline(struct baseline *baseline, struct nk_buf *text, const char *head,
                          const char *size, size_t extra, const char *detail)
{
    memset(baseline, 0, sizeof *baseline);
    nk_buf_append(&baseline->text, nk_buf_bytes(text));
    char *lines[LINES_MAX];
    size_t count = split(&baseline->text, lines);
    unsigned long offset = 0;
    unsigned long bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (begins(lines[i], head)) {
            const char *at = strstr(lines[i], size);
            cr_assert_not_null(at);
            cr_assert_eq(sscanf(lines[i] + strlen(head), " offset=%lu", &offset), 1);
            cr_assert_eq(sscanf(at + strlen(size), "%lu", &bytes), 1);
        } else if (begins(lines[i], detail)) {
            size_t n = baseline->count++;
            baseline->lines[n] = lines[i];
            baseline->first[n] = offset;
            baseline->limit[n] = offset + bytes + extra;
        }
    }
    cr_assert_gt(baseline->count, 3);
}

/* All details are there but those of the place that `offset` is in. */
static void check_details(const struct baseline *baseline, struct nk_buf *text, const char *detail,
                          size_t offset)
{
    char *lines[LINES_MAX];
    size_t count = split(text, lines);
    size_t expected = 0;
    for (size_t i = 0; i < count; i++) {
        if (!begins(lines[i], detail)) {
            continue;
        }
        while (expected < baseline->count && offset >= baseline->first[expected] &&
               offset < baseline->limit[expected]) {
            expected++;
        }
        cr_assert_lt(expected, baseline->count, "offset %zu: %s", offset, lines[i]);
        cr_assert_str_eq(lines[i], baseline->lines[expected], "offset %zu", offset);
        expected++;
    }
    while (expected < baseline->count && offset >= baseline->first[expected] &&
           offset < baseline->limit[expected]) {
        expected++;
    }
    cr_assert_eq(expected, baseline->count, "offset %zu", offset);
}

static uint64_t inspect_table(struct place *place, const char *name)
{
    uint64_t damages = 0;
    nk_buf_clear(&place->text);
    cr_assert_eq(lsm_inspect_table(&place->inspect, name, &damages), NK_OK);
    return damages;
}

static uint64_t inspect_manifest(struct place *place)
{
    uint64_t damages = 0;
    nk_buf_clear(&place->text);
    cr_assert_eq(lsm_inspect_manifest(&place->inspect, "manifest", &damages), NK_OK);
    return damages;
}

static uint64_t inspect_shard(struct place *place)
{
    uint64_t damages = 0;
    nk_buf_clear(&place->text);
    cr_assert_eq(lsm_inspect_shard(&place->inspect, &damages), NK_OK);
    return damages;
}

/* ---- One byte ---- */

/* False: the byte made a later version of it. */
static bool flip_and_inspect(struct place *place, const char *name, uint64_t offset,
                             enum nk_err (*inspect)(const struct lsm_inspect *, const char *,
                                                    uint64_t *),
                             uint64_t *out_damages)
{
    uint8_t mask = offset % 3 == 0 ? 0xff : (uint8_t)(1u << (offset % 8));
    *out_damages = 0;
    nk_buf_clear(&place->text);
    sim_fs_flip(place->sim, name, offset, mask);
    enum nk_err err = inspect(&place->inspect, name, out_damages);
    sim_fs_flip(place->sim, name, offset, mask);
    cr_assert(err == NK_OK || err == NK_FORMAT_TOO_NEW, "offset %u", (unsigned)offset);
    return err == NK_OK;
}

static void flip_table(const char *way, const char *name, size_t stride)
{
    struct place place;
    struct baseline baseline;
    struct nk_buf file = {0};
    place_init(&place, way);
    sim_fs_read(place.sim, name, &file);
    cr_assert_eq(inspect_table(&place, name), 0);
    take_baseline(&baseline, &place.text, "block", " stored=", 9, "record ");
    for (size_t offset = 0; offset < file.size; offset += stride) {
        uint64_t damages = 0;
        bool looked = flip_and_inspect(&place, name, offset, lsm_inspect_table, &damages);
        cr_assert(looked, "%s %zu", way, offset);
        cr_assert_gt(damages, 0, "%s %zu", way, offset);
        check_details(&baseline, &place.text, "record ", offset);
    }
    nk_buf_deinit(&baseline.text);
    nk_buf_deinit(&file);
    place_deinit(&place);
}

Test(lsm_inspect, any_byte_of_a_table_costs_its_block_and_is_told)
{
    flip_table("none", "0000000002.sst", 23);
    flip_table("lz4", "0000000001.sst", 1);
    flip_table("zstd", "0000000002.sst", 1);
}

static bool is_checked(size_t offset)
{
    return offset < 32 || (offset >= 512 && offset < 544) || offset >= 1024;
}

Test(lsm_inspect, any_byte_of_a_manifest_costs_its_record_and_is_told)
{
    struct place place;
    struct baseline baseline;
    struct nk_buf file = {0};
    place_init(&place, "none");
    sim_fs_read(place.sim, "manifest", &file);
    cr_assert_eq(inspect_manifest(&place), 0);
    take_baseline(&baseline, &place.text, "record", " bytes=", 0, "edit ");
    for (size_t offset = 0; offset < file.size; offset++) {
        uint64_t damages = 0;
        bool looked = flip_and_inspect(&place, "manifest", offset, lsm_inspect_manifest, &damages);
        cr_assert(looked, "%zu", offset);
        cr_assert_eq(damages > 0, is_checked(offset), "%zu", offset);
        check_details(&baseline, &place.text, "edit ", offset);
    }
    nk_buf_deinit(&baseline.text);
    nk_buf_deinit(&file);
    place_deinit(&place);
}

Test(lsm_inspect, a_table_that_is_cut_anywhere_is_told)
{
    struct place place;
    struct nk_buf file = {0};
    place_init(&place, "lz4");
    sim_fs_read(place.sim, "0000000002.sst", &file);
    for (size_t size = 0; size < file.size; size++) {
        sim_fs_put(place.sim, "0000000002.sst", nk_bytes_of(file.data, size));
        cr_assert_gt(inspect_table(&place, "0000000002.sst"), 0, "%zu", size);
    }
    nk_buf_deinit(&file);
    place_deinit(&place);
}

Test(lsm_inspect, a_manifest_that_is_cut_anywhere_is_told)
{
    struct place place;
    struct nk_buf file = {0};
    place_init(&place, "lz4");
    sim_fs_read(place.sim, "manifest", &file);
    for (size_t size = 0; size < file.size; size++) {
        sim_fs_put(place.sim, "manifest", nk_bytes_of(file.data, size));
        cr_assert_gt(inspect_manifest(&place), 0, "%zu", size);
    }
    nk_buf_deinit(&file);
    place_deinit(&place);
}

/* ---- Manifests with good checksums that make no sense ---- */

/* A manifest of one record and two slots, as FORMAT.md has it. */
static void put_manifest(struct place *place, struct nk_bytes payload)
{
    struct nk_buf file = {0};
    uint8_t number[8];
    memset(nk_buf_extend(&file, LSM_RECORDS_AT), 0, LSM_RECORDS_AT);
    (void)nk_buf_extend(&file, LSM_RECORD_HEAD_BYTES);
    nk_buf_append(&file, payload);
    uint8_t *record = file.data + LSM_RECORDS_AT;
    nk_put_u32(record + 4, (uint32_t)payload.size);
    nk_put_u64(number, LSM_RECORDS_AT);
    nk_put_u32(record, nk_crc32c_extend(nk_crc32c(nk_bytes_of(record + 4, 4 + payload.size)),
                                        nk_bytes_of(number, sizeof number)));
    for (size_t i = 0; i < LSM_SLOT_COUNT; i++) {
        uint8_t *slot = file.data + LSM_SLOT_STRIDE * i;
        memcpy(slot, "mnifest1", 8);
        nk_put_u32(slot + 8, 1);
        nk_put_u64(slot + 16, 1);
        nk_put_u64(slot + 24, file.size);
        nk_put_u32(slot + 12,
                   nk_crc32c_extend(nk_crc32c(nk_bytes_of(slot, 12)), nk_bytes_of(slot + 16, 16)));
    }
    sim_fs_put(place->sim, "manifest", nk_buf_bytes(&file));
    nk_buf_deinit(&file);
}

static void put_table(struct nk_buf *payload, uint32_t level, uint64_t number, const char *smallest,
                      const char *largest)
{
    const struct lsm_table_meta meta = {
        .number = number,
        .size_bytes = 100,
        .record_count = 2,
        .index_min = 10 * number,
        .index_max = 10 * number + 1,
        .smallest = nk_bytes_of_string(smallest),
        .largest = nk_bytes_of_string(largest),
    };
    lsm_catalog_put_add(payload, level, &meta);
}

/* True: the one thing that is wrong is `what`, or nothing is, for NULL. */
static bool says(struct place *place, const struct nk_buf *payload, const char *what)
{
    put_manifest(place, nk_buf_bytes(payload));
    uint64_t damages = inspect_manifest(place);
    nk_buf_append_u8(&place->text, 0);
    return damages == (what != NULL) &&
           (what == NULL || strstr((const char *)place->text.data, what) != NULL);
}

Test(lsm_inspect, tables_of_one_level_that_overlap_are_told)
{
    static const struct {
        uint32_t level;
        const char *second[2];
        bool overlap;
    } cases[] = {
        {1, {"d", "f"}, false}, {1, {"a", "a"}, false}, {1, {"c", "d"}, true},
        {1, {"a", "b"}, true},  {6, {"b", "c"}, true},  {0, {"b", "c"}, false},
    };
    struct place place;
    place_init(&place, "none");
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct nk_buf payload = {0};
        lsm_catalog_put_number_next(&payload, 4);
        put_table(&payload, cases[i].level, 1, "b", "c");
        put_table(&payload, cases[i].level, 2, cases[i].second[0], cases[i].second[1]);
        put_table(&payload, cases[i].level, 3, "x", "y");
        cr_expect(
            says(&place, &payload, cases[i].overlap ? " at 0: two tables of one level" : NULL),
            "case %zu", i);
        nk_buf_deinit(&payload);
    }
    place_deinit(&place);
}

Test(lsm_inspect, edits_that_make_no_sense_are_told)
{
    struct place place;
    struct nk_buf payload = {0};
    place_init(&place, "none");
    lsm_catalog_put_number_next(&payload, 4);
    put_table(&payload, 0, 3, "b", "c");
    cr_expect(says(&place, &payload, NULL));
    lsm_catalog_put_remove(&payload, 1, 3);
    cr_expect(says(&place, &payload, " at 1024: the record does not fit"));
    nk_buf_append_u8(&payload, 9);
    cr_expect(says(&place, &payload, " at 1024: the record has an edit that cannot be read"));
    nk_buf_deinit(&payload);
    place_deinit(&place);
}

/* ---- A database that changes meanwhile ---- */

/* A file system in whose root a compaction ends just before `trigger` is opened. */
struct moving {
    struct nk_fs_ops ops;
    struct place *place;
    const char *trigger; /* NULL: it has ended */
};

static struct moving moving;

static enum nk_err open_moving(void *ctx, const char *name, enum nk_fs_open mode,
                               struct nk_file **out_file)
{
    if (moving.trigger != NULL && strcmp(name, moving.trigger) == 0) {
        moving.trigger = NULL;
        put_golden(moving.place, "zstd", "manifest");
        put_golden(moving.place, "zstd", "0000000001.sst");
        put_golden(moving.place, "zstd", "0000000002.sst");
        return NK_NOT_FOUND;
    }
    return sim_fs_handle(moving.place->sim).ops->open(ctx, name, mode, out_file);
}

Test(lsm_inspect, a_database_that_moves_on_is_looked_at_again)
{
    struct place place;
    struct place after;
    place_init(&place, "none");
    place_init(&after, "zstd");
    cr_assert_eq(inspect_shard(&after), 0);
    moving = (struct moving){*place.fs.ops, &place, "0000000002.sst"};
    moving.ops.open = open_moving;
    place.fs.ops = &moving.ops;
    cr_expect_eq(inspect_shard(&place), 0);
    cr_expect_null(moving.trigger);
    cr_expect(nk_bytes_equal(nk_buf_bytes(&place.text), nk_buf_bytes(&after.text)));
    place_deinit(&place);
    place_deinit(&after);
}

/* ---- What cannot be looked at ---- */

Test(lsm_inspect, what_is_not_there_is_not_found)
{
    struct place place;
    uint64_t damages = 7;
    place_init(&place, "none");
    cr_expect_eq(lsm_inspect_table(&place.inspect, "0000000003.sst", &damages), NK_NOT_FOUND);
    cr_expect_eq(lsm_inspect_manifest(&place.inspect, "manifest.new", &damages), NK_NOT_FOUND);
    cr_assert_eq(nk_fs_remove(&place.fs, "0000000001.sst"), NK_OK);
    cr_assert_eq(nk_fs_remove(&place.fs, "0000000002.sst"), NK_OK);
    cr_assert_eq(nk_fs_remove(&place.fs, "manifest"), NK_OK);
    cr_expect_eq(lsm_inspect_shard(&place.inspect, &damages), NK_NOT_FOUND);
    cr_expect_eq(damages, 7);
    cr_expect_eq(place.text.size, 0);
    place_deinit(&place);
}

Test(lsm_inspect, a_read_that_fails_is_no_damage)
{
    struct place place;
    place_init(&place, "none");
    enum nk_err err = NK_IO;
    for (uint64_t n = 1; err != NK_OK; n++) {
        uint64_t damages = 7;
        sim_fs_fail_at(place.sim, n, NK_IO);
        err = lsm_inspect_table(&place.inspect, "0000000001.sst", &damages);
        cr_expect(err == NK_OK || err == NK_IO);
        cr_expect_eq(damages, err == NK_OK ? 0 : 7);
        cr_expect_leq(n, 4);
    }
    place_deinit(&place);
}

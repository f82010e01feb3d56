/* What is in one block of a table.  The block's line comes first, then what is wrong with it, then
 * its records if they are wished. */

#include "common/base/crc32c.h"
#include "services/shardhost/lsm/filter.h"
#include "services/shardhost/lsm/inspect/look.h"

static const char *const kind_names[] = {
    [LOOK_UNKNOWN] = "unknown", [LOOK_DATA] = "data", [LOOK_FILTER] = "filter",
    [LOOK_INDEX] = "index",     [LOOK_TOP] = "top",   [LOOK_PROPERTIES] = "properties",
};

static const char *const way_names[] = {
    [LSM_COMPRESSION_NONE] = "none",
    [LSM_COMPRESSION_LZ4] = "lz4",
    [LSM_COMPRESSION_ZSTD] = "zstd",
};

/* What the block turned out to be. */
struct finding {
    const char *problem; /* the first one, or NULL */
    uint64_t entries;
    uint32_t restarts;
    struct nk_buf first;
};

static void find(struct finding *finding, const char *problem)
{
    if (finding->problem == NULL) {
        finding->problem = problem;
    }
}

/* `err` ended the walk through a block, in which so many restarts were met. */
static void find_end(struct finding *finding, enum nk_err err, uint32_t restarts)
{
    if (err != NK_NOT_FOUND || finding->entries == 0) {
        find(finding, "bad block");
    } else if (restarts != finding->restarts) {
        find(finding, "bad restarts");
    }
}

/* ---- Data ---- */

static void count(struct look *look, const struct lsm_entry *entry)
{
    struct lsm_table_meta *seen = &look->seen;
    uint64_t index = entry->version.index;
    if (seen->record_count == 0 || index < seen->index_min) {
        seen->index_min = index;
    }
    if (index > seen->index_max) {
        seen->index_max = index;
    }
    seen->record_count++;
    seen->tombstone_count += entry->tombstone;
    if (entry->tombstone || entry->expire_at_ms == 0) {
        return;
    }
    if (seen->expire_count == 0 || entry->expire_at_ms < seen->expire_min_ms) {
        seen->expire_min_ms = entry->expire_at_ms;
    }
    if (entry->expire_at_ms > seen->expire_max_ms) {
        seen->expire_max_ms = entry->expire_at_ms;
    }
    seen->expire_count++;
}

static void keep(struct nk_buf *buf, struct nk_bytes bytes)
{
    nk_buf_clear(buf);
    nk_buf_append(buf, bytes);
}

/* Counts in *next the restarts up to the entry at hand; what is wrong with one, or NULL. */
static const char *judge_restart(const struct lsm_block_cursor *cursor, uint32_t *next)
{
    if (*next < cursor->restart_count &&
        nk_get_u32(cursor->restarts + (size_t)*next * 4) == cursor->offset) {
        ++*next;
        return cursor->entries.data[cursor->offset] == 0 ? NULL : "bad restart";
    }
    return NULL;
}

/* What is wrong with a key where it stands, or NULL. */
static const char *judge_key(const struct look *look, struct nk_bytes key)
{
    if (key.size == 0) {
        return "a record without a key";
    }
    if (look->has_key && nk_bytes_compare(nk_buf_bytes(&look->key), key) >= 0) {
        return "keys do not rise";
    }
    if (look->has_separator && nk_bytes_compare(nk_buf_bytes(&look->separator), key) >= 0) {
        return "a key is before the index key of the block before";
    }
    if (look->filter.size > 0 &&
        !lsm_filter_may_contain(nk_buf_bytes(&look->filter), lsm_filter_hash(key))) {
        return "the filter does not have a key";
    }
    return NULL;
}

static struct nk_bytes separator_of(const struct look *look, const struct look_block *block)
{
    return nk_bytes_of(look->separators.data + block->separator_at, block->separator_size);
}

static void read_data(struct look *look, const struct look_block *block, struct nk_bytes raw,
                      struct finding *finding)
{
    struct lsm_block_cursor cursor;
    uint32_t restarts = 0;
    enum nk_err err = lsm_block_open(&cursor, raw);
    if (err == NK_OK) {
        finding->restarts = cursor.restart_count;
        err = lsm_block_next(&cursor);
    }
    for (; err == NK_OK; err = lsm_block_next(&cursor)) {
        struct lsm_entry entry;
        struct nk_bytes value;
        struct nk_bytes key = lsm_block_key(&cursor);
        const char *problem = "bad record";
        if (lsm_entry_decode(cursor.value, &entry, &value) == NK_OK) {
            count(look, &entry);
            problem = judge_key(look, key);
        }
        find(finding, problem);
        find(finding, judge_restart(&cursor, &restarts));
        if (finding->entries++ == 0) {
            keep(&finding->first, key);
        }
        if (!look->has_key) {
            keep(&look->smallest, key);
            look->has_key = true;
        }
        keep(&look->key, key);
    }
    find_end(finding, err, restarts);
    if (block->has_separator) {
        keep(&look->separator, separator_of(look, block));
        look->has_separator = true;
        if (nk_bytes_compare(nk_buf_bytes(&look->key), nk_buf_bytes(&look->separator)) > 0) {
            find(finding, "a key is behind the index key of the block");
        }
    }
}

static void write_records(struct look *look, struct nk_bytes raw)
{
    struct report *report = look->report;
    struct lsm_block_cursor cursor;
    enum nk_err err = lsm_block_open(&cursor, raw);
    while (err == NK_OK && (err = lsm_block_next(&cursor)) == NK_OK) {
        struct lsm_entry entry;
        struct nk_bytes value;
        report_begin(report, "record");
        report_bytes(report, "key", lsm_block_key(&cursor));
        if (lsm_entry_decode(cursor.value, &entry, &value) != NK_OK) {
            report_flag(report, "damaged");
            report_end(report);
            continue;
        }
        report_version(report, "version", entry.version);
        if (entry.expire_at_ms != 0) {
            report_number(report, "expires_ms", entry.expire_at_ms);
        }
        if (entry.tombstone) {
            report_flag(report, "tombstone");
        } else {
            report_number(report, "bytes", value.size);
            report_hex(report, "crc32c", nk_crc32c(value));
            if (report->inspect->values) {
                report_bytes(report, "value", value);
            }
        }
        report_end(report);
    }
}

/* ---- The others ---- */

static void read_index(struct look *look, struct nk_bytes raw, struct finding *finding)
{
    struct lsm_block_cursor cursor;
    uint32_t restarts = 0;
    enum nk_err err = lsm_block_open(&cursor, raw);
    if (err == NK_OK) {
        finding->restarts = cursor.restart_count;
        err = lsm_block_next(&cursor);
    }
    for (; err == NK_OK; err = lsm_block_next(&cursor)) {
        struct lsm_handle below;
        if (finding->entries++ == 0) {
            keep(&finding->first, lsm_block_key(&cursor));
        }
        if (!lsm_handle_decode(cursor.value, look->limit, &below)) {
            find(finding, "bad handle");
        }
        find(finding, judge_restart(&cursor, &restarts));
    }
    find_end(finding, err, restarts);
}

static void read_properties(struct look *look, uint64_t offset, struct nk_bytes raw,
                            struct finding *finding)
{
    keep(&look->properties_bytes, raw);
    if (lsm_properties_decode(nk_buf_bytes(&look->properties_bytes), &look->properties) == NK_OK) {
        look->has_properties = true;
        look->properties_offset = offset;
    } else {
        finding->problem = "bad properties";
    }
}

static bool is_filter(struct nk_bytes raw)
{
    return raw.size % LSM_FILTER_LINE_BYTES == 1 && raw.data[raw.size - 1] >= 1 &&
           raw.data[raw.size - 1] <= LSM_FILTER_PROBES_MAX;
}

void look_take_filter(struct look *look)
{
    uint8_t way = 0;
    struct nk_bytes raw;
    if (look_unpack(look, look->footer.filter, &way, &raw) == NULL && is_filter(raw)) {
        keep(&look->filter, raw);
    }
}

/* A record cannot be read as a handle, nor a handle as a record: where records have a tag, of 3 at
 * most, handles have an offset, which is 0 or at least 10. */
static enum look_kind guess(const struct look *look, struct nk_bytes raw)
{
    struct lsm_block_cursor cursor;
    struct lsm_handle handle;
    struct lsm_entry entry;
    struct lsm_table_meta meta = {.number = 0};
    struct nk_bytes value;
    if (lsm_properties_decode(raw, &meta) == NK_OK) {
        return LOOK_PROPERTIES;
    }
    if (lsm_block_open(&cursor, raw) == NK_OK && lsm_block_next(&cursor) == NK_OK) {
        if (lsm_handle_decode(cursor.value, look->limit, &handle)) {
            return handle.offset < look->data_end ? LOOK_INDEX : LOOK_TOP;
        }
        if (lsm_entry_decode(cursor.value, &entry, &value) == NK_OK) {
            return LOOK_DATA;
        }
    }
    return is_filter(raw) ? LOOK_FILTER : LOOK_UNKNOWN;
}

/* ---- The line ---- */

static void begin_line(struct look *look, const struct look_block *block, enum look_kind kind)
{
    struct report *report = look->report;
    report_begin(report, "block");
    report_number(report, "offset", block->handle.offset);
    report_word(report, "kind", kind_names[kind]);
    report_number(report, "stored", block->handle.size);
}

static void end_line(struct look *look, const struct look_block *block,
                     const struct finding *finding)
{
    struct report *report = look->report;
    report_word(report, "state", finding->problem == NULL ? "ok" : "damaged");
    if (block->has_separator) {
        report_key(report, "index", separator_of(look, block));
    }
    if (block->kind == LOOK_UNKNOWN) {
        report_flag(report, "found");
    }
    report_end(report);
    if (finding->problem != NULL) {
        look->lost = true;
        report_damage(report, block->handle.offset, finding->problem);
    }
}

static void add_entries(struct look *look, enum look_kind kind, const struct finding *finding)
{
    struct report *report = look->report;
    report_number(report, "entries", finding->entries);
    report_number(report, "restarts", finding->restarts);
    if (kind == LOOK_DATA && finding->entries > 0) {
        report_key(report, "first", nk_buf_bytes(&finding->first));
        report_key(report, "last", nk_buf_bytes(&look->key));
    }
}

void look_at_block(struct look *look, const struct look_block *block)
{
    struct report *report = look->report;
    struct finding finding = {.problem = NULL};
    uint8_t way = 0;
    struct nk_bytes raw = {NULL, 0};
    finding.problem = look_unpack(look, block->handle, &way, &raw);
    look->seen.digest = lsm_digest_extend(
        look->seen.digest, look->file.data + block->handle.offset + block->handle.size);
    if (finding.problem != NULL) {
        begin_line(look, block, block->kind);
        end_line(look, block, &finding);
        return;
    }
    enum look_kind kind = block->kind != LOOK_UNKNOWN ? block->kind : guess(look, raw);
    begin_line(look, block, kind);
    report_number(report, "raw", raw.size);
    report_word(report, "way", way_names[way]);
    if (kind == LOOK_DATA) {
        read_data(look, block, raw, &finding);
        add_entries(look, kind, &finding);
        look->data_blocks++;
        look->data_end = block->handle.offset + block->handle.size + LSM_TRAILER_BYTES;
    } else {
        look->other_blocks++;
    }
    if (kind == LOOK_INDEX || kind == LOOK_TOP) {
        read_index(look, raw, &finding);
        add_entries(look, kind, &finding);
    } else if (kind == LOOK_PROPERTIES) {
        read_properties(look, block->handle.offset, raw, &finding);
    } else if (kind == LOOK_FILTER && is_filter(raw)) {
        report_number(report, "lines", raw.size / LSM_FILTER_LINE_BYTES);
        report_number(report, "probes", raw.data[raw.size - 1]);
    }
    end_line(look, block, &finding);
    if (kind == LOOK_DATA && report->inspect->entries && !report->quiet) {
        write_records(look, raw);
    }
    if (kind == LOOK_PROPERTIES && finding.problem == NULL) {
        report_begin(report, "properties");
        report_meta(report, &look->properties, true);
        report_end(report);
    }
    nk_buf_deinit(&finding.first);
}

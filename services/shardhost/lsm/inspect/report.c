#include "services/shardhost/lsm/inspect/report.h"

#include "common/base/assert.h"
#include "common/base/text.h"

#define KEY_BYTES_SHOWN ((size_t)24)

void report_init(struct report *report, const struct lsm_inspect *inspect, const char *file)
{
    memset(report, 0, sizeof *report);
    report->inspect = inspect;
    report->file = file;
}

void report_deinit(struct report *report)
{
    nk_buf_deinit(&report->line);
}

static void add_number(struct report *report, uint64_t number)
{
    char digits[24];
    struct nk_text text;
    nk_text_init(&text, digits, sizeof digits);
    nk_text_add_u64(&text, number);
    nk_buf_append_string(&report->line, digits);
}

static void add_name(struct report *report, const char *name)
{
    nk_buf_append_string(&report->line, " ");
    nk_buf_append_string(&report->line, name);
    nk_buf_append_string(&report->line, "=");
}

/* Also for the name of a file, which may have any bytes. */
static void add_escaped(struct report *report, struct nk_bytes bytes)
{
    static const char digits[] = "0123456789abcdef";
    nk_buf_reserve(&report->line, 4 * bytes.size);
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        uint8_t *out = report->line.data + report->line.size;
        if (byte > ' ' && byte < 0x7f && byte != '"' && byte != '\\') {
            *out = byte;
            report->line.size++;
        } else {
            out[0] = '\\';
            out[1] = 'x';
            out[2] = (uint8_t)digits[byte >> 4];
            out[3] = (uint8_t)digits[byte & 15];
            report->line.size += 4;
        }
    }
}

static void add_file(struct report *report, const char *file)
{
    add_escaped(report, nk_bytes_of_string(report->inspect->prefix));
    add_escaped(report, nk_bytes_of_string(file));
}

static void add_quoted(struct report *report, struct nk_bytes bytes)
{
    nk_buf_append_string(&report->line, "\"");
    add_escaped(report, bytes);
    nk_buf_append_string(&report->line, "\"");
}

static void send(struct report *report)
{
    nk_buf_append_string(&report->line, "\n");
    report->inspect->write(report->inspect->ctx, nk_buf_bytes(&report->line));
    nk_buf_clear(&report->line);
}

void report_begin(struct report *report, const char *word)
{
    NK_ASSERT(report->line.size == 0);
    nk_buf_append_string(&report->line, word);
}

void report_number(struct report *report, const char *name, uint64_t number)
{
    add_name(report, name);
    add_number(report, number);
}

void report_hex(struct report *report, const char *name, uint32_t number)
{
    char hex[16];
    struct nk_text text;
    nk_text_init(&text, hex, sizeof hex);
    nk_text_add_hex(&text, number, 8);
    add_name(report, name);
    nk_buf_append_string(&report->line, hex);
}

void report_word(struct report *report, const char *name, const char *word)
{
    add_name(report, name);
    nk_buf_append_string(&report->line, word);
}

void report_flag(struct report *report, const char *name)
{
    nk_buf_append_string(&report->line, " ");
    nk_buf_append_string(&report->line, name);
}

void report_range(struct report *report, const char *name, uint64_t first, uint64_t last)
{
    report_number(report, name, first);
    nk_buf_append_string(&report->line, "..");
    add_number(report, last);
}

void report_extent(struct report *report, const char *name, uint64_t offset, uint64_t size)
{
    report_number(report, name, offset);
    nk_buf_append_string(&report->line, "+");
    add_number(report, size);
}

void report_version(struct report *report, const char *name, struct lsm_version version)
{
    report_number(report, name, version.term);
    nk_buf_append_string(&report->line, ".");
    add_number(report, version.index);
}

void report_bytes(struct report *report, const char *name, struct nk_bytes bytes)
{
    add_name(report, name);
    add_quoted(report, bytes);
}

void report_key(struct report *report, const char *name, struct nk_bytes key)
{
    if (report->inspect->full_keys || key.size <= KEY_BYTES_SHOWN) {
        report_bytes(report, name, key);
        return;
    }
    report_bytes(report, name, nk_bytes_of(key.data, KEY_BYTES_SHOWN));
    nk_buf_append_string(&report->line, "+");
    add_number(report, key.size - KEY_BYTES_SHOWN);
}

void report_meta(struct report *report, const struct lsm_table_meta *meta, bool keys)
{
    report_number(report, "records", meta->record_count);
    report_number(report, "tombstones", meta->tombstone_count);
    report_range(report, "index", meta->index_min, meta->index_max);
    report_number(report, "expiring", meta->expire_count);
    if (meta->expire_count > 0) {
        report_range(report, "expires_ms", meta->expire_min_ms, meta->expire_max_ms);
    }
    if (keys) {
        report_key(report, "smallest", meta->smallest);
        report_key(report, "largest", meta->largest);
    }
}

void report_file(struct report *report, const char *name, const char *file)
{
    add_name(report, name);
    add_file(report, file);
}

void report_end(struct report *report)
{
    if (report->quiet) {
        nk_buf_clear(&report->line);
    } else {
        send(report);
    }
}

void report_damage(struct report *report, uint64_t offset, const char *what)
{
    NK_ASSERT(report->line.size == 0);
    report->damage_count++;
    nk_buf_append_string(&report->line, "DAMAGE ");
    add_file(report, report->file);
    nk_buf_append_string(&report->line, " at ");
    add_number(report, offset);
    nk_buf_append_string(&report->line, ": ");
    nk_buf_append_string(&report->line, what);
    send(report);
}

void report_damage_count(struct report *report)
{
    report_begin(report, "end");
    report_number(report, "damage", report->damage_count);
    report_end(report);
}

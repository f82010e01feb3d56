#pragma once

/* The text that an inspection writes, a line at a time: a word, then name=value pairs.  A value is
 * a number, a word or quoted bytes, none of which holds a space, so that a line splits at them. */

#include "services/shardhost/lsm/inspect/inspect.h"
#include "services/shardhost/lsm/table.h"

struct report {
    const struct lsm_inspect *inspect;
    const char *file; /* whose damage is told; below inspect->prefix */
    bool quiet;       /* nothing but damage is told */
    uint64_t damage_count;
    struct nk_buf line;
};

void report_init(struct report *report, const struct lsm_inspect *inspect, const char *file);
void report_deinit(struct report *report);

void report_begin(struct report *report, const char *word);
void report_number(struct report *report, const char *name, uint64_t number);
void report_hex(struct report *report, const char *name, uint32_t number);   /* eight digits */
void report_word(struct report *report, const char *name, const char *word); /* no spaces */
void report_flag(struct report *report, const char *name);                   /* just that */
void report_range(struct report *report, const char *name, uint64_t first, uint64_t last);
void report_extent(struct report *report, const char *name, uint64_t offset, uint64_t size);
void report_version(struct report *report, const char *name, struct lsm_version version);

/* Quoted: printable ASCII but space, quote and backslash as it is, every other byte as \xNN. */
void report_bytes(struct report *report, const char *name, struct nk_bytes bytes);

/* The same; of a long key only the beginning, and +N for the N bytes that are left out, unless
 * whole keys are wished. */
void report_key(struct report *report, const char *name, struct nk_bytes key);

/* What is said of a table, but number, size and digest; `keys`: also the smallest and the largest.
 */
void report_meta(struct report *report, const struct lsm_table_meta *meta, bool keys);

void report_file(struct report *report, const char *name, const char *file); /* prefix and name */
void report_end(struct report *report);

/* "DAMAGE file at offset: what".  Between lines only. */
void report_damage(struct report *report, uint64_t offset, const char *what);

/* What every inspection ends with. */
void report_damage_count(struct report *report);

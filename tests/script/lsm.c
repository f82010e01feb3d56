/* Shapes of trees and the compactions that are picked.
 *
 *     settings fanout=10 levels=7 trigger=4 slowdown=6 table=16MiB
 *     given batch=128MiB time=1000 parts=2
 *     level 0 a-z:32MiB c-t:32MiB          newest first
 *     level 6 a-f:16MiB g-z:16MiB,dead=60  60 % tombstones
 *     level 5 a-f:9MiB,expire=100..200     all of it expires between these times
 *     running 5 6 a f                      a compaction that has a..f of levels 5 to 6
 *     clear                                no tables, nothing running
 *     targets | debt | pick
 *
 * A table of N bytes has N / 100 records. */

#include <stdio.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "services/shardhost/lsm/pick.h"

#include "script.h"

#define TABLES_MAX        64
#define RUNNING_MAX       8
#define RECORD_BYTES      100
#define DESCRIPTION_BYTES 512

struct table {
    struct lsm_table_meta meta;
    char name[32];
    uint8_t smallest[16];
    uint8_t largest[16];
};

struct level {
    struct table tables[TABLES_MAX];
    const struct lsm_table_meta *metas[TABLES_MAX];
    size_t count;
};

struct script {
    struct nk_buf *out;
    struct lsm_pick_settings settings;
    struct level levels[LSM_LEVEL_COUNT];
    struct lsm_pick_span running[RUNNING_MAX];
    uint8_t running_keys[RUNNING_MAX][2][16];
    size_t running_count;
    uint64_t batch_bytes;
    uint64_t time_ms;
    uint64_t parts_max;
};

static void *lsm_open_script(struct nk_buf *out)
{
    struct script *script = nk_alloc_zero(1, sizeof *script);
    script->out = out;
    script->settings = (struct lsm_pick_settings){
        .fanout = 10,
        .level_count = LSM_LEVEL_COUNT,
        .l0_trigger = 4,
        .l0_slowdown = 6,
        .table_bytes = 16 * NK_MIB,
    };
    script->parts_max = 1;
    return script;
}

static bool lsm_close_script(void *ctx, struct nk_text *problem)
{
    (void)problem;
    nk_free(ctx);
    return true;
}

/* ---- Reading words ---- */

/* "16MiB", "3KiB", "100". */
static bool parse_bytes(const char *text, uint64_t *out_bytes)
{
    char *end = NULL;
    *out_bytes = strtoull(text, &end, 10);
    if (strcmp(end, "MiB") == 0) {
        *out_bytes *= NK_MIB;
    } else if (strcmp(end, "KiB") == 0) {
        *out_bytes *= NK_KIB;
    } else if (*end != '\0') {
        return false;
    }
    return end != text;
}

static bool parse_key(const char *text, size_t size, uint8_t *memory, struct nk_bytes *out_key)
{
    if (size == 0 || size > 16) {
        return false;
    }
    memcpy(memory, text, size);
    *out_key = nk_bytes_of(memory, size);
    return true;
}

/* "dead=60" and "expire=100..200". */
static bool parse_detail(const char *text, struct lsm_table_meta *meta)
{
    unsigned long long first = 0;
    unsigned long long last = 0;
    if (sscanf(text, "dead=%llu", &first) == 1) {
        meta->tombstone_count = meta->record_count * first / 100;
        return true;
    }
    if (sscanf(text, "expire=%llu..%llu", &first, &last) == 2) {
        meta->expire_count = meta->record_count - meta->tombstone_count;
        meta->expire_min_ms = first;
        meta->expire_max_ms = last;
        return true;
    }
    return false;
}

/* "a-f:16MiB,dead=60" */
static bool parse_table(char *word, struct table *table)
{
    char *colon = strchr(word, ':');
    char *dash = strchr(word, '-');
    if (colon == NULL || dash == NULL || dash > colon) {
        return false;
    }
    (void)snprintf(table->name, sizeof table->name, "%.*s", (int)(colon - word), word);
    struct lsm_table_meta *meta = &table->meta;
    char *details = strchr(colon, ',');
    if (details != NULL) {
        *details++ = '\0';
    }
    if (!parse_key(word, (size_t)(dash - word), table->smallest, &meta->smallest) ||
        !parse_key(dash + 1, (size_t)(colon - dash - 1), table->largest, &meta->largest) ||
        !parse_bytes(colon + 1, &meta->size_bytes)) {
        return false;
    }
    meta->record_count = nk_max_u64(meta->size_bytes / RECORD_BYTES, 1);
    while (details != NULL) {
        char *next = strchr(details, ',');
        if (next != NULL) {
            *next++ = '\0';
        }
        if (!parse_detail(details, meta)) {
            return false;
        }
        details = next;
    }
    return true;
}

static bool parse_level_number(const char *text, uint32_t *out_level)
{
    uint64_t number = 0;
    bool good = nk_text_parse_u64(nk_bytes_of_string(text), &number) && number < LSM_LEVEL_COUNT;
    *out_level = (uint32_t)number;
    return good;
}

/* ---- Commands ---- */

static bool set_level(struct script *script, char *const *words, size_t word_count)
{
    uint32_t number = 0;
    if (word_count < 2 || !parse_level_number(words[1], &number)) {
        return false;
    }
    struct level *level = &script->levels[number];
    level->count = 0;
    for (size_t i = 2; i < word_count; i++) {
        struct table *table = &level->tables[level->count];
        memset(table, 0, sizeof *table);
        if (!parse_table(words[i], table)) {
            return false;
        }
        level->metas[level->count++] = &table->meta;
    }
    return true;
}

static bool add_running(struct script *script, char *const *words, size_t word_count)
{
    if (word_count != 5 || script->running_count == RUNNING_MAX) {
        return false;
    }
    struct lsm_pick_span *span = &script->running[script->running_count];
    uint8_t(*keys)[16] = script->running_keys[script->running_count];
    script->running_count++;
    return parse_level_number(words[1], &span->from) && parse_level_number(words[2], &span->to) &&
           parse_key(words[3], strlen(words[3]), keys[0], &span->smallest) &&
           parse_key(words[4], strlen(words[4]), keys[1], &span->largest);
}

static bool set_number(struct script *script, const char *word)
{
    const char *equals = strchr(word, '=');
    uint64_t number = 0;
    if (equals == NULL || !parse_bytes(equals + 1, &number)) {
        return false;
    }
    struct nk_bytes name = nk_bytes_of(word, (size_t)(equals - word));
    struct lsm_pick_settings *settings = &script->settings;
    if (nk_bytes_equal(name, nk_bytes_of_string("fanout"))) {
        settings->fanout = (uint32_t)number;
    } else if (nk_bytes_equal(name, nk_bytes_of_string("levels"))) {
        settings->level_count = (uint32_t)number;
    } else if (nk_bytes_equal(name, nk_bytes_of_string("trigger"))) {
        settings->l0_trigger = (uint32_t)number;
    } else if (nk_bytes_equal(name, nk_bytes_of_string("slowdown"))) {
        settings->l0_slowdown = (uint32_t)number;
    } else if (nk_bytes_equal(name, nk_bytes_of_string("table"))) {
        settings->table_bytes = number;
    } else if (nk_bytes_equal(name, nk_bytes_of_string("batch"))) {
        script->batch_bytes = number;
    } else if (nk_bytes_equal(name, nk_bytes_of_string("time"))) {
        script->time_ms = number;
    } else if (nk_bytes_equal(name, nk_bytes_of_string("parts"))) {
        script->parts_max = number;
    } else {
        return false;
    }
    return true;
}

static void make_input(const struct script *script, struct lsm_pick_input *input)
{
    memset(input, 0, sizeof *input);
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        input->levels[i].tables = script->levels[i].metas;
        input->levels[i].count = script->levels[i].count;
    }
    input->running = script->running;
    input->running_count = script->running_count;
    input->batch_bytes = script->batch_bytes;
    input->time_ms = script->time_ms;
    input->parts_max = script->parts_max;
}

static void say(struct script *script, const struct nk_text *line)
{
    nk_buf_append_string(script->out, line->data);
    nk_buf_append_u8(script->out, '\n');
}

static void print_tables(struct script *script, const char *title, uint32_t level,
                         const uint32_t *indexes, size_t first, size_t count)
{
    char memory[DESCRIPTION_BYTES];
    struct nk_text line;
    nk_text_init(&line, memory, sizeof memory);
    nk_text_add(&line, title);
    for (size_t i = 0; i < count; i++) {
        nk_text_add(&line, " ");
        nk_text_add(&line,
                    script->levels[level].tables[indexes != NULL ? indexes[i] : first + i].name);
    }
    if (count > 0) {
        say(script, &line);
    }
}

static void print_pick(struct script *script)
{
    struct lsm_pick_input input;
    struct lsm_pick pick;
    char memory[DESCRIPTION_BYTES];
    struct nk_text line;
    make_input(script, &input);
    lsm_pick_next(&script->settings, &input, &pick);
    nk_text_init(&line, memory, sizeof memory);
    lsm_pick_describe(&script->settings, &input, &pick, &line);
    say(script, &line);
    if (pick.kind == LSM_PICK_NONE) {
        return;
    }
    print_tables(script, "  upper:", pick.from, pick.upper, 0, pick.upper_count);
    print_tables(script, "  lower:", pick.to, NULL, pick.lower_first, pick.lower_count);
    for (size_t i = 0; i < pick.split_count; i++) {
        nk_text_init(&line, memory, sizeof memory);
        nk_text_add(&line, "  a part ends before ");
        nk_text_add_bytes(&line, pick.splits[i]);
        say(script, &line);
    }
}

static void add_kib(struct nk_text *line, uint64_t bytes)
{
    nk_text_add_u64(line, bytes / NK_KIB);
    nk_text_add(line, " KiB");
}

static void print_targets(struct script *script, bool debt)
{
    struct lsm_pick_input input;
    struct lsm_targets targets;
    uint64_t level_bytes[LSM_LEVEL_COUNT];
    char memory[DESCRIPTION_BYTES];
    struct nk_text line;
    make_input(script, &input);
    lsm_pick_level_bytes(&input, level_bytes);
    lsm_targets_of(&script->settings, level_bytes, input.batch_bytes, &targets);
    nk_text_init(&line, memory, sizeof memory);
    if (debt) {
        nk_text_add(&line, "debt ");
        add_kib(&line,
                lsm_debt_of(&script->settings, &targets, level_bytes, input.levels[0].count));
    } else {
        nk_text_add(&line, "level 0 goes to level ");
        nk_text_add_u64(&line, targets.base);
    }
    for (uint32_t i = targets.base; i <= targets.bottom && !debt; i++) {
        nk_text_add(&line, i == targets.base ? "; " : ", ");
        nk_text_add(&line, "L");
        nk_text_add_u64(&line, i);
        nk_text_add(&line, " ");
        add_kib(&line, targets.bytes[i]);
    }
    say(script, &line);
}

static void clear(struct script *script)
{
    for (size_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        script->levels[i].count = 0;
    }
    script->running_count = 0;
}

static bool carry_out(struct script *script, char *const *words, size_t word_count)
{
    const char *name = words[0];
    if (strcmp(name, "level") == 0) {
        return set_level(script, words, word_count);
    }
    if (strcmp(name, "running") == 0) {
        return add_running(script, words, word_count);
    }
    if (strcmp(name, "settings") == 0 || strcmp(name, "given") == 0) {
        bool good = true;
        for (size_t i = 1; i < word_count; i++) {
            good = good && set_number(script, words[i]);
        }
        return good;
    }
    if (strcmp(name, "clear") == 0) {
        clear(script);
    } else if (strcmp(name, "pick") == 0) {
        print_pick(script);
    } else if (strcmp(name, "targets") == 0 || strcmp(name, "debt") == 0) {
        print_targets(script, name[0] == 'd');
    } else {
        return false;
    }
    return true;
}

static bool lsm_command(void *ctx, char *const *words, size_t word_count, struct nk_text *problem)
{
    if (carry_out(ctx, words, word_count)) {
        return true;
    }
    nk_text_add(problem, "not a command that makes sense: ");
    nk_text_add(problem, words[0]);
    return false;
}

const struct script_language script_lsm = {
    .name = "lsm",
    .open = lsm_open_script,
    .command = lsm_command,
    .close = lsm_close_script,
};

/* In this order:
 *
 *   1. level 0 and every level above the last get a score: tables over the trigger, bytes over the
 *      target.  From 1 on a level is due; the highest score goes first, and level 0 before all when
 *      it is near to slowing writers down;
 *   2. where nothing is due, tables whose records are mostly dead (tombstones, expired) go down, or
 *      are written again where nothing lies below them.
 *
 * A compaction has its key range, from the smallest to the largest key of all its tables, for
 * itself in every level from `from` to `to`.  So those under way are disjoint where they meet, and
 * what one of them finds below its output stays below it, however the others end.
 *
 * Level 0.  Tables that overlap, directly or through others, form a cluster, which is compacted as
 * a whole or, when it is very large, its oldest tables: nothing may pass an older version of a key.
 *
 * Other levels.  Of the tables that may go, the one that meets the least in the next level for its
 * size; then its neighbours too, as far as they meet nothing more. */

#include "services/shardhost/lsm/pick.h"

#include "common/base/assert.h"

#define SCORE_DUE       1000
#define SCORE_URGENT    1000000 /* added where writers are slowed down */
#define NEIGHBOUR_BYTES 25      /* tables of table_bytes: with its neighbours a pick has no more */
#define MOVE_BYTES      10      /* likewise: a moved table overlaps no more in the level below */
#define PART_BYTES      4       /* likewise: a part has at least as much */
#define DEAD_SHARE      2       /* one half of a table's records: it is mostly dead */
#define DEAD_WORTH      25      /* records of the next level for each dead one, at most */
#define DEAD_WORTH_L0   4
#define DEAD_SHARE_MOVE 8 /* a table with more dead records is not moved to where they could go */

struct picker {
    const struct lsm_pick_settings *settings;
    const struct lsm_pick_input *input;
    struct lsm_targets targets;
    uint64_t level_bytes[LSM_LEVEL_COUNT];
    bool l0_waits; /* it is due, and what is under way is in its way */
};

struct range {
    struct nk_bytes smallest;
    struct nk_bytes largest;
};

/* ---- Ranges ---- */

static struct range range_of(const struct lsm_table_meta *table)
{
    return (struct range){table->smallest, table->largest};
}

static void extend(struct range *range, const struct lsm_table_meta *table)
{
    if (nk_bytes_compare(table->smallest, range->smallest) < 0) {
        range->smallest = table->smallest;
    }
    if (nk_bytes_compare(table->largest, range->largest) > 0) {
        range->largest = table->largest;
    }
}

static bool overlap(struct range a, struct range b)
{
    return nk_bytes_compare(a.smallest, b.largest) <= 0 &&
           nk_bytes_compare(b.smallest, a.largest) <= 0;
}

/* The tables of a level without overlaps that meet `range`. */
static void find_lower(const struct lsm_pick_level *level, struct range range, size_t *out_first,
                       size_t *out_count)
{
    size_t first = 0;
    size_t limit = level->count;
    while (first < limit) {
        size_t middle = first + (limit - first) / 2;
        if (nk_bytes_compare(level->tables[middle]->largest, range.smallest) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    size_t end = first;
    while (end < level->count &&
           nk_bytes_compare(level->tables[end]->smallest, range.largest) <= 0) {
        end++;
    }
    *out_first = first;
    *out_count = end - first;
}

static uint64_t bytes_of(const struct lsm_pick_level *level, size_t first, size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = first; i < first + count; i++) {
        bytes += level->tables[i]->size_bytes;
    }
    return bytes;
}

static uint64_t records_of(const struct lsm_pick_level *level, size_t first, size_t count)
{
    uint64_t records = 0;
    for (size_t i = first; i < first + count; i++) {
        records += level->tables[i]->record_count;
    }
    return records;
}

/* Whether a compaction under way has some of `range` in one of the levels `from`..`to`. */
static bool taken(const struct picker *picker, uint32_t from, uint32_t to, struct range range)
{
    for (size_t i = 0; i < picker->input->running_count; i++) {
        const struct lsm_pick_span *span = &picker->input->running[i];
        if (span->from <= to && from <= span->to &&
            overlap(range, (struct range){span->smallest, span->largest})) {
            return true;
        }
    }
    return false;
}

static bool anything_below(const struct picker *picker, uint32_t level, struct range range)
{
    for (uint32_t i = level + 1; i < LSM_LEVEL_COUNT; i++) {
        size_t first = 0;
        size_t count = 0;
        find_lower(&picker->input->levels[i], range, &first, &count);
        if (count > 0) {
            return true;
        }
    }
    return false;
}

/* ---- Dead records ---- */

/* Tombstones, and an estimate of what has expired: expiries spread evenly between first and last.
 */
static uint64_t dead_records(const struct picker *picker, const struct lsm_table_meta *table)
{
    uint64_t time_ms = picker->input->time_ms;
    uint64_t expired = 0;
    if (table->expire_count > 0 && time_ms >= table->expire_max_ms) {
        expired = table->expire_count;
    } else if (table->expire_count > 0 && time_ms > table->expire_min_ms) {
        uint64_t permille = nk_max_u64((table->expire_max_ms - table->expire_min_ms) / 1000, 1);
        uint64_t passed = nk_min_u64((time_ms - table->expire_min_ms) / permille, 1000);
        expired = table->expire_count / 1000 * passed + table->expire_count % 1000 * passed / 1000;
    }
    return table->tombstone_count + expired;
}

static bool wholly_dead(const struct picker *picker, const struct lsm_table_meta *table)
{
    return table->tombstone_count + table->expire_count == table->record_count &&
           (table->expire_count == 0 || picker->input->time_ms >= table->expire_max_ms);
}

/* ---- Completing a pick ---- */

static uint64_t upper_bytes(const struct picker *picker, const struct lsm_pick *pick)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < pick->upper_count; i++) {
        bytes += picker->input->levels[pick->from].tables[pick->upper[i]]->size_bytes;
    }
    return bytes;
}

/* Fills in what of `to` takes part; false if the range is taken. */
static bool meet_lower(const struct picker *picker, struct range upper, struct lsm_pick *pick)
{
    const struct lsm_pick_level *lower = &picker->input->levels[pick->to];
    struct range range = upper;
    if (pick->from != pick->to) {
        find_lower(lower, upper, &pick->lower_first, &pick->lower_count);
        for (size_t i = 0; i < pick->lower_count; i++) {
            extend(&range, lower->tables[pick->lower_first + i]);
        }
    }
    pick->smallest = range.smallest;
    pick->largest = range.largest;
    return !taken(picker, pick->from, pick->to, range);
}

/* Whether the one table of a pick that meets nothing in `to` may go there unread: it must not
 * become dear to compact further, nor carry dead records to where they could be dropped. */
static bool may_move(const struct picker *picker, const struct lsm_pick *pick)
{
    if (pick->upper_count != 1 || pick->lower_count > 0 || pick->from == pick->to) {
        return false;
    }
    const struct lsm_table_meta *table = picker->input->levels[pick->from].tables[pick->upper[0]];
    struct range range = range_of(table);
    if (dead_records(picker, table) * DEAD_SHARE_MOVE > table->record_count &&
        !anything_below(picker, pick->to, range)) {
        return false;
    }
    size_t first = 0;
    size_t count = 0;
    if (pick->to + 1 < LSM_LEVEL_COUNT) {
        const struct lsm_pick_level *next = &picker->input->levels[pick->to + 1];
        find_lower(next, range, &first, &count);
        return bytes_of(next, first, count) <= MOVE_BYTES * picker->settings->table_bytes;
    }
    return true;
}

/* The parts of a large one end where tables of the lower level begin, since those are of about one
 * size. */
static void split(const struct picker *picker, struct lsm_pick *pick)
{
    const struct lsm_pick_level *lower = &picker->input->levels[pick->to];
    uint64_t parts = pick->bytes / nk_max_u64(PART_BYTES * picker->settings->table_bytes, 1);
    parts = nk_min_u64(parts, picker->input->parts_max);
    parts = nk_min_u64(parts, LSM_PICK_SPLITS_MAX + 1);
    uint64_t lower_bytes = bytes_of(lower, pick->lower_first, pick->lower_count);
    uint64_t before = 0;
    for (size_t i = 0; i < pick->lower_count && pick->split_count + 1 < parts; i++) {
        const struct lsm_table_meta *table = lower->tables[pick->lower_first + i];
        if (i > 0 && before >= lower_bytes / parts * (pick->split_count + 1)) {
            pick->splits[pick->split_count++] = table->smallest;
        }
        before += table->size_bytes;
    }
}

static void complete(const struct picker *picker, struct lsm_pick *pick)
{
    const struct lsm_pick_level *lower = &picker->input->levels[pick->to];
    pick->bytes = upper_bytes(picker, pick) + bytes_of(lower, pick->lower_first, pick->lower_count);
    pick->kind = may_move(picker, pick) ? LSM_PICK_MOVE : LSM_PICK_MERGE;
    if (pick->kind == LSM_PICK_MERGE) {
        split(picker, pick);
    }
}

/* ---- Level 0 ---- */

/* The cluster of `seed`, oldest tables first; false if `seed` is in the cluster of an older one,
 * and then in that. */
static bool gather(const struct lsm_pick_level *level, size_t seed, struct range *out_range,
                   size_t *out_count)
{
    struct range range = range_of(level->tables[seed]);
    size_t count = 1;
    for (bool grown = true; grown;) {
        size_t inside = 0;
        for (size_t i = 0; i < level->count; i++) {
            if (overlap(range, range_of(level->tables[i]))) {
                if (i > seed) {
                    return false;
                }
                extend(&range, level->tables[i]);
                inside++;
            }
        }
        grown = inside > count;
        count = inside;
    }
    *out_range = range;
    *out_count = count;
    return true;
}

/* The oldest tables of the cluster of `range`. */
static struct range take_cluster(const struct lsm_pick_level *level, struct range range,
                                 struct lsm_pick *pick)
{
    struct range taken_range = {0};
    size_t first = level->count;
    pick->upper_count = 0;
    for (size_t i = level->count; i-- > 0 && pick->upper_count < LSM_PICK_UPPER_MAX;) {
        if (overlap(range, range_of(level->tables[i]))) {
            if (pick->upper_count++ == 0) {
                taken_range = range_of(level->tables[i]);
            }
            extend(&taken_range, level->tables[i]);
            first = i;
        }
    }
    size_t at = 0;
    for (size_t i = first; i < level->count; i++) {
        if (overlap(range, range_of(level->tables[i]))) {
            pick->upper[at++] = (uint32_t)i;
        }
    }
    NK_ASSERT(at == pick->upper_count);
    return taken_range;
}

/* The largest cluster that is free, among equals the oldest. */
static bool pick_l0(const struct picker *picker, struct lsm_pick *out_pick)
{
    const struct lsm_pick_level *level = &picker->input->levels[0];
    bool found = false;
    for (size_t seed = level->count; seed-- > 0;) {
        struct range range;
        size_t count = 0;
        if (!gather(level, seed, &range, &count)) {
            continue;
        }
        struct lsm_pick pick = {.from = 0, .to = picker->targets.base};
        range = take_cluster(level, range, &pick);
        if ((!found || pick.upper_count > out_pick->upper_count) &&
            meet_lower(picker, range, &pick)) {
            *out_pick = pick;
            found = true;
        }
    }
    return found;
}

static uint64_t l0_score(const struct picker *picker)
{
    const struct lsm_pick_level *level = &picker->input->levels[0];
    uint64_t count = 0;
    for (size_t i = 0; i < level->count; i++) {
        count += !taken(picker, 0, 0, range_of(level->tables[i]));
    }
    uint64_t score = count * 1000 / picker->settings->l0_trigger;
    return level->count >= picker->settings->l0_slowdown && score >= SCORE_DUE
               ? score + SCORE_URGENT
               : score;
}

/* ---- The other levels ---- */

static uint64_t level_score(const struct picker *picker, uint32_t number)
{
    const struct lsm_pick_level *level = &picker->input->levels[number];
    uint64_t bytes = 0;
    for (size_t i = 0; i < level->count; i++) {
        if (!taken(picker, number, number, range_of(level->tables[i]))) {
            bytes += level->tables[i]->size_bytes;
        }
    }
    uint64_t target = picker->targets.bytes[number];
    return bytes > UINT64_MAX / 1000 ? UINT64_MAX / 2 : bytes * 1000 / nk_max_u64(target, 1);
}

/* Adds neighbours of the one upper table, on both sides, that meet the same lower tables. */
static void add_neighbours(const struct picker *picker, struct lsm_pick *pick)
{
    const struct lsm_pick_level *upper = &picker->input->levels[pick->from];
    size_t first = pick->upper[0];
    size_t last = first;
    struct range range = range_of(upper->tables[first]);
    uint64_t bytes =
        upper->tables[first]->size_bytes +
        bytes_of(&picker->input->levels[pick->to], pick->lower_first, pick->lower_count);
    for (bool grown = true; grown && last - first + 1 < LSM_PICK_UPPER_MAX;) {
        grown = false;
        for (size_t side = 0; side < 2 && last - first + 1 < LSM_PICK_UPPER_MAX; side++) {
            if (side == 0 ? first == 0 : last + 1 == upper->count) {
                continue;
            }
            const struct lsm_table_meta *table = upper->tables[side == 0 ? first - 1 : last + 1];
            struct lsm_pick wider = *pick;
            struct range wider_range = range;
            extend(&wider_range, table);
            if (bytes + table->size_bytes > NEIGHBOUR_BYTES * picker->settings->table_bytes ||
                !meet_lower(picker, wider_range, &wider) ||
                wider.lower_count != pick->lower_count) {
                continue;
            }
            *pick = wider;
            range = wider_range;
            bytes += table->size_bytes;
            first -= side == 0;
            last += side == 1;
            grown = true;
        }
    }
    pick->upper_count = last - first + 1;
    for (size_t i = 0; i < pick->upper_count; i++) {
        pick->upper[i] = (uint32_t)(first + i);
    }
}

static bool pick_level(const struct picker *picker, uint32_t number, struct lsm_pick *out_pick)
{
    const struct lsm_pick_level *level = &picker->input->levels[number];
    const struct lsm_pick_level *lower = &picker->input->levels[number + 1];
    bool found = false;
    uint64_t least = 0; /* bytes met for each 1024 of its own */
    for (size_t i = 0; i < level->count; i++) {
        struct lsm_pick pick = {.from = number, .to = number + 1, .upper_count = 1};
        pick.upper[0] = (uint32_t)i;
        if (!meet_lower(picker, range_of(level->tables[i]), &pick)) {
            continue;
        }
        uint64_t met = bytes_of(lower, pick.lower_first, pick.lower_count);
        uint64_t ratio = met * 1024 / nk_max_u64(level->tables[i]->size_bytes, 1);
        if (!found || ratio < least) {
            *out_pick = pick;
            least = ratio;
            found = true;
        }
    }
    if (found && out_pick->lower_count > 0) {
        add_neighbours(picker, out_pick);
    }
    return found;
}

/* ---- Dead records, where nothing else is due ---- */

static bool pick_dead_table(const struct picker *picker, uint32_t number, size_t at,
                            struct lsm_pick *out_pick)
{
    const struct lsm_table_meta *table = picker->input->levels[number].tables[at];
    struct range range = range_of(table);
    uint64_t dead = dead_records(picker, table);
    if (dead == 0 || dead * DEAD_SHARE < table->record_count) {
        return false;
    }
    struct lsm_pick pick = {.from = number, .to = number, .upper_count = 1};
    pick.upper[0] = (uint32_t)at;
    bool below = anything_below(picker, number, range);
    if (below) {
        pick.to = number + 1;
    }
    if (!meet_lower(picker, range, &pick)) {
        return false;
    }
    const struct lsm_pick_level *lower = &picker->input->levels[pick.to];
    if (records_of(lower, pick.lower_first, pick.lower_count) > dead * DEAD_WORTH) {
        return false;
    }
    *out_pick = pick;
    complete(picker, out_pick);
    if (!below && wholly_dead(picker, table)) {
        out_pick->kind = LSM_PICK_DROP;
    }
    return true;
}

static bool pick_dead_l0(const struct picker *picker, struct lsm_pick *out_pick)
{
    struct lsm_pick pick;
    if (!pick_l0(picker, &pick)) {
        return false;
    }
    uint64_t dead = 0;
    uint64_t records = 0;
    for (size_t i = 0; i < pick.upper_count; i++) {
        const struct lsm_table_meta *table = picker->input->levels[0].tables[pick.upper[i]];
        dead += dead_records(picker, table);
        records += table->record_count;
    }
    const struct lsm_pick_level *lower = &picker->input->levels[pick.to];
    if (dead == 0 || dead * DEAD_SHARE < records ||
        records_of(lower, pick.lower_first, pick.lower_count) > dead * DEAD_WORTH_L0) {
        return false;
    }
    *out_pick = pick;
    complete(picker, out_pick);
    return true;
}

static bool pick_dead(const struct picker *picker, struct lsm_pick *out_pick)
{
    for (uint32_t number = 1; number < LSM_LEVEL_COUNT; number++) {
        bool kept_free = picker->l0_waits && number == picker->targets.base;
        for (size_t i = 0; i < picker->input->levels[number].count && !kept_free; i++) {
            if (pick_dead_table(picker, number, i, out_pick)) {
                return true;
            }
        }
    }
    return pick_dead_l0(picker, out_pick);
}

/* ---- All together ---- */

static bool pick_due(struct picker *picker, struct lsm_pick *out_pick)
{
    uint64_t scores[LSM_LEVEL_COUNT] = {l0_score(picker)};
    for (uint32_t i = picker->targets.base; i < picker->targets.bottom; i++) {
        scores[i] = level_score(picker, i);
    }
    for (;;) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < LSM_LEVEL_COUNT; i++) {
            best = scores[i] > scores[best] ? i : best;
        }
        if (scores[best] < SCORE_DUE) {
            return false;
        }
        if (best == 0 ? pick_l0(picker, out_pick) : pick_level(picker, best, out_pick)) {
            out_pick->score = scores[best];
            out_pick->reason = best == 0 ? LSM_PICK_L0_COUNT : LSM_PICK_LEVEL_SIZE;
            complete(picker, out_pick);
            return true;
        }
        scores[best] = 0; /* what is under way is in the way of it */
        if (best == 0) {
            /* Nothing more is begun in the base, or level 0 would find it busy for ever. */
            picker->l0_waits = true;
            scores[picker->targets.base] = 0;
        }
    }
}

void lsm_pick_level_bytes(const struct lsm_pick_input *input, uint64_t out_bytes[LSM_LEVEL_COUNT])
{
    for (uint32_t i = 0; i < LSM_LEVEL_COUNT; i++) {
        out_bytes[i] = bytes_of(&input->levels[i], 0, input->levels[i].count);
    }
}

void lsm_pick_next(const struct lsm_pick_settings *settings, const struct lsm_pick_input *input,
                   struct lsm_pick *out_pick)
{
    NK_ASSERT(settings->l0_trigger > 0);
    NK_ASSERT(settings->l0_trigger <= settings->l0_slowdown);
    NK_ASSERT(input->parts_max > 0);
    struct picker picker = {.settings = settings, .input = input};
    lsm_pick_level_bytes(input, picker.level_bytes);
    lsm_targets_of(settings, picker.level_bytes, input->batch_bytes, &picker.targets);
    if (pick_due(&picker, out_pick)) {
        return;
    }
    if (pick_dead(&picker, out_pick)) {
        out_pick->reason = LSM_PICK_DEAD_RECORDS;
        out_pick->score = SCORE_DUE;
        return;
    }
    *out_pick = (struct lsm_pick){.kind = LSM_PICK_NONE};
}

/* ---- In words ---- */

static void add_bytes(struct nk_text *out, uint64_t bytes)
{
    if (bytes >= 10 * NK_MIB) {
        nk_text_add_u64(out, bytes / NK_MIB);
        nk_text_add(out, " MiB");
    } else if (bytes >= 10 * NK_KIB) {
        nk_text_add_u64(out, bytes / NK_KIB);
        nk_text_add(out, " KiB");
    } else {
        nk_text_add_u64(out, bytes);
        nk_text_add(out, " B");
    }
}

static void add_levels(struct nk_text *out, const struct lsm_pick *pick)
{
    nk_text_add(out, "L");
    nk_text_add_u64(out, pick->from);
    if (pick->from != pick->to) {
        nk_text_add(out, " -> L");
        nk_text_add_u64(out, pick->to);
    }
}

static void add_reason(struct nk_text *out, const struct lsm_pick_settings *settings,
                       const struct lsm_pick_input *input, const struct lsm_pick *pick)
{
    uint64_t level_bytes[LSM_LEVEL_COUNT];
    struct lsm_targets targets;
    switch (pick->reason) {
    case LSM_PICK_L0_COUNT:
        nk_text_add(out, "level 0 has ");
        nk_text_add_u64(out, input->levels[0].count);
        nk_text_add(out, " tables, ");
        nk_text_add_u64(out, settings->l0_trigger);
        nk_text_add(out, " are enough");
        break;
    case LSM_PICK_LEVEL_SIZE:
        lsm_pick_level_bytes(input, level_bytes);
        lsm_targets_of(settings, level_bytes, input->batch_bytes, &targets);
        nk_text_add(out, "level ");
        nk_text_add_u64(out, pick->from);
        nk_text_add(out, " has ");
        add_bytes(out, level_bytes[pick->from]);
        nk_text_add(out, ", should have ");
        add_bytes(out, targets.bytes[pick->from]);
        break;
    case LSM_PICK_DEAD_RECORDS:
        nk_text_add(out, "mostly dead records");
        break;
    }
}

void lsm_pick_describe(const struct lsm_pick_settings *settings, const struct lsm_pick_input *input,
                       const struct lsm_pick *pick, struct nk_text *out)
{
    static const char *const names[] = {"nothing to do", "merge ", "move ", "drop "};
    if (pick->kind == LSM_PICK_NONE) {
        nk_text_add(out, names[pick->kind]);
        return;
    }
    add_levels(out, pick);
    nk_text_add(out, ": ");
    nk_text_add(out, names[pick->kind]);
    nk_text_add_u64(out, pick->upper_count);
    if (pick->lower_count > 0) {
        nk_text_add(out, " + ");
        nk_text_add_u64(out, pick->lower_count);
    }
    nk_text_add(out, pick->upper_count + pick->lower_count == 1 ? " table, " : " tables, ");
    add_bytes(out, pick->bytes);
    if (pick->split_count > 0) {
        nk_text_add(out, " in ");
        nk_text_add_u64(out, pick->split_count + 1);
        nk_text_add(out, " parts");
    }
    nk_text_add(out, "; ");
    add_reason(out, settings, input, pick);
}

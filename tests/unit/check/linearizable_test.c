/* The checker is only worth something if it refuses: histories that a correct register gave, and
 * the same with one thing changed. */

#include "tests/sim/check/linearizable.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/base/prng.h"
#include "common/base/units.h"

TestSuite(linearizable, .timeout = 60);

static struct history_op base(enum history_kind kind, uint64_t invoked, uint64_t returned)
{
    struct history_op op = {.kind = kind, .invoked = invoked, .returned = returned};
    op.outcome = returned == UINT64_MAX ? HISTORY_UNKNOWN : HISTORY_DONE;
    op.wall_max = returned == UINT64_MAX ? UINT64_MAX : 1000;
    return op;
}

static struct history_op put(uint64_t invoked, uint64_t returned, uint64_t value, uint64_t index)
{
    struct history_op op = base(HISTORY_PUT, invoked, returned);
    op.value = value;
    op.version = (struct history_version){1, index};
    return op;
}

static struct history_op get(uint64_t invoked, uint64_t returned, uint64_t value, uint64_t index)
{
    struct history_op op = base(HISTORY_GET, invoked, returned);
    op.value = value;
    op.version = (struct history_version){value == 0 ? 0 : 1, index};
    return op;
}

static struct history_op unknown_put(uint64_t invoked, uint64_t value)
{
    return put(invoked, UINT64_MAX, value, 0);
}

#define CHECK(...)                                                                                 \
    history_check((struct history_op[]){__VA_ARGS__},                                              \
                  NK_COUNT_OF(((struct history_op[]){__VA_ARGS__})), NULL)

Test(linearizable, a_read_of_the_last_write_is_fine)
{
    cr_expect_eq(CHECK(put(1, 2, 7, 1), get(3, 4, 7, 1)), HISTORY_LINEARIZABLE);
}

Test(linearizable, a_lost_write_is_refused)
{
    cr_expect_eq(CHECK(put(1, 2, 7, 1), get(3, 4, 0, 0)), HISTORY_VIOLATION);
}

Test(linearizable, a_stale_read_is_refused)
{
    cr_expect_eq(CHECK(put(1, 2, 7, 1), put(3, 4, 8, 2), get(5, 6, 7, 1)), HISTORY_VIOLATION);
}

Test(linearizable, a_read_beside_a_write_may_see_either)
{
    cr_expect_eq(CHECK(put(1, 2, 7, 1), put(3, 10, 8, 2), get(4, 5, 7, 1)), HISTORY_LINEARIZABLE);
    cr_expect_eq(CHECK(put(1, 2, 7, 1), put(3, 10, 8, 2), get(4, 5, 8, 2)), HISTORY_LINEARIZABLE);
}

Test(linearizable, two_reads_may_not_go_back_in_time)
{
    cr_expect_eq(CHECK(put(1, 2, 7, 1), put(3, 10, 8, 2), get(4, 5, 8, 2), get(6, 7, 7, 1)),
                 HISTORY_VIOLATION);
}

Test(linearizable, an_unknown_write_may_come_late_or_never)
{
    cr_expect_eq(CHECK(unknown_put(1, 7), get(2, 3, 0, 0), get(4, 5, 7, 1)), HISTORY_LINEARIZABLE);
    cr_expect_eq(CHECK(unknown_put(1, 7), get(2, 3, 0, 0), get(4, 5, 0, 0)), HISTORY_LINEARIZABLE);
}

Test(linearizable, an_unknown_write_happens_once)
{
    cr_expect_eq(CHECK(unknown_put(1, 7), get(2, 3, 7, 1), put(4, 5, 8, 2), get(6, 7, 7, 3)),
                 HISTORY_VIOLATION);
}

Test(linearizable, versions_grow)
{
    cr_expect_eq(CHECK(put(1, 2, 7, 5), put(3, 4, 8, 5)), HISTORY_VIOLATION);
    cr_expect_eq(CHECK(put(1, 2, 7, 5), put(3, 4, 8, 4)), HISTORY_VIOLATION);
    cr_expect_eq(CHECK(put(1, 2, 7, 5), put(3, 4, 8, 6)), HISTORY_LINEARIZABLE);
}

Test(linearizable, a_cas_needs_what_it_expects)
{
    struct history_op cas = put(3, 4, 8, 2);
    cas.kind = HISTORY_CAS;
    cas.expected = (struct history_version){1, 1};
    cr_expect_eq(CHECK(put(1, 2, 7, 1), cas), HISTORY_LINEARIZABLE);
    cas.expected.index = 9;
    cr_expect_eq(CHECK(put(1, 2, 7, 1), cas), HISTORY_VIOLATION);
    cas.outcome = HISTORY_MISMATCH;
    cas.found = (struct history_version){1, 1};
    cr_expect_eq(CHECK(put(1, 2, 7, 1), cas), HISTORY_LINEARIZABLE);
    cas.found.index = 3;
    cr_expect_eq(CHECK(put(1, 2, 7, 1), cas), HISTORY_VIOLATION);
}

Test(linearizable, a_create_needs_nothing_there)
{
    struct history_op create = put(3, 4, 8, 2);
    create.kind = HISTORY_CREATE;
    cr_expect_eq(CHECK(put(1, 2, 7, 1), create), HISTORY_VIOLATION);
    create.outcome = HISTORY_EXISTS;
    create.found = (struct history_version){1, 1};
    cr_expect_eq(CHECK(put(1, 2, 7, 1), create), HISTORY_LINEARIZABLE);
}

Test(linearizable, a_delete_tells_whether_something_was_there)
{
    struct history_op delete = base(HISTORY_DELETE, 3, 4);
    delete.version = (struct history_version){1, 2};
    delete.tombstoned = true;
    cr_expect_eq(CHECK(put(1, 2, 7, 1), delete, get(5, 6, 0, 0)), HISTORY_LINEARIZABLE);
    cr_expect_eq(CHECK(put(1, 2, 7, 1), delete, get(5, 6, 7, 1)), HISTORY_VIOLATION);
    delete.tombstoned = false;
    cr_expect_eq(CHECK(put(1, 2, 7, 1), delete), HISTORY_VIOLATION);
}

static struct history_op expiring_put(void)
{
    struct history_op op = put(1, 2, 7, 1);
    op.expires_first = 500;
    op.expires_last = 600;
    return op;
}

static struct history_op get_at(uint64_t invoked, uint64_t value, uint64_t wall_min,
                                uint64_t wall_max)
{
    struct history_op op = get(invoked, invoked + 1, value, value == 0 ? 0 : 1);
    op.wall_min = wall_min;
    op.wall_max = wall_max;
    return op;
}

Test(linearizable, a_value_expires_not_before_its_time_and_not_after)
{
    cr_expect_eq(CHECK(expiring_put(), get_at(3, 0, 400, 499)), HISTORY_VIOLATION);
    cr_expect_eq(CHECK(expiring_put(), get_at(3, 7, 400, 499)), HISTORY_LINEARIZABLE);
    cr_expect_eq(CHECK(expiring_put(), get_at(3, 0, 550, 560)), HISTORY_LINEARIZABLE);
    cr_expect_eq(CHECK(expiring_put(), get_at(3, 7, 550, 560)), HISTORY_LINEARIZABLE);
    cr_expect_eq(CHECK(expiring_put(), get_at(3, 7, 600, 610)), HISTORY_VIOLATION);
}

Test(linearizable, an_expired_value_never_comes_back)
{
    cr_expect_eq(CHECK(expiring_put(), get_at(3, 0, 550, 560), get_at(5, 7, 100, 560)),
                 HISTORY_VIOLATION);
}

/* ---- Against a checker that tries everything ---- */

enum { SMALL_OPS = 7 };

struct plain_cell {
    uint64_t value;
    uint64_t index; /* of the version; 0: not known, or missing */
    uint64_t index_last;
    uint64_t expires_first;
    uint64_t expires_last;
    bool expired;
};

static bool plain_gone(struct plain_cell *cell, const struct history_op *op)
{
    uint64_t wall_max = op->outcome == HISTORY_UNKNOWN ? UINT64_MAX : op->wall_max;
    bool expires = cell->expires_first != 0 && cell->expires_first <= wall_max;
    cell->expired |= cell->value != 0 && expires;
    return cell->value == 0 || expires;
}

static bool plain_there(const struct plain_cell *cell, const struct history_op *op)
{
    uint64_t wall_min = op->outcome == HISTORY_UNKNOWN ? 0 : op->wall_min;
    return cell->value != 0 && !cell->expired &&
           (cell->expires_first == 0 || wall_min < cell->expires_last);
}

static bool plain_has(struct plain_cell *cell, uint64_t index)
{
    if (cell->index != 0) {
        return cell->index == index;
    }
    cell->index = index;
    bool rises = index > cell->index_last;
    cell->index_last = index;
    return rises;
}

static bool plain_write(struct plain_cell *cell, const struct history_op *op, uint64_t value)
{
    bool known = op->outcome == HISTORY_DONE;
    bool rises = !known || op->version.index > cell->index_last;
    cell->value = value;
    cell->index = known && value != 0 ? op->version.index : 0;
    cell->index_last = known ? op->version.index : cell->index_last;
    cell->expires_first = value != 0 ? op->expires_first : 0;
    cell->expires_last = op->expires_last;
    cell->expired = false;
    return rises;
}

static bool plain_apply(struct plain_cell *cell, const struct history_op *op)
{
    if (op->outcome == HISTORY_EXISTS) {
        return plain_there(cell, op) && plain_has(cell, op->found.index);
    }
    if (op->outcome == HISTORY_MISMATCH) {
        return op->found.index == 0
                   ? plain_gone(cell, op)
                   : plain_there(cell, op) && op->found.index != op->expected.index &&
                         plain_has(cell, op->found.index);
    }
    switch (op->kind) {
    case HISTORY_GET:
        return op->value == 0 ? plain_gone(cell, op)
                              : plain_there(cell, op) && cell->value == op->value &&
                                    plain_has(cell, op->version.index);
    case HISTORY_PUT:
        return plain_write(cell, op, op->value);
    case HISTORY_CAS:
        return plain_there(cell, op) && plain_has(cell, op->expected.index) &&
               plain_write(cell, op, op->value);
    case HISTORY_CREATE:
        return plain_gone(cell, op) && plain_write(cell, op, op->value);
    case HISTORY_DELETE:
        if (op->outcome == HISTORY_DONE &&
            (op->tombstoned ? !plain_there(cell, op) : !plain_gone(cell, op))) {
            return false;
        }
        return plain_write(cell, op, 0);
    }
    return false;
}

/* Every order, by recursion over at most SMALL_OPS levels. */
static bool plain_check(const struct history_op *ops, size_t count, unsigned placed,
                        struct plain_cell cell)
{
    bool all = true;
    uint64_t limit = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        if ((placed >> i & 1) == 0 && ops[i].outcome != HISTORY_UNKNOWN) {
            all = false;
            limit = ops[i].returned < limit ? ops[i].returned : limit;
        }
    }
    for (size_t i = 0; i < count && !all; i++) {
        struct plain_cell after = cell;
        if ((placed >> i & 1) == 0 && ops[i].invoked < limit && plain_apply(&after, &ops[i]) &&
            plain_check(ops, count, placed | 1U << i, after)) {
            return true;
        }
    }
    return all;
}

/* Answers from a small domain, so that many fit and many do not. */
static void draw_answer(struct nk_prng *prng, struct history_op *op, size_t i)
{
    op->kind = (enum history_kind)nk_prng_below(prng, 5);
    op->outcome = nk_prng_below(prng, 3) == 0 ? HISTORY_UNKNOWN : HISTORY_DONE;
    uint64_t index = 1 + nk_prng_below(prng, SMALL_OPS);
    if (op->kind == HISTORY_GET) {
        op->outcome = HISTORY_DONE;
        op->value = nk_prng_below(prng, SMALL_OPS);
        op->version.index = op->value == 0 ? 0 : index;
        return;
    }
    op->value = op->kind == HISTORY_DELETE ? 0 : i + 1;
    op->tombstoned = nk_prng_below(prng, 2) == 0;
    if (op->kind != HISTORY_DELETE && nk_prng_below(prng, 4) == 0) {
        op->expires_first = 1 + nk_prng_below(prng, 10);
        op->expires_last = op->outcome == HISTORY_UNKNOWN
                               ? UINT64_MAX
                               : op->expires_first + nk_prng_below(prng, 3);
    }
    if (op->kind == HISTORY_CAS) {
        op->expected.index = 1 + nk_prng_below(prng, SMALL_OPS);
    }
    if (op->kind == HISTORY_CAS && nk_prng_below(prng, 3) == 0) {
        op->outcome = HISTORY_MISMATCH;
        op->found.index = nk_prng_below(prng, SMALL_OPS);
    }
    if (op->kind == HISTORY_CREATE && nk_prng_below(prng, 3) == 0) {
        op->outcome = HISTORY_EXISTS;
        op->found.index = index;
    }
    if (op->outcome == HISTORY_DONE) {
        op->version.index = index;
    }
}

static size_t draw_history(struct nk_prng *prng, struct history_op *ops)
{
    size_t count = 2 + (size_t)nk_prng_below(prng, SMALL_OPS - 1);
    uint64_t overlap = 1 + nk_prng_below(prng, 12);
    memset(ops, 0, SMALL_OPS * sizeof *ops);
    for (size_t i = 0; i < count; i++) {
        draw_answer(prng, &ops[i], i);
        ops[i].invoked = 10 * i + 1;
        ops[i].returned = ops[i].outcome == HISTORY_UNKNOWN
                              ? UINT64_MAX
                              : ops[i].invoked + 1 + 5 * nk_prng_below(prng, overlap);
        /* What clocks showed grows with time, whatever they do meanwhile. */
        ops[i].wall_min = nk_prng_below(prng, 2) * ops[i].invoked / 10;
        ops[i].wall_max = ops[i].returned / 10;
    }
    return count;
}

Test(linearizable, agrees_with_trying_every_order)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    size_t fine = 0;
    for (size_t run = 0; run < 300000; run++) {
        struct history_op ops[SMALL_OPS];
        size_t count = draw_history(&prng, ops);
        struct plain_cell nothing = {0};
        bool possible = plain_check(ops, count, 0, nothing);
        fine += possible;
        enum history_verdict verdict = history_check(ops, count, NULL);
        cr_assert_eq(verdict, possible ? HISTORY_LINEARIZABLE : HISTORY_VIOLATION,
                     "run %zu: %zu operations, possible %d", run, count, possible);
    }
    cr_expect_gt(fine, 20000, "%zu", fine);
}

/* ---- What a register really answered, and the same with one thing changed ---- */

enum { RUN_OPS = 160 };

struct run {
    struct history_op ops[RUN_OPS];
    size_t count;
    struct nk_prng prng;
    struct plain_cell cell;
    uint64_t index;
};

static void answer_write(struct run *run, struct history_op *op)
{
    struct plain_cell *cell = &run->cell;
    op->outcome = HISTORY_DONE;
    bool there = plain_there(cell, op) && !plain_gone(cell, op);
    run->index += 1 + nk_prng_below(&run->prng, 3);
    op->version = (struct history_version){1, run->index};
    if (op->kind == HISTORY_CREATE && there) {
        op->outcome = HISTORY_EXISTS;
    } else if (op->kind == HISTORY_CAS && (!there || cell->index != op->expected.index)) {
        op->outcome = HISTORY_MISMATCH;
    } else {
        op->tombstoned = op->kind == HISTORY_DELETE && there;
        cr_assert(plain_write(cell, op, op->value));
        return;
    }
    op->found = (struct history_version){there, there ? cell->index : 0};
    op->version = (struct history_version){0, 0};
}

static void answer_get(struct run *run, struct history_op *op)
{
    struct plain_cell *cell = &run->cell;
    op->outcome = HISTORY_DONE;
    op->value = plain_gone(cell, op) ? 0 : cell->value;
    op->version = (struct history_version){op->value != 0, op->value != 0 ? cell->index : 0};
}

/* One operation after the other, each at its moment; their intervals are widened until they
 * overlap, and some answers are lost. */
static void make_run(struct run *run, uint64_t seed, bool all_answered)
{
    memset(run, 0, sizeof *run);
    nk_prng_init(&run->prng, seed);
    struct nk_prng *prng = &run->prng;
    uint64_t width = 1 + nk_prng_below(prng, 400);
    uint32_t lost = all_answered ? 0 : (uint32_t)nk_prng_below(prng, 400000);
    run->count = RUN_OPS;
    for (size_t i = 0; i < run->count; i++) {
        struct history_op *op = &run->ops[i];
        uint64_t at = 1000 + 100 * i;
        op->kind = (enum history_kind)nk_prng_below(prng, 5);
        op->invoked = at - nk_prng_below(prng, width);
        op->returned = at + 1 + nk_prng_below(prng, width);
        uint64_t wall = at / 100;
        op->wall_min = op->wall_max = wall;
        op->value = op->kind == HISTORY_GET || op->kind == HISTORY_DELETE ? 0 : i + 1;
        if (op->kind == HISTORY_CAS) {
            uint64_t guess = nk_prng_below(prng, 2) == 0 ? run->index : run->cell.index;
            op->expected = (struct history_version){1, guess > 0 ? guess : 1};
        }
        if (op->value != 0 && nk_prng_below(prng, 5) == 0) {
            op->expires_first = op->expires_last = wall + 1 + nk_prng_below(prng, 20);
        }
        if (op->kind == HISTORY_GET) {
            answer_get(run, op);
        } else {
            answer_write(run, op);
        }
        if (op->kind != HISTORY_GET && nk_prng_chance(prng, lost)) {
            op->outcome = HISTORY_UNKNOWN;
            op->returned = UINT64_MAX;
        }
        op->wall_min = op->invoked / 100;
        op->wall_max = op->returned / 100;
    }
    for (size_t i = 1; i < run->count; i++) { /* by start */
        struct history_op op = run->ops[i];
        size_t at = i;
        while (at > 0 && run->ops[at - 1].invoked > op.invoked) {
            run->ops[at] = run->ops[at - 1];
            at--;
        }
        run->ops[at] = op;
    }
}

Test(linearizable, what_a_register_answered_passes)
{
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct run run;
        make_run(&run, seed, false);
        struct history_report report;
        cr_expect_eq(history_check(run.ops, run.count, &report), HISTORY_LINEARIZABLE,
                     "seed %llu, stuck at %zu after %zu", (unsigned long long)seed, report.stuck,
                     report.configurations);
    }
}

enum lie {
    LIE_VALUE,        /* a read saw what nobody wrote */
    LIE_OLD_VALUE,    /* a read saw what an earlier read, over before, saw overwritten */
    LIE_LOST,         /* a read saw nothing right after a write was done */
    LIE_VERSION,      /* a write got the version of another one */
    LIE_VERSION_BACK, /* a write got a version below one that was done before it began */
    LIE_TOMBSTONED,   /* a delete right after a write, and nothing in between, found nothing */
    LIE_MISMATCH,     /* a failed compare-and-set names what nobody wrote */
    LIE_COUNT,
};

/* The first answered write from `from` on beside which nothing else ran; RUN_OPS if none. */
static size_t lone_write(const struct run *run, size_t from)
{
    uint64_t returned_max = 0;
    for (size_t i = 0; i < run->count; i++) {
        const struct history_op *op = &run->ops[i];
        bool alone = returned_max < op->invoked &&
                     (i + 1 == run->count || op->returned < run->ops[i + 1].invoked);
        returned_max = op->returned > returned_max ? op->returned : returned_max;
        if (i >= from && alone && op->outcome == HISTORY_DONE && op->value != 0 &&
            op->kind != HISTORY_GET && op->expires_first == 0) {
            return i;
        }
    }
    return RUN_OPS;
}

/* False: this run gives no chance for such a lie.  A lost write may have been deleted by somebody
 * who got no answer, so some lies need a run in which everybody got one. */
static bool tell(struct run *run, enum lie lie)
{
    size_t at = (size_t)nk_prng_below(&run->prng, run->count / 2);
    size_t write = lone_write(run, at);
    for (; at < run->count; at++) {
        struct history_op *op = &run->ops[at];
        bool read = op->kind == HISTORY_GET && op->value != 0;
        bool after = write < RUN_OPS && at == write + 1;
        if (lie == LIE_VALUE && read) {
            op->value += 1000;
            return true;
        }
        if (lie == LIE_MISMATCH && op->outcome == HISTORY_MISMATCH) {
            op->found = (struct history_version){1, run->index + 5};
            op->returned = op->invoked; /* over before any later write could be it */
            op->invoked -= 1;
            return op->expected.index != run->index + 5 && at > 0 &&
                   run->ops[at - 1].invoked <= op->invoked && lone_write(run, 0) < RUN_OPS;
        }
        if (!after) {
            continue;
        }
        op->returned = op->invoked; /* so that nothing later can explain it */
        switch (lie) {
        case LIE_LOST:
            *op = get(op->invoked, op->returned, 0, 0);
            return true;
        case LIE_OLD_VALUE:
            if (write > 0) {
                *op = get(op->invoked, op->returned, run->ops[write].value + 500,
                          run->ops[write].version.index - 1);
                return true;
            }
            return false;
        case LIE_TOMBSTONED:
            *op = (struct history_op){.kind = HISTORY_DELETE,
                                      .outcome = HISTORY_DONE,
                                      .invoked = op->invoked,
                                      .returned = op->returned,
                                      .version = {1, run->ops[write].version.index + 1},
                                      .wall_max = op->wall_max};
            return true;
        case LIE_VERSION:
        case LIE_VERSION_BACK:
            *op = put(op->invoked, op->returned, 5000,
                      run->ops[write].version.index - (lie == LIE_VERSION_BACK));
            return true;
        case LIE_VALUE:
        case LIE_MISMATCH:
        case LIE_COUNT:
            return false;
        }
    }
    return false;
}

Test(linearizable, real_runs_with_one_lie_do_not_pass)
{
    size_t told[LIE_COUNT] = {0};
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        for (int lie = 0; lie < LIE_COUNT; lie++) {
            struct run run;
            make_run(&run, seed, lie == LIE_LOST || lie == LIE_TOMBSTONED);
            if (!tell(&run, (enum lie)lie)) {
                continue;
            }
            told[lie]++;
            cr_expect_eq(history_check(run.ops, run.count, NULL), HISTORY_VIOLATION,
                         "seed %llu, lie %d", (unsigned long long)seed, lie);
        }
    }
    for (int lie = 0; lie < LIE_COUNT; lie++) {
        cr_expect_gt(told[lie], 20, "lie %d was told only %zu times", lie, told[lie]);
    }
}

/* Many writes whose outcome nobody knows, among few that somebody read: what made the search
 * explode once (seeds 1804 and 3928). */
Test(linearizable, hundreds_of_unknown_writes_are_decided)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 7);
    struct history_op ops[600];
    size_t count = 0;
    uint64_t index = 0;
    for (size_t i = 0; i < NK_COUNT_OF(ops); i++) {
        uint64_t at = 10 * (i + 1);
        switch (nk_prng_below(&prng, 6)) {
        case 0:
            ops[count++] = put(at, at + 5, i + 1, index += 3);
            break;
        case 1:
            ops[count] = base(HISTORY_DELETE, at, UINT64_MAX);
            count++;
            break;
        case 2:
            ops[count] = unknown_put(at, i + 1);
            ops[count].kind = HISTORY_CREATE;
            count++;
            break;
        case 3:
            ops[count++] = get(at, at + 5, 0, 0);
            break;
        default:
            ops[count++] = unknown_put(at, i + 1);
            break;
        }
    }
    /* Gets that find nothing need a delete before them; here they have more than enough. */
    struct history_report report;
    enum history_verdict verdict = history_check(ops, count, &report);
    cr_expect_neq(verdict, HISTORY_UNDECIDED);
    cr_expect_lt(report.configurations, 1000000, "%zu", report.configurations);
}

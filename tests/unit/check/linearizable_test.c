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

/* A register run one operation after the other, with intervals widened at random so that they
 * overlap; then one answer is falsified. */
enum { RUN_OPS = 60 };

static size_t make_run(struct nk_prng *prng, struct history_op *ops)
{
    uint64_t value = 0;
    uint64_t index = 0;
    for (size_t i = 0; i < RUN_OPS; i++) {
        uint64_t at = 100 * (i + 20); /* so that no interval begins before 0 */
        uint64_t from = 10 * at - nk_prng_below(prng, 1500);
        uint64_t to = 10 * at + 1 + nk_prng_below(prng, 1500);
        if (nk_prng_below(prng, 2) == 0) {
            value = i + 1;
            index = i + 1;
            ops[i] = put(from, to, value, index);
        } else {
            ops[i] = get(from, to, value, value == 0 ? 0 : index);
        }
    }
    for (size_t i = 1; i < RUN_OPS; i++) { /* by start, starts made different */
        struct history_op op = ops[i];
        size_t at = i;
        while (at > 0 && ops[at - 1].invoked > op.invoked) {
            ops[at] = ops[at - 1];
            at--;
        }
        ops[at] = op;
    }
    for (size_t i = 1; i < RUN_OPS; i++) {
        if (ops[i].invoked <= ops[i - 1].invoked) {
            ops[i].invoked = ops[i - 1].invoked + 1;
        }
    }
    return RUN_OPS;
}

Test(linearizable, real_runs_pass_and_falsified_ones_do_not)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct nk_prng prng;
        nk_prng_init(&prng, seed);
        struct history_op ops[RUN_OPS];
        size_t count = make_run(&prng, ops);
        cr_expect_eq(history_check(ops, count, NULL), HISTORY_LINEARIZABLE, "seed %llu",
                     (unsigned long long)seed);
        for (size_t i = 0; i < count; i++) {
            if (ops[i].kind == HISTORY_GET && ops[i].value != 0) {
                ops[i].value += 1000; /* nobody wrote that */
                cr_expect_eq(history_check(ops, count, NULL), HISTORY_VIOLATION, "seed %llu op %zu",
                             (unsigned long long)seed, i);
                break;
            }
        }
    }
}

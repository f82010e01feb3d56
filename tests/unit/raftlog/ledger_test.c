#include <criterion/criterion.h>

#include "services/shardhost/raftlog/ledger.h"

TestSuite(raftlog_ledger, .timeout = 20);

static struct raftlog_ledger ledger;

static void setup(void)
{
    raftlog_ledger_init(&ledger);
    raftlog_ledger_grow(&ledger, 1);
}

static void teardown(void)
{
    raftlog_ledger_deinit(&ledger);
}

static void entry(uint32_t shard, uint64_t index)
{
    struct raftlog_record record = {
        .kind = RAFTLOG_ENTRY, .shard = shard, .term = 1, .index = index};
    raftlog_ledger_note(&ledger, &record);
    cr_assert(raftlog_ledger_check(&ledger));
}

static void note(enum raftlog_kind kind, uint32_t shard, uint64_t term)
{
    struct raftlog_record record = {.kind = kind, .shard = shard, .term = term};
    raftlog_ledger_note(&ledger, &record);
    cr_assert(raftlog_ledger_check(&ledger));
}

/* The sequence of the segment that could go; 0: none. */
static uint64_t unheld(void)
{
    const struct raftlog_segment *segment = raftlog_ledger_unheld(&ledger);
    return segment == NULL ? 0 : segment->sequence;
}

Test(raftlog_ledger, the_newest_segment_never_goes, .init = setup, .fini = teardown)
{
    cr_expect_eq(unheld(), 0);
    raftlog_ledger_grow(&ledger, 2);
    cr_expect_eq(unheld(), 1);
}

Test(raftlog_ledger, a_segment_is_held_until_its_last_entry_is_released, .init = setup,
     .fini = teardown)
{
    entry(1, 1);
    entry(1, 2);
    entry(2, 1);
    raftlog_ledger_grow(&ledger, 2);
    entry(1, 3);
    raftlog_ledger_release(&ledger, 1, 1);
    raftlog_ledger_release(&ledger, 2, 5);
    cr_expect_eq(unheld(), 0);
    const struct raftlog_hold *hold = raftlog_ledger_oldest_hold(&ledger, NULL, NULL);
    cr_assert_not_null(hold);
    cr_expect_eq(hold->shard->id, 1);
    cr_expect_eq(hold->index_max, 2);
    raftlog_ledger_release(&ledger, 1, 2);
    cr_expect_eq(unheld(), 1);
    cr_expect_null(raftlog_ledger_oldest_hold(&ledger, NULL, NULL), "only the newest is held");
}

Test(raftlog_ledger, void_entries_hold_nothing, .init = setup, .fini = teardown)
{
    entry(1, 1);
    entry(1, 2);
    raftlog_ledger_grow(&ledger, 2);
    entry(1, 3);
    entry(1, 4);
    raftlog_ledger_grow(&ledger, 3);
    entry(1, 2);
    raftlog_ledger_release(&ledger, 1, 1);
    cr_expect_eq(unheld(), 1, "entry 2 of segment 1 is void");
    raftlog_ledger_drop(&ledger, raftlog_ledger_unheld(&ledger));
    cr_expect_eq(unheld(), 2, "so are 3 and 4 of segment 2");
}

Test(raftlog_ledger, void_entries_of_the_same_segment_hold_nothing, .init = setup, .fini = teardown)
{
    entry(1, 1);
    entry(1, 2);
    entry(1, 3);
    entry(1, 2);
    raftlog_ledger_grow(&ledger, 2);
    raftlog_ledger_release(&ledger, 1, 2);
    cr_expect_eq(unheld(), 1);
}

Test(raftlog_ledger, what_was_released_before_it_was_noted_holds_nothing, .init = setup,
     .fini = teardown)
{
    entry(1, 1);
    raftlog_ledger_release(&ledger, 1, 10);
    entry(1, 2);
    raftlog_ledger_grow(&ledger, 2);
    cr_expect_eq(unheld(), 1);
    entry(1, 11);
    raftlog_ledger_release(&ledger, 1, 4);
    raftlog_ledger_grow(&ledger, 3);
    const struct raftlog_hold *hold = raftlog_ledger_oldest_hold(&ledger, NULL, NULL);
    cr_assert_not_null(hold);
    cr_expect_eq(hold->segment->sequence, 2);
    cr_expect_eq(hold->index_max, 11, "releases never go back");
}

Test(raftlog_ledger, a_state_is_where_it_was_noted_last, .init = setup, .fini = teardown)
{
    note(RAFTLOG_STATE, 1, 5);
    note(RAFTLOG_STATE, 2, 6);
    struct raftlog_segment *first = raftlog_ledger_unheld(&ledger);
    cr_expect_null(first);
    raftlog_ledger_grow(&ledger, 2);
    note(RAFTLOG_STATE, 1, 7);
    first = raftlog_ledger_unheld(&ledger);
    cr_assert_not_null(first);
    struct raftlog_record record;
    cr_assert(raftlog_ledger_state_in(first, &record));
    cr_expect_eq(record.kind, RAFTLOG_STATE);
    cr_expect_eq(record.shard, 2);
    cr_expect_eq(record.term, 6);
    raftlog_ledger_note(&ledger, &record);
    cr_expect_not(raftlog_ledger_state_in(first, &record));
}

/* The segment that goes has entries which were released after the STATE was written. */
Test(raftlog_ledger, a_state_is_written_again_for_what_it_does_not_tell, .init = setup,
     .fini = teardown)
{
    entry(1, 1);
    raftlog_ledger_grow(&ledger, 2);
    entry(1, 2);
    note(RAFTLOG_STATE, 1, 5);
    raftlog_ledger_grow(&ledger, 3);
    raftlog_ledger_release(&ledger, 1, 1);
    cr_assert_eq(unheld(), 1);
    struct raftlog_record record;
    cr_assert(raftlog_ledger_state_in(raftlog_ledger_unheld(&ledger), &record));
    cr_expect_eq(record.term, 5);
    cr_expect_eq(record.released, 1);
    raftlog_ledger_note(&ledger, &record);
    cr_assert_not(raftlog_ledger_state_in(raftlog_ledger_unheld(&ledger), &record));
    raftlog_ledger_drop(&ledger, raftlog_ledger_unheld(&ledger));
    raftlog_ledger_release(&ledger, 1, 2);
    cr_assert_eq(unheld(), 2);
    cr_assert(raftlog_ledger_state_in(raftlog_ledger_unheld(&ledger), &record));
    cr_expect_eq(record.released, 2);
    cr_expect_eq(raftlog_ledger_released(&ledger, 1), 2);
    note(RAFTLOG_FORGET, 1, 0);
    cr_expect_eq(raftlog_ledger_released(&ledger, 1), 0);
}

Test(raftlog_ledger, a_forgotten_shard_holds_nothing_and_has_no_state, .init = setup,
     .fini = teardown)
{
    entry(1, 1);
    note(RAFTLOG_STATE, 1, 5);
    raftlog_ledger_grow(&ledger, 2);
    entry(1, 2);
    cr_expect(raftlog_ledger_knows(&ledger, 1));
    note(RAFTLOG_FORGET, 1, 0);
    cr_expect_not(raftlog_ledger_knows(&ledger, 1));
    cr_expect_eq(unheld(), 1);
    struct raftlog_record record;
    cr_expect_not(raftlog_ledger_state_in(raftlog_ledger_unheld(&ledger), &record));
    entry(1, 1);
    raftlog_ledger_grow(&ledger, 3);
    const struct raftlog_hold *hold = raftlog_ledger_oldest_hold(&ledger, NULL, NULL);
    cr_assert_not_null(hold, "its second life counts from the beginning");
    cr_expect_eq(hold->index_max, 1);
}

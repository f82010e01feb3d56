#include <criterion/criterion.h>

#include <signal.h>

#include "common/base/prng.h"
#include "common/base/units.h"
#include "services/shardhost/raft/log.h"

TestSuite(raft_log, .timeout = 20);

static void append(struct raft_log *log, raft_term term, size_t count, const char *payload)
{
    struct nk_bytes payloads[16];
    cr_assert_leq(count, NK_COUNT_OF(payloads));
    for (size_t i = 0; i < count; i++) {
        payloads[i] = nk_bytes_of_string(payload);
    }
    raft_log_append_payloads(log, term, RAFT_ENTRY_COMMAND, payloads, count);
}

/* What the host does with new entries, all at once. */
static void commit_and_apply(struct raft_log *log, raft_index index)
{
    log->handed = raft_log_last(log);
    log->persisted = raft_log_last(log);
    log->commit = index;
    log->delivered = index;
    raft_log_set_applied(log, index);
}

Test(raft_log, payloads_are_copied)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0);
    char text[] = "before";
    append(&log, 1, 1, text);
    memcpy(text, "after!", sizeof text);
    cr_assert(nk_bytes_equal(raft_log_at(&log, 1)->payload, nk_bytes_of_string("before")));
    raft_log_deinit(&log);
}

Test(raft_log, a_payload_stays_where_it_is_while_the_array_grows)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0);
    append(&log, 1, 1, "first");
    const uint8_t *first = raft_log_at(&log, 1)->payload.data;
    for (size_t i = 0; i < 200; i++) {
        append(&log, 1, 5, "more");
    }
    cr_assert_eq(raft_log_at(&log, 1)->payload.data, first);
    raft_log_deinit(&log);
}

Test(raft_log, truncation_inside_a_batch_keeps_its_beginning)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0);
    append(&log, 1, 3, "old");
    append(&log, 1, 3, "older");
    log.handed = 6;
    log.persisted = 5;
    raft_log_truncate(&log, 3);
    cr_assert_eq(raft_log_last(&log), 2);
    cr_assert_eq(log.handed, 2, "what replaces them must be persisted again");
    cr_assert_eq(log.persisted, 2);
    append(&log, 2, 1, "new");
    cr_assert(nk_bytes_equal(raft_log_at(&log, 2)->payload, nk_bytes_of_string("old")));
    cr_assert(nk_bytes_equal(raft_log_at(&log, 3)->payload, nk_bytes_of_string("new")));
    cr_assert(raft_log_check(&log));
    raft_log_deinit(&log);
}

Test(raft_log, only_applied_entries_are_released)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0);
    append(&log, 3, 6, "abc");
    commit_and_apply(&log, 4);
    raft_log_release(&log, UINT64_MAX, 0);
    cr_assert_eq(log.base, 4);
    cr_assert_eq(log.base_term, 3);
    cr_assert_eq(log.retained_bytes, 0);
    cr_assert_eq(log.unapplied_bytes, 2 * (RAFT_ENTRY_BYTES + 3));
    cr_assert(nk_bytes_equal(raft_log_at(&log, 5)->payload, nk_bytes_of_string("abc")));
    raft_log_deinit(&log);
}

Test(raft_log, what_is_retained_stays_below_its_limit)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0);
    for (size_t i = 0; i < 10; i++) {
        append(&log, 1, 1, "abc");
    }
    commit_and_apply(&log, 10);
    raft_log_release(&log, 2, 5 * (RAFT_ENTRY_BYTES + 3));
    cr_assert_eq(log.base, 5);
    raft_log_release(&log, 7, 5 * (RAFT_ENTRY_BYTES + 3));
    cr_assert_eq(log.base, 7);
    raft_log_deinit(&log);
}

Test(raft_log, an_empty_log_gives_its_room_back)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0);
    for (size_t i = 0; i < 100; i++) {
        append(&log, 1, 10, "abc");
    }
    cr_assert_geq(log.capacity, 1000);
    commit_and_apply(&log, 1000);
    raft_log_release(&log, UINT64_MAX, 0);
    cr_assert_leq(log.capacity, 64);
    cr_assert(nk_list_empty(&log.blocks));
    append(&log, 1, 1, "abc");
    cr_assert_eq(raft_log_last(&log), 1001);
    raft_log_deinit(&log);
}

Test(raft_log, a_batch_obeys_both_limits_but_is_never_empty)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0);
    append(&log, 1, 10, "0123456789");
    static const struct {
        raft_index first;
        size_t count_max;
        size_t bytes_max;
        size_t expected;
    } cases[] = {
        {1, 100, 1000, 10}, {1, 4, 1000, 4}, {1, 100, 35, 3},  {1, 100, 30, 3},
        {1, 100, 5, 1},     {8, 100, 35, 3}, {11, 100, 35, 0},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(raft_log_batch(&log, cases[i].first, cases[i].count_max, cases[i].bytes_max),
                     cases[i].expected, "case %zu", i);
    }
    raft_log_deinit(&log);
}

/* The same by looking at every entry from the end. */
static raft_index last_not_after(const struct raft_log *log, raft_index limit, raft_term term)
{
    raft_index index = nk_min_u64(limit, raft_log_last(log));
    while (index > log->base && raft_log_term(log, index) > term) {
        index--;
    }
    if (index == log->base && log->base > 0 && log->base_term > term) {
        index--;
    }
    return index;
}

Test(raft_log, the_search_for_a_term_finds_what_a_walk_finds)
{
    struct nk_prng prng;
    nk_prng_init(&prng, 1);
    for (size_t run = 0; run < 300; run++) {
        struct raft_log log;
        raft_index base = nk_prng_below(&prng, 4);
        raft_term term = base == 0 ? 0 : nk_prng_between(&prng, 1, 3);
        raft_log_init(&log, base, term);
        for (uint64_t count = nk_prng_below(&prng, 12); count > 0; count--) {
            term = nk_max_u64(1, term + nk_prng_below(&prng, 2) * nk_prng_below(&prng, 3));
            append(&log, term, 1, "");
        }
        for (raft_index limit = 0; limit <= raft_log_last(&log) + 2; limit++) {
            for (raft_term sought = 0; sought <= term + 1; sought++) {
                cr_assert_eq(raft_log_last_not_after(&log, limit, sought),
                             last_not_after(&log, limit, sought), "run %zu limit %llu term %llu",
                             run, (unsigned long long)limit, (unsigned long long)sought);
            }
        }
        raft_log_deinit(&log);
    }
}

Test(raft_log, random_use_agrees_with_a_plain_array)
{
    enum { LENGTH_MAX = 4000 };
    static struct {
        raft_term term;
        uint8_t byte;
        size_t size;
    } model[LENGTH_MAX + 1];
    struct nk_prng prng;
    nk_prng_init(&prng, 2);
    struct raft_log log;
    raft_log_init(&log, 0, 0);
    raft_index last = 0;
    raft_term term = 1;
    while (last + 8 < LENGTH_MAX) {
        uint64_t choice = nk_prng_below(&prng, 10);
        if (choice < 6) {
            uint8_t bytes[8][32];
            struct nk_bytes payloads[8];
            size_t count = 1 + (size_t)nk_prng_below(&prng, 8);
            for (size_t i = 0; i < count; i++) {
                size_t size = (size_t)nk_prng_below(&prng, 2) * (size_t)nk_prng_below(&prng, 32);
                memset(bytes[i], (int)(last & 0xff), sizeof bytes[i]);
                payloads[i] = nk_bytes_of(bytes[i], size);
                last++;
                model[last].term = term;
                model[last].byte = bytes[i][0];
                model[last].size = size;
            }
            raft_log_append_payloads(&log, term, RAFT_ENTRY_COMMAND, payloads, count);
        } else if (choice == 6 && last > log.commit) {
            last = nk_prng_between(&prng, log.commit, last - 1);
            raft_log_truncate(&log, last + 1);
            term++;
        } else if (choice == 7) {
            commit_and_apply(&log, nk_prng_between(&prng, log.applied, last));
        } else if (choice == 8) {
            raft_log_release(&log, nk_prng_below(&prng, log.applied + 1), 4096);
        }
        cr_assert(raft_log_check(&log));
        cr_assert_eq(raft_log_last(&log), last);
        for (raft_index i = log.base + 1; i <= last; i++) {
            const struct raft_entry *entry = raft_log_at(&log, i);
            cr_assert_eq(entry->term, model[i].term);
            cr_assert_eq(entry->payload.size, model[i].size);
            cr_assert(entry->payload.size == 0 || entry->payload.data[0] == model[i].byte);
        }
    }
    raft_log_deinit(&log);
}

Test(raft_log, cutting_off_what_is_committed_is_a_programmer_error, .signal = SIGABRT)
{
    struct raft_log log;
    raft_log_init(&log, 0, 0);
    append(&log, 1, 3, "abc");
    commit_and_apply(&log, 2);
    raft_log_truncate(&log, 2);
}

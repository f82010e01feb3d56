/* Messages that no honest member sends: nothing may stop the process, touch what is committed, or
 * read outside the message. */

#include <criterion/criterion.h>

#include "common/base/prng.h"
#include "common/base/units.h"

#include "solo.h"

TestSuite(raft_hostile, .timeout = 60);

/* Mostly near to what the node has, so that messages get past the first checks. */
static uint64_t any_number(struct nk_prng *prng, uint64_t near)
{
    switch (nk_prng_below(prng, 20)) {
    case 0:
        return nk_prng_next(prng);
    case 1:
        return UINT64_MAX - nk_prng_below(prng, 3);
    case 2:
        return ((uint64_t)1 << 62) - nk_prng_below(prng, 3);
    case 3:
        return 0;
    default: {
        uint64_t distance = nk_prng_below(prng, 4);
        return nk_prng_between(prng, near > distance ? near - distance : 0, near + distance);
    }
    }
}

static void any_message(struct nk_prng *prng, const struct raft_status *status,
                        struct raft_entry *entries, size_t entries_max,
                        struct raft_message *out_message)
{
    static const uint8_t payload[16] = "0123456789abcdef";
    uint64_t near = nk_prng_chance(prng, 500000) ? status->commit : status->last;
    *out_message = (struct raft_message){
        .type = (enum raft_message_type)nk_prng_below(prng, 9),
        .from = nk_prng_below(prng, 5),
        .to = nk_prng_chance(prng, 950000) ? 1 : nk_prng_below(prng, 5),
        .term = nk_prng_chance(prng, 5000)    ? any_number(prng, status->term)
                : nk_prng_chance(prng, 10000) ? status->term + 1
                                              : status->term,
        .reject = nk_prng_chance(prng, 500000),
        .index = any_number(prng, near),
        .index_term = any_number(prng, status->term),
        .commit = any_number(prng, status->last),
        .read_round = any_number(prng, 3),
        .entries = entries,
        .entry_count = (size_t)nk_prng_below(prng, entries_max + 1),
    };
    raft_term term = out_message->index_term;
    for (size_t i = 0; i < out_message->entry_count; i++) {
        bool odd = nk_prng_chance(prng, 50000);
        term += nk_prng_below(prng, 2) * nk_prng_below(prng, 2);
        entries[i] = (struct raft_entry){
            .index = odd ? any_number(prng, near) : out_message->index + 1 + i,
            .term = odd ? any_number(prng, status->term) : term,
            .kind = odd ? (enum raft_entry_kind)nk_prng_below(prng, 4) : RAFT_ENTRY_COMMAND,
            .payload = nk_bytes_of(payload, (size_t)nk_prng_below(prng, sizeof payload + 1)),
        };
    }
}

/* What the host does on its own: it persists and applies now and then, and has clients. */
static void any_host_event(struct nk_prng *prng, struct solo *solo, uint64_t *persist_id)
{
    switch (nk_prng_below(prng, 6)) {
    case 0:
        solo_persisted_id(solo, *persist_id);
        break;
    case 1:
        solo_applied(solo, solo_status(solo).commit);
        break;
    case 2:
        solo_tick(solo, nk_prng_below(prng, 1500));
        break;
    case 3:
        solo_campaign(solo);
        break;
    case 4: {
        enum nk_err err = solo_propose(solo, 2, 20);
        cr_assert(err == NK_OK || err == NK_NOT_LEADER || err == NK_BUSY);
        break;
    }
    default: {
        enum nk_err err = solo_read(solo, 1);
        cr_assert(err == NK_OK || err == NK_NOT_LEADER || err == NK_BUSY);
        break;
    }
    }
}

static bool touch_ready(const struct raft_ready *ready)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < ready->messages_now_count; i++) {
        const struct raft_message *message = &ready->messages_now[i];
        for (size_t j = 0; j < message->entry_count; j++) {
            const struct nk_bytes *payload = &message->entries[j].payload;
            sum += message->entries[j].term + (payload->size > 0 ? payload->data[0] : 0);
        }
    }
    return sum < UINT64_MAX;
}

/* Counts how often the node acted in each of the two ways that matter. */
static void attack(uint64_t seed, size_t *out_led, size_t *out_followed)
{
    struct nk_prng prng;
    nk_prng_init(&prng, seed);
    struct solo solo;
    static const raft_term terms[] = {1, 1, 2, 2, 3};
    if (nk_prng_chance(&prng, 300000)) {
        struct raft_options options = solo_options(4);
        options.unapplied_bytes_max = 2048;
        struct raft_restore restore = {.term = 3, .applied = 7, .applied_term = 2};
        solo_open_with(&solo, &options, &restore);
    } else {
        solo_open_log(&solo, 3, 3, terms, NK_COUNT_OF(terms));
    }
    if (nk_prng_chance(&prng, 500000)) {
        solo.now_ms = SOLO_TIMEOUT_MIN_MS;
        solo_lead(&solo);
    }
    uint64_t persist_id = solo.ready.persist_id;
    for (size_t i = 0; i < 400; i++) {
        struct raft_status before = solo_status(&solo);
        if (nk_prng_chance(&prng, 300000)) {
            any_host_event(&prng, &solo, &persist_id);
        } else {
            struct raft_entry entries[6];
            struct raft_message message;
            any_message(&prng, &before, entries, NK_COUNT_OF(entries), &message);
            solo_receive(&solo, &message);
        }
        persist_id = solo.ready.persist_id != 0 ? solo.ready.persist_id : persist_id;
        struct raft_status after = solo_status(&solo);
        cr_assert_geq(after.term, before.term, "seed %llu", (unsigned long long)seed);
        cr_assert_geq(after.commit, before.commit, "seed %llu", (unsigned long long)seed);
        cr_assert_leq(after.commit, after.last, "seed %llu", (unsigned long long)seed);
        cr_assert_lt(after.term, (uint64_t)1 << 62, "seed %llu", (unsigned long long)seed);
        cr_assert(touch_ready(&solo.ready));
        if (after.commit > before.commit) {
            *(after.role == RAFT_ROLE_LEADER ? out_led : out_followed) += 1;
        }
    }
    solo_close(&solo);
}

Test(raft_hostile, no_message_stops_a_node_or_takes_back_a_commit)
{
    size_t led = 0;
    size_t followed = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        attack(seed, &led, &followed);
    }
    /* The attack must reach the inner rooms: commits as a leader and as a follower. */
    cr_assert_gt(led, 200, "%zu", led);
    cr_assert_gt(followed, 1000, "%zu", followed);
}

Test(raft_hostile, strangers_and_misdirected_messages_are_ignored)
{
    static const struct {
        raft_id from;
        raft_id to;
    } cases[] = {{0, 1}, {1, 1}, {4, 1}, {UINT64_MAX, 1}, {2, 0}, {2, 3}};
    struct solo solo;
    solo_open(&solo, 3);
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct raft_message message = {
            .type = RAFT_MESSAGE_APPEND,
            .from = cases[i].from,
            .to = cases[i].to,
            .term = 5,
        };
        solo_receive(&solo, &message);
        cr_expect_eq(solo_status(&solo).term, 0, "case %zu", i);
        cr_expect_eq(solo.ready.messages_now_count + solo.ready.messages_after_sync_count, 0,
                     "case %zu", i);
    }
    solo_close(&solo);
}

Test(raft_hostile, a_malformed_append_changes_nothing)
{
    static const struct raft_entry good = {1, 1, RAFT_ENTRY_COMMAND, {NULL, 0}};
    static const struct {
        struct raft_entry entry;
        raft_term term;
        raft_index index;
        raft_term index_term;
    } cases[] = {
        {{2, 1, RAFT_ENTRY_COMMAND, {NULL, 0}}, 1, 0, 0}, /* a gap */
        {{0, 1, RAFT_ENTRY_COMMAND, {NULL, 0}}, 1, 0, 0},
        {{1, 2, RAFT_ENTRY_COMMAND, {NULL, 0}}, 1, 0, 0}, /* later than the message */
        {{1, 0, RAFT_ENTRY_COMMAND, {NULL, 0}}, 1, 0, 0},
        {{1, 1, (enum raft_entry_kind)0, {NULL, 0}}, 1, 0, 0},
        {{1, 1, (enum raft_entry_kind)9, {NULL, 0}}, 1, 0, 0},
        {{1, 1, RAFT_ENTRY_NOOP, {(const uint8_t *)"x", 1}}, 1, 0, 0},
        {{1, 1, RAFT_ENTRY_COMMAND, {NULL, 4}}, 1, 0, 0},
        {{1, 1, RAFT_ENTRY_COMMAND, {NULL, 0}}, 0, 0, 0},          /* no term */
        {{1, 1, RAFT_ENTRY_COMMAND, {NULL, 0}}, 1, 0, 1},          /* a term of no entry */
        {{6, 1, RAFT_ENTRY_COMMAND, {NULL, 0}}, 1, 5, 0},          /* an entry of no term */
        {{6, 2, RAFT_ENTRY_COMMAND, {NULL, 0}}, 2, 5, 3},          /* terms fall */
        {{0, 1, RAFT_ENTRY_COMMAND, {NULL, 0}}, 1, UINT64_MAX, 1}, /* indexes end */
        {{1, 1, RAFT_ENTRY_COMMAND, {NULL, 0}}, UINT64_MAX, 0, 0}, /* terms end */
    };
    struct solo solo;
    solo_open(&solo, 3);
    struct raft_message message = {
        .type = RAFT_MESSAGE_APPEND, .from = 2, .to = 1, .entry_count = 1};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        message.entries = &cases[i].entry;
        message.term = cases[i].term;
        message.index = cases[i].index;
        message.index_term = cases[i].index_term;
        solo_receive(&solo, &message);
        cr_expect_eq(solo_status(&solo).term, 0, "case %zu", i);
        cr_expect_eq(solo_status(&solo).last, 0, "case %zu", i);
    }
    message.entries = &good;
    message.term = 1;
    message.index = 0;
    message.index_term = 0;
    solo_receive(&solo, &message);
    cr_assert_eq(solo_status(&solo).last, 1, "the well-formed one is taken");
    solo_close(&solo);
}

Test(raft_hostile, an_append_that_contradicts_the_state_machine_is_ignored)
{
    static const raft_term terms[] = {1, 1};
    struct raft_options options = solo_options(3);
    struct raft_restore restore = {.term = 3, .applied = 10, .applied_term = 2};
    struct solo solo;
    solo_open_with(&solo, &options, &restore);
    solo_append(&solo, 2, 3, 9, 1, terms, 2, 0); /* 10 is of term 2 */
    cr_assert_eq(solo_status(&solo).last, 10);
    cr_assert_eq(solo_status(&solo).leader, 0);
    solo_append(&solo, 2, 3, 10, 1, terms, 2, 0);
    cr_assert_eq(solo_status(&solo).last, 10);
    solo_append(&solo, 2, 3, 12, 1, terms, 2, 0); /* a later entry of an earlier term */
    const struct raft_message *reply = solo_sent(&solo, RAFT_MESSAGE_APPEND_REPLY, 2);
    cr_assert(reply->reject);
    cr_assert_eq(reply->index, 10);
    cr_assert_eq(reply->index_term, 2);
    solo_close(&solo);
}

Test(raft_hostile, an_acknowledgement_of_what_was_never_sent_commits_nothing)
{
    struct solo solo;
    solo_open(&solo, 3);
    solo_lead(&solo);
    solo_acked(&solo, 2, 99, 1);
    cr_assert_eq(solo_status(&solo).commit, 0);
    cr_assert_eq(solo_status(&solo).role, RAFT_ROLE_LEADER);
    solo_close(&solo);
}

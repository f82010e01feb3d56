#include <criterion/criterion.h>

#include "common/base/units.h"

#include "solo.h"

TestSuite(raft_describe, .timeout = 5);

static void expect_line(const struct solo *solo, const char *expected)
{
    char memory[512];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    raft_describe(solo->node, &text);
    cr_expect_str_eq(memory, expected);
}

Test(raft_describe, a_node_is_one_line)
{
    struct solo solo;
    solo_open(&solo, 3);
    expect_line(&solo,
                "follower term=0 vote=0 leader=0 base=0.0 last=0.0 persisted=0 commit=0 applied=0");
    solo_campaign(&solo);
    expect_line(&solo, "pre-candidate term=0 vote=0 leader=0 base=0.0 last=0.0 persisted=0 "
                       "commit=0 applied=0");
    solo_close(&solo);
    solo_open(&solo, 3);
    solo_lead(&solo);
    expect_line(&solo, "leader term=1 vote=1 leader=1 base=0.0 last=1.1 persisted=1 commit=0 "
                       "applied=0 no-lease [2 match=0 next=1 probe-sent] "
                       "[3 match=0 next=1 probe-sent]");
    solo_acked(&solo, 2, 1, 1);
    cr_assert_eq(solo_propose(&solo, 1, 1), NK_OK);
    cr_assert_eq(solo_read(&solo, 1), NK_OK);
    expect_line(&solo, "leader term=1 vote=1 leader=1 base=0.0 last=1.2 persisted=1 commit=1 "
                       "applied=0 lease reads=1 [2 match=1 next=3 inflight=1] "
                       "[3 match=0 next=1 probe-sent]");
    solo_close(&solo);
}

Test(raft_describe, a_message_is_one_line)
{
    static const struct {
        struct raft_message message;
        const char *expected;
    } cases[] = {
        {{.type = RAFT_MESSAGE_PRE_VOTE,
          .from = 1,
          .to = 2,
          .term = 3,
          .index = 8,
          .index_term = 2},
         "1>2 pre-vote term=3 last=2.8"},
        {{.type = RAFT_MESSAGE_PRE_VOTE_REPLY, .from = 2, .to = 1, .term = 3, .reject = true},
         "2>1 pre-vote-reply term=3 rejected"},
        {{.type = RAFT_MESSAGE_VOTE, .from = 1, .to = 2, .term = 3}, "1>2 vote term=3 last=0.0"},
        {{.type = RAFT_MESSAGE_VOTE_REPLY, .from = 2, .to = 1, .term = 3},
         "2>1 vote-reply term=3 granted"},
        {{.type = RAFT_MESSAGE_APPEND,
          .from = 1,
          .to = 2,
          .term = 3,
          .index = 8,
          .index_term = 2,
          .commit = 7,
          .read_round = 4,
          .entry_count = 5},
         "1>2 append term=3 previous=2.8 entries=5 commit=7 round=4"},
        {{.type = RAFT_MESSAGE_APPEND_REPLY, .from = 2, .to = 1, .term = 3, .index = 8},
         "2>1 append-reply term=3 match=8 round=0"},
        {{.type = RAFT_MESSAGE_APPEND_REPLY,
          .from = 2,
          .to = 1,
          .term = 3,
          .reject = true,
          .index = 8,
          .index_term = 2},
         "2>1 append-reply term=3 rejected hint=2.8 round=0"},
        {{.type = (enum raft_message_type)99, .from = 2, .to = 1, .term = 3}, "2>1 unknown term=3"},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        char memory[128];
        struct nk_text text;
        nk_text_init(&text, memory, sizeof memory);
        raft_describe_message(&cases[i].message, &text);
        cr_expect_str_eq(memory, cases[i].expected, "case %zu: %s", i, memory);
    }
}

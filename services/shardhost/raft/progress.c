/* Answers may come late, twice and in any order.  So an answer makes the leader send only when it
 * changes what the leader knows; otherwise two copies of one answer would make two appends, each
 * answered again, without end (found by the cluster test: duplicates on a slow network). */

#include "progress.h"

#include "common/base/assert.h"
#include "common/base/units.h"

static void enter(struct raft_progress *progress, enum raft_progress_state state);

void raft_progress_reset(struct raft_progress *progress, raft_index next)
{
    NK_ASSERT(next > 0);
    progress->match = 0;
    progress->next = next;
    progress->round_acked = 0;
    enter(progress, RAFT_PROGRESS_PROBE);
}

bool raft_progress_may_send(const struct raft_progress *progress)
{
    if (progress->state == RAFT_PROGRESS_PROBE) {
        return !progress->probe_sent;
    }
    return progress->inflight_count < RAFT_INFLIGHT_MAX;
}

void raft_progress_sent(struct raft_progress *progress, raft_index last, uint64_t round)
{
    NK_ASSERT(last >= progress->next);
    NK_ASSERT(raft_progress_may_send(progress));
    if (progress->state == RAFT_PROGRESS_PROBE) {
        progress->probe_sent = true;
        progress->probe_round = round;
        return;
    }
    size_t position = (progress->inflight_first + progress->inflight_count) % RAFT_INFLIGHT_MAX;
    progress->inflight[position] = last;
    progress->inflight_count++;
    progress->next = last + 1;
}

bool raft_progress_acked(struct raft_progress *progress, raft_index index, uint64_t round)
{
    bool moved = index > progress->match;
    progress->match = nk_max_u64(progress->match, index);
    if (progress->state == RAFT_PROGRESS_REPLICATE) {
        while (progress->inflight_count > 0 &&
               progress->inflight[progress->inflight_first] <= index) {
            progress->inflight_first = (progress->inflight_first + 1) % RAFT_INFLIGHT_MAX;
            progress->inflight_count--;
        }
    } else if (index >= progress->next) {
        enter(progress, RAFT_PROGRESS_REPLICATE); /* it took the probe */
    } else if (round > progress->probe_round) {
        progress->probe_sent = false; /* it answers, but not the probe: that was lost */
    }
    progress->next = nk_max_u64(progress->next, progress->match + 1);
    return moved;
}

void raft_progress_rejected(struct raft_progress *progress, raft_index meeting)
{
    if (meeting < progress->match) {
        return; /* overtaken by an acknowledgement */
    }
    if (progress->state == RAFT_PROGRESS_PROBE && meeting + 1 >= progress->next) {
        return; /* already known: a refused probe always moves `next` back */
    }
    progress->next = nk_min_u64(progress->next, meeting + 1);
    enter(progress, RAFT_PROGRESS_PROBE);
}

static void enter(struct raft_progress *progress, enum raft_progress_state state)
{
    progress->state = state;
    progress->probe_sent = false;
    progress->inflight_first = 0;
    progress->inflight_count = 0;
}

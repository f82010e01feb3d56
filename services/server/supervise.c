#include "supervise.h"

#include <signal.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/units.h"

static const enum supervise_child stop_order[SUPERVISE_CHILD_COUNT] = {
    SUPERVISE_GATEWAY,
    SUPERVISE_SHARDHOST,
    SUPERVISE_ADMIN,
    SUPERVISE_GOSSIP,
};

void supervise_init(struct supervise *supervise, uint64_t now_ms)
{
    memset(supervise, 0, sizeof *supervise);
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        supervise->children[i].state = SUPERVISE_WAITING;
        supervise->children[i].due_ms = now_ms;
    }
}

static struct supervise_action action_of(enum supervise_action_kind kind,
                                         enum supervise_child child)
{
    return (struct supervise_action){.kind = kind, .child = child, .next_ms = UINT64_MAX};
}

/* ---- Running ---- */

static struct supervise_action next_start(struct supervise *supervise, uint64_t now_ms)
{
    struct supervise_action nothing = action_of(SUPERVISE_NOTHING, SUPERVISE_GOSSIP);
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        struct supervise_process *process = &supervise->children[i];
        if (process->state != SUPERVISE_WAITING ||
            (i != SUPERVISE_GOSSIP && !supervise->children[SUPERVISE_GOSSIP].served)) {
            continue;
        }
        if (now_ms >= process->due_ms) {
            process->state = SUPERVISE_RUNNING;
            process->started_ms = now_ms;
            process->ready = false;
            return action_of(SUPERVISE_START, (enum supervise_child)i);
        }
        nothing.next_ms = nk_min_u64(nothing.next_ms, process->due_ms);
    }
    return nothing;
}

void supervise_serving(struct supervise *supervise, enum supervise_child child)
{
    supervise->children[child].served = true;
}

void supervise_ready(struct supervise *supervise, enum supervise_child child)
{
    supervise->children[child].ready = true;
    supervise->children[child].was_ready = true;
}

bool supervise_all_ready(const struct supervise *supervise)
{
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        if (supervise->children[i].state != SUPERVISE_RUNNING || !supervise->children[i].ready) {
            return false;
        }
    }
    return true;
}

/* How long to wait before the next life, after so many ends in a row. */
static uint64_t backoff_ms(uint32_t ends)
{
    uint64_t delay_ms = 0;
    for (uint32_t i = 1; i < ends && delay_ms < SUPERVISE_BACKOFF_MAX_MS; i++) {
        delay_ms = delay_ms == 0 ? SUPERVISE_BACKOFF_FIRST_MS : delay_ms * 2;
    }
    return nk_min_u64(delay_ms, SUPERVISE_BACKOFF_MAX_MS);
}

static void begin_stop(struct supervise *supervise, int exit_code, uint64_t now_ms)
{
    supervise->stopping = true;
    supervise->exit_code = exit_code;
    supervise->stop_ms = now_ms + SUPERVISE_STOP_MS;
    supervise->stop_step_ms = now_ms;
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        if (supervise->children[i].state == SUPERVISE_WAITING) {
            supervise->children[i].state = SUPERVISE_GONE;
        }
    }
}

/* Also by a signal that asks for an order: it came before the child could listen. */
static bool in_order(int exit_code)
{
    return exit_code == 0 || exit_code == SUPERVISE_SIGNALLED + SIGTERM ||
           exit_code == SUPERVISE_SIGNALLED + SIGINT || exit_code == SUPERVISE_SIGNALLED + SIGHUP;
}

static void fail(struct supervise *supervise)
{
    if (supervise->exit_code == 0) {
        supervise->exit_code = SUPERVISE_EXIT_FAILURE;
    }
}

enum supervise_verdict supervise_ended(struct supervise *supervise, enum supervise_child child,
                                       int exit_code, uint64_t now_ms)
{
    struct supervise_process *process = &supervise->children[child];
    NK_ASSERT(process->state != SUPERVISE_WAITING);
    NK_ASSERT(process->state != SUPERVISE_GONE);
    process->ready = false;
    if (supervise->stopping) {
        process->state = SUPERVISE_GONE;
        if (!in_order(exit_code)) {
            fail(supervise); /* its own line says why: writes may be lost */
        }
        return SUPERVISE_EXPECTED;
    }
    NK_ASSERT(process->state == SUPERVISE_RUNNING);
    if (now_ms - process->started_ms >= SUPERVISE_STABLE_MS) {
        process->ends = 0;
    }
    process->ends++;
    process->state = SUPERVISE_GONE;
    if (exit_code == SUPERVISE_EXIT_CONFIG) {
        begin_stop(supervise, SUPERVISE_EXIT_CONFIG, now_ms);
        return SUPERVISE_BAD_CONFIG;
    }
    if (!process->was_ready && process->ends >= SUPERVISE_ATTEMPTS) {
        begin_stop(supervise, SUPERVISE_EXIT_FAILURE, now_ms);
        return SUPERVISE_HOPELESS;
    }
    process->state = SUPERVISE_WAITING;
    process->due_ms = now_ms + backoff_ms(process->ends);
    return SUPERVISE_RESTART;
}

/* ---- Stopping ---- */

void supervise_stop(struct supervise *supervise, uint64_t now_ms)
{
    if (supervise->stopping) {
        supervise->stop_ms = now_ms;
    } else {
        begin_stop(supervise, 0, now_ms);
    }
}

static struct supervise_action next_kill(struct supervise *supervise)
{
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        struct supervise_process *process = &supervise->children[i];
        if (process->state == SUPERVISE_RUNNING || process->state == SUPERVISE_ENDING) {
            process->state = SUPERVISE_KILLED;
            supervise->forced = true;
            fail(supervise);
            return action_of(SUPERVISE_KILL, (enum supervise_child)i);
        }
    }
    return action_of(SUPERVISE_NOTHING, SUPERVISE_GOSSIP);
}

/* The first child of the order that has not been told, once those before it are gone or have had
 * their time. */
static struct supervise_action next_stop(struct supervise *supervise, uint64_t now_ms)
{
    struct supervise_action nothing = action_of(SUPERVISE_NOTHING, SUPERVISE_GOSSIP);
    bool before = false; /* one before is not gone */
    for (size_t i = 0; i < SUPERVISE_CHILD_COUNT; i++) {
        struct supervise_process *process = &supervise->children[stop_order[i]];
        if (process->state == SUPERVISE_RUNNING) {
            if (!before || now_ms >= supervise->stop_step_ms) {
                process->state = SUPERVISE_ENDING;
                supervise->stop_step_ms = now_ms + SUPERVISE_STOP_STEP_MS;
                return action_of(SUPERVISE_TERMINATE, stop_order[i]);
            }
            nothing.next_ms = nk_min_u64(nothing.next_ms, supervise->stop_step_ms);
        }
        if (process->state == SUPERVISE_ENDING) {
            nothing.next_ms = nk_min_u64(nothing.next_ms, supervise->stop_ms);
        }
        before |= process->state != SUPERVISE_GONE;
    }
    return before ? nothing : action_of(SUPERVISE_DONE, SUPERVISE_GOSSIP);
}

struct supervise_action supervise_next(struct supervise *supervise, uint64_t now_ms)
{
    if (!supervise->stopping) {
        return next_start(supervise, now_ms);
    }
    if (now_ms >= supervise->stop_ms) {
        struct supervise_action kill = next_kill(supervise);
        if (kill.kind == SUPERVISE_KILL) {
            return kill;
        }
    }
    return next_stop(supervise, now_ms);
}

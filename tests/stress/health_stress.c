/* A board and the health of a process: one loop writes, HTTP threads read.  Run under TSan.
 *
 * What must hold: a board shows what was shown in one piece, never an older block than the same
 * reader saw before, and what a reader holds stays as it was; a health page is whole JSON whose
 * nodes are all of one list; a process that beats is alive to everybody. */

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/units.h"
#include "common/service/board.h"
#include "common/service/health.h"
#include "tests/stress/thread.h"

#define READERS      3
#define ROUNDS       1500u /* a millisecond each: no reader ever takes the loop for stalled */
#define TOTAL_SHARDS 64
#define NODES_MAX    8
#define WORDS_MAX    400

struct stress {
    struct nk_board board;
    struct nk_health *health;
    _Atomic uint64_t now_us; /* moved by the loop: a slow machine is no stalled loop */
    _Atomic bool stop;
};

static struct stress stress;

static uint64_t clock_mono_us(void *ctx)
{
    (void)ctx;
    return atomic_load_explicit(&stress.now_us, memory_order_relaxed);
}

static uint64_t clock_wall_ms(void *ctx)
{
    return clock_mono_us(ctx) / NK_US_PER_MS;
}

static const struct nk_clock_ops clock_ops = {clock_mono_us, clock_wall_ms};

/* ---- The loop ---- */

/* `round` again and again, more or fewer times. */
static void show_block(uint64_t round)
{
    uint64_t words[WORDS_MAX];
    size_t count = 1 + round % WORDS_MAX;
    for (size_t i = 0; i < count; i++) {
        words[i] = round;
    }
    nk_board_show(&stress.board, nk_bytes_of(words, count * sizeof words[0]));
}

/* As many nodes as the round says, all of which name it. */
static void show_nodes(uint64_t round)
{
    struct nk_health_node nodes[NODES_MAX];
    memset(nodes, 0, sizeof nodes);
    size_t count = round % (NODES_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(nodes[i].id, sizeof nodes[i].id, "round-%llu", (unsigned long long)round);
        (void)snprintf(nodes[i].addr, sizeof nodes[i].addr, "127.0.0.1:%zu", i);
        (void)snprintf(nodes[i].role, sizeof nodes[i].role, "%s", "leader");
    }
    nk_health_set_nodes(stress.health, nodes, count);
}

static void show_shard(uint64_t round)
{
    struct nk_health_row *row = nk_health_row(stress.health, (uint32_t)(round % TOTAL_SHARDS));
    atomic_store_explicit(&row->status, NK_SHARD_HEALTHY, memory_order_relaxed);
    atomic_store_explicit(&row->is_leader, round % 2 == 0, memory_order_relaxed);
    atomic_store_explicit(&row->raft_term, round, memory_order_relaxed);
    atomic_store_explicit(&row->commit_index, round, memory_order_relaxed);
    atomic_store_explicit(&row->last_applied, round, memory_order_relaxed);
}

static void run_loop(void)
{
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        atomic_fetch_add_explicit(&stress.now_us, NK_US_PER_MS, memory_order_relaxed);
        nk_health_beat(stress.health);
        show_block(round);
        show_nodes(round);
        show_shard(round);
        nk_health_set(stress.health, round % 3 == 0 ? NK_DEGRADED : NK_HEALTHY,
                      round % 3 == 0 ? "disk-full" : "");
        nk_health_set_ready(stress.health, round % 5 != 0, round % 5 != 0 ? "" : "stopping");
        nk_health_set_shard0(stress.health, true);
        (void)sched_yield();
    }
}

/* ---- The readers ---- */

static uint64_t check_block(struct nk_bytes bytes)
{
    if (bytes.size == 0) {
        return 0;
    }
    uint64_t first;
    memcpy(&first, bytes.data, sizeof first);
    NK_ASSERT(bytes.size == (1 + first % WORDS_MAX) * sizeof first);
    for (size_t at = 0; at < bytes.size; at += sizeof first) {
        NK_ASSERT(memcmp(bytes.data + at, &first, sizeof first) == 0);
    }
    return first;
}

/* Everything that opens is closed, and the nodes are those of one round. */
static void check_json(const struct nk_buf *page)
{
    const char *text = (const char *)page->data;
    long depth = 0;
    for (size_t i = 0; i + 1 < page->size; i++) {
        depth += (text[i] == '{' || text[i] == '[') - (text[i] == '}' || text[i] == ']');
        NK_ASSERT(depth >= 0);
    }
    NK_ASSERT(depth == 0);
    static const char start[] = "\"id\":\"round-";
    const char *node = strstr(text, start);
    if (node == NULL) {
        return;
    }
    unsigned long long round = strtoull(node + strlen(start), NULL, 10);
    size_t count = 0;
    for (; node != NULL; node = strstr(node + 1, start)) {
        NK_ASSERT(strtoull(node + strlen(start), NULL, 10) == round);
        count++;
    }
    NK_ASSERT(count == round % (NODES_MAX + 1));
}

static void check_health(struct nk_buf *page)
{
    const char *reason = NULL;
    NK_ASSERT(nk_health_live(stress.health, &reason));
    NK_ASSERT(reason[0] == '\0');
    bool ready = nk_health_ready(stress.health, &reason);
    NK_ASSERT(ready || reason != NULL);
    enum nk_health_status status = nk_health_status(stress.health);
    NK_ASSERT(status == NK_HEALTHY || status == NK_DEGRADED || status == NK_UNHEALTHY);
    nk_buf_clear(page);
    nk_health_json(stress.health, page);
    nk_buf_append_u8(page, '\0');
    check_json(page);
}

static void *read_all(void *argument)
{
    size_t *out_pages = argument;
    struct nk_buf page = {0};
    uint64_t seen = 0;
    struct nk_board_block *kept = NULL;
    struct nk_bytes kept_bytes = {NULL, 0};
    uint64_t kept_round = 0;
    while (!atomic_load_explicit(&stress.stop, memory_order_relaxed)) {
        struct nk_board_block *block = NULL;
        struct nk_bytes bytes = nk_board_share(&stress.board, &block);
        uint64_t round = check_block(bytes);
        NK_ASSERT(round >= seen);
        seen = round;
        check_health(&page);
        if (*out_pages % 16 == 0) { /* one is held while many others come and go */
            NK_ASSERT(check_block(kept_bytes) == kept_round);
            nk_board_release(kept);
            kept = block;
            kept_bytes = bytes;
            kept_round = round;
        } else {
            nk_board_release(block);
        }
        nk_buf_clear(&page);
        nk_board_copy(&stress.board, &page);
        NK_ASSERT(check_block(nk_buf_bytes(&page)) >= round);
        (*out_pages)++;
    }
    nk_board_release(kept);
    nk_buf_deinit(&page);
    return NULL;
}

int main(void)
{
    const struct nk_clock clock = {&clock_ops, NULL};
    nk_board_init(&stress.board);
    nk_health_open(&clock, "gateway", "node0", TOTAL_SHARDS, &stress.health);
    pthread_t readers[READERS];
    static size_t pages[READERS];
    for (size_t i = 0; i < READERS; i++) {
        stress_start(&readers[i], read_all, &pages[i]);
    }
    run_loop();
    atomic_store_explicit(&stress.stop, true, memory_order_relaxed);
    size_t sum = 0;
    for (size_t i = 0; i < READERS; i++) {
        stress_join(readers[i]);
        sum += pages[i];
    }
    NK_ASSERT(nk_health_quick(stress.health));
    nk_health_close(&stress.health);
    nk_board_deinit(&stress.board);
    (void)printf("%zu pages read beside %u rounds\n", sum, ROUNDS);
    return 0;
}

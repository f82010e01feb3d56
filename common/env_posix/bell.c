#include "bell.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/assert.h"

#define ASLEEP ((uint64_t)1)
#define RING   ((uint64_t)2)

enum nk_err bell_init(struct bell *bell)
{
    atomic_init(&bell->word, 0);
    bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return bell->fd >= 0 ? NK_OK : NK_IO;
}

void bell_deinit(struct bell *bell)
{
    (void)close(bell->fd);
    bell->fd = -1;
}

void bell_ring(struct bell *bell)
{
    uint64_t before = atomic_fetch_add_explicit(&bell->word, RING, memory_order_acq_rel);
    if ((before & ASLEEP) == 0) {
        return;
    }
    before = atomic_fetch_and_explicit(&bell->word, ~ASLEEP, memory_order_acq_rel);
    if ((before & ASLEEP) != 0) {
        eventfd_t one = 1;
        int failed = eventfd_write(bell->fd, one); /* the counter is at most a few: never full */
        NK_ASSERT(failed == 0);
    }
}

uint64_t bell_word(struct bell *bell)
{
    uint64_t word = atomic_load_explicit(&bell->word, memory_order_acquire);
    NK_ASSERT((word & ASLEEP) == 0);
    return word;
}

bool bell_sleep(struct bell *bell, uint64_t seen)
{
    NK_ASSERT((seen & ASLEEP) == 0);
    return atomic_compare_exchange_strong_explicit(&bell->word, &seen, seen | ASLEEP,
                                                   memory_order_acq_rel, memory_order_acquire);
}

/* Bit 0 is still there after a timeout, or when another descriptor woke the loop.  A ringer that
 * has just taken it may write a moment later: that makes the next sleep end early, which is
 * harmless. */
void bell_awake(struct bell *bell, bool readable)
{
    atomic_fetch_and_explicit(&bell->word, ~ASLEEP, memory_order_acq_rel);
    if (readable) {
        eventfd_t rings;
        int failed = eventfd_read(bell->fd, &rings);
        NK_ASSERT(failed == 0);
    }
}

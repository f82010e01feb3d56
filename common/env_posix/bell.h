#pragma once

/* Wakes a loop that may be asleep in poll, and costs no system call while it is not.
 *
 * One word carries both sides, so that its single modification order decides every race: bit 0 says
 * "the loop sleeps", the rest counts rings.  The loop reads the word before it looks for work and
 * goes to sleep only by exchanging exactly that word for the same with bit 0 set; had anybody rung
 * in between, the exchange fails.  A ringer adds to the count and, if it finds bit 0, takes it
 * away; whoever takes it writes to the eventfd, so a hundred ringers write once.
 *
 * What a ringer stored before ringing is visible to a loop that saw the ring. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct bell {
    _Atomic uint64_t word;
    int fd; /* an eventfd; readable: rung while asleep */
};

NK_MUST_CHECK enum nk_err bell_init(struct bell *bell); /* NK_IO: errno says why */
void bell_deinit(struct bell *bell);

void bell_ring(struct bell *bell); /* any thread */

/* The loop thread. */
uint64_t bell_word(struct bell *bell);
bool bell_sleep(struct bell *bell, uint64_t seen); /* false: rung since `seen` */
void bell_awake(struct bell *bell, bool readable); /* what poll said of `fd` */

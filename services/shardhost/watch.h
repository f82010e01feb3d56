#pragma once

/* Files whose calls are watched: since when the oldest call under way has been running.
 *
 * A job may take as long as it has work to do; one call that takes seconds means that the disk
 * hangs.  Any thread may call; a call costs a look at the clock. */

#include "common/env/clock.h"
#include "common/env/fs.h"

struct watch;

/* `inner` and `clock` are borrowed until watch_close; the clock is asked on any thread. */
void watch_open(const struct nk_fs *inner, const struct nk_clock *clock, struct watch **out_watch);
void watch_close(struct watch **watch); /* no call is under way */

/* The same files as those of `inner`; lives as long as the watch. */
const struct nk_fs *watch_fs(const struct watch *watch);

/* When the oldest call under way began (nk_mono_us), and its name in words; 0: there is none. */
uint64_t watch_oldest_us(const struct watch *watch, const char **out_call);

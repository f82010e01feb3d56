#pragma once

/* Assertions stay on in release builds: a process that finds its own state wrong stops at once
 * rather than spread it.  What comes from disk or network is never asserted, it is checked.
 *
 * One condition per assertion.  `if (a) { NK_ASSERT(b); }` for implications. */

#include <assert.h>

#define NK_ASSERT(cond) ((cond) ? (void)0 : nk_assert_fail(#cond, __FILE__, __LINE__, __func__))

/* Expensive checks; built with -DNK_INVARIANTS (presets dev and asan). */
#ifdef NK_INVARIANTS
#define NK_INVARIANT(cond) NK_ASSERT(cond)
#else
#define NK_INVARIANT(cond) ((void)sizeof(cond))
#endif

/* Provided by the program, not by a library: common/env_posix/assert_posix.c writes one log line
 * and aborts, the simulator adds its replay command. */
_Noreturn void nk_assert_fail(const char *condition, const char *file, int line, const char *func);

#pragma once

/* Threads of a stress program.  What goes wrong with them ends it. */

#include <pthread.h>

#include "common/base/assert.h"

static inline void stress_start(pthread_t *out_thread, void *(*run)(void *), void *argument)
{
    int failed = pthread_create(out_thread, NULL, run, argument);
    NK_ASSERT(failed == 0);
}

static inline void stress_join(pthread_t thread)
{
    int failed = pthread_join(thread, NULL);
    NK_ASSERT(failed == 0);
}

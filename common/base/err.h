#pragma once

/* Result of every call that can fail.  Values are stable: they travel in logs and in
 * proto/norikv/internal; append, never renumber.
 *
 * Two families, because callers treat them differently:
 *   1..99    outcomes: part of normal service; the caller must handle each.
 *   100..199 faults: the environment or the data broke a promise; they are passed up, and the role
 *            stops the shard or itself. */

#include <stdbool.h>

enum nk_err {
    NK_OK = 0,
    NK_NOT_FOUND = 1,
    NK_NOT_LEADER = 2,   /* nothing was proposed; somebody else may lead */
    NK_CONFLICT = 3,     /* if_match differs; a file exists; a lock is held */
    NK_BUSY = 4,         /* a bounded queue is full: OVERLOADED */
    NK_TOO_LARGE = 5,    /* a limit of common/base/limits.h */
    NK_EXISTS = 6,       /* create-only and the key exists */
    NK_INVALID = 7,      /* a request or a text from outside makes no sense */
    NK_TIMEOUT = 8,      /* the deadline passed and the outcome is unknown */
    NK_UNAVAILABLE = 9,  /* nobody to ask now; nothing was done */
    NK_NO_SPACE = 10,    /* disk full */
    NK_CANCELLED = 11,   /* the caller went away */
    NK_WOULD_BLOCK = 12, /* the answer needs the disk and the caller asked not to wait */
    NK_UNSUPPORTED = 13, /* known method that this build does not serve */
    NK_DENIED = 14,      /* authenticated, not allowed */
    NK_UNAUTHENTICATED = 15,
    NK_NO_QUORUM = 16, /* a majority of the replicas is down; nothing was done */
    NK_EXPIRED = 17,   /* the caller's deadline passed before anything was done */
    NK_FENCED = 18, /* the shard's data is damaged here; nothing was done, and waiting is no use */
    NK_IO = 100,
    NK_CORRUPT = 101,
    NK_FORMAT_TOO_NEW = 102,
};

#define NK_MUST_CHECK __attribute__((warn_unused_result))

static inline bool nk_err_is_fault(enum nk_err err)
{
    return err >= 100;
}

/* Lower-case name for logs and messages ("not_found"); "unknown" for other numbers. */
const char *nk_err_name(enum nk_err err);

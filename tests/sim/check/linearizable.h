#pragma once

/* Is there an order of the operations on one key, consistent with real time, in which a single
 * register with versions would have given exactly these answers?
 *
 * Keys are independent, so each is checked alone (Herlihy and Wing 1990, locality).  The search is
 * that of Wing and Gong 1993 with Lowe's memory of configurations seen (2017), and with six rules
 * that leave it little to search; linearizable.c says why each of them is safe. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum history_kind {
    HISTORY_GET,
    HISTORY_PUT,
    HISTORY_CAS,    /* put with if_match */
    HISTORY_CREATE, /* put with if_match {0,0} */
    HISTORY_DELETE,
};

enum history_outcome {
    HISTORY_UNKNOWN,  /* it may have happened, at any time after its start, or never */
    HISTORY_DONE,     /* the answer says it happened; gets: they answered */
    HISTORY_MISMATCH, /* CAS: `found` is not what was expected */
    HISTORY_EXISTS,   /* create: the key was there, at `found` */
};

struct history_version {
    uint64_t term;
    uint64_t index;
};

struct history_op {
    enum history_kind kind;
    enum history_outcome outcome;
    uint64_t invoked; /* order of events: op a was over before op b began: a.returned < b.invoked */
    uint64_t returned;               /* UINT64_MAX when unknown */
    uint64_t value;                  /* writes: unique, > 0; gets: what they saw, 0 missing */
    struct history_version version;  /* done: of the write; get: of what it saw */
    struct history_version expected; /* CAS, delete with a precondition; else {0,0} */
    struct history_version found;    /* mismatch, exists; {0,0} missing */
    bool tombstoned;                 /* delete: a live key was there */

    /* Expiry, in wall-clock ms.  A value with a time to live may be gone for an operation whose
     * wall_max reaches expires_first, and must be for one whose wall_min reaches expires_last. */
    uint64_t expires_first; /* writes with ttl: the earliest end of their life; 0: none */
    uint64_t expires_last;  /* the latest; UINT64_MAX when unknown */
    uint64_t wall_max;      /* the highest any clock had shown when the operation was over */
    uint64_t wall_min;      /* the least that the clock showed while it ran; 0: not known */
};

enum history_verdict {
    HISTORY_LINEARIZABLE,
    HISTORY_VIOLATION,
    HISTORY_UNDECIDED, /* too many configurations: counts as a failure of the checker */
};

struct history_report {
    size_t stuck;          /* violation: the first operation that no order could pass */
    size_t configurations; /* how many were looked at */
};

/* `ops` in order of `invoked`, equal ones allowed.  `out_report` may be NULL. */
enum history_verdict history_check(const struct history_op *ops, size_t count,
                                   struct history_report *out_report);

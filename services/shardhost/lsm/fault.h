#pragma once

/* The record of what went wrong last in one database, written by any thread, read by the loop. */

#include <stdatomic.h>

#include "services/shardhost/lsm/lsm.h"

struct lsm_fault_box {
    struct lsm_fault seen;              /* the loop's copy */
    _Atomic(struct lsm_fault *) posted; /* newer than `seen`, or NULL; owned by the box */
};

void lsm_fault_init(struct lsm_fault_box *box);
void lsm_fault_deinit(struct lsm_fault_box *box);

/* Records a fault of `file` below `directory`, or of the directory itself when `file` is ""; `what`
 * is constant text.  Any thread.  Returns `err`. */
enum nk_err lsm_fault_set(struct lsm_fault_box *box, enum nk_err err, const char *directory,
                          const char *file, uint64_t offset, const char *what);

/* The last record, zeroed if there was none; valid until the next call.  Loop thread. */
const struct lsm_fault *lsm_fault_get(struct lsm_fault_box *box);

/* The newest fault travels as one pointer that changes hands by exchange: whoever takes it out owns
 * it, so that writers on several threads and the reader never see half a record. */

#include "services/shardhost/lsm/fault.h"

#include <string.h>

#include "common/base/alloc.h"

void lsm_fault_init(struct lsm_fault_box *box)
{
    memset(&box->seen, 0, sizeof box->seen);
    box->seen.what = "";
    atomic_init(&box->posted, NULL);
}

void lsm_fault_deinit(struct lsm_fault_box *box)
{
    nk_free(atomic_exchange_explicit(&box->posted, NULL, memory_order_acquire));
}

enum nk_err lsm_fault_set(struct lsm_fault_box *box, enum nk_err err, const char *directory,
                          const char *file, uint64_t offset, const char *what)
{
    struct lsm_fault *fault = nk_alloc_zero(1, sizeof *fault);
    struct nk_text name;
    nk_text_init(&name, fault->file, sizeof fault->file);
    nk_text_add(&name, directory);
    if (file[0] != '\0') {
        nk_text_add(&name, "/");
        nk_text_add(&name, file);
    }
    fault->err = err;
    fault->offset = offset;
    fault->what = what;
    nk_free(atomic_exchange_explicit(&box->posted, fault, memory_order_acq_rel));
    return err;
}

const struct lsm_fault *lsm_fault_get(struct lsm_fault_box *box)
{
    struct lsm_fault *fault = atomic_exchange_explicit(&box->posted, NULL, memory_order_acquire);
    if (fault != NULL) {
        box->seen = *fault;
        nk_free(fault);
    }
    return &box->seen;
}

#pragma once

/* The state machine as plain arrays: what a reader of the contract would write down without a tree,
 * a log or a disk. */

#include "store.h"

#define MODEL_KEYS     8
#define MODEL_SESSIONS 12
#define MODEL_QUEUE    4096

struct model_key {
    bool lives;
    char value[16];
    struct lsm_version version;
    uint64_t expire_at_ms; /* 0: never */
};

struct model_session {
    struct request request;
    struct kv_result result;
    uint64_t expire_at_ms;
    bool evicted;
};

struct model {
    uint64_t time_ms;
    struct model_key keys[MODEL_KEYS];
    struct model_session sessions[MODEL_QUEUE]; /* in the order in which they were made */
    size_t first;
    size_t limit;
};

/* Names of keys and sessions by number. */
extern const char *const model_key_names[MODEL_KEYS];
extern const char *const model_session_names[MODEL_SESSIONS];

struct kv_result model_apply(struct model *model, const struct request *request,
                             const struct kv_stamp *stamp, struct lsm_version version);

/* Whether key number `i` is there for a reader. */
bool model_lives(const struct model *model, size_t i);

/* One command: move log time, answer a retry from its session, else decide the precondition against
 * the key's live version, write, and remember the outcome.  All records of a command carry its
 * version and become visible and durable with one lsm_commit.
 *
 * The decision uses nothing but the tree and log time; the same commands give the same records. */

#include "services/shardhost/kv/kv.h"

#include "common/base/assert.h"

#include "command.h"
#include "expire.h"
#include "session.h"
#include "state.h"

static enum nk_err run(struct kv *kv, struct lsm_version version, const struct kv_command *command,
                       struct kv_result *out_result);

enum nk_err kv_apply(struct kv *kv, struct lsm_version version, struct nk_bytes payload,
                     struct kv_result *out_result)
{
    struct kv_result result = {.err = NK_OK, .version = version};
    if (payload.size > 0) {
        struct kv_command command;
        nk_arena_reset(&kv->arena);
        enum nk_err err = kv_command_decode(payload, &kv->arena, &command);
        if (err != NK_OK) {
            return err;
        }
        kv->time_ms = nk_max_u64(kv->time_ms, command.stamp.now_ms);
        err = run(kv, version, &command, &result);
        if (err != NK_OK) {
            NK_ASSERT(nk_err_is_fault(err));
            return err;
        }
    }
    kv_commit(kv, version);
    *out_result = result;
    return NK_OK;
}

static enum nk_err execute(struct kv *kv, struct lsm_version version,
                           const struct kv_command *command, struct kv_result *result);

/* *result comes as success at `version`. */
static enum nk_err run(struct kv *kv, struct lsm_version version, const struct kv_command *command,
                       struct kv_result *result)
{
    if (command->op == KV_OP_CLOCK) {
        return NK_OK;
    }
    if (!kv_request_within_limits(command)) {
        struct kv_result refused = {.err = NK_INVALID};
        *result = refused;
        return NK_OK;
    }
    if (!kv_session_wanted(command)) {
        return execute(kv, version, command, result);
    }
    enum nk_err err = kv_session_find(kv, command, result);
    if (err == NK_INVALID) {
        struct kv_result refused = {.err = NK_INVALID};
        *result = refused;
        return NK_OK;
    }
    if (err != NK_NOT_FOUND) {
        return err; /* the first answer, or a fault */
    }
    err = execute(kv, version, command, result);
    if (err != NK_OK) {
        return err;
    }
    return kv_session_remember(kv, version, command, result);
}

static enum nk_err live_version(struct kv *kv, const struct kv_key *key, bool *out_lives,
                                struct lsm_version *out_version);
static bool precondition(const struct kv_command *command, bool lives, struct lsm_version current,
                         struct kv_result *result);

static enum nk_err execute(struct kv *kv, struct lsm_version version,
                           const struct kv_command *command, struct kv_result *result)
{
    struct kv_key key;
    kv_key_make(&key, KV_SPACE_USER, command->key);
    bool is_delete = command->op == KV_OP_DELETE;
    bool lives = false;
    if (kv_needs_present(command)) {
        struct lsm_version current;
        enum nk_err err = live_version(kv, &key, &lives, &current);
        if (err != NK_OK) {
            return err;
        }
        if (!precondition(command, lives, current, result)) {
            return NK_OK;
        }
    }
    if (is_delete && !lives) {
        return NK_OK; /* nothing to bury */
    }
    struct lsm_record record = {
        .key = kv_key_bytes(&key),
        .value = command->value,
        .version = version,
        .tombstone = is_delete,
    };
    if (command->ttl_ms > 0) {
        record.expire_at_ms = kv_expire_at(kv->time_ms, command->ttl_ms);
    }
    lsm_write(kv->db, &record);
    result->tombstoned = is_delete;
    return NK_OK;
}

/* *out_version is {0,0} when the key is missing, deleted or expired. */
static enum nk_err live_version(struct kv *kv, const struct kv_key *key, bool *out_lives,
                                struct lsm_version *out_version)
{
    struct lsm_version none = {0, 0};
    struct lsm_entry entry;
    enum nk_err err = lsm_get(kv->db, kv_key_bytes(key), LSM_DISK, &entry, NULL);
    if (err != NK_OK && err != NK_NOT_FOUND) {
        return err;
    }
    *out_lives = err == NK_OK && kv_entry_lives(&entry, kv->time_ms);
    *out_version = *out_lives ? entry.version : none;
    return NK_OK;
}

/* Whether the command may write; if not, *result says why. */
static bool precondition(const struct kv_command *command, bool lives, struct lsm_version current,
                         struct kv_result *result)
{
    struct lsm_version expected = command->if_match;
    if (!command->has_if_match) {
        return true;
    }
    if (expected.term == 0 && expected.index == 0) {
        if (lives) {
            struct kv_result refused = {.err = NK_EXISTS, .found = current};
            *result = refused;
        }
        return !lives;
    }
    bool matches = lives && current.term == expected.term && current.index == expected.index;
    if (!matches) {
        struct kv_result refused = {.err = NK_CONFLICT, .found = current, .expected = expected};
        *result = refused;
    }
    return matches;
}

#pragma once

/* Idempotency: the outcomes of commands that brought an idempotency key.  Format: FORMAT.md. */

#include "command.h"
#include "state.h"

/* Whether the outcome of the command is remembered. */
bool kv_session_wanted(const struct kv_command *command);

/* Looks for the session of command->idempotency_key.
 *
 * Returns NK_NOT_FOUND: no live one; NK_OK: the same request was carried out before, *out_result is
 * its outcome; NK_INVALID: another request used the key; or a fault.  May read from disk. */
NK_MUST_CHECK enum nk_err kv_session_find(struct kv *kv, const struct kv_command *command,
                                          struct kv_result *out_result);

/* Makes the session, for which none was found; drops old ones: those whose time has passed, and the
 * oldest while there are more than the stamp allows.  May read from disk. */
NK_MUST_CHECK enum nk_err kv_session_remember(struct kv *kv, struct lsm_version version,
                                              const struct kv_command *command,
                                              const struct kv_result *result);

/* The name of the entry at `place` of the queue. */
void kv_session_queue_key(struct kv_key *key, uint64_t place);

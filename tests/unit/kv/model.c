#include "model.h"

#include <criterion/criterion.h>

const char *const model_key_names[MODEL_KEYS] = {"a", "b", "ba", "c", "k", "q", "s", "zz"};
const char *const model_session_names[MODEL_SESSIONS] = {"1", "2", "3", "4", "5",  "6",
                                                         "7", "8", "9", "s", "ss", "a"};

bool model_lives(const struct model *model, size_t i)
{
    const struct model_key *key = &model->keys[i];
    return key->lives && (key->expire_at_ms == 0 || key->expire_at_ms > model->time_ms);
}

static bool text_equal(const char *a, const char *b)
{
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

static bool request_equal(const struct request *a, const struct request *b)
{
    return a->op == b->op && text_equal(a->key, b->key) && text_equal(a->value, b->value) &&
           a->ttl_ms == b->ttl_ms && a->has_if_match == b->has_if_match &&
           (!a->has_if_match || version_equal(a->if_match, b->if_match));
}

static struct model_session *find_session(struct model *model, const char *name)
{
    for (size_t i = model->first; i < model->limit; i++) {
        struct model_session *session = &model->sessions[i];
        if (text_equal(session->request.idempotency_key, name) && !session->evicted &&
            session->expire_at_ms > model->time_ms) {
            return session;
        }
    }
    return NULL;
}

static struct model_key *find_key(struct model *model, const char *name)
{
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        if (text_equal(model_key_names[i], name)) {
            return &model->keys[i];
        }
    }
    cr_assert(false, "no such key");
    return NULL;
}

static struct kv_result execute(struct model *model, const struct request *request,
                                struct lsm_version version)
{
    struct kv_result result = {.err = NK_OK, .version = version};
    struct model_key *key = find_key(model, request->key);
    bool lives = model_lives(model, (size_t)(key - model->keys));
    bool create_only = request->if_match.term == 0 && request->if_match.index == 0;
    if (request->has_if_match && create_only && lives) {
        return (struct kv_result){.err = NK_EXISTS, .found = key->version};
    }
    if (request->has_if_match && !create_only &&
        !(lives && version_equal(key->version, request->if_match))) {
        struct kv_result conflict = {.err = NK_CONFLICT, .expected = request->if_match};
        if (lives) {
            conflict.found = key->version;
        }
        return conflict;
    }
    if (request->op == KV_OP_DELETE) {
        result.tombstoned = lives;
        key->lives = false;
        return result;
    }
    key->lives = true;
    (void)strcpy(key->value, request->value);
    key->version = version;
    key->expire_at_ms = request->ttl_ms == 0 ? 0 : model->time_ms + request->ttl_ms;
    return result;
}

/* Up to eight from the front: those whose time has passed, and the oldest while there is no room.
 */
static void drop_sessions(struct model *model, uint32_t count_max)
{
    for (size_t i = 0; i < 8 && model->first < model->limit; i++) {
        bool expired = model->sessions[model->first].expire_at_ms <= model->time_ms;
        if (!expired && model->limit - model->first < count_max) {
            return;
        }
        model->sessions[model->first].evicted = true;
        model->first++;
    }
}

struct kv_result model_apply(struct model *model, const struct request *request,
                             const struct kv_stamp *stamp, struct lsm_version version)
{
    if (stamp->now_ms > model->time_ms) {
        model->time_ms = stamp->now_ms;
    }
    if (request->op == KV_OP_CLOCK) {
        return (struct kv_result){.err = NK_OK, .version = version};
    }
    bool keyed = request->idempotency_key != NULL && stamp->session_count_max > 0;
    if (!keyed) {
        return execute(model, request, version);
    }
    const struct model_session *session = find_session(model, request->idempotency_key);
    if (session != NULL && !request_equal(&session->request, request)) {
        return (struct kv_result){.err = NK_INVALID};
    }
    if (session != NULL) {
        struct kv_result again = session->result;
        again.replayed = true;
        return again;
    }
    struct kv_result result = execute(model, request, version);
    drop_sessions(model, stamp->session_count_max);
    cr_assert_lt(model->limit, MODEL_QUEUE);
    struct model_session made = {
        .request = *request,
        .result = result,
        .expire_at_ms = model->time_ms + stamp->session_ttl_ms,
    };
    model->sessions[model->limit++] = made;
    return result;
}

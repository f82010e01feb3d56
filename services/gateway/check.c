#include "services/gateway/check.h"

#include "common/base/limits.h"
#include "services/gateway/utf8.h"
#include "services/gateway/wire.h"

/* The fields of the three requests (proto/norikv/v1/kv.proto) that the gateway looks at.  As in
 * every protobuf parser the last occurrence of a field wins; a Version that occurs twice is merged
 * by the reader and only has to be a message each time. */
struct request {
    struct nk_bytes key;
    struct nk_bytes value;
    struct nk_bytes idempotency_key;
    struct nk_bytes consistency;
};

/* What one field number of one request is. */
enum meaning {
    MEANING_UNKNOWN,
    MEANING_KEY,
    MEANING_VALUE,
    MEANING_NUMBER,
    MEANING_IDEMPOTENCY_KEY,
    MEANING_CONSISTENCY,
    MEANING_VERSION,
};

/* A message of unknown fields alone would cost the shardhost much memory for each of them; a newer
 * client sends a handful. */
#define FIELDS_MAX      64
#define FIELDS_MAX_TEXT "64"

static bool read_request(enum gateway_op op, struct nk_bytes message, struct request *out_request);
static enum meaning meaning_of(enum gateway_op op, uint32_t number);
static bool is_version(struct nk_bytes message);
static enum nk_err check_size(const char *name, size_t size, size_t limit, struct nk_text *text);
static bool consistency_known(struct nk_bytes name);

enum nk_err gateway_check(enum gateway_op op, struct nk_bytes message,
                          const struct gateway_limits *limits, struct gateway_checked *out_checked,
                          struct nk_text *text)
{
    struct request request = {0};
    if (!read_request(op, message, &request)) {
        nk_text_add(text, "the request is no valid protobuf message of its type, or one of more "
                          "than " FIELDS_MAX_TEXT " fields");
        return NK_INVALID;
    }
    if (request.key.size == 0) {
        nk_text_add(text, "key is empty; it must have 1 to ");
        nk_text_add_u64(text, limits->key_bytes_max);
        nk_text_add(text, " bytes");
        return NK_INVALID;
    }
    enum nk_err err = check_size("key", request.key.size, limits->key_bytes_max, text);
    if (err == NK_OK) {
        err = check_size("value", request.value.size, limits->value_bytes_max, text);
    }
    if (err == NK_OK) {
        err = check_size("idempotency_key", request.idempotency_key.size,
                         NK_IDEMPOTENCY_KEY_BYTES_MAX, text);
    }
    if (err != NK_OK) {
        return err;
    }
    /* A NUL would end the key early wherever it is kept as a C string, and make two keys one. */
    if (!gateway_utf8_valid(request.idempotency_key) ||
        (request.idempotency_key.size > 0 &&
         memchr(request.idempotency_key.data, 0, request.idempotency_key.size) != NULL)) {
        nk_text_add(text, "idempotency_key must be UTF-8 without NUL");
        return NK_INVALID;
    }
    if (!consistency_known(request.consistency)) {
        nk_text_add(text, "consistency \"");
        nk_text_add_escaped(
            text, nk_bytes_of(request.consistency.data, nk_min_size(request.consistency.size, 32)));
        nk_text_add(text, "\" is none of lease, linearizable, strong, bounded_staleness, stale_ok, "
                          "eventual");
        return NK_INVALID;
    }
    out_checked->key = request.key;
    out_checked->has_idempotency_key = request.idempotency_key.size > 0;
    return NK_OK;
}

bool gateway_answer_found(enum gateway_op op, struct nk_bytes response)
{
    if (op == GATEWAY_OP_PUT) {
        return true;
    }
    bool found = false;
    size_t position = 0;
    struct wire_field field;
    while (wire_next(response, &position, &field) == NK_OK) {
        if (op == GATEWAY_OP_GET && field.number == 2) {
            found = true;
        } else if (op == GATEWAY_OP_DELETE && field.number == 1) {
            found = field.value != 0;
        }
    }
    return found;
}

static bool read_request(enum gateway_op op, struct nk_bytes message, struct request *out_request)
{
    size_t position = 0;
    size_t count = 0;
    struct wire_field field;
    enum nk_err err;
    while ((err = wire_next(message, &position, &field)) == NK_OK) {
        enum meaning meaning = meaning_of(op, field.number);
        enum wire_type type = meaning == MEANING_NUMBER ? WIRE_VARINT : WIRE_BYTES;
        if (++count > FIELDS_MAX || (meaning != MEANING_UNKNOWN && field.type != type)) {
            return false;
        }
        switch (meaning) {
        case MEANING_KEY:
            out_request->key = field.bytes;
            break;
        case MEANING_VALUE:
            out_request->value = field.bytes;
            break;
        case MEANING_IDEMPOTENCY_KEY:
            out_request->idempotency_key = field.bytes;
            break;
        case MEANING_CONSISTENCY:
            out_request->consistency = field.bytes;
            break;
        case MEANING_VERSION:
            if (!is_version(field.bytes)) {
                return false;
            }
            break;
        case MEANING_NUMBER:
        case MEANING_UNKNOWN:
            break;
        }
    }
    return err == NK_NOT_FOUND;
}

static enum meaning meaning_of(enum gateway_op op, uint32_t number)
{
    static const enum meaning put[] = {MEANING_UNKNOWN,         MEANING_KEY,
                                       MEANING_VALUE,           MEANING_NUMBER,
                                       MEANING_IDEMPOTENCY_KEY, MEANING_VERSION};
    static const enum meaning get[] = {MEANING_UNKNOWN, MEANING_KEY, MEANING_CONSISTENCY};
    static const enum meaning delete[] = {MEANING_UNKNOWN, MEANING_KEY, MEANING_IDEMPOTENCY_KEY,
                                          MEANING_VERSION};
    switch (op) {
    case GATEWAY_OP_PUT:
        return number < NK_COUNT_OF(put) ? put[number] : MEANING_UNKNOWN;
    case GATEWAY_OP_GET:
        return number < NK_COUNT_OF(get) ? get[number] : MEANING_UNKNOWN;
    case GATEWAY_OP_DELETE:
        return number < NK_COUNT_OF(delete) ? delete[number] : MEANING_UNKNOWN;
    case GATEWAY_OP_PROBE:
        break;
    }
    return MEANING_UNKNOWN;
}

/* norikv.v1.Version: two varints, and what a newer version may add. */
static bool is_version(struct nk_bytes message)
{
    size_t position = 0;
    size_t count = 0;
    struct wire_field field;
    enum nk_err err;
    while ((err = wire_next(message, &position, &field)) == NK_OK) {
        if (++count > FIELDS_MAX || (field.number <= 2 && field.type != WIRE_VARINT)) {
            return false;
        }
    }
    return err == NK_NOT_FOUND;
}

static enum nk_err check_size(const char *name, size_t size, size_t limit, struct nk_text *text)
{
    if (size <= limit) {
        return NK_OK;
    }
    nk_text_add(text, name);
    nk_text_add(text, " has ");
    nk_text_add_u64(text, size);
    nk_text_add(text, " bytes; the limit is ");
    nk_text_add_u64(text, limit);
    return NK_TOO_LARGE;
}

static bool consistency_known(struct nk_bytes name)
{
    static const char *const names[] = {"",         "lease",    "linearizable",     "strong",
                                        "stale_ok", "eventual", "bounded_staleness"};
    for (size_t i = 0; i < NK_COUNT_OF(names); i++) {
        if (nk_bytes_equal(name, nk_bytes_of_string(names[i]))) {
            return true;
        }
    }
    return false;
}

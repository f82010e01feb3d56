#include "request.h"

#include "common/base/assert.h"

#include "percent.h"
#include "query.h"

/* How much of something that makes no sense is shown. */
#define SHOWN_BYTES_MAX ((size_t)32)

static enum nk_err read_key(struct nk_bytes text, size_t key_bytes_max,
                            struct http_request *request, struct nk_text *reason);
static enum nk_err read_query(struct nk_bytes query, struct http_request *request,
                              struct nk_text *reason);
static enum nk_err read_parameter(const struct http_parameter *parameter, const char *name,
                                  struct http_request *request, struct nk_text *reason);
static enum nk_err read_conditions(const struct http_parts *parts, struct http_request *request,
                                   struct nk_text *reason);
static enum nk_err read_idempotency_key(const struct http_header *header,
                                        struct http_request *request, struct nk_text *reason);
static enum nk_err refuse(struct nk_text *reason, const char *before, struct nk_bytes shown,
                          const char *after);

enum nk_err http_request_read(const struct http_parts *parts, size_t key_bytes_max,
                              struct http_request *out_request, struct nk_text *reason)
{
    NK_ASSERT(parts->op != GATEWAY_OP_PROBE);
    NK_ASSERT(key_bytes_max <= NK_KEY_BYTES_MAX);
    memset(out_request, 0, sizeof *out_request);
    out_request->op = parts->op;
    enum nk_err err = read_key(parts->key, key_bytes_max, out_request, reason);
    if (err == NK_OK) {
        err = read_query(parts->query, out_request, reason);
    }
    if (err == NK_OK && parts->op != GATEWAY_OP_GET) {
        err = read_conditions(parts, out_request, reason);
    }
    if (err == NK_OK && parts->op != GATEWAY_OP_GET) {
        err = read_idempotency_key(&parts->idempotency_key, out_request, reason);
    }
    return err;
}

static enum nk_err read_key(struct nk_bytes text, size_t key_bytes_max,
                            struct http_request *request, struct nk_text *reason)
{
    if (!http_percent_decode(text, request->key, key_bytes_max, &request->key_size)) {
        nk_text_add(reason, "key is not percent-encoded: % needs two hexadecimal digits");
        return NK_INVALID;
    }
    if (request->key_size > key_bytes_max) {
        nk_text_add(reason, "key has ");
        nk_text_add_u64(reason, request->key_size);
        nk_text_add(reason, " bytes; the limit is ");
        nk_text_add_u64(reason, key_bytes_max);
        return NK_TOO_LARGE;
    }
    return NK_OK;
}

/* Each method has at most one parameter. */
static enum nk_err read_query(struct nk_bytes query, struct http_request *request,
                              struct nk_text *reason)
{
    static const char *const names[] = {
        [GATEWAY_OP_PUT] = "ttl_ms", [GATEWAY_OP_GET] = "consistency", [GATEWAY_OP_DELETE] = NULL};
    const char *name = names[request->op];
    bool found = false;
    struct http_parameter parameter;
    while (http_query_next(&query, &parameter)) {
        if (name == NULL || !nk_bytes_equal(parameter.name, nk_bytes_of_string(name))) {
            return refuse(reason, "query parameter \"", parameter.name,
                          "\" is unknown for this method");
        }
        if (found) {
            return refuse(reason, "query parameter \"", parameter.name, "\" is given twice");
        }
        found = true;
        enum nk_err err = read_parameter(&parameter, name, request, reason);
        if (err != NK_OK) {
            return err;
        }
    }
    return NK_OK;
}

static enum nk_err read_parameter(const struct http_parameter *parameter, const char *name,
                                  struct http_request *request, struct nk_text *reason)
{
    uint8_t value[HTTP_CONSISTENCY_BYTES];
    size_t size;
    bool whole = http_percent_decode(parameter->value, value, sizeof value, &size) &&
                 size < sizeof value && memchr(value, 0, size) == NULL;
    if (whole && request->op == GATEWAY_OP_GET) {
        memcpy(request->consistency, value, size);
        return NK_OK;
    }
    if (whole && nk_text_parse_u64(nk_bytes_of(value, size), &request->ttl_ms)) {
        return NK_OK;
    }
    nk_text_add(reason, name);
    return refuse(reason, " \"", parameter->value,
                  request->op == GATEWAY_OP_GET ? "\" is unknown"
                                                : "\" is not a number of milliseconds");
}

static enum nk_err read_conditions(const struct http_parts *parts, struct http_request *request,
                                   struct nk_text *reason)
{
    const struct http_header *match = &parts->if_match;
    const struct http_header *none = &parts->if_none_match;
    if (none->count > 0) {
        if (parts->op != GATEWAY_OP_PUT || match->count > 0 || none->count > 1 ||
            !nk_bytes_equal(none->value, nk_bytes_of_string("*"))) {
            nk_text_add(reason, "If-None-Match may only be *, for PUT, and without If-Match");
            return NK_INVALID;
        }
        request->is_conditional = true; /* and the version is {0,0} */
        return NK_OK;
    }
    if (match->count == 0) {
        return NK_OK;
    }
    struct http_version *version = &request->if_match;
    /* No key ever has version 0.0: to the store it means that there is none, which is not what the
     * header says. */
    if (match->count > 1 || !http_etag_read(match->value, version) ||
        (version->term == 0 && version->index == 0)) {
        return refuse(reason, "If-Match must be one entity tag that an ETag header told, not ",
                      match->value, "");
    }
    request->is_conditional = true;
    return NK_OK;
}

/* An empty one is a mistake that would cost its sender the protection that was asked for. */
static enum nk_err read_idempotency_key(const struct http_header *header,
                                        struct http_request *request, struct nk_text *reason)
{
    if (header->count == 0) {
        return NK_OK;
    }
    size_t size = header->value.size;
    if (header->count > 1 || size == 0 || size > NK_IDEMPOTENCY_KEY_BYTES_MAX ||
        memchr(header->value.data, 0, size) != NULL) {
        nk_text_add(reason, "idempotency_key has ");
        nk_text_add_u64(reason, size);
        nk_text_add(reason, " bytes; there must be one, of 1 to ");
        nk_text_add_u64(reason, NK_IDEMPOTENCY_KEY_BYTES_MAX);
        nk_text_add(reason, " bytes and without NUL");
        return NK_INVALID;
    }
    memcpy(request->idempotency_key, header->value.data, size);
    return NK_OK;
}

static enum nk_err refuse(struct nk_text *reason, const char *before, struct nk_bytes shown,
                          const char *after)
{
    nk_text_add(reason, before);
    nk_text_add_escaped(reason, nk_bytes_of(shown.data, nk_min_size(shown.size, SHOWN_BYTES_MAX)));
    nk_text_add(reason, after);
    return NK_INVALID;
}

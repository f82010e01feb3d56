#include "services/gateway/status.h"

#include "common/base/units.h"

static const struct gateway_status statuses[] = {
    {NK_OK, 0, "OK", 200, ""},
    {NK_INVALID, 3, "INVALID_ARGUMENT", 400, ""},
    {NK_TOO_LARGE, 3, "INVALID_ARGUMENT", 413, ""},
    {NK_NOT_FOUND, 5, "NOT_FOUND", 404, ""},
    {NK_CONFLICT, 9, "FAILED_PRECONDITION", 412, ""},
    {NK_EXISTS, 6, "ALREADY_EXISTS", 412, "key exists"},
    {NK_NOT_LEADER, 14, "UNAVAILABLE", 503, "NOT_LEADER"},
    {NK_UNAVAILABLE, 14, "UNAVAILABLE", 503, "NOT_LEADER"},
    {NK_NO_QUORUM, 14, "UNAVAILABLE", 503, "QUORUM_UNAVAILABLE"},
    {NK_FENCED, 14, "UNAVAILABLE", 503, "SHARD_FENCED"},
    {NK_TIMEOUT, 4, "DEADLINE_EXCEEDED", 504, "COMMIT_TIMEOUT"},
    {NK_EXPIRED, 4, "DEADLINE_EXCEEDED", 504, ""},
    {NK_BUSY, 8, "RESOURCE_EXHAUSTED", 429, "OVERLOADED"},
    {NK_NO_SPACE, 8, "RESOURCE_EXHAUSTED", 507, "DISK_FULL"},
    {NK_CANCELLED, 1, "CANCELLED", 499, ""},
    {NK_UNAUTHENTICATED, 16, "UNAUTHENTICATED", 401, ""},
    {NK_DENIED, 7, "PERMISSION_DENIED", 403, ""},
    {NK_UNSUPPORTED, 12, "UNIMPLEMENTED", 404, ""},
};

const struct gateway_status *gateway_status_of(enum nk_err err)
{
    static const struct gateway_status internal = {NK_IO, GATEWAY_GRPC_INTERNAL, "INTERNAL", 500,
                                                   ""};
    for (size_t i = 0; i < NK_COUNT_OF(statuses); i++) {
        if (statuses[i].err == err) {
            return &statuses[i];
        }
    }
    return &internal;
}

void gateway_status_text(const struct gateway_status *status, const char *message,
                         struct nk_text *text)
{
    if (!nk_bytes_starts_with(nk_bytes_of_string(message), nk_bytes_of_string(status->prefix))) {
        nk_text_add(text, status->prefix);
        nk_text_add(text, message[0] != '\0' ? ": " : "");
    }
    nk_text_add(text, message);
}

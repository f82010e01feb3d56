#include "common/base/err.h"

const char *nk_err_name(enum nk_err err)
{
    switch (err) {
    case NK_OK:
        return "ok";
    case NK_NOT_FOUND:
        return "not_found";
    case NK_NOT_LEADER:
        return "not_leader";
    case NK_CONFLICT:
        return "conflict";
    case NK_BUSY:
        return "busy";
    case NK_TOO_LARGE:
        return "too_large";
    case NK_EXISTS:
        return "exists";
    case NK_INVALID:
        return "invalid";
    case NK_TIMEOUT:
        return "timeout";
    case NK_UNAVAILABLE:
        return "unavailable";
    case NK_NO_SPACE:
        return "no_space";
    case NK_CANCELLED:
        return "cancelled";
    case NK_WOULD_BLOCK:
        return "would_block";
    case NK_UNSUPPORTED:
        return "unsupported";
    case NK_DENIED:
        return "denied";
    case NK_UNAUTHENTICATED:
        return "unauthenticated";
    case NK_NO_QUORUM:
        return "no_quorum";
    case NK_EXPIRED:
        return "expired";
    case NK_FENCED:
        return "fenced";
    case NK_IO:
        return "io";
    case NK_CORRUPT:
        return "corrupt";
    case NK_FORMAT_TOO_NEW:
        return "format_too_new";
    }
    return "unknown";
}

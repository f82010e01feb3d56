/* Which format an HTTP Accept header asks for (RFC 9110, 12.5.1): media ranges separated by commas,
 * each with parameters of which q, its weight in thousandths, matters here. */

#include "common/observe/observe.h"

#include <strings.h>

#define WEIGHT_MAX 1000u

struct range {
    const char *type; /* not NUL-terminated */
    size_t type_size;
    unsigned weight; /* 0..WEIGHT_MAX */
};

static const char *read_range(const char *at, struct range *out_range);
static unsigned read_weight(const char *at);
static bool is_type(const struct range *range, const char *type);
static const char *skip_blanks(const char *at);

enum nk_metrics_format nk_metrics_format_of_accept(const char *accept)
{
    unsigned openmetrics = 0;
    unsigned text = 0;
    const char *at = accept != NULL ? accept : "";
    while (*at != '\0') {
        struct range range;
        at = read_range(at, &range);
        if (is_type(&range, "application/openmetrics-text") && range.weight > openmetrics) {
            openmetrics = range.weight;
        } else if (is_type(&range, "text/plain") && range.weight > text) {
            text = range.weight;
        }
    }
    return openmetrics > 0 && openmetrics >= text ? NK_METRICS_OPENMETRICS : NK_METRICS_TEXT;
}

/* Reads up to the next comma; returns what follows it. */
static const char *read_range(const char *at, struct range *out_range)
{
    at = skip_blanks(at);
    out_range->type = at;
    out_range->type_size = strcspn(at, ",; \t");
    out_range->weight = WEIGHT_MAX;
    at += out_range->type_size;
    size_t left = strcspn(at, ",");
    const char *end = at + left;
    for (; at < end; at++) {
        if (*at != ';') {
            continue;
        }
        const char *parameter = skip_blanks(at + 1);
        if ((parameter[0] == 'q' || parameter[0] == 'Q') && parameter[1] == '=') {
            out_range->weight = read_weight(parameter + 2);
        }
    }
    return *end == ',' ? end + 1 : end;
}

/* "1", "0.75": at most three decimals count. */
static unsigned read_weight(const char *at)
{
    if (*at == '1') {
        return WEIGHT_MAX;
    }
    unsigned weight = 0;
    if (at[0] == '0' && at[1] == '.') {
        unsigned unit = WEIGHT_MAX / 10;
        for (at += 2; *at >= '0' && *at <= '9' && unit > 0; at++) {
            weight += (unsigned)(*at - '0') * unit;
            unit /= 10;
        }
    }
    return weight;
}

static bool is_type(const struct range *range, const char *type)
{
    return range->type_size == strlen(type) &&
           strncasecmp(range->type, type, range->type_size) == 0;
}

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " \t");
}

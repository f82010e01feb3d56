/* The one line that says what is wrong.  Whatever came from outside goes into it escaped and cut,
 * so it stays one line and fits. */

#include "settings.h"
#include "value.h"

#define QUOTED_BYTES_MAX ((size_t)80)

void config_origin_text(const struct config_origin *origin, struct nk_text *out)
{
    static const char *const prefixes[] = {
        [CONFIG_FROM_DEFAULT] = "default",
        [CONFIG_FROM_FILE] = "",
        [CONFIG_FROM_ENVIRONMENT] = "environment ",
        [CONFIG_FROM_FLAG] = "flag ",
    };
    nk_text_add(out, prefixes[origin->source]);
    if (origin->source == CONFIG_FROM_DEFAULT) {
        return;
    }
    struct nk_bytes name = nk_bytes_of_string(origin->name);
    if (name.size > QUOTED_BYTES_MAX) { /* of a path the end says more */
        nk_text_add(out, "...");
        name = nk_bytes_of(name.data + name.size - QUOTED_BYTES_MAX, QUOTED_BYTES_MAX);
    }
    nk_text_add_escaped(out, name);
    if (origin->source == CONFIG_FROM_FILE) {
        nk_text_add(out, ":");
        nk_text_add_u64(out, origin->line);
    }
}

void config_quote(struct nk_text *out, struct nk_bytes value)
{
    bool cut = value.size > QUOTED_BYTES_MAX;
    nk_text_add(out, "\"");
    nk_text_add_escaped(out, nk_bytes_of(value.data, cut ? QUOTED_BYTES_MAX : value.size));
    nk_text_add(out, cut ? "...\"" : "\"");
}

/* WHERE, a colon and a space. */
static struct nk_text line_start(struct nk_config_error *error, const struct config_origin *origin)
{
    struct nk_text line;
    nk_text_init(&line, error->text, sizeof error->text);
    config_origin_text(origin, &line);
    nk_text_add(&line, ": ");
    return line;
}

enum nk_err config_refuse(struct nk_config_error *error, const struct config_origin *origin,
                          const struct config_key *key, struct nk_bytes value)
{
    struct nk_text line = line_start(error, origin);
    nk_text_add(&line, key->name);
    nk_text_add(&line, ": ");
    config_quote(&line, value);
    nk_text_add(&line, " is refused; it must be ");
    config_value_expected(key, &line);
    return NK_INVALID;
}

enum nk_err config_twice(struct nk_config_error *error, const struct config_origin *origin,
                         const char *name, const struct config_origin *other)
{
    struct nk_text line = line_start(error, origin);
    nk_text_add(&line, name);
    nk_text_add(&line, " is set twice; it must be set once, and is also set at ");
    config_origin_text(other, &line);
    return NK_INVALID;
}

enum nk_err config_complain(struct nk_config_error *error, const struct config_origin *origin,
                            struct nk_bytes value, const char *what)
{
    struct nk_text line = line_start(error, origin);
    if (value.size > 0) {
        config_quote(&line, value);
        nk_text_add(&line, " ");
    }
    nk_text_add(&line, what);
    return NK_INVALID;
}

enum nk_err config_unknown(struct nk_config_error *error, const struct config_origin *origin,
                           struct nk_bytes name, const struct nk_bytes *value)
{
    struct nk_text line = line_start(error, origin);
    config_quote(&line, name);
    if (value != NULL) {
        nk_text_add(&line, " (value ");
        config_quote(&line, *value);
        nk_text_add(&line, ")");
    }
    const struct config_key *nearest = config_key_nearest(name);
    if (nearest == NULL) {
        nk_text_add(&line, " is not a key; --help lists them");
    } else {
        nk_text_add(&line, " is not a key; did you mean ");
        nk_text_add(&line, nearest->name);
        nk_text_add(&line, "?");
    }
    return NK_INVALID;
}

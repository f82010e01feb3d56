#pragma once

/* What the files of this library share: the settings while they are built up, and the one line that
 * says what is wrong. */

#include "common/base/arena.h"
#include "common/base/text.h"
#include "common/config/config.h"

#include "table.h"

enum config_source {
    CONFIG_FROM_DEFAULT,
    CONFIG_FROM_FILE,
    CONFIG_FROM_ENVIRONMENT,
    CONFIG_FROM_FLAG,
};

struct config_origin {
    enum config_source source;
    const char *name; /* file, variable or flag; NULL for a default */
    uint64_t line;    /* of a file; 1-based */
};

struct nk_settings {
    struct nk_config values;
    struct config_origin origins[CONFIG_KEYS_MAX]; /* by place in the table */
    struct nk_arena arena;                         /* owns the texts of values and origins */
};

/* ---- config.c ---- */

/* Gives a key its value and remembers from where.  Twice from the same source is an error, whatever
 * the values. */
NK_MUST_CHECK
enum nk_err config_set(struct nk_settings *settings, size_t key, const struct config_origin *origin,
                       struct nk_bytes text, struct nk_config_error *error);

/* The same with the items of a list. */
NK_MUST_CHECK
enum nk_err config_set_list(struct nk_settings *settings, size_t key,
                            const struct config_origin *origin, const struct nk_bytes *items,
                            size_t item_count, struct nk_config_error *error);

/* ---- parse.c, flags.c, check.c: the sources, in this order ---- */

NK_MUST_CHECK enum nk_err config_read_file(struct nk_settings *settings,
                                           const struct nk_config_input *input,
                                           struct nk_config_error *error);
NK_MUST_CHECK enum nk_err config_read_environment(struct nk_settings *settings,
                                                  const struct nk_config_input *input,
                                                  struct nk_config_error *error);
NK_MUST_CHECK enum nk_err config_read_flags(struct nk_settings *settings,
                                            const struct nk_config_input *input,
                                            struct nk_config_error *error);

/* What no single value shows: required keys and contradictions. */
NK_MUST_CHECK enum nk_err config_check(const struct nk_settings *settings,
                                       struct nk_config_error *error);

/* ---- error.c: lines.  Those that return enum nk_err return NK_INVALID ---- */

/* "norikv.yaml:12", "environment NORIKV_X", "flag --x", "default". */
void config_origin_text(const struct config_origin *origin, struct nk_text *out);

/* The value in quotes, escaped and, if long, cut. */
void config_quote(struct nk_text *out, struct nk_bytes value);

/* WHERE: KEY: "VALUE" is refused; it must be EXPECTED */
enum nk_err config_refuse(struct nk_config_error *error, const struct config_origin *origin,
                          const struct config_key *key, struct nk_bytes value);

/* WHERE: NAME is set twice; it is also at OTHER */
enum nk_err config_twice(struct nk_config_error *error, const struct config_origin *origin,
                         const char *name, const struct config_origin *other);

/* WHERE: "VALUE" WHAT.  An empty `value` is left out with its quotes. */
enum nk_err config_complain(struct nk_config_error *error, const struct config_origin *origin,
                            struct nk_bytes value, const char *what);

/* WHERE: "NAME" is not a WHAT; did you mean KEY?  With the value if there is one. */
enum nk_err config_unknown(struct nk_config_error *error, const struct config_origin *origin,
                           struct nk_bytes name, const struct nk_bytes *value);

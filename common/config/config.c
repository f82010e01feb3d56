/* The order of the sources: each is read whole and overwrites what the ones before gave.  The check
 * of contradictions comes last, when the values that count are known: a file that contradicts
 * itself is fine once a flag has put it right. */

#include "common/config/config.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

#include "settings.h"
#include "value.h"

#define ARENA_CHUNK_BYTES ((size_t)4096)

void nk_config_defaults(struct nk_config *out_config)
{
    memset(out_config, 0, sizeof *out_config);
    for (size_t i = 0; i < config_key_count(); i++) {
        config_value_default(config_key_at(i), out_config);
    }
}

enum nk_err nk_settings_load(const struct nk_config_input *input, struct nk_settings **out_settings,
                             struct nk_config_error *out_error)
{
    struct nk_settings *settings = nk_alloc_zero(1, sizeof *settings);
    nk_arena_init(&settings->arena, ARENA_CHUNK_BYTES, 0);
    nk_config_defaults(&settings->values);
    struct nk_config_error error = {""};
    enum nk_err err = config_read_file(settings, input, &error);
    if (err == NK_OK) {
        err = config_read_environment(settings, input, &error);
    }
    if (err == NK_OK) {
        err = config_read_flags(settings, input, &error);
    }
    if (err == NK_OK) {
        err = config_check(settings, &error);
    }
    if (err != NK_OK) {
        NK_ASSERT(error.text[0] != '\0');
        *out_error = error;
        nk_settings_free(&settings);
        return err;
    }
    *out_settings = settings;
    return NK_OK;
}

void nk_settings_free(struct nk_settings **settings)
{
    if (settings == NULL || *settings == NULL) {
        return;
    }
    nk_arena_deinit(&(*settings)->arena);
    nk_free(*settings);
    *settings = NULL;
}

const struct nk_config *nk_settings_values(const struct nk_settings *settings)
{
    return &settings->values;
}

/* ---- Setting one key ---- */

static enum nk_err remember_origin(struct nk_settings *settings, size_t key,
                                   const struct config_origin *origin,
                                   struct nk_config_error *error);

enum nk_err config_set(struct nk_settings *settings, size_t key, const struct config_origin *origin,
                       struct nk_bytes text, struct nk_config_error *error)
{
    const struct config_key *row = config_key_at(key);
    if (config_type_is_list(row->type)) {
        struct nk_bytes items[NK_CONFIG_LIST_MAX];
        size_t item_count;
        if (!config_list_split(text, items, &item_count)) {
            return config_refuse(error, origin, row, text);
        }
        return config_set_list(settings, key, origin, items, item_count, error);
    }
    if (!config_value_parse(row, text, &settings->arena, &settings->values)) {
        return config_refuse(error, origin, row, text);
    }
    return remember_origin(settings, key, origin, error);
}

enum nk_err config_set_list(struct nk_settings *settings, size_t key,
                            const struct config_origin *origin, const struct nk_bytes *items,
                            size_t item_count, struct nk_config_error *error)
{
    const struct config_key *row = config_key_at(key);
    for (size_t i = 0; i < item_count; i++) {
        if (!config_item_valid(row, items[i])) {
            return config_refuse(error, origin, row, items[i]);
        }
    }
    config_list_set(row, items, item_count, &settings->arena, &settings->values);
    return remember_origin(settings, key, origin, error);
}

static enum nk_err remember_origin(struct nk_settings *settings, size_t key,
                                   const struct config_origin *origin,
                                   struct nk_config_error *error)
{
    struct config_origin *remembered = &settings->origins[key];
    NK_ASSERT(remembered->source <= origin->source);
    if (remembered->source == origin->source) {
        return config_twice(error, origin, config_key_at(key)->name, remembered);
    }
    *remembered = *origin;
    if (origin->source != CONFIG_FROM_DEFAULT) {
        remembered->name = config_copy_text(&settings->arena, nk_bytes_of_string(origin->name));
    }
    return NK_OK;
}

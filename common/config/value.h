#pragma once

/* One value: text to field and back. */

#include "common/base/arena.h"
#include "common/base/text.h"
#include "common/config/config.h"

#include "table.h"

/* Sets the field of `key`; false: the text is not what the row asks for, nothing changed.  Texts
 * and lists are copied into `arena`. */
bool config_value_parse(const struct config_key *key, struct nk_bytes text, struct nk_arena *arena,
                        struct nk_config *config);

/* Sets the field to its default, "" for a required key; allocates nothing. */
void config_value_default(const struct config_key *key, struct nk_config *config);

bool config_type_is_list(enum config_type type);

/* Whether `item` may stand in the list `key`. */
bool config_item_valid(const struct config_key *key, struct nk_bytes item);

/* Sets the list `key` to items that are all valid and at most NK_CONFIG_LIST_MAX; copies them. */
void config_list_set(const struct config_key *key, const struct nk_bytes *items, size_t count,
                     struct nk_arena *arena, struct nk_config *config);

/* Cuts "a, b" at the commas; spaces around items go.  False: more than NK_CONFIG_LIST_MAX. */
bool config_list_split(struct nk_bytes text, struct nk_bytes out_items[static NK_CONFIG_LIST_MAX],
                       size_t *out_count);

/* The text with a NUL behind it, in the arena. */
const char *config_copy_text(struct nk_arena *arena, struct nk_bytes text);

/* What would be right, for "it must be ...". */
void config_value_expected(const struct config_key *key, struct nk_text *out);

/* Appends the value as YAML. */
void config_value_format(const struct config_key *key, const struct nk_config *config,
                         struct nk_buf *out);

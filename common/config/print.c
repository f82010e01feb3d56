/* Texts for people, made from the table: --print-config and --help. */

#include "common/config/config.h"

#include "common/base/assert.h"
#include "common/base/units.h"

#include "settings.h"
#include "value.h"

#define COMMENT_COLUMN ((size_t)44)
#define HELP_COLUMN    ((size_t)36)

static void pad_to(struct nk_buf *out, size_t line_start, size_t column)
{
    nk_buf_append_u8(out, ' ');
    while (out->size - line_start < column) {
        nk_buf_append_u8(out, ' ');
    }
}

/* ---- --print-config ---- */

static void append_indent(struct nk_buf *out, size_t depth)
{
    for (size_t i = 0; i < depth; i++) {
        nk_buf_append_string(out, "  ");
    }
}

/* Writes the section headings that `name` has and `previous` has not; returns the name's last part
 * and its depth. */
static const char *open_sections(struct nk_buf *out, const char *previous, const char *name,
                                 size_t *out_depth)
{
    const char *part = name;
    bool shared = true; /* everything before `part` is also how `previous` starts */
    *out_depth = 0;
    for (const char *dot = strchr(part, '.'); dot != NULL; dot = strchr(part, '.')) {
        size_t size = (size_t)(dot + 1 - name);
        shared = shared && strncmp(previous, name, size) == 0;
        if (!shared) {
            append_indent(out, *out_depth);
            nk_buf_append(out, nk_bytes_of(part, (size_t)(dot - part)));
            nk_buf_append_string(out, ":\n");
        }
        part = dot + 1;
        (*out_depth)++;
    }
    return part;
}

void nk_settings_print(const struct nk_settings *settings, struct nk_buf *out)
{
    nk_buf_append_string(out, "# effective settings, and where each comes from\n");
    const char *previous = "";
    for (size_t i = 0; i < config_key_count(); i++) {
        const struct config_key *key = config_key_at(i);
        size_t depth;
        const char *part = open_sections(out, previous, key->name, &depth);
        previous = key->name;
        size_t line_start = out->size;
        append_indent(out, depth);
        nk_buf_append_string(out, part);
        nk_buf_append_string(out, ": ");
        config_value_format(key, &settings->values, out);
        pad_to(out, line_start, COMMENT_COLUMN);
        char memory[NK_CONFIG_ERROR_BYTES];
        struct nk_text origin;
        nk_text_init(&origin, memory, sizeof memory);
        config_origin_text(&settings->origins[i], &origin);
        nk_buf_append_string(out, "# ");
        nk_buf_append_string(out, memory);
        nk_buf_append_string(out, key->unused ? "; not used yet\n" : "\n");
    }
}

/* ---- --help ---- */

static void append_line(struct nk_buf *out, const char *left, const char *right)
{
    size_t line_start = out->size;
    nk_buf_append_string(out, "  ");
    nk_buf_append_string(out, left);
    pad_to(out, line_start, HELP_COLUMN);
    nk_buf_append_string(out, right);
    nk_buf_append_u8(out, '\n');
}

static void append_key(struct nk_buf *out, const struct config_key *key)
{
    size_t line_start = out->size;
    nk_buf_append_string(out, "  ");
    nk_buf_append_string(out, key->name);
    pad_to(out, line_start, HELP_COLUMN);
    nk_buf_append_string(out, key->help);
    if (key->flag != NULL) {
        nk_buf_append_string(out, "; flag ");
        nk_buf_append_string(out, key->flag);
    }
    if (key->flag_alias != NULL) {
        nk_buf_append_string(out, " or ");
        nk_buf_append_string(out, key->flag_alias);
    }
    nk_buf_append_string(out, key->fallback == NULL ? " (required" : " (default ");
    if (key->fallback != NULL) {
        nk_buf_append_string(out, key->fallback[0] == '\0' ? "empty" : key->fallback);
    }
    nk_buf_append_string(out, key->unused ? "; not used yet)\n" : ")\n");
}

void nk_config_help(const char *program, struct nk_buf *out)
{
    nk_buf_append_string(out, "usage: ");
    nk_buf_append_string(out, program);
    nk_buf_append_string(out, " --node-id ID --data-dir DIR [flags]\n\nflags\n");
    append_line(out, "--config FILE", "read settings from this YAML file");
    append_line(out, "--set KEY=VALUE", "set any key below; may be repeated");
    append_line(out, "--print-config", "show every value and where it comes from, then end");
    append_line(out, "--help", "show this text, then end");
    append_line(out, "--version", "show the version, then end");
    nk_buf_append_string(
        out, "\nkeys; flags win over environment NORIKV_<KEY> (upper case, dots as _),\n"
             "which wins over the file, which wins over the defaults\n");
    for (size_t i = 0; i < config_key_count(); i++) {
        append_key(out, config_key_at(i));
    }
}

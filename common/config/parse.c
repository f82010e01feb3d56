/* The YAML file, as a stream of events from libyaml, with only the part of YAML that settings need:
 * one document, mappings of sections and keys, plain or quoted values, lists of such.  Anchors,
 * aliases and tags are refused, so a file costs what it weighs; nesting ends where the table of
 * keys does, so nothing here recurses or grows with the depth of the input.
 *
 * A key may also be written with its dots ("raft.lease_ms: 900"). */

#include "settings.h"

#include <yaml.h>

#include "common/base/assert.h"

#include "value.h"

#define DEPTH_MAX    ((size_t)8)
#define SECTIONS_MAX ((size_t)16)

/* The place in the file. */
struct walk {
    yaml_parser_t parser;
    struct nk_settings *settings;
    struct nk_config_error *error;
    const char *file_name;
    struct nk_bytes text;

    char
        path[2 * CONFIG_NAME_BYTES_MAX]; /* dotted name of the section we are in, then of the key */
    size_t path_size;
    size_t section_sizes[DEPTH_MAX]; /* path_size of each open section; [0] is 0 */
    size_t depth;                    /* open sections; 1 <= depth while in the document */

    struct {
        char name[CONFIG_NAME_BYTES_MAX];
        size_t name_size;
        uint64_t line;
    } sections[SECTIONS_MAX]; /* opened so far, to see one that comes twice */
    size_t section_count;
};

static struct config_origin origin_at(const struct walk *walk, yaml_mark_t mark)
{
    struct config_origin origin = {CONFIG_FROM_FILE, walk->file_name, (uint64_t)mark.line + 1};
    return origin;
}

static struct nk_bytes scalar_text(const yaml_event_t *event)
{
    return nk_bytes_of(event->data.scalar.value, event->data.scalar.length);
}

static enum nk_err complain_at(const struct walk *walk, yaml_mark_t mark, const char *what)
{
    struct config_origin origin = origin_at(walk, mark);
    return config_complain(walk->error, &origin, nk_bytes_of(NULL, 0), what);
}

/* ---- Events ---- */

static enum nk_err yaml_problem(const struct walk *walk);
static enum nk_err refuse_extras(const struct walk *walk, const yaml_event_t *event);

/* The next event; the caller deletes it.  Nothing comes out that this file does not handle. */
static enum nk_err next_event(struct walk *walk, yaml_event_t *out_event)
{
    if (!yaml_parser_parse(&walk->parser, out_event)) {
        return yaml_problem(walk);
    }
    enum nk_err err = refuse_extras(walk, out_event);
    if (err != NK_OK) {
        yaml_event_delete(out_event);
    }
    return err;
}

static enum nk_err yaml_problem(const struct walk *walk)
{
    struct config_origin origin = origin_at(walk, walk->parser.problem_mark);
    if (walk->parser.error == YAML_READER_ERROR) { /* has an offset, but no mark */
        origin.line = 1;
        for (size_t i = 0; i < walk->text.size && i < walk->parser.problem_offset; i++) {
            origin.line += walk->text.data[i] == '\n';
        }
    }
    char memory[256];
    struct nk_text what;
    nk_text_init(&what, memory, sizeof memory);
    nk_text_add(&what, "not YAML: ");
    nk_text_add(&what, walk->parser.problem == NULL ? "out of memory" : walk->parser.problem);
    return config_complain(walk->error, &origin, nk_bytes_of(NULL, 0), memory);
}

static enum nk_err refuse_extras(const struct walk *walk, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (event->type == YAML_ALIAS_EVENT || anchor != NULL) {
        return complain_at(walk, event->start_mark,
                           "anchors and aliases (& and *) are not supported; write the value out");
    }
    if (tag != NULL) {
        return complain_at(walk, event->start_mark,
                           "tags (!) are not supported; write the value without one");
    }
    return NK_OK;
}

/* ---- The document ---- */

static enum nk_err read_stream(struct walk *walk);

enum nk_err config_read_file(struct nk_settings *settings, const struct nk_config_input *input,
                             struct nk_config_error *error)
{
    if (input->file_name == NULL) {
        return NK_OK;
    }
    struct walk walk = {.settings = settings,
                        .error = error,
                        .file_name = input->file_name,
                        .text = input->file_text};
    struct config_origin start = {CONFIG_FROM_FILE, input->file_name, 1};
    if (input->file_text.size > NK_CONFIG_FILE_BYTES_MAX) {
        return config_complain(error, &start, nk_bytes_of(NULL, 0),
                               "the file is too large; it must be at most 1 MiB");
    }
    if (!yaml_parser_initialize(&walk.parser)) {
        return config_complain(error, &start, nk_bytes_of(NULL, 0), "out of memory");
    }
    static const uint8_t nothing = 0;
    yaml_parser_set_encoding(&walk.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&walk.parser,
                                 input->file_text.size > 0 ? input->file_text.data : &nothing,
                                 input->file_text.size);
    enum nk_err err = read_stream(&walk);
    yaml_parser_delete(&walk.parser);
    return err;
}

static enum nk_err expect(struct walk *walk, yaml_event_type_t type, const char *otherwise);
static enum nk_err read_root(struct walk *walk);

static enum nk_err read_stream(struct walk *walk)
{
    enum nk_err err = expect(walk, YAML_STREAM_START_EVENT, "not YAML");
    if (err != NK_OK) {
        return err;
    }
    yaml_event_t event;
    err = next_event(walk, &event);
    if (err != NK_OK) {
        return err;
    }
    bool empty = event.type == YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
    if (empty) {
        return NK_OK;
    }
    err = read_root(walk);
    if (err == NK_OK) {
        err = expect(walk, YAML_DOCUMENT_END_EVENT, "the document must end here");
    }
    if (err == NK_OK) {
        err = expect(walk, YAML_STREAM_END_EVENT, "a second document; the file must have one");
    }
    return err;
}

static enum nk_err expect(struct walk *walk, yaml_event_type_t type, const char *otherwise)
{
    yaml_event_t event;
    enum nk_err err = next_event(walk, &event);
    if (err != NK_OK) {
        return err;
    }
    if (event.type != type) {
        err = complain_at(walk, event.start_mark, otherwise);
    }
    yaml_event_delete(&event);
    return err;
}

/* "", "~" or "null" without quotes. */
static bool is_null(const yaml_event_t *event)
{
    struct nk_bytes text = scalar_text(event);
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text.size == 0 || nk_bytes_equal(text, nk_bytes_of_string("~")) ||
            nk_bytes_equal(text, nk_bytes_of_string("null")));
}

static enum nk_err read_member(struct walk *walk, const yaml_event_t *key);

/* The document's one node: nothing at all, or the mapping with everything in it. */
static enum nk_err read_root(struct walk *walk)
{
    yaml_event_t event;
    enum nk_err err = next_event(walk, &event);
    if (err != NK_OK) {
        return err;
    }
    if (event.type == YAML_MAPPING_START_EVENT) {
        walk->depth = 1;
    } else if (event.type != YAML_SCALAR_EVENT || !is_null(&event)) {
        err = complain_at(walk, event.start_mark, "the file must be a mapping, as \"key: value\"");
    }
    yaml_event_delete(&event);
    while (err == NK_OK && walk->depth > 0) {
        walk->path_size = walk->section_sizes[walk->depth - 1];
        err = next_event(walk, &event);
        if (err != NK_OK) {
            return err;
        }
        if (event.type == YAML_MAPPING_END_EVENT) {
            walk->depth--;
        } else if (event.type == YAML_SCALAR_EVENT) {
            err = read_member(walk, &event);
        } else {
            err = complain_at(walk, event.start_mark, "a key must be a word");
        }
        yaml_event_delete(&event);
    }
    return err;
}

/* ---- One "key: value" ---- */

static bool path_push(struct walk *walk, struct nk_bytes name);
static enum nk_err read_value(struct walk *walk, const struct config_origin *origin,
                              const yaml_event_t *value);

static enum nk_err read_member(struct walk *walk, const yaml_event_t *key)
{
    struct config_origin origin = origin_at(walk, key->start_mark);
    struct nk_bytes name = scalar_text(key);
    if (name.size == 0 || !path_push(walk, name)) {
        return config_unknown(walk->error, &origin, name, NULL);
    }
    yaml_event_t value;
    enum nk_err err = next_event(walk, &value);
    if (err == NK_OK) {
        err = read_value(walk, &origin, &value);
        yaml_event_delete(&value);
    }
    return err;
}

static bool path_push(struct walk *walk, struct nk_bytes name)
{
    size_t dot = walk->path_size > 0 ? 1 : 0;
    if (name.size + dot > sizeof walk->path - walk->path_size) {
        return false;
    }
    if (dot > 0) {
        walk->path[walk->path_size] = '.';
    }
    memcpy(walk->path + walk->path_size + dot, name.data, name.size);
    walk->path_size += dot + name.size;
    return true;
}

static enum nk_err open_section(struct walk *walk, const struct config_origin *origin,
                                const yaml_event_t *value);
static enum nk_err read_list(struct walk *walk, size_t key, const struct config_origin *origin);
static enum nk_err read_over(struct walk *walk);

static enum nk_err read_value(struct walk *walk, const struct config_origin *origin,
                              const yaml_event_t *value)
{
    struct nk_bytes path = nk_bytes_of(walk->path, walk->path_size);
    if (config_key_is_section(path)) {
        return open_section(walk, origin, value);
    }
    size_t key = config_key_find(path);
    struct nk_bytes text = nk_bytes_of(NULL, 0);
    if (value->type == YAML_SCALAR_EVENT) {
        text = scalar_text(value);
    }
    if (key == config_key_count()) {
        return config_unknown(walk->error, origin, path,
                              value->type == YAML_SCALAR_EVENT ? &text : NULL);
    }
    const struct config_key *row = config_key_at(key);
    if (value->type == YAML_SEQUENCE_START_EVENT && config_type_is_list(row->type)) {
        return read_list(walk, key, origin);
    }
    if (value->type != YAML_SCALAR_EVENT) {
        enum nk_err err = read_over(walk);
        return err != NK_OK
                   ? err
                   : config_refuse(walk->error, origin, row,
                                   nk_bytes_of_string(value->type == YAML_SEQUENCE_START_EVENT
                                                          ? "[...]"
                                                          : "{...}"));
    }
    if (is_null(value)) {
        return config_refuse(walk->error, origin, row, text);
    }
    return config_set(walk->settings, key, origin, text, walk->error);
}

/* To the end of a value that has begun, for "[x" is no list but a mistake in YAML. */
static enum nk_err read_over(struct walk *walk)
{
    size_t open = 1;
    while (open > 0) {
        yaml_event_t event;
        enum nk_err err = next_event(walk, &event);
        if (err != NK_OK) {
            return err;
        }
        if (event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT) {
            open++;
        } else if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT) {
            open--;
        }
        yaml_event_delete(&event);
    }
    return NK_OK;
}

static enum nk_err open_section(struct walk *walk, const struct config_origin *origin,
                                const yaml_event_t *value)
{
    if (value->type != YAML_MAPPING_START_EVENT &&
        !(value->type == YAML_SCALAR_EVENT && is_null(value))) {
        struct nk_bytes path = nk_bytes_of(walk->path, walk->path_size);
        return config_complain(walk->error, origin, path,
                               "is a section; it must hold keys, each on its own indented line");
    }
    for (size_t i = 0; i < walk->section_count; i++) {
        if (walk->sections[i].name_size == walk->path_size &&
            memcmp(walk->sections[i].name, walk->path, walk->path_size) == 0) {
            struct config_origin other = {CONFIG_FROM_FILE, walk->file_name,
                                          walk->sections[i].line};
            char name[CONFIG_NAME_BYTES_MAX + 1];
            memcpy(name, walk->path, walk->path_size);
            name[walk->path_size] = '\0';
            return config_twice(walk->error, origin, name, &other);
        }
    }
    /* Each section is there once and is the start of a key's name: both bounds are the table's. */
    NK_ASSERT(walk->section_count < SECTIONS_MAX);
    NK_ASSERT(walk->path_size <= CONFIG_NAME_BYTES_MAX);
    memcpy(walk->sections[walk->section_count].name, walk->path, walk->path_size);
    walk->sections[walk->section_count].name_size = walk->path_size;
    walk->sections[walk->section_count].line = origin->line;
    walk->section_count++;
    if (value->type == YAML_MAPPING_START_EVENT) {
        NK_ASSERT(walk->depth < DEPTH_MAX);
        walk->section_sizes[walk->depth++] = walk->path_size;
    }
    return NK_OK;
}

static enum nk_err read_item(struct walk *walk, size_t key, const yaml_event_t *event,
                             struct nk_bytes items[static NK_CONFIG_LIST_MAX], size_t *item_count);

static enum nk_err read_list(struct walk *walk, size_t key, const struct config_origin *origin)
{
    struct nk_bytes items[NK_CONFIG_LIST_MAX];
    size_t item_count = 0;
    for (;;) {
        yaml_event_t event;
        enum nk_err err = next_event(walk, &event);
        if (err != NK_OK) {
            return err;
        }
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        if (!end) {
            err = read_item(walk, key, &event, items, &item_count);
        }
        yaml_event_delete(&event);
        if (err != NK_OK) {
            return err;
        }
        if (end) {
            return config_set_list(walk->settings, key, origin, items, item_count, walk->error);
        }
    }
}

static enum nk_err read_item(struct walk *walk, size_t key, const yaml_event_t *event,
                             struct nk_bytes items[static NK_CONFIG_LIST_MAX], size_t *item_count)
{
    struct config_origin origin = origin_at(walk, event->start_mark);
    const struct config_key *row = config_key_at(key);
    if (event->type != YAML_SCALAR_EVENT) {
        return config_refuse(walk->error, &origin, row, nk_bytes_of_string("a nested value"));
    }
    struct nk_bytes text = scalar_text(event);
    if (*item_count == NK_CONFIG_LIST_MAX || !config_item_valid(row, text)) {
        return config_refuse(walk->error, &origin, row, text);
    }
    items[(*item_count)++] = nk_bytes_of(config_copy_text(&walk->settings->arena, text), text.size);
    return NK_OK;
}

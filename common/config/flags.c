/* Flags and environment.  Both give texts to keys; a flag is "--name value" or "--name=value". */

#include "settings.h"

#include "common/base/assert.h"

/* One flag taken from the arguments. */
struct flag {
    struct nk_bytes name;  /* with its dashes */
    struct nk_bytes value; /* of NULL data: none was attached and none has been taken */
};

static bool is(struct nk_bytes name, const char *flag)
{
    return flag != NULL && nk_bytes_equal(name, nk_bytes_of_string(flag));
}

static struct flag flag_split(const char *argument)
{
    struct nk_bytes text = nk_bytes_of_string(argument);
    struct flag flag = {text, {NULL, 0}};
    size_t name_size = 0;
    while (name_size < text.size && text.data[name_size] != '=') {
        name_size++;
    }
    if (name_size < text.size) {
        flag.name.size = name_size;
        flag.value = nk_bytes_of(text.data + name_size + 1, text.size - name_size - 1);
    }
    return flag;
}

/* The place of the key whose flag this is, or config_key_count(). */
static size_t key_of_flag(struct nk_bytes name)
{
    size_t i = 0;
    while (i < config_key_count() && !is(name, config_key_at(i)->flag) &&
           !is(name, config_key_at(i)->flag_alias)) {
        i++;
    }
    return i;
}

static enum nk_err complain(struct nk_config_error *error, struct nk_bytes name, const char *what)
{
    struct config_origin origin = {CONFIG_FROM_FLAG, "", 0};
    char memory[128];
    struct nk_text text;
    nk_text_init(&text, memory, sizeof memory);
    nk_text_add_bytes(&text, name);
    origin.name = memory;
    return config_complain(error, &origin, nk_bytes_of(NULL, 0), what);
}

/* ---- Walking the arguments ---- */

enum flag_kind {
    FLAG_KEY,     /* belongs to the key at `key` */
    FLAG_SET,     /* --set key=value */
    FLAG_CONFIG,  /* --config FILE */
    FLAG_COMMAND, /* takes no value */
};

struct flag_walk {
    const char *const *arguments;
    size_t count;
    size_t next;
    struct flag flag; /* the one just read */
    enum flag_kind kind;
    size_t key;
};

/* Reads the flag at `next` with its value.  NK_NOT_FOUND: that was the last. */
static enum nk_err flag_next(struct flag_walk *walk, struct nk_config_error *error)
{
    if (walk->next == walk->count) {
        return NK_NOT_FOUND;
    }
    walk->flag = flag_split(walk->arguments[walk->next++]);
    struct nk_bytes name = walk->flag.name;
    walk->key = key_of_flag(name);
    if (is(name, "--print-config") || is(name, "--help") || is(name, "--version")) {
        walk->kind = FLAG_COMMAND;
        return walk->flag.value.data == NULL ? NK_OK : complain(error, name, "takes no value");
    }
    if (is(name, "--set")) {
        walk->kind = FLAG_SET;
    } else if (is(name, "--config")) {
        walk->kind = FLAG_CONFIG;
    } else if (walk->key < config_key_count()) {
        walk->kind = FLAG_KEY;
    } else {
        return complain(error, name, "is not a flag; --help lists them");
    }
    if (walk->flag.value.data == NULL) {
        if (walk->next == walk->count) {
            return complain(error, name, "needs a value behind it");
        }
        walk->flag.value = nk_bytes_of_string(walk->arguments[walk->next++]);
    }
    return NK_OK;
}

enum nk_err nk_config_read_command(const char *const *arguments, size_t argument_count,
                                   struct nk_config_command *out_command,
                                   struct nk_config_error *out_error)
{
    struct flag_walk walk = {.arguments = arguments, .count = argument_count};
    struct nk_config_command command = {0};
    struct nk_config_error error = {""};
    enum nk_err err = flag_next(&walk, &error);
    while (err == NK_OK) {
        if (walk.kind == FLAG_CONFIG) {
            if (command.config_file != NULL) {
                err = complain(&error, walk.flag.name, "is given twice; it must be given once");
                break;
            }
            /* An argument's end is also the end of a value attached to it. */
            command.config_file = (const char *)walk.flag.value.data;
        } else if (walk.kind == FLAG_COMMAND) {
            command.print_config |= is(walk.flag.name, "--print-config");
            command.help |= is(walk.flag.name, "--help");
            command.version |= is(walk.flag.name, "--version");
        }
        err = flag_next(&walk, &error);
    }
    if (err != NK_NOT_FOUND) {
        *out_error = error;
        return err;
    }
    *out_command = command;
    return NK_OK;
}

static enum nk_err set_from_flag(struct nk_settings *settings, const struct flag_walk *walk,
                                 struct nk_config_error *error);

enum nk_err config_read_flags(struct nk_settings *settings, const struct nk_config_input *input,
                              struct nk_config_error *error)
{
    struct flag_walk walk = {.arguments = input->arguments, .count = input->argument_count};
    enum nk_err err = flag_next(&walk, error);
    while (err == NK_OK) {
        if (walk.kind == FLAG_KEY || walk.kind == FLAG_SET) {
            err = set_from_flag(settings, &walk, error);
        }
        if (err == NK_OK) {
            err = flag_next(&walk, error);
        }
    }
    return err == NK_NOT_FOUND ? NK_OK : err;
}

static enum nk_err set_from_flag(struct nk_settings *settings, const struct flag_walk *walk,
                                 struct nk_config_error *error)
{
    if (walk->kind == FLAG_KEY) {
        const struct config_key *row = config_key_at(walk->key);
        struct config_origin origin = {CONFIG_FROM_FLAG, row->flag, 0};
        return config_set(settings, walk->key, &origin, walk->flag.value, error);
    }
    struct config_origin origin = {CONFIG_FROM_FLAG, "--set", 0};
    struct nk_bytes text = walk->flag.value;
    size_t name_size = 0;
    while (name_size < text.size && text.data[name_size] != '=') {
        name_size++;
    }
    struct nk_bytes name = nk_bytes_of(text.data, name_size);
    if (name_size == text.size) {
        return config_complain(error, &origin, text, "is refused; it must be key=value");
    }
    struct nk_bytes value = nk_bytes_of(text.data + name_size + 1, text.size - name_size - 1);
    size_t key = config_key_find(name);
    if (key == config_key_count()) {
        return config_unknown(error, &origin, name, &value);
    }
    return config_set(settings, key, &origin, value, error);
}

/* ---- Environment ---- */

/* Variables that are no keys of ours are left alone, also NORIKV_ ones: Kubernetes puts
 * NORIKV_SERVICE_HOST and the like into every pod beside a service of that name. */
enum nk_err config_read_environment(struct nk_settings *settings,
                                    const struct nk_config_input *input,
                                    struct nk_config_error *error)
{
    for (size_t i = 0; input->environment != NULL && input->environment[i] != NULL; i++) {
        struct flag variable = flag_split(input->environment[i]);
        for (size_t key = 0; variable.value.data != NULL && key < config_key_count(); key++) {
            char name[CONFIG_VARIABLE_BYTES];
            config_key_variable(config_key_at(key), name);
            if (!is(variable.name, name)) {
                continue;
            }
            struct config_origin origin = {CONFIG_FROM_ENVIRONMENT, name, 0};
            enum nk_err err = config_set(settings, key, &origin, variable.value, error);
            if (err != NK_OK) {
                return err;
            }
        }
    }
    return NK_OK;
}

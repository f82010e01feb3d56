#include "services/program_settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/units.h"

#define EXIT_CONFIG 78

static enum nk_err read_file(const char *name, struct nk_buf *out, struct nk_text *reason);
static void print(const struct nk_buf *text);

enum nk_err program_settings(const char *program, int argc, char **argv,
                             struct nk_settings **out_settings, bool *out_done)
{
    extern char **environ;
    const char *const *arguments = (const char *const *)argv + (argc > 0 ? 1 : 0);
    size_t argument_count = argc > 0 ? (size_t)argc - 1 : 0;
    struct nk_config_error error = {0};
    struct nk_text reason;
    nk_text_init(&reason, error.text, sizeof error.text);
    struct nk_config_command command = {0};
    struct nk_buf file;
    struct nk_buf output;
    nk_buf_init(&file);
    nk_buf_init(&output);

    enum nk_err err = nk_config_read_command(arguments, argument_count, &command, &error);
    if (err == NK_OK && command.help) {
        nk_config_help(program, &output);
    } else if (err == NK_OK && command.version) {
        nk_buf_append_string(&output, program);
        nk_buf_append_string(&output, " " NK_BUILD_VERSION "\n");
    } else if (err == NK_OK) {
        if (command.config_file != NULL) {
            err = read_file(command.config_file, &file, &reason);
        }
        struct nk_config_input input = {
            .file_name = command.config_file,
            .file_text = nk_buf_bytes(&file),
            .environment = (const char *const *)environ,
            .arguments = arguments,
            .argument_count = argument_count,
        };
        if (err == NK_OK) {
            err = nk_settings_load(&input, out_settings, &error);
        }
        if (err == NK_OK && command.print_config) {
            nk_settings_print(*out_settings, &output);
        }
    }
    if (err != NK_OK) {
        (void)fprintf(stderr, "%s: %s\n", program, error.text);
    }
    *out_done = output.size > 0;
    print(&output);
    nk_buf_deinit(&output);
    nk_buf_deinit(&file);
    return err;
}

static enum nk_err read_file(const char *name, struct nk_buf *out, struct nk_text *reason)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0 && out->size <= NK_CONFIG_FILE_BYTES_MAX) {
        nk_buf_reserve(out, 64 * NK_KIB);
        got = read(fd, out->data + out->size, out->capacity - out->size);
        out->size += got > 0 ? (size_t)got : 0;
    }
    int error = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (got != 0) {
        nk_text_add(reason, name);
        nk_text_add(reason, ": ");
        nk_text_add(reason, got < 0 ? strerror(error) : "the file is larger than 1 MiB");
        return NK_INVALID;
    }
    return NK_OK;
}

static void print(const struct nk_buf *text)
{
    if (text->size > 0) { /* nobody is left to tell if standard output is closed */
        (void)fwrite(text->data, 1, text->size, stdout);
        (void)fflush(stdout);
    }
}

int program_exit_code(enum nk_err err)
{
    if (err == NK_OK) {
        return EXIT_SUCCESS;
    }
    return err == NK_INVALID || err == NK_CONFLICT ? EXIT_CONFIG : EXIT_FAILURE;
}

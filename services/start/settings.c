/* Settings and the exit code that says in the end that they were wrong. */

#include "services/start/start.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXIT_CONFIG 78

static void print(const struct nk_buf *text);

enum nk_err start_settings(const char *program, int argc, char **argv, start_read_file read_file,
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
            err = read_file(command.config_file, NK_CONFIG_FILE_BYTES_MAX, &file, &reason);
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

static void print(const struct nk_buf *text)
{
    if (text->size > 0) { /* nobody is left to tell if standard output is closed */
        (void)fwrite(text->data, 1, text->size, stdout);
        (void)fflush(stdout);
    }
}

int start_exit_code(enum nk_err err)
{
    if (err == NK_OK) {
        return EXIT_SUCCESS;
    }
    bool misfit = err == NK_INVALID || err == NK_CONFLICT || err == NK_FORMAT_TOO_NEW;
    return misfit ? EXIT_CONFIG : EXIT_FAILURE;
}

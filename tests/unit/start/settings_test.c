/* Settings and exit codes of a program. */

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>

#include "common/base/units.h"
#include "services/start/start.h"

TestSuite(start_settings, .timeout = 10);

static enum nk_err read_good(const char *path, size_t bytes_max, struct nk_buf *out,
                             struct nk_text *reason)
{
    (void)reason;
    cr_expect_str_eq(path, "n.yaml");
    cr_expect_eq(bytes_max, NK_CONFIG_FILE_BYTES_MAX);
    nk_buf_append_string(out, "node_id: from-file\ndata_dir: /d\n");
    return NK_OK;
}

static enum nk_err read_nothing(const char *path, size_t bytes_max, struct nk_buf *out,
                                struct nk_text *reason)
{
    (void)bytes_max;
    (void)out;
    nk_text_add(reason, path);
    nk_text_add(reason, ": no such file");
    return NK_INVALID;
}

struct outcome {
    enum nk_err err;
    bool done;
    struct nk_settings *settings;
};

static struct outcome run(start_read_file read_file, const char *first, const char *second)
{
    char *arguments[] = {(char *)(uintptr_t) "norikv-x", (char *)(uintptr_t)first,
                         (char *)(uintptr_t)second, NULL};
    int count = first == NULL ? 1 : second == NULL ? 2 : 3;
    struct outcome outcome = {0};
    outcome.err =
        start_settings("norikv-x", count, arguments, read_file, &outcome.settings, &outcome.done);
    (void)fflush(stdout);
    (void)fflush(stderr);
    return outcome;
}

static void expect_output(FILE *stream, const char *piece)
{
    char text[32768];
    size_t size = fread(text, 1, sizeof text - 1, stream);
    text[size] = '\0';
    cr_expect_not_null(strstr(text, piece), "%s", text);
}

static void redirect(void)
{
    cr_redirect_stdout();
    cr_redirect_stderr();
}

Test(start_settings, they_come_from_the_file_that_is_named, .init = redirect)
{
    struct outcome outcome = run(read_good, "--config", "n.yaml");
    cr_assert_eq(outcome.err, NK_OK);
    cr_expect(!outcome.done);
    cr_expect_str_eq(nk_settings_values(outcome.settings)->node_id, "from-file");
    nk_settings_free(&outcome.settings);
}

Test(start_settings, a_question_is_answered_and_nothing_is_left_to_do, .init = redirect)
{
    static const struct {
        const char *flag;
        const char *answer;
    } cases[] = {{"--help", "--node-id"}, {"--version", "norikv-x " NK_BUILD_VERSION "\n"}};
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        struct outcome outcome = run(read_nothing, cases[i].flag, NULL);
        cr_expect_eq(outcome.err, NK_OK, "case %zu", i);
        cr_expect(outcome.done, "case %zu", i);
        cr_expect_null(outcome.settings, "case %zu", i);
    }
    FILE *stream = cr_get_redirected_stdout();
    expect_output(stream, cases[0].answer);
}

Test(start_settings, the_version_is_one_line, .init = redirect)
{
    (void)run(read_nothing, "--version", NULL);
    cr_expect_stdout_eq_str("norikv-x " NK_BUILD_VERSION "\n");
}

Test(start_settings, printed_settings_can_be_loaded_again, .init = redirect)
{
    struct outcome outcome = run(read_good, "--config=n.yaml", "--print-config");
    cr_expect_eq(outcome.err, NK_OK);
    cr_expect(outcome.done);
    nk_settings_free(&outcome.settings);
    char text[32768];
    size_t size = fread(text, 1, sizeof text, cr_get_redirected_stdout());
    struct nk_config_input input = {.file_name = "printed", .file_text = nk_bytes_of(text, size)};
    struct nk_config_error error;
    cr_assert_eq(nk_settings_load(&input, &outcome.settings, &error), NK_OK, "%s", error.text);
    cr_expect_str_eq(nk_settings_values(outcome.settings)->node_id, "from-file");
    nk_settings_free(&outcome.settings);
}

Test(start_settings, what_is_wrong_is_one_line_on_standard_error, .init = redirect)
{
    struct outcome outcome = run(read_nothing, "--config", "n.yaml");
    cr_expect_eq(outcome.err, NK_INVALID);
    cr_expect(!outcome.done);
    cr_expect_null(outcome.settings);
    cr_expect_stderr_eq_str("norikv-x: n.yaml: no such file\n");
}

Test(start_settings, a_flag_that_is_none_names_the_program, .init = redirect)
{
    struct outcome outcome = run(read_nothing, "--nonsense", NULL);
    cr_expect_eq(outcome.err, NK_INVALID);
    expect_output(cr_get_redirected_stderr(), "norikv-x: flag --nonsense");
}

Test(start_settings, exit_codes_tell_what_another_start_would_not_change)
{
    static const struct {
        enum nk_err err;
        int code;
    } cases[] = {
        {NK_OK, 0}, {NK_INVALID, 78}, {NK_CONFLICT, 78},   {NK_BUSY, 1},
        {NK_IO, 1}, {NK_CORRUPT, 1},  {NK_UNAVAILABLE, 1}, {NK_FORMAT_TOO_NEW, 78},
    };
    for (size_t i = 0; i < NK_COUNT_OF(cases); i++) {
        cr_expect_eq(start_exit_code(cases[i].err), cases[i].code, "case %zu", i);
    }
}

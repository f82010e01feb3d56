#include "loading.h"

#include <criterion/criterion.h>

static const char required[] = "node_id: n1\ndata_dir: /d\n";

void loading_run(struct loading *loading)
{
    struct nk_config_input input = {0};
    if (loading->yaml != NULL) {
        input.file_name = "n.yaml";
        input.file_text = nk_bytes_of_string(loading->yaml);
    }
    input.environment = loading->environment;
    input.arguments = loading->flags;
    while (loading->flags != NULL && loading->flags[input.argument_count] != NULL) {
        input.argument_count++;
    }
    loading->settings = NULL;
    loading->config = NULL;
    loading->error.text[0] = '\0';
    loading->err = nk_settings_load(&input, &loading->settings, &loading->error);
    if (loading->err == NK_OK) {
        loading->config = nk_settings_values(loading->settings);
    }
}

void loading_end(struct loading *loading)
{
    nk_settings_free(&loading->settings);
}

static void run_with_required(struct loading *loading, const char *yaml)
{
    struct nk_buf text;
    nk_buf_init(&text);
    nk_buf_append_string(&text, required);
    nk_buf_append_string(&text, yaml);
    nk_buf_append_u8(&text, 0);
    loading->yaml = (const char *)text.data;
    loading_run(loading);
    loading->yaml = NULL;
    nk_buf_deinit(&text);
}

void loading_yaml(struct loading *loading, const char *yaml)
{
    run_with_required(loading, yaml);
    cr_assert_eq(loading->err, NK_OK, "%s", loading->error.text);
}

static void expect_line(struct loading *loading, const char *line)
{
    cr_expect_eq(loading->err, NK_INVALID, "accepted, expected: %s", line);
    cr_expect_str_eq(loading->error.text, line);
    loading_end(loading);
}

void expect_refused(const char *yaml, const char *line)
{
    struct loading loading = {0};
    run_with_required(&loading, yaml);
    expect_line(&loading, line);
}

void expect_flags_refused(const char *const *flags, const char *line)
{
    struct loading loading = {.flags = flags};
    run_with_required(&loading, "");
    expect_line(&loading, line);
}

void expect_variable_refused(const char *variable, const char *line)
{
    const char *const environment[] = {variable, NULL};
    struct loading loading = {.environment = environment};
    run_with_required(&loading, "");
    expect_line(&loading, line);
}

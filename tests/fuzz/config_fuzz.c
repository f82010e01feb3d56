/* Bytes as the text of a configuration file: whatever they are, loading ends with settings or with
 * one printable line, and settings print to a text that loads to the same settings. */

#include "common/config/config.h"

#include "common/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The printed settings without their comments, which name other files and lines. */
static void print(const struct nk_settings *settings, struct nk_buf *out)
{
    struct nk_buf text;
    nk_buf_init(&text);
    nk_settings_print(settings, &text);
    bool quoted = false;
    bool escaped = false;
    bool comment = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte == '"' && !escaped && !comment) {
            quoted = !quoted;
        }
        escaped = quoted && !escaped && byte == '\\';
        comment = byte != '\n' && (comment || (byte == '#' && !quoted));
        if (!comment) {
            nk_buf_append_u8(out, byte);
        }
    }
    nk_buf_deinit(&text);
}

static void check_error(const struct nk_config_error *error)
{
    NK_ASSERT(error->text[0] != '\0');
    for (const char *c = error->text; *c != '\0'; c++) {
        NK_ASSERT(*c >= 0x20);
        NK_ASSERT(*c < 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nk_config_input input = {.file_name = "f", .file_text = nk_bytes_of(data, size)};
    struct nk_settings *settings = NULL;
    struct nk_config_error error;
    if (nk_settings_load(&input, &settings, &error) != NK_OK) {
        check_error(&error);
        return 0;
    }
    struct nk_buf first;
    struct nk_buf second;
    nk_buf_init(&first);
    nk_buf_init(&second);
    print(settings, &first);
    nk_settings_free(&settings);

    input.file_text = nk_buf_bytes(&first);
    enum nk_err err = nk_settings_load(&input, &settings, &error);
    NK_ASSERT(err == NK_OK);
    print(settings, &second);
    nk_settings_free(&settings);
    NK_ASSERT(nk_bytes_equal(nk_buf_bytes(&first), nk_buf_bytes(&second)));
    nk_buf_deinit(&first);
    nk_buf_deinit(&second);
    return 0;
}

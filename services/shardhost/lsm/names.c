#include "services/shardhost/lsm/names.h"

#include "common/base/assert.h"
#include "common/base/text.h"

#define TABLE_SUFFIX ".sst"
#define DIGITS_MIN   10

void lsm_path(const char *directory, const char *file, char out[NK_PATH_BYTES_MAX])
{
    struct nk_text path;
    nk_text_init(&path, out, NK_PATH_BYTES_MAX);
    nk_text_add(&path, directory);
    nk_text_add(&path, "/");
    nk_text_add(&path, file);
    NK_ASSERT(!path.truncated);
}

void lsm_table_name(uint64_t number, char out[LSM_FILE_NAME_BYTES_MAX])
{
    char digits[LSM_FILE_NAME_BYTES_MAX];
    struct nk_text number_text;
    nk_text_init(&number_text, digits, sizeof digits);
    nk_text_add_u64(&number_text, number);
    struct nk_text name;
    nk_text_init(&name, out, LSM_FILE_NAME_BYTES_MAX);
    for (size_t i = number_text.size; i < DIGITS_MIN; i++) {
        nk_text_add(&name, "0");
    }
    nk_text_add(&name, digits);
    nk_text_add(&name, TABLE_SUFFIX);
    NK_ASSERT(!name.truncated);
}

bool lsm_table_name_parse(const char *name, uint64_t *out_number)
{
    struct nk_bytes bytes = nk_bytes_of_string(name);
    size_t suffix_size = strlen(TABLE_SUFFIX);
    if (bytes.size < DIGITS_MIN + suffix_size || bytes.size >= LSM_FILE_NAME_BYTES_MAX) {
        return false;
    }
    uint64_t number = 0;
    if (!nk_text_parse_u64(nk_bytes_of(bytes.data, bytes.size - suffix_size), &number) ||
        number >= LSM_TABLE_NUMBER_LIMIT) {
        return false;
    }
    char written[LSM_FILE_NAME_BYTES_MAX];
    lsm_table_name(number, written);
    if (strcmp(written, name) != 0) {
        return false;
    }
    *out_number = number;
    return true;
}

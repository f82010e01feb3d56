#include "services/shardhost/lsm/names.h"

#include <criterion/criterion.h>

#include "common/base/units.h"

TestSuite(lsm_names, .timeout = 10);

Test(lsm_names, a_table_name_is_its_number_in_ten_digits_or_more)
{
    char name[LSM_FILE_NAME_BYTES_MAX];
    lsm_table_name(42, name);
    cr_expect_str_eq(name, "0000000042.sst");
    lsm_table_name(UINT64_MAX, name);
    cr_expect_str_eq(name, "18446744073709551615.sst");
}

Test(lsm_names, only_names_that_we_write_are_parsed)
{
    uint64_t number = 0;
    cr_expect(lsm_table_name_parse("0000000042.sst", &number));
    cr_expect_eq(number, 42);
    cr_expect(lsm_table_name_parse("4611686018427387903.sst", &number));
    cr_expect_eq(number, LSM_TABLE_NUMBER_LIMIT - 1);
    static const char *const others[] = {
        "",
        "42.sst",
        "00000000042.sst",
        "0000000042.ss",
        "0000000042.sst.tmp",
        "000000004x.sst",
        "manifest",
        "4611686018427387904.sst",
        "18446744073709551615.sst",
        "18446744073709551616.sst",
        "-000000042.sst",
        "00000000000000000000000000000000000000000000000042.sst",
    };
    for (size_t i = 0; i < NK_COUNT_OF(others); i++) {
        cr_expect_not(lsm_table_name_parse(others[i], &number), "%s", others[i]);
    }
}

Test(lsm_names, a_path_joins_directory_and_file)
{
    char path[NK_PATH_BYTES_MAX];
    lsm_path("lsm/shard-7", LSM_MANIFEST_NAME, path);
    cr_expect_str_eq(path, "lsm/shard-7/manifest");
}

/* What a writer may write. */

#include <criterion/criterion.h>
#include <signal.h>

#include "tests/unit/lsm/rig.h"

TestSuite(lsm_write, .timeout = 60);

static struct rig rig;

static void write_value(size_t size)
{
    static uint8_t value[LSM_VALUE_BYTES_MAX + 1];
    struct lsm_options options = rig_options();
    rig_init(&rig, 1, &options);
    rig_must_open(&rig);
    memset(value, 'v', size);
    struct lsm_record record = {
        .key = nk_bytes_of_string("key"),
        .value = nk_bytes_of(value, size),
        .version = {1, 1},
    };
    lsm_write(rig.db, &record);
}

Test(lsm_write, the_largest_value_is_read_back)
{
    struct lsm_entry entry;
    struct nk_buf value = {0};
    write_value(LSM_VALUE_BYTES_MAX);
    rig_commit(&rig, 1);
    rig_flush(&rig);
    rig_reopen(&rig);
    cr_assert_eq(lsm_get(rig.db, nk_bytes_of_string("key"), LSM_DISK, &entry, &value), NK_OK);
    cr_expect_eq(value.size, LSM_VALUE_BYTES_MAX);
    cr_expect_eq(value.data[0], 'v');
    cr_expect_eq(value.data[value.size - 1], 'v');
    nk_buf_deinit(&value);
    rig_deinit(&rig);
}

Test(lsm_write, a_larger_value_is_a_programmer_error, .signal = SIGABRT)
{
    write_value(LSM_VALUE_BYTES_MAX + 1);
}

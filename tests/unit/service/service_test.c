#include <criterion/criterion.h>

#include "common/base/limits.h"
#include "common/service/service.h"

TestSuite(service, .timeout = 10);

Test(service, the_bus_of_a_role_is_a_socket_below_the_data_directory)
{
    struct nk_config config;
    nk_config_defaults(&config);
    config.data_dir = "/var/lib/norikv";
    char memory[NK_PATH_BYTES_MAX];
    struct nk_text address;
    nk_text_init(&address, memory, sizeof memory);
    nk_service_bus_address(&config, "gossip", &address);
    cr_expect_str_eq(memory, "ipc:///var/lib/norikv/run/gossip.bus");
}

#include "common/service/service.h"

void nk_service_bus_address(const struct nk_config *config, const char *role,
                            struct nk_text *out_address)
{
    nk_text_add(out_address, "ipc://");
    nk_text_add(out_address, config->data_dir);
    nk_text_add(out_address, "/run/");
    nk_text_add(out_address, role);
    nk_text_add(out_address, ".bus");
}

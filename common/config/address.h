#pragma once

/* Addresses in texts without a final NUL. */

#include "common/config/config.h"

bool config_address_parse(struct nk_bytes text, struct nk_config_address *out_address);

/* Whether `text` can be the host of an address, there with brackets if it is IPv6. */
bool config_host_valid(struct nk_bytes text);

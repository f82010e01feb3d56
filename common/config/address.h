#pragma once

/* nk_config_address_parse for a text without a final NUL. */

#include "common/config/config.h"

bool config_address_parse(struct nk_bytes text, struct nk_config_address *out_address);

#pragma once

/* The admin role: registers, follows the cluster's state and keeps the catalogue of what it belongs
 * to.  What it will do for the cluster comes with its RPCs. */

#include "common/service/service.h"

extern const struct nk_role_ops admin_role_ops;

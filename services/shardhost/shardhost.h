#pragma once

/* The shardhost role: the replicas of this node.  Its inside is in host.h. */

#include "common/service/service.h"

extern const struct nk_role_ops shardhost_role_ops;

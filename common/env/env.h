#pragma once

/* Everything a role may touch of the outside world, in one struct: production fills it from
 * env_posix and env_zmq, the simulator from tests/sim.  Borrowed by the role from init to deinit.
 */

#include "common/env/clock.h"
#include "common/env/fs.h"
#include "common/env/log.h"
#include "common/env/meta.h"
#include "common/env/meter.h"
#include "common/env/net.h"
#include "common/env/worker.h"

struct nk_env {
    struct nk_clock clock;
    struct nk_fs fs; /* rooted at data_dir */
    struct nk_net net;
    struct nk_worker worker;
    struct nk_log log;
    struct nk_meta meta;
    uint64_t random_seed;    /* different at each start in production */
    uint64_t open_files_max; /* that the process may have; 0: unknown */
};

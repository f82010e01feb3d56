#pragma once

/* What the main() of every role has in common: reads the settings, opens the outside world, builds
 * the role, drives it until it is told to stop, and takes everything down in the opposite order.
 *
 * Exit codes: 0 after an ordered stop; 78 (EX_CONFIG) when settings, data and surroundings do not
 * fit together, so that starting again would change nothing; 1 for everything else.
 *
 * Below data_dir/run: <role>.lock is held as long as the process lives, <role>.json says who it is
 * and where it really listens, from the moment it serves until it stops; <role>.session is kept for
 * the next start. */

#include "common/env/http.h"
#include "common/service/service.h"

/* The way in for clients, where a role has one (gRPC of the gateway).  Main thread only. */
struct program_front_ops {
    /* Binds, without serving.  `*out_address` is host:port as bound, borrowed until close.
     * NK_INVALID, NK_CONFLICT, NK_IO: `reason` says what is wrong. */
    enum nk_err (*open)(const struct nk_service_context *context, void **out_front,
                        const char **out_address, struct nk_text *reason);
    void (*serve)(void *front, void *role); /* begins; the role is borrowed until close */
    void (*stop)(void *front);              /* takes nothing new; the role finishes what it has */
    /* Ends what is left and releases; the role has given everything back.  NULL is a no-op. */
    void (*close)(void **front);
};

struct program {
    const char *name; /* "norikv-gateway" */
    const struct nk_role_ops *role;
    bool talks;                            /* offers a bus address */
    bool publishes;                        /* offers a second one, to listen at */
    bool remembers;                        /* needs nk_meta: data_dir/meta/<role> */
    bool works;                            /* has jobs for more than one worker thread */
    const struct program_front_ops *front; /* NULL: none */

    /* The role's further HTTP routes; NULL: none.  Valid from init to deinit. */
    struct nk_http_handler (*http_handler)(void *role);

    /* Called after the loop's end, before front, HTTP and role are closed: the role gives back
     * what others have handed over to it.  NULL: nobody hands anything over. */
    void (*end)(void *role);
};

/* Returns the exit code of the process. */
int program_main(const struct program *program, int argc, char **argv);

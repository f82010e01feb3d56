/* norikv-gossip: services/gossip on ZeroMQ and LMDB. */
#include "services/gossip/gossip.h"
#include "services/program/program.h"

static struct nk_http_handler http_handler(void *role)
{
    return gossip_http_handler(role);
}

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "norikv-gossip",
        .role = &gossip_role_ops,
        .talks = true,
        .publishes = true,
        .remembers = true,
        .http_handler = http_handler,
    };
    return program_main(&program, argc, argv);
}

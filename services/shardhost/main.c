/* norikv-shardhost: services/shardhost on ZeroMQ, LMDB and real disks. */
#include "services/program/program.h"
#include "services/shardhost/shardhost.h"

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "norikv-shardhost",
        .role = &shardhost_role_ops,
        .talks = true,
        .remembers = true,
        .works = true,
    };
    return program_main(&program, argc, argv);
}

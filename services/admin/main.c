/* norikv-admin: services/admin on ZeroMQ and LMDB. */
#include "services/admin/admin.h"
#include "services/program/program.h"

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "norikv-admin", .role = &admin_role_ops, .remembers = true};
    return program_main(&program, argc, argv);
}

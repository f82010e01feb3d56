/* norikvctl: what an operator asks and does from a terminal.  README.md has the commands. */

#include <stdio.h>
#include <string.h>

#include "ctl.h"

static const char help[] = "Usage: " CTL_PROGRAM " COMMAND ...\n"
                           "\n"
                           "  inspect sst|manifest|shard PATH...   what is in files of the store\n"
                           "\n"
                           "  COMMAND --help, --version\n"
                           "\n"
                           "Exit codes: 0 well; 1 bad news, such as damage; 2 no answer.\n";

/* Nobody is told of output that did not arrive but by the exit code. */
static enum ctl_exit finish(enum ctl_exit code)
{
    return fflush(stdout) == 0 && ferror(stdout) == 0 ? code : CTL_FAILURE;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "--help") == 0) {
        (void)fputs(help, stdout);
        return finish(CTL_OK);
    }
    if (strcmp(command, "--version") == 0) {
        (void)puts(CTL_PROGRAM " " NK_BUILD_VERSION);
        return finish(CTL_OK);
    }
    if (strcmp(command, "inspect") == 0) {
        return finish(ctl_inspect(argc - 2, argv + 2));
    }
    (void)fprintf(stderr, CTL_PROGRAM ": %s%s; see " CTL_PROGRAM " --help\n",
                  argc > 1 ? "no such command: " : "a command is missing", command);
    return CTL_FAILURE;
}

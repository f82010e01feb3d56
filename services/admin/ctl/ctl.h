#pragma once

/* The commands of norikvctl.  Each gets the words behind its name and returns the exit code. */

#define CTL_PROGRAM "norikvctl"

enum ctl_exit {
    CTL_OK = 0,
    CTL_BAD = 1,     /* the answer is bad news: here, damage was found */
    CTL_FAILURE = 2, /* there is no answer: wrong usage, no such file, no access */
};

enum ctl_exit ctl_inspect(int argc, char **argv);

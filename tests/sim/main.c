/* norikv-sim: the command line. */

#include <stdlib.h>

#include "common/base/text.h"
#include "tests/sim/run.h"

static const char usage[] =
    "usage: norikv-sim [OPTION]...\n"
    "Runs a whole node on simulated clock, network and disk, and checks what its clients saw.\n"
    "  --seeds N        run N seeds (default 100)\n"
    "  --first N        the first of them (default 1)\n"
    "  --seed N         run just this one\n"
    "  --seeds-file F   run the seeds of a file: one a line, text behind it is a remark\n"
    "  --jobs J         processes side by side (default 1)\n"
    "  --twice          run each seed twice and compare the traces\n"
    "  --keep-going     do not stop at the first failure\n"
    "  --expect-failure CHECK[,CHECK]...\n"
    "                   end with 0 if and only if one of these checks fails (planted bugs)\n"
    "  --run-ms N       simulated time with faults (default 6000)\n"
    "  --settle-ms N    simulated time without, within which all must be well (default 15000)\n"
    "  --trace          print every event\n";

static bool number_flag(int argc, char **argv, int *at, const char *name, uint64_t *out_number)
{
    if (strcmp(argv[*at], name) != 0) {
        return false;
    }
    if (*at + 1 >= argc || !nk_text_parse_u64(nk_bytes_of_string(argv[*at + 1]), out_number)) {
        (void)fprintf(stderr, "norikv-sim: %s needs a number\n", name);
        exit(2);
    }
    (*at)++;
    return true;
}

static bool text_flag(int argc, char **argv, int *at, const char *name, const char **out_text)
{
    if (strcmp(argv[*at], name) != 0) {
        return false;
    }
    if (*at + 1 >= argc) {
        (void)fprintf(stderr, "norikv-sim: %s needs a value\n", name);
        exit(2);
    }
    (*at)++;
    *out_text = argv[*at];
    return true;
}

static bool switch_flag(const char *argument, const char *name, bool *out_on)
{
    bool is_it = strcmp(argument, name) == 0;
    *out_on = *out_on || is_it;
    return is_it;
}

int main(int argc, char **argv)
{
    struct run_command command = {
        .first = 1, .count = 100, .jobs = 1, .options = {.run_ms = 6000, .settle_ms = 15000}};
    bool help = false;
    for (int i = 1; i < argc; i++) {
        if (number_flag(argc, argv, &i, "--seed", &command.first)) {
            command.count = 1;
        } else if (!number_flag(argc, argv, &i, "--seeds", &command.count) &&
                   !number_flag(argc, argv, &i, "--first", &command.first) &&
                   !number_flag(argc, argv, &i, "--jobs", &command.jobs) &&
                   !number_flag(argc, argv, &i, "--run-ms", &command.options.run_ms) &&
                   !number_flag(argc, argv, &i, "--settle-ms", &command.options.settle_ms) &&
                   !text_flag(argc, argv, &i, "--seeds-file", &command.seeds_file) &&
                   !text_flag(argc, argv, &i, "--expect-failure", &command.expected) &&
                   !switch_flag(argv[i], "--twice", &command.twice) &&
                   !switch_flag(argv[i], "--keep-going", &command.keep_going) &&
                   !switch_flag(argv[i], "--trace", &command.options.trace) &&
                   !switch_flag(argv[i], "--help", &help)) {
            (void)fprintf(stderr, "norikv-sim: unknown option %s\n%s", argv[i], usage);
            return 2;
        }
    }
    if (help) {
        (void)fputs(usage, stdout);
        return 0;
    }
    if (command.count == 0 || command.jobs == 0) {
        (void)fprintf(stderr, "norikv-sim: --seeds and --jobs are at least 1\n");
        return 2;
    }
    return command.seeds_file != NULL ? run_seeds_file(&command) : run_seeds(&command);
}

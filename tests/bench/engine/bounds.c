/* What the storage engine promises besides its speed, measured: tests/bench/README.md. */

#include "tests/bench/engine/bounds.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/units.h"
#include "tests/bench/engine/process.h"

#define BROKEN 1
#define USAGE  2

static const struct {
    const char *name;
    bool (*run)(const struct bounds_options *options);
    uint64_t mib; /* without --mib */
} workloads[] = {
    {"instances", bounds_instances, 4096},
    {"storm", bounds_storm, 8192},
    {"checkpoint", bounds_checkpoint, 2048},
};

static _Noreturn void usage(int code)
{
    (void)fprintf(
        code == 0 ? stdout : stderr,
        "usage: bench_bounds instances|storm|checkpoint [--mib N] [--seconds 600]\n"
        "  [--databases 1024] [--write-buffer-mb 256] [--cache-mb 256]\n"
        "  [--directory DIR] [--seed 1]\n"
        "  --mib        instances: put in all; storm: of the store before it; checkpoint:\n"
        "               of the tables\n"
        "  --seconds    of the storm\n"
        "  --databases  of instances\n"
        "  DIR gets a directory of its own, which is removed at the end; else in /tmp.\n"
        "Prints a JSON object; ends with 1 if a promise is broken.\n");
    exit(code);
}

static uint64_t number_of(const char *text)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || number == 0) {
        bench_fail("not a number above 0: %s", text);
    }
    return number;
}

static double seconds_of(const char *text)
{
    char *end = NULL;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !(number > 0)) {
        bench_fail("not a time: %s", text);
    }
    return number;
}

static void parse(struct bounds_options *options, int argc, char **argv)
{
    enum { MIB, SECONDS, DATABASES, WRITE_BUFFER, CACHE, DIRECTORY, SEED, HELP };
    static const struct option known[] = {
        {"mib", required_argument, NULL, MIB},
        {"seconds", required_argument, NULL, SECONDS},
        {"databases", required_argument, NULL, DATABASES},
        {"write-buffer-mb", required_argument, NULL, WRITE_BUFFER},
        {"cache-mb", required_argument, NULL, CACHE},
        {"directory", required_argument, NULL, DIRECTORY},
        {"seed", required_argument, NULL, SEED},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case MIB:
            options->mib = number_of(optarg);
            break;
        case SECONDS:
            options->seconds = seconds_of(optarg);
            break;
        case DATABASES:
            options->databases = (size_t)number_of(optarg);
            break;
        case WRITE_BUFFER:
            options->write_buffer_bytes = (size_t)(number_of(optarg) * NK_MIB);
            break;
        case CACHE:
            options->cache_bytes = (size_t)(number_of(optarg) * NK_MIB);
            break;
        case DIRECTORY:
            options->directory = optarg;
            break;
        case SEED:
            options->seed = number_of(optarg);
            break;
        default:
            usage(option == HELP ? 0 : USAGE);
        }
    }
    if (optind != argc - 1) {
        usage(USAGE);
    }
}

int main(int argc, char **argv)
{
    struct bounds_options options = {
        .databases = 1024,
        .write_buffer_bytes = 256 * NK_MIB,
        .cache_bytes = 256 * NK_MIB,
        .seconds = 600,
        .seed = 1,
    };
    parse(&options, argc, argv);
    size_t which = 0;
    while (which < NK_COUNT_OF(workloads) && strcmp(workloads[which].name, argv[optind]) != 0) {
        which++;
    }
    if (which == NK_COUNT_OF(workloads)) {
        usage(USAGE);
    }
    options.mib = options.mib != 0 ? options.mib : workloads[which].mib;
    char directory[1024];
    int size = snprintf(directory, sizeof directory, "%s/norikv-bounds-XXXXXX",
                        options.directory != NULL ? options.directory : "/tmp");
    if (size < 0 || (size_t)size >= sizeof directory || mkdtemp(directory) == NULL) {
        bench_fail("cannot make %s", directory);
    }
    options.directory = directory;
    bool kept = workloads[which].run(&options);
    process_remove(directory);
    return kept ? 0 : BROKEN;
}

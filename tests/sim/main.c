/* norikv-sim: runs seeds.  Every failure prints the one line that runs it again. */

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/base/plant.h"
#include "common/base/text.h"
#include "tests/sim/sim.h"

struct command {
    uint64_t first;
    uint64_t count;
    uint64_t jobs;
    bool keep_going;
    bool expect_failure; /* a planted bug: success is to find it */
    bool twice;          /* run each seed twice and compare the traces */
    const char *seeds_file;
    struct sim_options options;
};

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
    "  --expect-failure end with 0 if and only if some seed fails (planted bugs)\n"
    "  --run-ms N       simulated time with faults (default 6000)\n"
    "  --settle-ms N    simulated time without, at most (default 20000)\n"
    "  --trace          print every event\n";

/* For the assertion handler, which has no other way to know. */
static uint64_t current_seed;

_Noreturn void nk_assert_fail(const char *condition, const char *file, int line, const char *func)
{
    (void)printf("seed %llu: assertion failed: %s (%s:%d, %s)\nreplay: norikv-sim --seed %llu\n",
                 (unsigned long long)current_seed, condition, file, line, func,
                 (unsigned long long)current_seed);
    (void)fflush(stdout);
    abort();
}

static bool run_once(uint64_t seed, const struct sim_options *options, uint64_t *out_hash,
                     uint64_t *out_events)
{
    current_seed = seed;
    struct sim_world *world;
    sim_world_open(seed, options, &world);
    bool well = sim_world_run(world);
    if (!well) {
        (void)printf("seed %llu: %s\nreplay: norikv-sim --seed %llu\n", (unsigned long long)seed,
                     world->failure, (unsigned long long)seed);
    }
    *out_hash = world->trace_hash;
    *out_events = world->event_count;
    sim_world_close(&world);
    return well;
}

static bool run_seed(const struct command *command, uint64_t seed, uint64_t *events)
{
    uint64_t hash;
    uint64_t count;
    bool well = run_once(seed, &command->options, &hash, &count);
    *events += count;
    if (command->twice) {
        uint64_t again;
        well = run_once(seed, &command->options, &again, &count) && well;
        if (hash != again) {
            (void)printf("seed %llu: two runs differ: trace %016llx and %016llx\n"
                         "replay: norikv-sim --twice --seed %llu\n",
                         (unsigned long long)seed, (unsigned long long)hash,
                         (unsigned long long)again, (unsigned long long)seed);
            well = false;
        }
    }
    if (command->count == 1) {
        (void)printf("seed %llu: trace %016llx, %llu events\n", (unsigned long long)seed,
                     (unsigned long long)hash, (unsigned long long)count);
    }
    return well;
}

/* Every `jobs`-th seed from `job` on; returns how many failed. */
static int run_share(const struct command *command, uint64_t job)
{
    int failed = 0;
    uint64_t events = 0;
    uint64_t ran = 0;
    for (uint64_t i = job; i < command->count; i += command->jobs) {
        ran++;
        if (!run_seed(command, command->first + i, &events)) {
            failed++;
            if (!command->keep_going) {
                break;
            }
        }
    }
    (void)printf("job %llu: %llu seeds, %llu events, %d failed\n", (unsigned long long)job,
                 (unsigned long long)ran, (unsigned long long)events, failed);
    (void)fflush(stdout);
    return failed;
}

static int run_jobs(const struct command *command)
{
    (void)printf("replay: norikv-sim --first %llu --seeds %llu\n",
                 (unsigned long long)command->first, (unsigned long long)command->count);
    (void)fflush(stdout);
    int failed = 0;
    if (command->jobs == 1 && !command->expect_failure) {
        failed = run_share(command, 0);
    } else {
        /* A process each: an assertion ends only its own. */
        for (uint64_t job = 0; job < command->jobs; job++) {
            pid_t pid = fork();
            if (pid < 0) {
                perror("fork");
                return 2;
            }
            if (pid == 0) {
                _exit(run_share(command, job) > 0 ? 1 : 0);
            }
        }
        int status;
        while (wait(&status) > 0) {
            failed += !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        }
    }
    (void)printf("%s: seeds %llu to %llu, plant %d\n", failed == 0 ? "clean" : "FAILED",
                 (unsigned long long)command->first,
                 (unsigned long long)(command->first + command->count - 1), NK_PLANT);
    return failed > 0 ? 1 : 0;
}

static int run_file(const struct command *command)
{
    FILE *file = fopen(command->seeds_file, "r");
    if (file == NULL) {
        perror(command->seeds_file);
        return 2;
    }
    char line[512];
    int failed = 0;
    int ran = 0;
    uint64_t events = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        uint64_t seed;
        if (nk_text_parse_u64(nk_bytes_of(line, strcspn(line, " \t\n")), &seed)) {
            failed += !run_seed(command, seed, &events);
            ran++;
        }
    }
    (void)fclose(file);
    (void)printf("%s: %d seeds of %s\n", failed == 0 ? "clean" : "FAILED", ran,
                 command->seeds_file);
    return failed > 0 || ran == 0;
}

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

int main(int argc, char **argv)
{
    struct command command = {
        .first = 1, .count = 100, .jobs = 1, .options = {.run_ms = 6000, .settle_ms = 20000}};
    for (int i = 1; i < argc; i++) {
        if (number_flag(argc, argv, &i, "--seed", &command.first)) {
            command.count = 1;
        } else if (strcmp(argv[i], "--seeds-file") == 0 && i + 1 < argc) {
            command.seeds_file = argv[++i];
        } else if (strcmp(argv[i], "--twice") == 0) {
            command.twice = true;
        } else if (strcmp(argv[i], "--keep-going") == 0) {
            command.keep_going = true;
        } else if (strcmp(argv[i], "--expect-failure") == 0) {
            command.expect_failure = true;
        } else if (strcmp(argv[i], "--trace") == 0) {
            command.options.trace = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        } else if (!number_flag(argc, argv, &i, "--seeds", &command.count) &&
                   !number_flag(argc, argv, &i, "--first", &command.first) &&
                   !number_flag(argc, argv, &i, "--jobs", &command.jobs) &&
                   !number_flag(argc, argv, &i, "--run-ms", &command.options.run_ms) &&
                   !number_flag(argc, argv, &i, "--settle-ms", &command.options.settle_ms)) {
            (void)fprintf(stderr, "norikv-sim: unknown option %s\n%s", argv[i], usage);
            return 2;
        }
    }
    if (command.count == 0 || command.jobs == 0) {
        (void)fprintf(stderr, "norikv-sim: --seeds and --jobs are at least 1\n");
        return 2;
    }
    if (command.seeds_file != NULL) {
        return run_file(&command);
    }
    int status = run_jobs(&command);
    return command.expect_failure ? (status == 1 ? 0 : 1) : status;
}

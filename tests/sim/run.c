/* Seeds side by side, each share of them in a process of its own: an assertion ends only that one,
 * and its share goes on behind the seed.  What the processes found out is in memory that they
 * share. */

#include "tests/sim/run.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/base/plant.h"
#include "common/base/text.h"

#define JOBS_MAX     64
#define SEED_SECONDS 120 /* of work: a seed that takes more does not end */

struct share {
    uint64_t next; /* offset of the seed that is run now */
    uint64_t ran;
    uint64_t events;
    uint64_t failed;
};

struct board {
    struct share shares[JOBS_MAX];
    uint64_t found; /* failures that were expected */
};

/* For the assertion handler and the alarm, which have no other way to know. */
static uint64_t current_seed;
static struct board *current_board;
static const struct run_command *current_command;

/* ---- Failures ---- */

static void print_replay(uint64_t seed)
{
    (void)printf("replay: norikv-sim --seed %llu\n", (unsigned long long)seed);
    (void)fflush(stdout);
}

static bool is_expected(const struct run_command *command, const char *check)
{
    const char *at = command->expected;
    size_t size = strlen(check);
    while (at != NULL) {
        if (strncmp(at, check, size) == 0 && (at[size] == '\0' || at[size] == ',')) {
            return true;
        }
        at = strchr(at, ',');
        at += at != NULL;
    }
    return false;
}

static void note_failure(const char *check)
{
    if (current_command != NULL && is_expected(current_command, check)) {
        __atomic_fetch_add(&current_board->found, 1, __ATOMIC_RELAXED);
    }
}

_Noreturn void nk_assert_fail(const char *condition, const char *file, int line, const char *func)
{
    (void)printf("seed %llu: [assert] %s (%s:%d, %s)\n", (unsigned long long)current_seed,
                 condition, file, line, func);
    print_replay(current_seed);
    note_failure("assert");
    abort();
}

static void too_long(int signal)
{
    (void)signal;
    (void)printf("seed %llu: [serve] no end after %d seconds of work\n",
                 (unsigned long long)current_seed, SEED_SECONDS);
    print_replay(current_seed);
    abort();
}

/* ---- One seed ---- */

static void limit_work(int seconds)
{
    struct itimerval timer = {.it_value = {.tv_sec = seconds}};
    (void)setitimer(ITIMER_PROF, &timer, NULL);
}

static bool run_once(uint64_t seed, const struct sim_options *options, uint64_t *out_hash,
                     uint64_t *out_events)
{
    current_seed = seed;
    limit_work(SEED_SECONDS);
    struct sim_world *world;
    sim_world_open(seed, options, &world);
    bool well = sim_world_run(world);
    if (!well) {
        (void)printf("seed %llu: [%s] %s\n", (unsigned long long)seed,
                     sim_check_name(world->failed_check), world->failure);
        print_replay(seed);
        note_failure(sim_check_name(world->failed_check));
    }
    *out_hash = world->trace_hash;
    *out_events = world->event_count;
    sim_world_close(&world);
    limit_work(0);
    return well;
}

static bool run_seed(const struct run_command *command, uint64_t seed, uint64_t *events)
{
    uint64_t hash;
    uint64_t count;
    bool well = run_once(seed, &command->options, &hash, &count);
    *events += count;
    if (command->twice) {
        uint64_t again;
        well = run_once(seed, &command->options, &again, &count) && well;
        if (hash != again) {
            (void)printf("seed %llu: two runs differ: trace %016llx and %016llx\n",
                         (unsigned long long)seed, (unsigned long long)hash,
                         (unsigned long long)again);
            print_replay(seed);
            well = false;
        }
    }
    if (command->count == 1) {
        (void)printf("seed %llu: trace %016llx, %llu events\n", (unsigned long long)seed,
                     (unsigned long long)hash, (unsigned long long)count);
    }
    return well;
}

/* ---- Many ---- */

static bool goes_on(const struct run_command *command, const struct share *share)
{
    if (command->expected != NULL) {
        return __atomic_load_n(&current_board->found, __ATOMIC_RELAXED) == 0;
    }
    return command->keep_going || share->failed == 0;
}

/* Every `jobs`-th seed from share->next on. */
static void run_share(const struct run_command *command, struct share *share)
{
    while (share->next < command->count && goes_on(command, share)) {
        share->ran++;
        share->failed += !run_seed(command, command->first + share->next, &share->events);
        share->next += command->jobs;
    }
}

static pid_t start_share(const struct run_command *command, struct share *share)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        run_share(command, share);
        (void)fflush(stdout);
        _exit(0);
    }
    if (pid < 0) {
        perror("fork");
    }
    return pid;
}

/* A share whose process died goes on behind the seed that killed it. */
static bool run_shares(const struct run_command *command)
{
    pid_t pids[JOBS_MAX];
    for (uint64_t job = 0; job < command->jobs; job++) {
        current_board->shares[job].next = job;
        pids[job] = start_share(command, &current_board->shares[job]);
        if (pids[job] < 0) {
            return false;
        }
    }
    int status;
    for (pid_t pid = wait(&status); pid > 0; pid = wait(&status)) {
        uint64_t job = 0;
        while (job < command->jobs && pids[job] != pid) {
            job++;
        }
        if (job == command->jobs || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
            continue;
        }
        struct share *share = &current_board->shares[job];
        (void)printf("seed %llu: its process died of signal %d\n",
                     (unsigned long long)(command->first + share->next),
                     WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        share->failed++;
        share->next += command->jobs;
        if (goes_on(command, share)) {
            pids[job] = start_share(command, share);
        }
    }
    return true;
}

static int report(const struct run_command *command)
{
    uint64_t ran = 0;
    uint64_t events = 0;
    uint64_t failed = 0;
    for (uint64_t job = 0; job < command->jobs; job++) {
        ran += current_board->shares[job].ran;
        events += current_board->shares[job].events;
        failed += current_board->shares[job].failed;
    }
    bool good = command->expected == NULL ? failed == 0 : current_board->found > 0;
    const char *verdict = command->expected == NULL ? (good ? "clean" : "FAILED")
                          : good                    ? "found"
                                                    : "NOT FOUND";
    (void)printf("%s: %llu of the seeds %llu to %llu, %llu failed, %llu events, plant %d\n",
                 verdict, (unsigned long long)ran, (unsigned long long)command->first,
                 (unsigned long long)(command->first + command->count - 1),
                 (unsigned long long)failed, (unsigned long long)events, NK_PLANT);
    return good ? 0 : 1;
}

int run_seeds(const struct run_command *command)
{
    if (command->jobs > JOBS_MAX) {
        (void)fprintf(stderr, "norikv-sim: at most %d jobs\n", JOBS_MAX);
        return 2;
    }
    (void)printf("replay: norikv-sim --first %llu --seeds %llu\n",
                 (unsigned long long)command->first, (unsigned long long)command->count);
    current_board = mmap(NULL, sizeof *current_board, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (current_board == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    current_command = command;
    (void)signal(SIGPROF, too_long);
    if (command->jobs == 1 && command->expected == NULL) {
        run_share(command, &current_board->shares[0]); /* easier for a debugger */
    } else if (!run_shares(command)) {
        return 2;
    }
    int status = report(command);
    (void)munmap(current_board, sizeof *current_board);
    return status;
}

int run_seeds_file(const struct run_command *command)
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

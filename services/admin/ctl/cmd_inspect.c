/* norikvctl inspect: files of the store as text.  What the lines say:
 * services/shardhost/lsm/inspect/README.md. */

#include <stdio.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/env_posix/env_posix.h"
#include "services/shardhost/lsm/inspect/inspect.h"

#include "ctl.h"

static const char help[] =
    "Usage: " CTL_PROGRAM " inspect sst [--entries] [--values] [--full-keys] FILE...\n"
    "       " CTL_PROGRAM " inspect manifest [--full-keys] FILE...\n"
    "       " CTL_PROGRAM " inspect shard [--check] [--full-keys] DIRECTORY...\n"
    "\n"
    "Says what is in a table, a manifest, or the directory of a shard (data_dir/lsm/shard-N).\n"
    "Only reads, a copy or the files of a running process.  Damage is named with file and offset,\n"
    "and the rest is told nevertheless.\n"
    "\n"
    "  --entries    every record\n"
    "  --values     every record with its value\n"
    "  --full-keys  long keys are not cut\n"
    "  --check      read every block of every table\n"
    "\n"
    "Exit codes: 0 nothing is damaged; 1 something is; 2 something could not be looked at.\n";

enum subject {
    SUBJECT_TABLE,
    SUBJECT_MANIFEST,
    SUBJECT_SHARD,
    SUBJECT_COUNT,
};

static const char *const subject_names[] = {"sst", "manifest", "shard"};

struct request {
    enum subject subject;
    struct lsm_inspect inspect;
    const char *only_for[SUBJECT_COUNT]; /* an option that was given and means nothing to others */
};

static enum ctl_exit wrong(const char *what, const char *word)
{
    (void)fprintf(stderr, CTL_PROGRAM " inspect: %s%s; see " CTL_PROGRAM " inspect --help\n", what,
                  word);
    return CTL_FAILURE;
}

static bool take_option(struct request *request, const char *word)
{
    struct lsm_inspect *inspect = &request->inspect;
    if (strcmp(word, "--full-keys") == 0) {
        inspect->full_keys = true;
    } else if (strcmp(word, "--entries") == 0) {
        inspect->entries = true;
        request->only_for[SUBJECT_TABLE] = word;
    } else if (strcmp(word, "--values") == 0) {
        inspect->entries = true;
        inspect->values = true;
        request->only_for[SUBJECT_TABLE] = word;
    } else if (strcmp(word, "--check") == 0) {
        inspect->check = true;
        request->only_for[SUBJECT_SHARD] = word;
    } else {
        return false;
    }
    return true;
}

static void print(void *ctx, struct nk_bytes text)
{
    (void)ctx;
    (void)fwrite(text.data, 1, text.size, stdout);
}

static const char *explain(enum nk_err err, enum subject subject)
{
    switch (err) {
    case NK_NOT_FOUND:
        return subject == SUBJECT_SHARD ? "there is no database" : "there is no such file";
    case NK_FORMAT_TOO_NEW:
        return "a later version wrote it";
    case NK_NO_SPACE:
        return "there is not enough memory to look at it";
    case NK_TOO_LARGE:
        return "it is too large to be one of the store's";
    default:
        return "it cannot be read";
    }
}

/* A name in the root of a file system of its own, so that there is nothing else to be reached. */
static enum nk_err look(struct request *request, struct env_posix_fs *root, const char *name,
                        uint64_t *out_damage_count)
{
    struct nk_fs fs = env_posix_fs(root);
    request->inspect.fs = &fs;
    switch (request->subject) {
    case SUBJECT_TABLE:
        return lsm_inspect_table(&request->inspect, name, out_damage_count);
    case SUBJECT_MANIFEST:
        return lsm_inspect_manifest(&request->inspect, name, out_damage_count);
    default:
        return lsm_inspect_shard(&request->inspect, out_damage_count);
    }
}

/* Splits the path into `directory`, which ends with a slash or is empty, and the name of a file.
 * Of a shard all of it is the directory. */
static bool split(enum subject subject, const char *path, char directory[NK_PATH_BYTES_MAX + 2],
                  const char **out_name)
{
    size_t size = strlen(path);
    if (size == 0 || size > NK_PATH_BYTES_MAX) {
        return false;
    }
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    if (subject == SUBJECT_SHARD) {
        (void)snprintf(directory, NK_PATH_BYTES_MAX + 2, "%s%s", path, *name == '\0' ? "" : "/");
        *out_name = "";
        return true;
    }
    (void)snprintf(directory, NK_PATH_BYTES_MAX + 2, "%.*s", (int)(name - path), path);
    *out_name = name;
    return *name != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static enum ctl_exit inspect_path(struct request *request, const char *path)
{
    char directory[NK_PATH_BYTES_MAX + 2];
    const char *name = NULL;
    if (!split(request->subject, path, directory, &name)) {
        return wrong("no path of a file: ", path);
    }
    char line[2 * NK_PATH_BYTES_MAX];
    struct nk_text reason;
    struct env_posix_fs *root = NULL;
    uint64_t damage_count = 0;
    nk_text_init(&reason, line, sizeof line);
    request->inspect.prefix = directory;
    enum nk_err err =
        env_posix_fs_open_to_read(directory[0] == '\0' ? "." : directory, &root, &reason);
    if (err == NK_OK) {
        err = look(request, root, name, &damage_count);
        if (err == NK_IO) {
            env_posix_fs_last_fault(root, &reason);
        }
    }
    env_posix_fs_close(&root);
    if (err != NK_OK) {
        (void)fprintf(stderr, CTL_PROGRAM ": %s: %s\n", path,
                      reason.size > 0 ? line : explain(err, request->subject));
        return damage_count == 0 ? CTL_FAILURE : CTL_BAD; /* of a shard, the rest may be damaged */
    }
    return damage_count == 0 ? CTL_OK : CTL_BAD;
}

static enum ctl_exit inspect_paths(struct request *request, int argc, char **argv)
{
    enum ctl_exit worst = CTL_OK;
    int paths = 0;
    bool options = true;
    for (int i = 0; i < argc; i++) {
        if (options && argv[i][0] == '-') {
            options = strcmp(argv[i], "--") != 0;
            continue;
        }
        enum ctl_exit code = inspect_path(request, argv[i]);
        worst = code > worst ? code : worst;
        paths++;
    }
    return paths > 0 ? worst : wrong("a path is missing", "");
}

enum ctl_exit ctl_inspect(int argc, char **argv)
{
    struct request request = {.inspect = {.write = print}};
    bool options = true;
    for (int i = 0; options && i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(help, stdout);
            return CTL_OK;
        }
        options = strcmp(argv[i], "--") != 0;
        if (options && i > 0 && argv[i][0] == '-' && !take_option(&request, argv[i])) {
            return wrong("no such option: ", argv[i]);
        }
    }
    while (request.subject < SUBJECT_COUNT &&
           (argc == 0 || strcmp(argv[0], subject_names[request.subject]) != 0)) {
        request.subject++;
    }
    if (request.subject == SUBJECT_COUNT) {
        return wrong(argc == 0 ? "sst, manifest or shard is missing"
                               : "neither sst, manifest nor "
                                 "shard: ",
                     argc == 0 ? "" : argv[0]);
    }
    for (enum subject other = 0; other < SUBJECT_COUNT; other++) {
        if (other != request.subject && request.only_for[other] != NULL) {
            return wrong("not for this: ", request.only_for[other]);
        }
    }
    return inspect_paths(&request, argc - 1, argv + 1);
}

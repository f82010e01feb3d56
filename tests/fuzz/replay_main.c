/* Runs a fuzz target over the files of a corpus directory: what the fuzzer once found or needed
 * stays a test in every build.  Usage: fuzz_<what> DIRECTORY; an empty one is a failure. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *directory, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    static uint8_t data[1 << 20];
    size_t size = fread(data, 1, sizeof data, file);
    (void)fclose(file);
    (void)printf("replay: %s (%zu bytes)\n", path, size);
    (void)fflush(stdout);
    /* A copy of the exact size, so that the sanitizer sees reads past the end. */
    uint8_t *exact = malloc(size > 0 ? size : 1);
    if (exact == NULL) {
        return 1;
    }
    for (size_t i = 0; i < size; i++) {
        exact[i] = data[i];
    }
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
        return 2;
    }
    DIR *corpus = opendir(argv[1]);
    if (corpus == NULL) {
        perror(argv[1]);
        return 1;
    }
    int count = 0;
    int failed = 0;
    for (struct dirent *entry = readdir(corpus); entry != NULL; entry = readdir(corpus)) {
        if (entry->d_name[0] != '.') {
            failed |= run_file(argv[1], entry->d_name);
            count++;
        }
    }
    (void)closedir(corpus);
    (void)printf("%d inputs replayed\n", count);
    return failed != 0 || count == 0;
}

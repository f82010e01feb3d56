/* run_script [--rewrite] LANGUAGE FILE...
 *
 * Runs each script and compares what happened with what it says.  With --rewrite it writes what
 * happened into the file; the difference is then for a reviewer to read.  Exit code 0: all as
 * written (or rewritten); 1: not; 2: wrong use. */

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/units.h"

#include "script.h"

#define WORDS_MAX ((size_t)16)

struct run {
    const struct script_language *language;
    void *ctx;
    const char *path;
    struct nk_bytes left; /* of the file, not read yet */
    uint64_t line;        /* number of the line read last */
    struct nk_buf out;    /* what happened in this block */
    struct nk_buf result; /* the file as it would be with what happened */
    size_t block_count;
    size_t difference_count;
    bool failed; /* a command made no sense, or worse */
};

/* The next line without its newline; false: the file has ended. */
static bool next_line(struct run *run, struct nk_bytes *out_line)
{
    if (run->left.size == 0) {
        return false;
    }
    const uint8_t *end = memchr(run->left.data, '\n', run->left.size);
    size_t size = end != NULL ? (size_t)(end - run->left.data) : run->left.size;
    size_t taken = end != NULL ? size + 1 : size;
    *out_line = nk_bytes_of(run->left.data, size);
    run->left = nk_bytes_of(run->left.data + taken, run->left.size - taken);
    run->line++;
    return true;
}

static void copy_line(struct nk_buf *to, struct nk_bytes line)
{
    nk_buf_append(to, line);
    nk_buf_append_u8(to, '\n');
}

static void complain(struct run *run, const char *what)
{
    (void)printf("%s:%llu: %s\n", run->path, (unsigned long long)run->line, what);
    run->failed = true;
}

static void run_command(struct run *run, struct nk_bytes line)
{
    char text[512];
    char *words[WORDS_MAX];
    size_t word_count = 0;
    if (line.size >= sizeof text) {
        complain(run, "the line is too long");
        return;
    }
    memcpy(text, line.data, line.size);
    text[line.size] = '\0';
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
        if (word_count == WORDS_MAX) {
            complain(run, "too many words");
            return;
        }
        words[word_count++] = word;
    }
    if (word_count == 0 || strcmp(words[0], "breakpoint") == 0) {
        return;
    }
    char memory[256];
    struct nk_text problem;
    nk_text_init(&problem, memory, sizeof memory);
    if (!run->language->command(run->ctx, words, word_count, &problem)) {
        complain(run, memory);
    }
}

static struct nk_bytes line_of(struct nk_bytes *text)
{
    const uint8_t *end = memchr(text->data, '\n', text->size);
    size_t size = end != NULL ? (size_t)(end - text->data) : text->size;
    struct nk_bytes line = nk_bytes_of(text->data, size);
    size_t taken = nk_min_size(size + 1, text->size);
    *text = nk_bytes_of(text->data + taken, text->size - taken);
    return line;
}

static void print_lines(char mark, struct nk_bytes text)
{
    while (text.size > 0) {
        struct nk_bytes line = line_of(&text);
        (void)printf("%c %.*s\n", mark, (int)line.size, (const char *)line.data);
    }
}

/* From the first line that differs on; behind it everything may differ only because it is later. */
static void show_difference(const struct run *run, uint64_t first_line, struct nk_bytes expected,
                            struct nk_bytes happened)
{
    uint64_t line = first_line;
    while (expected.size > 0 && happened.size > 0) {
        struct nk_bytes expected_rest = expected;
        struct nk_bytes happened_rest = happened;
        if (!nk_bytes_equal(line_of(&expected_rest), line_of(&happened_rest))) {
            break;
        }
        expected = expected_rest;
        happened = happened_rest;
        line++;
    }
    (void)printf("%s:%llu: expected (-), happened (+)\n", run->path, (unsigned long long)line);
    print_lines('-', expected);
    print_lines('+', happened);
}

/* Behind the dashes: reads what is expected, up to an empty line. */
static void end_block(struct run *run)
{
    struct nk_buf expected = {0};
    uint64_t first_line = run->line + 1;
    struct nk_bytes line;
    bool more;
    while ((more = next_line(run, &line)) && line.size > 0) {
        copy_line(&expected, line);
    }
    if (!nk_bytes_equal(nk_buf_bytes(&expected), nk_buf_bytes(&run->out))) {
        run->difference_count++;
        show_difference(run, first_line, nk_buf_bytes(&expected), nk_buf_bytes(&run->out));
    }
    nk_buf_append(&run->result, nk_buf_bytes(&run->out));
    if (more) {
        copy_line(&run->result, line);
    }
    nk_buf_clear(&run->out);
    nk_buf_deinit(&expected);
    run->block_count++;
}

static void run_lines(struct run *run)
{
    struct nk_bytes line;
    bool commands = false; /* some wait for their dashes */
    while (!run->failed && next_line(run, &line)) {
        copy_line(&run->result, line);
        if (nk_bytes_equal(line, nk_bytes_of_string("----"))) {
            end_block(run);
            commands = false;
        } else if (line.size > 0 && line.data[0] != '#') {
            run_command(run, line);
            commands = true;
        }
    }
    if (!run->failed && (commands || run->block_count == 0)) {
        complain(run, "no dashes behind the last command, so nothing is compared");
    }
}

static bool read_file(const char *path, struct nk_buf *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    size_t size;
    do {
        nk_buf_reserve(out, 64 * NK_KIB);
        size = fread(out->data + out->size, 1, 64 * NK_KIB, file);
        out->size += size;
    } while (size > 0);
    bool ok = ferror(file) == 0;
    (void)fclose(file);
    return ok;
}

static bool write_file(const char *path, struct nk_bytes text)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        return false;
    }
    bool ok = fwrite(text.data, 1, text.size, file) == text.size;
    return fclose(file) == 0 && ok;
}

/* False: not as written. */
static bool run_file(const struct script_language *language, const char *path, bool rewrite)
{
    struct nk_buf text = {0};
    if (!read_file(path, &text)) {
        perror(path);
        nk_buf_deinit(&text);
        return false;
    }
    struct run run = {.language = language, .path = path, .left = nk_buf_bytes(&text)};
    run.ctx = language->open(&run.out);
    run_lines(&run);
    char memory[256];
    struct nk_text problem;
    nk_text_init(&problem, memory, sizeof memory);
    if (!language->close(run.ctx, &problem)) {
        complain(&run, memory);
    }
    bool ok = !run.failed && run.difference_count == 0;
    if (rewrite && !run.failed) {
        ok = run.difference_count == 0 || write_file(path, nk_buf_bytes(&run.result));
    }
    (void)printf("%s: %zu blocks, %zu differ%s\n", path, run.block_count, run.difference_count,
                 rewrite && ok && run.difference_count > 0 ? ", rewritten" : "");
    nk_buf_deinit(&run.out);
    nk_buf_deinit(&run.result);
    nk_buf_deinit(&text);
    return ok;
}

static const struct script_language *language_of(const char *name)
{
    static const struct script_language *const languages[] = {&script_raft, &script_lsm};
    for (size_t i = 0; i < NK_COUNT_OF(languages); i++) {
        if (strcmp(languages[i]->name, name) == 0) {
            return languages[i];
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int first = argc > 1 && strcmp(argv[1], "--rewrite") == 0 ? 2 : 1;
    const struct script_language *language = argc > first ? language_of(argv[first]) : NULL;
    if (language == NULL || argc <= first + 1) {
        (void)fprintf(stderr, "usage: %s [--rewrite] raft FILE...\n", argv[0]);
        return 2;
    }
    bool ok = true;
    for (int i = first + 1; i < argc; i++) {
        ok = run_file(language, argv[i], first == 2) && ok;
    }
    return ok ? 0 : 1;
}

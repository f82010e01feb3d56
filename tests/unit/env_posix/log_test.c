/* Log lines, to the byte, but for their time. */

#include <criterion/criterion.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/env_posix/env_posix.h"

TestSuite(env_posix_log, .timeout = 20);

#define STAMP "2025-01-01T00:00:00.000Z"

struct pipe_log {
    int read_fd;
    int write_fd;
    struct env_posix_log *posix;
    struct nk_log log;
};

static void pipe_log_open(struct pipe_log *out, bool json)
{
    int fds[2];
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    out->read_fd = fds[0];
    out->write_fd = fds[1];
    const struct env_posix_log_options options = {
        .fd = fds[1], .json = json, .level_min = NK_LOG_INFO};
    env_posix_log_open(&options, &out->posix);
    out->log = env_posix_log(out->posix);
}

static void pipe_log_close(struct pipe_log *log)
{
    env_posix_log_close(&log->posix);
    (void)close(log->read_fd);
    (void)close(log->write_fd);
}

/* One read gives what was written, since nothing else reads. */
static size_t read_line(struct pipe_log *log, char *out, size_t size)
{
    ssize_t got = read(log->read_fd, out, size - 1);
    cr_assert_gt(got, 0);
    out[got] = '\0';
    return (size_t)got;
}

static void expect_line(struct pipe_log *log, const char *before_stamp, const char *after_stamp)
{
    char line[2 * PIPE_BUF];
    (void)read_line(log, line, sizeof line);
    size_t before = strlen(before_stamp);
    cr_assert_geq(strlen(line), before + strlen(STAMP));
    cr_expect_eq(strncmp(line, before_stamp, before), 0, "%s", line);
    cr_expect_str_eq(line + before + strlen(STAMP), after_stamp);
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    for (size_t i = 0; i < strlen(STAMP); i++) {
        char c = line[before + i];
        cr_expect(form[i] == 'd' ? c >= '0' && c <= '9' : c == form[i], "%s", line);
    }
}

Test(env_posix_log, an_event_is_one_json_object_on_one_line)
{
    struct pipe_log log;
    pipe_log_open(&log, true);
    nk_log_info(&log.log, "gateway", "listening", NK_LOG_TEXT("address", "0.0.0.0:7447"),
                NK_LOG_NUMBER("attempt", UINT64_MAX));
    expect_line(&log, "{\"timestamp\":\"",
                "\",\"level\":\"info\",\"target\":\"gateway\",\"message\":\"listening\","
                "\"fields\":{\"address\":\"0.0.0.0:7447\",\"attempt\":18446744073709551615}}\n");
    nk_log_event(&log.log, NK_LOG_ERROR, "a", "b", NULL, 0);
    expect_line(&log, "{\"timestamp\":\"",
                "\",\"level\":\"error\",\"target\":\"a\",\"message\":\"b\",\"fields\":{}}\n");
    pipe_log_close(&log);
}

Test(env_posix_log, text_is_for_people)
{
    struct pipe_log log;
    pipe_log_open(&log, false);
    nk_log_warn(&log.log, "gateway", "slow disk", NK_LOG_TEXT("file", "a \"b\"\n"),
                NK_LOG_NUMBER("ms", 12));
    expect_line(&log, "", " warn  gateway: slow disk file=\"a \\\"b\\\"\\u000a\" ms=12\n");
    nk_log_error(&log.log, "gateway", "no disk", NK_LOG_NUMBER("ms", 0));
    expect_line(&log, "", " error gateway: no disk ms=0\n");
    pipe_log_close(&log);
}

struct escape_case {
    const char *text;
    const char *printed;
};

Test(env_posix_log, whatever_a_text_holds_the_line_is_json)
{
    static const struct escape_case cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"\"\\/", "\\\"\\\\/"},
        {"\x01\t\r\n\x1f\x7f", "\\u0001\\u0009\\u000d\\u000a\\u001f\\u007f"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xff", "\\ufffd"},
        {"a\x80z", "a\\ufffdz"},
        {"\xc3", "\\ufffd"},                                  /* the text ends too early */
        {"\xe2\x82", "\\ufffd\\ufffd"},                       /* likewise */
        {"\xc0\xaf", "\\ufffd\\ufffd"},                       /* not the shortest form */
        {"\xe0\x80\xaf", "\\ufffd\\ufffd\\ufffd"},            /* likewise */
        {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},            /* a surrogate */
        {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"}, /* beyond U+10FFFF */
        {"\xf0\x8f\xbf\xbf", "\\ufffd\\ufffd\\ufffd\\ufffd"}, /* not the shortest form */
        {"\xf4\x8f\xbf\xbf\xed\x9f\xbf", "\xf4\x8f\xbf\xbf\xed\x9f\xbf"},
    };
    struct pipe_log log;
    pipe_log_open(&log, true);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        nk_log_info(&log.log, "t", "m", NK_LOG_TEXT("f", cases[i].text));
        char expected[256];
        (void)snprintf(expected, sizeof expected,
                       "\",\"level\":\"info\",\"target\":\"t\",\"message\":\"m\","
                       "\"fields\":{\"f\":\"%s\"}}\n",
                       cases[i].printed);
        expect_line(&log, "{\"timestamp\":\"", expected);
    }
    pipe_log_close(&log);
}

Test(env_posix_log, levels_below_the_minimum_are_silent)
{
    struct pipe_log log;
    pipe_log_open(&log, false);
    nk_log_debug(&log.log, "t", "unheard", NK_LOG_NUMBER("n", 1));
    nk_log_info(&log.log, "t", "heard", NK_LOG_NUMBER("n", 2));
    expect_line(&log, "", " info  t: heard n=2\n");
    pipe_log_close(&log);
}

/* A pipe keeps lines of several writers apart only up to PIPE_BUF. */
Test(env_posix_log, long_texts_and_many_fields_are_cut_and_the_line_stays_whole)
{
    static char text[8192];
    memset(text, '"', sizeof text - 1); /* two bytes each when printed */
    struct pipe_log log;
    pipe_log_open(&log, true);
    struct nk_log_field fields[40];
    for (size_t i = 0; i < 40; i++) {
        fields[i] = NK_LOG_TEXT("name", text);
    }
    for (size_t field_count = 0; field_count <= 40; field_count++) {
        nk_log_event(&log.log, NK_LOG_WARN, text, text, fields, field_count);
        char line[2 * PIPE_BUF];
        size_t size = read_line(&log, line, sizeof line);
        cr_expect_leq(size, PIPE_BUF);
        cr_expect_str_eq(line + size - 3, "}}\n");
        cr_expect_eq(strcspn(line, "\n"), size - 1);
        cr_expect_not_null(strstr(line, "\\\"...\",\"message\":\""));
        cr_expect_eq(strstr(line, "\"cut\":") != NULL, field_count > 2, "%s", line);
    }
    pipe_log_close(&log);
}

Test(env_posix_log, events_that_find_no_reader_are_dropped_and_counted)
{
    struct pipe_log log;
    pipe_log_open(&log, false);
    int capacity = fcntl(log.write_fd, F_SETPIPE_SZ, PIPE_BUF);
    cr_assert_eq(capacity, PIPE_BUF);
    nk_log_info(&log.log, "t", "first", NK_LOG_NUMBER("n", 1));
    nk_log_info(&log.log, "t", "second", NK_LOG_NUMBER("n", 2));
    nk_log_info(&log.log, "t", "third", NK_LOG_NUMBER("n", 3));
    expect_line(&log, "", " info  t: first n=1\n");
    nk_log_info(&log.log, "t", "fourth", NK_LOG_NUMBER("n", 4));
    expect_line(&log, "", " info  t: fourth n=4 dropped=2\n");
    nk_log_event(&log.log, NK_LOG_INFO, "t", "fifth", NULL, 0);
    expect_line(&log, "", " info  t: fifth\n");
    pipe_log_close(&log);
}

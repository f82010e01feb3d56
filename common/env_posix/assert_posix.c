/* What a failed assertion does in a real process: one line on stderr in the form of the log, then
 * SIGABRT.  Takes no lock and no memory, since either may be what is broken. */

#include "common/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Conditions contain string literals, and so quotes. */
static void escape(const char *text, char *out, size_t size)
{
    size_t used = 0;
    for (; *text != '\0' && used + 3 < size; text++) {
        if (*text == '"' || *text == '\\') {
            out[used++] = '\\';
        }
        out[used++] = *text;
    }
    out[used] = '\0';
}

_Noreturn void nk_assert_fail(const char *condition, const char *file, int line, const char *func)
{
    char escaped[512];
    escape(condition, escaped, sizeof escaped);
    struct timespec now = {0};
    struct tm date = {0};
    char seconds[32] = "";
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &date);
    (void)strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &date);
    (void)fprintf(stderr,
                  "{\"timestamp\":\"%s.%03ldZ\",\"level\":\"error\",\"target\":\"assert\","
                  "\"message\":\"assertion failed\",\"fields\":{\"condition\":\"%s\","
                  "\"file\":\"%s\",\"line\":%d,\"function\":\"%s\"}}\n",
                  seconds, now.tv_nsec / 1000000, escaped, file, line, func);
    abort();
}

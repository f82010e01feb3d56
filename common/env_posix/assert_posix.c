/* What a failed assertion does in a real process: one line on stderr, then SIGABRT. */

#include "common/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void nk_assert_fail(const char *condition, const char *file, int line, const char *func)
{
    (void)fprintf(
        stderr,
        "{\"level\":\"error\",\"target\":\"assert\",\"message\":\"assertion failed\","
        "\"fields\":{\"condition\":\"%s\",\"file\":\"%s\",\"line\":%d,\"function\":\"%s\"}}\n",
        condition, file, line, func);
    abort();
}

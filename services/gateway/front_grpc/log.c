/* The one place that meets gRPC's logging, which newer versions have changed. */

#include "services/gateway/front_grpc/front.h"

#include <grpc/support/log.h>

/* gRPC's hook has no context, so there is one log for the process. */
static _Atomic(const struct nk_log *) target;

static void write_line(gpr_log_func_args *args)
{
    const struct nk_log *log = atomic_load(&target);
    if (log == NULL) {
        return;
    }
    /* What gRPC calls an error is mostly a caller who broke the protocol. */
    enum nk_log_level level = args->severity == GPR_LOG_SEVERITY_ERROR ? NK_LOG_WARN : NK_LOG_DEBUG;
    NK_LOG_AT(log, level, "gateway.grpc", "gRPC says", NK_LOG_TEXT("message", args->message),
              NK_LOG_TEXT("file", args->file), NK_LOG_NUMBER("line", args->line));
}

void front_log_begin(const struct nk_log *log)
{
    atomic_store(&target, log);
    gpr_set_log_function(write_line);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
}

void front_log_end(void)
{
    atomic_store(&target, NULL);
}

#pragma once

/* Scripts are protocol runs to read: commands, a line of dashes, what happened.
 *
 *     # A node cut off does not disturb the term when it returns.      thesis 9.6
 *     cluster nodes=3 seed=7
 *     elect 1
 *     ----
 *          0 1 is pre-candidate in term 0
 *          ...
 *
 * A file is a run of such blocks with empty lines between them; what one block did the next one
 * finds.  '#' begins a comment.  `breakpoint` does nothing, so that a debugger can stop there. */

#include "common/base/buf.h"
#include "common/base/text.h"

/* What the commands of one kind of scripts mean. */
struct script_language {
    const char *name; /* of the directory with its scripts */

    /* Begins a file.  What happens is appended to `out`, whole lines; borrowed until close. */
    void *(*open)(struct nk_buf *out);

    /* Carries out one command, words[0], with word_count >= 1.  False: it makes no sense here, and
     * `problem` says why. */
    bool (*command)(void *ctx, char *const *words, size_t word_count, struct nk_text *problem);

    /* Ends a file.  False: something that must never happen did, and `problem` says what. */
    bool (*close)(void *ctx, struct nk_text *problem);
};

extern const struct script_language script_raft; /* raft.c */
extern const struct script_language script_lsm;  /* lsm.c */

#pragma once

/* The files of the log: which names there are and in what order they change.  Private to raftlog.
 * After the open only raftlog_write uses it, so it belongs to the worker.
 *
 * Names in the directory:
 *   <sequence>.log  a segment; whenever the name exists its head is valid and durable
 *   <sequence>.old  a segment that was dropped and waits to be used again
 *   <sequence>.new  a file that is being made into a segment
 *   <sequence>.top  the mark: empty, names the newest segment that has records or is to get some
 * with the sequence in sixteen hexadecimal digits.  `.old` and `.new` are spares: what they hold
 * means nothing.  Every change of a name is made durable before the next begins, so the segments
 * that exist are consecutive whatever happens. */

#include "services/shardhost/raftlog/layout.h"
#include "services/shardhost/raftlog/raftlog.h"

#define RAFTLOG_NAME_BYTES 24 /* sixteen digits, a point, three letters, NUL, and room */

struct raftlog_spare {
    char name[RAFTLOG_NAME_BYTES];
};

struct raftlog_store {
    struct nk_fs fs;
    char *directory;
    struct raftlog_options options;
    struct nk_file *file;         /* the newest segment, open for writing */
    uint64_t sequence;            /* of `file`; 0 before there is any */
    uint64_t marked;              /* whom the mark names; 0: there is none */
    struct raftlog_spare *spares; /* the last one is used first: it is the warmest */
    size_t spare_count;
    size_t spare_capacity;
    struct raftlog_stats stats;
    struct raftlog_fault fault;
    struct raftlog_cut cut; /* size_bytes 0: nothing */
};

void raftlog_store_init(struct raftlog_store *store, const struct nk_fs *fs, const char *directory,
                        const struct raftlog_options *options);
void raftlog_store_deinit(struct raftlog_store *store);

/* "<directory>/<name>"; the caller frees. */
char *raftlog_store_path(const struct raftlog_store *store, const char *name);

void raftlog_segment_name(uint64_t sequence, const char *suffix, char out[RAFTLOG_NAME_BYTES]);

enum raftlog_name {
    RAFTLOG_NAME_FOREIGN,
    RAFTLOG_NAME_SEGMENT,
    RAFTLOG_NAME_OLD,
    RAFTLOG_NAME_NEW,
    RAFTLOG_NAME_TOP,
};

/* What a name in the directory is; *out_sequence is written unless it is foreign. */
enum raftlog_name raftlog_segment_name_parse(const char *name, uint64_t *out_sequence);

/* Remembers where it happened and returns the error: NK_NO_SPACE and faults as they are, anything
 * else is a broken promise of the fs, NK_IO. */
enum nk_err raftlog_store_fault(struct raftlog_store *store, enum nk_err err, const char *name,
                                uint64_t offset, const char *what);

/* Files that may be used again; beyond options.recycled_max they are removed. */
void raftlog_store_add_spare(struct raftlog_store *store, const char *name);
NK_MUST_CHECK enum nk_err raftlog_store_trim_spares(struct raftlog_store *store);

/* Makes an empty segment and goes on to it. */
NK_MUST_CHECK enum nk_err raftlog_store_roll(struct raftlog_store *store,
                                             const struct raftlog_segment_head *head);

/* Lets the mark name the newest segment, durably; nothing if it does.  NK_NO_SPACE: to be tried
 * again. */
NK_MUST_CHECK enum nk_err raftlog_store_mark(struct raftlog_store *store);

/* Marks the newest segment, writes to it and syncs it. */
NK_MUST_CHECK enum nk_err raftlog_store_append(struct raftlog_store *store, uint64_t offset,
                                               struct nk_bytes bytes);

/* Recycles or removes the oldest segment. */
NK_MUST_CHECK enum nk_err raftlog_store_drop(struct raftlog_store *store, uint64_t sequence);

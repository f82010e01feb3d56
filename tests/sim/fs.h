#pragma once

/* Files in memory, for tests and the simulator: common/env/fs.h with its durability sentence taken
 * at its word.  A crash keeps what was promised and, drawn from a generator, an arbitrary part of
 * the rest: nothing, all, a prefix of the changes in their order, all but a run of them, or each
 * 512-byte sector and each name on its own; a file's unpromised length lies anywhere between the
 * old and the new.  A sector that both existed and was overwritten is old or new, never a mixture;
 * a rename happened or did not.
 *
 * Beyond the sentence: a directory that is lost takes what is below it along; a rename between two
 * directories is promised, with what was done before it in both, when either of them is synced; and
 * of a sector that was written several times without a sync only the last contents can survive.
 *
 * The same calls and the same seeds give the same results.  Not thread-safe. */

#include "common/base/buf.h"
#include "common/base/prng.h"
#include "common/env/fs.h"

struct sim_fs;

struct sim_fs *sim_fs_new(uint64_t seed);

/* Asserts that every file was closed.  NULL is a no-op; nulls *fs. */
void sim_fs_free(struct sim_fs **fs);

/* The contract; valid until sim_fs_free. */
struct nk_fs sim_fs_handle(struct sim_fs *fs);

/* Power loss and reboot.  Files open now are dead: all that works is to close them.  Armed faults
 * are disarmed. */
void sim_fs_crash(struct sim_fs *fs, struct nk_prng *prng);

/* The process dies and starts again, the machine lives: nothing is lost and nothing more is
 * promised.  Open files are dead; armed faults are disarmed. */
void sim_fs_kill(struct sim_fs *fs);

/* --- Faults.  An operation is a call through the contract, except for close. */

/* The number of operations so far. */
uint64_t sim_fs_operations(const struct sim_fs *fs);

/* The `operation`-th from now (from 1) fails with `err`; 0 disarms.  After NK_IO it is arbitrary
 * how much of it happened, and what a sync that failed did not write no later sync promises.
 * NK_NO_SPACE can only come from what needs space; due at any other operation, it passes. */
void sim_fs_fail_at(struct sim_fs *fs, uint64_t operation, enum nk_err err);

/* `operations` more work, all later ones fail with NK_IO, until sim_fs_crash or sim_fs_kill.  The
 * first of these (not with `operations` 0) is under way at that moment: it is arbitrary how much of
 * it happened. */
void sim_fs_cut_power_after(struct sim_fs *fs, uint64_t operations);

/* Whether an operation has failed since the power was cut. */
bool sim_fs_power_missed(const struct sim_fs *fs);

/* How often an operation met a fault: NK_IO, and NK_NO_SPACE for whatever reason. */
uint64_t sim_fs_io_faults(const struct sim_fs *fs);
uint64_t sim_fs_space_faults(const struct sim_fs *fs);

/* What all files together hold. */
uint64_t sim_fs_used(const struct sim_fs *fs);

/* All files together hold at most `bytes`; UINT64_MAX: no limit, as in the beginning. */
void sim_fs_limit_space(struct sim_fs *fs, uint64_t bytes);

/* --- Looking and meddling from outside: no operation, never fails; the names must exist. */

bool sim_fs_exists(const struct sim_fs *fs, const char *name);
void sim_fs_read(const struct sim_fs *fs, const char *name, struct nk_buf *out_contents);

/* The names in `directory` in bytewise order, each followed by a newline. */
void sim_fs_list(const struct sim_fs *fs, const char *directory, struct nk_buf *out_names);

/* Makes the file `name` with these contents, durably; missing directories too. */
void sim_fs_put(struct sim_fs *fs, const char *name, struct nk_bytes contents);

/* A fault at rest: `mask` is XORed onto the byte at `offset`, which the file must have. */
void sim_fs_flip(struct sim_fs *fs, const char *name, uint64_t offset, uint8_t mask);

/* --- every_nth_failure: a scenario with its 1st, 2nd, 3rd ... operation failing. */

enum sim_fs_fault {
    SIM_FS_FAULT_IO,        /* the n-th operation fails, then the process restarts, with or without
                             * a power loss */
    SIM_FS_FAULT_NO_SPACE,  /* the n-th fails for want of space, then likewise */
    SIM_FS_FAULT_POWER_CUT, /* the power goes off before the n-th */
};

struct sim_fs_scenario {
    /* Works on the empty fs until it is done or an operation fails; closes its files either way. */
    void (*run)(void *ctx, struct sim_fs *fs);

    /* Opens again what `run` left and compares it with what it had been promised; no fault is
     * armed. */
    void (*check)(void *ctx, struct sim_fs *fs);
    void *ctx;
};

/* Runs and checks until an n at which run() ended without meeting the fault; returns that n. */
uint64_t sim_fs_every_nth_failure(const struct sim_fs_scenario *scenario, enum sim_fs_fault fault,
                                  uint64_t seed);

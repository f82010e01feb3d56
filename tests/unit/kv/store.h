#pragma once

/* One shard's state machine on files in memory, with the log of everything it was given, so that it
 * can be closed, crash, and be brought back as its host would. */

#include "services/shardhost/kv/kv.h"
#include "tests/sim/fs.h"

#define STORE_DIRECTORY "lsm/shard-7"
#define STORE_SHARD     7

struct request {
    enum kv_op op;
    const char *key;
    const char *value;
    const char *idempotency_key; /* NULL: none */
    uint64_t ttl_ms;
    bool has_if_match;
    struct lsm_version if_match;
};

/* One committed entry and what applying it gave. */
struct store_entry {
    struct lsm_version version;
    struct nk_buf payload;
    struct kv_result result;
};

struct store {
    struct sim_fs *fs;
    struct nk_fs handle;
    struct lsm_options options;
    struct lsm_engine *engine;
    struct lsm_db *db;
    struct kv *kv;

    struct kv_stamp stamp; /* of the next command */
    uint64_t term;         /* of the next entry */

    struct store_entry *entries; /* entries[i] has index i + 1 */
    size_t entry_count;
    size_t entry_capacity;
};

/* Opens an empty one: term 3, time 1000, sessions live 500 ms, at most 100 of them. */
void store_start(struct store *store);
void store_stop(struct store *store);

/* Appends the packed request. */
void request_pack(const struct request *request, struct nk_buf *out);

/* Appends an entry to the log and applies it, which must succeed. */
struct kv_result store_apply(struct store *store, const struct request *request);
struct kv_result store_apply_payload(struct store *store, struct nk_bytes payload);

/* The same without looking at the outcome; the entry is not kept. */
enum nk_err store_try(struct store *store, struct nk_bytes payload);

/* Short requests. */
struct kv_result store_put(struct store *store, const char *key, const char *value);
struct kv_result store_delete(struct store *store, const char *key);

/* Moves log time with a CLOCK command. */
void store_clock(struct store *store, uint64_t now_ms);

/* Makes everything applied durable. */
void store_flush(struct store *store);

/* The same, ending at the first failure. */
enum nk_err store_flush_some(struct store *store);

/* Begins a flush; the power goes off `operations` file operations later.  Crash follows. */
void store_cut_flush(struct store *store, uint64_t operations);

/* Closes everything; the files stay as they are. */
void store_close(struct store *store);

/* Opens what the files have and applies the entries behind it again; each must give the result it
 * gave before. */
void store_recover(struct store *store);

/* Close, lose what a crash may lose, recover. */
void store_crash(struct store *store, struct nk_prng *prng);

/* The value of `key` as a text, "" if it is missing; valid until the next call. */
const char *store_get(struct store *store, const char *key);

/* Appends every live record of the tree: key, value, version, expiry, tombstone.  Two trees with
 * the same live records give the same bytes. */
void store_dump(struct store *store, struct nk_buf *out);

/* Live records whose key starts with this space's byte. */
size_t store_count(struct store *store, char space);

bool version_equal(struct lsm_version a, struct lsm_version b);
bool result_equal(const struct kv_result *a, const struct kv_result *b);

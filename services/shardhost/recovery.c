/* The start of a shardhost: whose the data is, and what the log and the tables say.
 *
 *   before: host.c
 *   after:  shard.c
 *
 * Identity.  One fact in meta: the node and cluster that the data belongs to, the number of shards,
 * and whether the log was made.  It is written before the log, and the log before any table, so of
 * the three a later one never stands without an earlier one: where it does, something was lost,
 * and with it perhaps answered writes.  Such a start is refused.
 *
 * Image of the identity, version 2 (little-endian):
 *   0   4   version
 *   4  16   cluster id
 *  20   4   total_shards
 *  24   1   1: the log was made
 *  25   1   length of the node id
 *  26   n   node id
 *  ..   4   crc32c of all before
 * Version 1 was cluster id and total_shards, 20 bytes; it is replaced at the next start.
 *
 * Recovery.  The log is read once, from its start; the first record of a shard opens its database,
 * which says up to where everything is durable in tables; later entries are collected and handed to
 * the shard's raft group, which commits them anew when it leads again.  Every shard that was ever
 * used has its term and vote in the log, so the log names all shards there are.
 *
 * Released.  The log says of each shard up to where it has given up entries to the tables.  Tables
 * that end before that, and before what the log still has, are not those that it gave them up to:
 * lost, or older ones.
 *
 * Damage.  What is wrong with one shard fences that shard, here as when it serves; the log keeps
 * its records, since nothing of them is released.  Damage of the log itself ends the start: it is
 * everybody's. */

#include "services/shardhost/host.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/crc32c.h"
#include "common/base/limits.h"

#define LOG_DIRECTORY         "raft"
#define TREES_DIRECTORY       "lsm"
#define LOG_SEGMENTS_RECYCLED 2

/* ---- Identity ---- */

#define IDENTITY_VERSION      ((uint32_t)2)
#define IDENTITY_1_BYTES      ((size_t)20)
#define IDENTITY_HEAD         ((size_t)26)
#define IDENTITY_BYTES_MAX    (IDENTITY_HEAD + NK_NODE_ID_BYTES_MAX + 4)

struct identity {
    uint8_t cluster_id[16];
    uint32_t total_shards;
    bool log_made;
    char node_id[NK_NODE_ID_BYTES_MAX + 1]; /* "": version 1, which did not say */
};

static size_t identity_encode(const struct identity *identity, uint8_t out[IDENTITY_BYTES_MAX])
{
    size_t id_size = strlen(identity->node_id);
    nk_put_u32(out, IDENTITY_VERSION);
    memcpy(out + 4, identity->cluster_id, sizeof identity->cluster_id);
    nk_put_u32(out + 20, identity->total_shards);
    out[24] = identity->log_made;
    out[25] = (uint8_t)id_size;
    memcpy(out + IDENTITY_HEAD, identity->node_id, id_size);
    size_t size = IDENTITY_HEAD + id_size;
    nk_put_u32(out + size, nk_crc32c(nk_bytes_of(out, size)));
    return size + 4;
}

static enum nk_err identity_decode(struct nk_bytes image, struct identity *out_identity)
{
    struct identity identity = {0};
    if (image.size == IDENTITY_1_BYTES) {
        memcpy(identity.cluster_id, image.data, sizeof identity.cluster_id);
        identity.total_shards = nk_get_u32(image.data + 16);
        *out_identity = identity;
        return NK_OK;
    }
    if (image.size < IDENTITY_HEAD + 4 || nk_get_u32(image.data + image.size - 4) !=
                                              nk_crc32c(nk_bytes_of(image.data, image.size - 4))) {
        return NK_CORRUPT;
    }
    if (nk_get_u32(image.data) != IDENTITY_VERSION) {
        return nk_get_u32(image.data) > IDENTITY_VERSION ? NK_FORMAT_TOO_NEW : NK_CORRUPT;
    }
    size_t id_size = image.data[25];
    if (id_size == 0 || id_size > NK_NODE_ID_BYTES_MAX ||
        image.size != IDENTITY_HEAD + id_size + 4 ||
        memchr(image.data + IDENTITY_HEAD, '\0', id_size) != NULL) {
        return NK_CORRUPT;
    }
    memcpy(identity.cluster_id, image.data + 4, sizeof identity.cluster_id);
    identity.total_shards = nk_get_u32(image.data + 20);
    identity.log_made = image.data[24] != 0;
    memcpy(identity.node_id, image.data + IDENTITY_HEAD, id_size);
    *out_identity = identity;
    return NK_OK;
}

static enum nk_err identity_get(struct host *host, struct identity *out_identity)
{
    const struct nk_meta *meta = &host->env->meta;
    struct nk_buf value = {0};
    enum nk_err err = meta->ops->get(meta->ctx, nk_bytes_of_string("identity"), &value);
    if (err == NK_OK) {
        err = identity_decode(nk_buf_bytes(&value), out_identity);
    }
    nk_buf_deinit(&value);
    return err;
}

static enum nk_err identity_put(struct host *host, bool log_made)
{
    const struct nk_meta *meta = &host->env->meta;
    struct identity identity = {.total_shards = host->total_shards, .log_made = log_made};
    memcpy(identity.cluster_id, host->cluster_id, sizeof identity.cluster_id);
    size_t id_size = strlen(host->config->node_id);
    NK_ASSERT(id_size <= NK_NODE_ID_BYTES_MAX);
    memcpy(identity.node_id, host->config->node_id, id_size);
    uint8_t image[IDENTITY_BYTES_MAX];
    size_t size = identity_encode(&identity, image);
    return meta->ops->put(meta->ctx, nk_bytes_of_string("identity"), nk_bytes_of(image, size));
}

static enum nk_err identity_failed(enum nk_err err, struct nk_text *reason)
{
    nk_text_add(reason, "the node's identity (meta/shardhost) cannot be read or written: ");
    nk_text_add(reason, nk_err_name(err));
    return err;
}

static enum nk_err check_identity(const struct host *host, const struct identity *identity,
                                  struct nk_text *reason)
{
    if (identity->node_id[0] != '\0' && strcmp(identity->node_id, host->config->node_id) != 0) {
        nk_text_add(reason, "node_id: the data belongs to node ");
        nk_text_add_escaped(reason, nk_bytes_of_string(identity->node_id));
        nk_text_add(reason, ", the configuration says ");
        nk_text_add(reason, host->config->node_id);
        nk_text_add(reason, "; a data_dir keeps its node_id");
        return NK_INVALID;
    }
    if (identity->total_shards != host->total_shards) {
        nk_text_add(reason, "cluster.total_shards: the data was created with ");
        nk_text_add_u64(reason, identity->total_shards);
        nk_text_add(reason, " shards, the configuration says ");
        nk_text_add_u64(reason, host->total_shards);
        nk_text_add(reason, "; it cannot be changed after creation");
        return NK_INVALID;
    }
    return NK_OK;
}

/* ---- Directories of shards ---- */

struct trees {
    uint32_t total_shards;
    bool *seen; /* by id */
    bool any;
};

static void see_tree(void *visitor, const char *name)
{
    static const char prefix[] = "shard-";
    struct trees *trees = visitor;
    uint64_t id;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0 ||
        !nk_text_parse_u64(nk_bytes_of_string(name + sizeof prefix - 1), &id)) {
        return;
    }
    trees->any = true;
    if (id < trees->total_shards) {
        trees->seen[id] = true;
    }
}

static enum nk_err trees_find(const struct host *host, struct trees *out_trees)
{
    *out_trees = (struct trees){
        .total_shards = host->total_shards,
        .seen = nk_alloc_zero(host->total_shards, sizeof *out_trees->seen),
    };
    enum nk_err err = nk_fs_list(&host->env->fs, TREES_DIRECTORY, see_tree, out_trees);
    return err == NK_NOT_FOUND ? NK_OK : err;
}

/* What stands in the data directory, whatever the identity says. */
static enum nk_err find_data(const struct host *host, bool *out_log, bool *out_trees,
                             struct nk_text *reason)
{
    struct trees trees;
    enum nk_err err = trees_find(host, &trees);
    *out_trees = trees.any;
    nk_free(trees.seen);
    if (err == NK_OK) {
        err = raftlog_exists(&host->env->fs, LOG_DIRECTORY, out_log);
    }
    if (err != NK_OK) {
        nk_text_add(reason, "the data cannot be listed: ");
        nk_text_add(reason, nk_err_name(err));
    }
    return err;
}

enum nk_err recovery_identify(struct host *host, struct nk_text *reason)
{
    struct identity identity;
    enum nk_err err = identity_get(host, &identity);
    if (err == NK_OK) {
        memcpy(host->cluster_id, identity.cluster_id, sizeof host->cluster_id);
        host->log_expected = identity.log_made;
        return check_identity(host, &identity, reason);
    }
    if (err != NK_NOT_FOUND) {
        return identity_failed(err, reason);
    }
    bool log;
    bool trees;
    err = find_data(host, &log, &trees, reason);
    if (err != NK_OK) {
        return err;
    }
    if (log || trees) {
        nk_text_add(reason,
                    "data_dir has data, but the identity that belongs to it (meta/shardhost)"
                    " is gone; put it back, or start with an empty data_dir");
        return NK_INVALID;
    }
    for (size_t i = 0; i < sizeof host->cluster_id; i += 8) {
        nk_put_u64(host->cluster_id + i, nk_prng_next(&host->prng));
    }
    err = identity_put(host, false);
    return err == NK_OK ? NK_OK : identity_failed(err, reason);
}

/* ---- Reading the log ---- */

struct recovered_entry {
    raft_term term;
    raft_index index;
    uint8_t kind;
    size_t offset; /* of its payload in `payloads` */
    size_t size;
};

/* One shard as the log and its database tell it. */
struct recovered {
    struct lsm_db *db; /* NULL: damaged */
    struct lsm_fault fault;
    struct lsm_version applied;
    raft_term term;
    raft_id vote;
    raft_index released;             /* up to here the log has given up entries to the tables */
    raft_index last;                 /* highest index that the log has; 0: none */
    raft_index missing;              /* the log goes on behind a gap that starts here; 0: no gap */
    struct recovered_entry *entries; /* applied + 1 onward */
    size_t count;
    size_t capacity;
    struct nk_buf payloads;
};

struct recovery {
    struct host *host;
    struct recovered **by_id;
    enum nk_err err;
    uint32_t shard; /* where err happened */
    struct lsm_fault fault;
};

static void set_damaged(struct recovered *shard, uint32_t id, enum nk_err err, const char *what)
{
    lsm_close(&shard->db);
    shard->fault = (struct lsm_fault){.err = err, .what = what};
    host_shard_directory(id, shard->fault.file, sizeof shard->fault.file);
}

/* What is wrong with files of one shard, as it would be told when it serves.  A later version's
 * files are not wrong, but this program's, and a full disk is everybody's. */
static bool is_damage(enum nk_err err)
{
    return err == NK_CORRUPT || err == NK_IO;
}

static struct recovered *recovered_shard(struct recovery *recovery, uint32_t id)
{
    if (recovery->by_id[id] != NULL) {
        return recovery->by_id[id];
    }
    char directory[64];
    host_shard_directory(id, directory, sizeof directory);
    struct lsm_db *db = NULL;
    struct lsm_fault fault = {0};
    enum nk_err err = lsm_open(recovery->host->engine, directory, &db, &fault);
    if (err != NK_OK && !is_damage(err)) {
        recovery->err = err;
        recovery->shard = id;
        recovery->fault = fault;
        return NULL;
    }
    struct recovered *shard = nk_alloc_zero(1, sizeof *shard);
    shard->db = db;
    if (err == NK_OK) {
        struct nk_bytes state;
        lsm_applied(db, &shard->applied, &state);
    } else {
        shard->fault = fault;
    }
    recovery->by_id[id] = shard;
    return shard;
}

/* An entry voids all above it. */
static void cut_entries(struct recovered *shard, size_t count)
{
    NK_ASSERT(count <= shard->count);
    shard->count = count;
    shard->payloads.size =
        count > 0 ? shard->entries[count - 1].offset + shard->entries[count - 1].size : 0;
}

/* Whether a gap stays is known only at the end: a later record may void what is behind it. */
static void recover_entry(struct recovered *shard, const struct raftlog_record *record)
{
    shard->last = record->index;
    if (record->index <= shard->applied.index) { /* durable in tables */
        cut_entries(shard, 0);
        shard->missing = 0;
        return;
    }
    raft_index next = shard->applied.index + shard->count + 1;
    if (record->index > next) {
        shard->missing = next;
        return;
    }
    shard->missing = 0;
    cut_entries(shard, (size_t)(record->index - shard->applied.index - 1));
    if (shard->count == shard->capacity) {
        shard->capacity = shard->capacity < 16 ? 16 : 2 * shard->capacity;
        shard->entries = nk_realloc(shard->entries, shard->capacity * sizeof *shard->entries);
    }
    struct recovered_entry *entry = &shard->entries[shard->count];
    entry->term = record->term;
    entry->index = record->index;
    entry->kind = record->entry_kind;
    entry->offset = shard->payloads.size;
    entry->size = record->payload.size;
    nk_buf_append(&shard->payloads, record->payload);
    shard->count++;
}

static void recover_record(void *visitor, const struct raftlog_record *record)
{
    struct recovery *recovery = visitor;
    if (recovery->err != NK_OK) {
        return;
    }
    if (record->shard >= recovery->host->total_shards) {
        recovery->err = NK_CORRUPT;
        recovery->shard = record->shard;
        recovery->fault.what = "the log names a shard that cannot be";
        return;
    }
    struct recovered *shard = recovered_shard(recovery, record->shard);
    if (shard == NULL || shard->db == NULL) {
        return;
    }
    switch (record->kind) {
    case RAFTLOG_STATE:
        shard->term = record->term;
        shard->vote = record->index;
        shard->released = record->released;
        break;
    case RAFTLOG_ENTRY:
        recover_entry(shard, record);
        break;
    case RAFTLOG_FORGET:
        cut_entries(shard, 0);
        shard->term = 0;
        shard->vote = 0;
        shard->released = 0;
        shard->last = 0;
        shard->missing = 0;
        break;
    }
}

/* ---- Judging ---- */

/* Trees of which the log says nothing: one that holds data was used, so its records are lost. */
static void find_unnamed(struct recovery *recovery)
{
    struct trees trees;
    recovery->err = trees_find(recovery->host, &trees);
    recovery->fault = (struct lsm_fault){.file = TREES_DIRECTORY, .what = "cannot list directory"};
    for (uint32_t id = 0; recovery->err == NK_OK && id < trees.total_shards; id++) {
        if (!trees.seen[id] || recovery->by_id[id] != NULL) {
            continue;
        }
        struct recovered *shard = recovered_shard(recovery, id);
        if (shard != NULL && shard->db != NULL && shard->applied.index == 0) {
            lsm_close(&shard->db); /* never used as far as the log knows: opened at its first use */
            nk_free(shard);
            recovery->by_id[id] = NULL;
        }
    }
    nk_free(trees.seen);
}

/* Up to where tables and log together have every entry. */
static raft_index whole_up_to(const struct recovered *shard)
{
    return shard->applied.index + shard->count;
}

/* NULL, or what does not fit together: raft is only given what it may rely on. */
static const char *contradiction(const struct recovered *shard)
{
    if (shard->applied.index > 0 && shard->term == 0) {
        return "the tables have data, the log knows nothing of the shard";
    }
    if (shard->applied.term > shard->term) {
        return "the log's term is behind that of the tables";
    }
    if (whole_up_to(shard) < shard->released) {
        return "the tables lack what the log has given up";
    }
    if (shard->missing != 0) {
        return "the log lacks an entry";
    }
    /* The only voter (D3) applies nothing that its own log does not hold. */
    if (shard->last != 0 && shard->last < shard->applied.index) {
        return "the log ends before the tables do";
    }
    raft_term term = shard->applied.term;
    for (size_t i = 0; i < shard->count; i++) {
        const struct recovered_entry *entry = &shard->entries[i];
        if (entry->term < term || entry->term > shard->term) {
            return "the terms of the log's entries are out of order";
        }
        if (entry->kind != RAFT_ENTRY_NOOP && entry->kind != RAFT_ENTRY_COMMAND) {
            return "the log has an entry of an unknown kind";
        }
        term = entry->term;
    }
    return NULL;
}

/* ---- Starting ---- */

static enum nk_err open_shard(struct host *host, uint32_t id, struct recovered *recovered,
                              struct shard **out_shard)
{
    struct raft_entry *entries = nk_alloc_zero(recovered->count, sizeof *entries);
    for (size_t i = 0; i < recovered->count; i++) {
        const struct recovered_entry *from = &recovered->entries[i];
        entries[i].term = from->term;
        entries[i].index = from->index;
        entries[i].kind = (enum raft_entry_kind)from->kind;
        entries[i].payload = nk_bytes_of(recovered->payloads.data + from->offset, from->size);
    }
    struct raft_restore restore = {
        .term = recovered->term,
        .voted_for = recovered->vote,
        .applied = recovered->applied.index,
        .applied_term = recovered->applied.term,
        .entries = entries,
        .entry_count = recovered->count,
    };
    enum nk_err err = shard_open(host, id, recovered->db, &restore, out_shard);
    nk_free(entries);
    if (err == NK_OK) {
        recovered->db = NULL; /* the shard's now */
    }
    return err;
}

/* The numbers behind the line that says that the shard is fenced. */
static void tell_contradiction(const struct host *host, uint32_t id, const struct recovered *shard,
                               const char *what)
{
    nk_log_warn(&host->env->log, "shardhost", what, NK_LOG_NUMBER("shard", id),
                NK_LOG_NUMBER("tables_index", shard->applied.index),
                NK_LOG_NUMBER("tables_term", shard->applied.term),
                NK_LOG_NUMBER("log_term", shard->term),
                NK_LOG_NUMBER("log_released_index", shard->released),
                NK_LOG_NUMBER("log_last_index", shard->last),
                NK_LOG_NUMBER("whole_up_to_index", whole_up_to(shard)));
}

static enum nk_err start_recovered(struct host *host, uint32_t id, struct recovered *recovered)
{
    struct shard *shard;
    if (recovered->db != NULL) {
        const char *what = contradiction(recovered);
        if (what != NULL) {
            tell_contradiction(host, id, recovered, what);
            set_damaged(recovered, id, NK_CORRUPT, what);
        }
    }
    if (recovered->db != NULL) {
        enum nk_err err = open_shard(host, id, recovered, &shard);
        if (err == NK_OK) {
            raftlog_release(host->log, id, recovered->applied.index);
            host_add_shard(host, shard);
            shard_campaign(shard);
            return NK_OK;
        }
        if (!is_damage(err)) {
            return err;
        }
        set_damaged(recovered, id, err,
                    err == NK_IO ? "the state of the shard cannot be read"
                                 : "the state of the shard makes no sense");
    }
    shard_open_fenced(host, id, &recovered->fault, &shard);
    host_add_shard(host, shard);
    return NK_OK;
}

static void free_recovered(struct recovered **by_id, uint32_t total)
{
    for (uint32_t id = 0; id < total; id++) {
        struct recovered *shard = by_id[id];
        if (shard != NULL) {
            lsm_close(&shard->db);
            nk_free(shard->entries);
            nk_buf_deinit(&shard->payloads);
            nk_free(shard);
        }
    }
    nk_free(by_id);
}

static void explain_log(const struct raftlog_fault *fault, struct nk_text *reason)
{
    nk_text_add(reason, "the raft log cannot be opened: ");
    nk_text_add(reason, nk_err_name(fault->err));
    nk_text_add(reason, ", ");
    nk_text_add(reason, fault->file);
    nk_text_add(reason, " at offset ");
    nk_text_add_u64(reason, fault->offset);
    nk_text_add(reason, ": ");
    nk_text_add(reason, fault->what != NULL ? fault->what : "");
}

static void explain_shard(const struct recovery *recovery, struct nk_text *reason)
{
    nk_text_add(reason, "shard ");
    nk_text_add_u64(reason, recovery->shard);
    nk_text_add(reason, " cannot be opened: ");
    nk_text_add(reason, nk_err_name(recovery->err));
    nk_text_add(reason, ", ");
    nk_text_add(reason, recovery->fault.file);
    nk_text_add(reason, ": ");
    nk_text_add(reason, recovery->fault.what != NULL ? recovery->fault.what : "");
}

/* The log was there once, or there are tables, which come after it: refuses an absent one. */
static enum nk_err check_log_exists(const struct host *host, struct nk_text *reason)
{
    bool log;
    bool trees;
    enum nk_err err = find_data(host, &log, &trees, reason);
    if (err != NK_OK || log || (!host->log_expected && !trees)) {
        return err;
    }
    nk_text_add(reason,
                "the raft log (data_dir/" LOG_DIRECTORY ") of this data is missing or empty, "
                "and with it answered writes; put it back, or start with an empty data_dir");
    return NK_INVALID;
}

static void tell_cut(const struct host *host)
{
    const struct raftlog_cut *cut = raftlog_cut(host->log);
    if (cut != NULL) {
        nk_log_warn(&host->env->log, "shardhost",
                    "the end of the raft log is not whole and was cut: torn by a crash, or damaged",
                    NK_LOG_TEXT("file", cut->file), NK_LOG_NUMBER("offset", cut->offset),
                    NK_LOG_NUMBER("bytes", cut->size_bytes));
    }
}

static enum nk_err open_log(struct recovery *recovery, struct nk_text *reason)
{
    struct host *host = recovery->host;
    struct raftlog_options options = {
        .segment_bytes = host->config->raft.segment_bytes,
        .recycled_max = LOG_SEGMENTS_RECYCLED,
    };
    struct raftlog_fault fault = {0};
    enum nk_err err = raftlog_open(&host->env->fs, LOG_DIRECTORY, &options, recover_record,
                                   recovery, &host->log, &fault);
    if (err != NK_OK) {
        explain_log(&fault, reason);
        return err;
    }
    metrics_log_open(host);
    tell_cut(host);
    if (!host->log_expected) {
        err = identity_put(host, true);
        if (err != NK_OK) {
            return identity_failed(err, reason);
        }
        host->log_expected = true;
    }
    return NK_OK;
}

enum nk_err recovery_run(struct host *host, struct nk_text *reason)
{
    enum nk_err err = check_log_exists(host, reason);
    if (err != NK_OK) {
        return err;
    }
    struct recovery recovery = {.host = host};
    recovery.by_id = nk_alloc_zero(host->total_shards, sizeof *recovery.by_id);
    err = open_log(&recovery, reason);
    if (err == NK_OK && recovery.err == NK_OK) {
        find_unnamed(&recovery);
    }
    if (err == NK_OK && recovery.err != NK_OK) {
        err = recovery.err;
        explain_shard(&recovery, reason);
    }
    for (uint32_t id = 0; err == NK_OK && id < host->total_shards; id++) {
        if (recovery.by_id[id] != NULL) {
            err = start_recovered(host, id, recovery.by_id[id]);
            if (err != NK_OK) {
                nk_text_add(reason, "a shard's state cannot be read: ");
                nk_text_add(reason, nk_err_name(err));
            }
        }
    }
    free_recovered(recovery.by_id, host->total_shards);
    return err;
}

/* Two tables: "facts" holds what the role puts, the unnamed one the format's version (FORMAT.md).
 *
 * LMDB maps its file, and the file may not outgrow the map.  The map starts small and doubles when
 * a transaction meets its end; nothing else is open then, as every call is one transaction of its
 * own.
 *
 * A damaged file is found at open where it can be: LMDB checks its two header pages, and we check
 * that the file is as long as they say, as reading a page that is not there would be SIGBUS. */
#include "common/meta_lmdb/meta_lmdb.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/codec.h"
#include "common/base/limits.h"

#define FORMAT_VERSION  1
#define KEY_BYTES_MAX   ((size_t)255)
#define VALUE_BYTES_MAX ((size_t)(64 * NK_KIB))
#define MAP_BYTES_FIRST ((size_t)(1 * NK_MIB))
#define MAP_BYTES_MAX   ((size_t)(1 * NK_GIB))
#define FILE_MODE       0640

static const char format_key[] = "format";
static const char facts_name[] = "facts";

struct nk_meta_lmdb {
    MDB_env *env;
    MDB_dbi facts;
    size_t map_bytes; /* MAP_BYTES_FIRST .. MAP_BYTES_MAX, a power of two */
};

static enum nk_err err_of(int code)
{
    switch (code) {
    case 0:
        return NK_OK;
    case MDB_NOTFOUND:
        return NK_NOT_FOUND;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        return NK_NO_SPACE;
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INCOMPATIBLE:
        return NK_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return NK_FORMAT_TOO_NEW;
    default:
        return NK_IO;
    }
}

static MDB_val val_of(struct nk_bytes bytes)
{
    MDB_val val = {bytes.size, (void *)bytes.data};
    return val;
}

static struct nk_bytes bytes_of(MDB_val val)
{
    return nk_bytes_of(val.mv_data, val.mv_size);
}

/* The map as large as the file needs it now; doubled up to the limit.  No transaction is open. */
static int grow_map(struct nk_meta_lmdb *lmdb)
{
    if (lmdb->map_bytes >= MAP_BYTES_MAX) {
        return MDB_MAP_FULL;
    }
    int code = mdb_env_set_mapsize(lmdb->env, lmdb->map_bytes * 2);
    if (code == 0) {
        lmdb->map_bytes *= 2;
    }
    return code;
}

/* ---- Open ---- */

/* The file must have every page that its header counts. */
static int check_length(const struct nk_meta_lmdb *lmdb, const char *directory)
{
    char path[NK_PATH_BYTES_MAX + 16];
    struct stat file;
    MDB_envinfo info;
    MDB_stat shape;
    (void)snprintf(path, sizeof path, "%s/data.mdb", directory);
    if (stat(path, &file) != 0) {
        return errno;
    }
    int code = mdb_env_info(lmdb->env, &info);
    if (code == 0) {
        code = mdb_env_stat(lmdb->env, &shape);
    }
    if (code == 0 && (uint64_t)file.st_size < ((uint64_t)info.me_last_pgno + 1) * shape.ms_psize) {
        code = MDB_CORRUPTED;
    }
    return code;
}

/* A new environment gets its version; an old one must have ours. */
static enum nk_err check_format(MDB_txn *txn, MDB_dbi about)
{
    MDB_val key = val_of(nk_bytes_of_string(format_key));
    MDB_val value;
    int code = mdb_get(txn, about, &key, &value);
    if (code == MDB_NOTFOUND) {
        uint8_t version[4];
        nk_put_u32(version, FORMAT_VERSION);
        value = val_of(nk_bytes_of(version, sizeof version));
        return err_of(mdb_put(txn, about, &key, &value, 0));
    }
    if (code != 0) {
        return err_of(code);
    }
    if (value.mv_size != 4) {
        return NK_CORRUPT;
    }
    uint32_t version = nk_get_u32(value.mv_data);
    if (version > FORMAT_VERSION) {
        return NK_FORMAT_TOO_NEW;
    }
    return version == FORMAT_VERSION ? NK_OK : NK_CORRUPT;
}

static enum nk_err open_tables(struct nk_meta_lmdb *lmdb)
{
    MDB_txn *txn;
    MDB_dbi about;
    int code = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
    if (code != 0) {
        return err_of(code);
    }
    enum nk_err err = err_of(mdb_dbi_open(txn, NULL, 0, &about));
    if (err == NK_OK) {
        err = check_format(txn, about);
    }
    if (err == NK_OK) {
        err = err_of(mdb_dbi_open(txn, facts_name, MDB_CREATE, &lmdb->facts));
    }
    if (err != NK_OK) {
        mdb_txn_abort(txn);
        return err;
    }
    return err_of(mdb_txn_commit(txn));
}

static enum nk_err open_env(struct nk_meta_lmdb *lmdb, const char *directory)
{
    int code = mdb_env_create(&lmdb->env);
    if (code != 0) {
        lmdb->env = NULL;
        return err_of(code);
    }
    code = mdb_env_set_maxdbs(lmdb->env, 1);
    if (code == 0) {
        code = mdb_env_set_mapsize(lmdb->env, lmdb->map_bytes);
    }
    if (code == 0) {
        /* NOTLS: transactions belong to calls, not to threads. */
        code = mdb_env_open(lmdb->env, directory, MDB_NOTLS, FILE_MODE);
    }
    /* A file that has outgrown the first size keeps what it needs. */
    while (code == 0) {
        MDB_envinfo info;
        code = mdb_env_info(lmdb->env, &info);
        if (code != 0 || info.me_mapsize <= lmdb->map_bytes) {
            break;
        }
        code = grow_map(lmdb);
    }
    if (code == 0) {
        code = check_length(lmdb, directory);
    }
    return code == 0 ? open_tables(lmdb) : err_of(code);
}

static void explain(enum nk_err err, const char *directory, struct nk_text *reason)
{
    nk_text_add(reason, directory);
    nk_text_add(reason, "/data.mdb: ");
    switch (err) {
    case NK_CORRUPT:
        nk_text_add(reason, "damaged or not a metadata file of this program; it is left as it is");
        break;
    case NK_FORMAT_TOO_NEW:
        nk_text_add(reason, "written by a newer version of this program; it is left as it is");
        break;
    case NK_NO_SPACE:
        nk_text_add(reason, "no space left");
        break;
    default:
        nk_text_add(reason, "cannot be opened (");
        nk_text_add(reason, nk_err_name(err));
        nk_text_add(reason, ")");
        break;
    }
}

enum nk_err nk_meta_lmdb_open(const char *directory, struct nk_meta_lmdb **out_lmdb,
                              struct nk_text *reason)
{
    NK_ASSERT(strlen(directory) < NK_PATH_BYTES_MAX);
    struct nk_meta_lmdb *lmdb = nk_alloc_zero(1, sizeof *lmdb);
    lmdb->map_bytes = MAP_BYTES_FIRST;
    enum nk_err err = open_env(lmdb, directory);
    if (err != NK_OK) {
        explain(err, directory, reason);
        nk_meta_lmdb_close(&lmdb);
        return err;
    }
    *out_lmdb = lmdb;
    return NK_OK;
}

void nk_meta_lmdb_close(struct nk_meta_lmdb **lmdb)
{
    if (lmdb == NULL || *lmdb == NULL) {
        return;
    }
    mdb_env_close((*lmdb)->env); /* NULL is a no-op; tables need no closing of their own */
    nk_free(*lmdb);
    *lmdb = NULL;
}

/* ---- The contract ---- */

static bool key_valid(struct nk_bytes key)
{
    return key.size > 0 && key.size <= KEY_BYTES_MAX;
}

static enum nk_err meta_get(void *ctx, struct nk_bytes key, struct nk_buf *out_value)
{
    struct nk_meta_lmdb *lmdb = ctx;
    NK_ASSERT(key_valid(key));
    MDB_txn *txn;
    int code = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);
    if (code != 0) {
        return err_of(code);
    }
    MDB_val mdb_key = val_of(key);
    MDB_val value;
    code = mdb_get(txn, lmdb->facts, &mdb_key, &value);
    if (code == 0) {
        nk_buf_clear(out_value);
        nk_buf_append(out_value, bytes_of(value));
    }
    mdb_txn_abort(txn);
    return err_of(code);
}

/* One transaction that puts `value`, or removes the key if it is NULL. */
static int change_once(struct nk_meta_lmdb *lmdb, struct nk_bytes key, const struct nk_bytes *value)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
    if (code != 0) {
        return code;
    }
    MDB_val mdb_key = val_of(key);
    if (value != NULL) {
        MDB_val mdb_value = val_of(*value);
        code = mdb_put(txn, lmdb->facts, &mdb_key, &mdb_value, 0);
    } else {
        code = mdb_del(txn, lmdb->facts, &mdb_key, NULL);
        if (code == MDB_NOTFOUND) {
            code = 0;
        }
    }
    if (code != 0) {
        mdb_txn_abort(txn);
        return code;
    }
    return mdb_txn_commit(txn); /* frees the transaction, whatever it returns */
}

static enum nk_err change(struct nk_meta_lmdb *lmdb, struct nk_bytes key,
                          const struct nk_bytes *value)
{
    int code = change_once(lmdb, key, value);
    while (code == MDB_MAP_FULL) {
        code = grow_map(lmdb);
        if (code != 0) {
            break;
        }
        code = change_once(lmdb, key, value);
    }
    return err_of(code);
}

static enum nk_err meta_put(void *ctx, struct nk_bytes key, struct nk_bytes value)
{
    NK_ASSERT(key_valid(key));
    return value.size > VALUE_BYTES_MAX ? NK_TOO_LARGE : change(ctx, key, &value);
}

static enum nk_err meta_remove(void *ctx, struct nk_bytes key)
{
    NK_ASSERT(key_valid(key));
    return change(ctx, key, NULL);
}

static enum nk_err
meta_list(void *ctx, struct nk_bytes prefix,
          void (*visit)(void *visitor, struct nk_bytes key, struct nk_bytes value), void *visitor)
{
    struct nk_meta_lmdb *lmdb = ctx;
    MDB_txn *txn;
    MDB_cursor *cursor;
    int code = mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn);
    if (code != 0) {
        return err_of(code);
    }
    code = mdb_cursor_open(txn, lmdb->facts, &cursor);
    if (code == 0) {
        MDB_val key = val_of(prefix);
        MDB_val value;
        code = mdb_cursor_get(cursor, &key, &value, prefix.size > 0 ? MDB_SET_RANGE : MDB_FIRST);
        while (code == 0 && nk_bytes_starts_with(bytes_of(key), prefix)) {
            visit(visitor, bytes_of(key), bytes_of(value));
            code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return code == MDB_NOTFOUND ? NK_OK : err_of(code);
}

struct nk_meta nk_meta_lmdb_contract(struct nk_meta_lmdb *lmdb)
{
    static const struct nk_meta_ops ops = {meta_get, meta_put, meta_remove, meta_list};
    struct nk_meta meta = {&ops, lmdb};
    return meta;
}

#include "catalogue.h"

#include "common/base/codec.h"

#define CATALOGUE_VERSION 1
#define CATALOGUE_BYTES   ((size_t)24) /* u32 version, 16 bytes cluster id, u32 total_shards */
#define CLUSTER_ID_BYTES  (sizeof((struct admin_catalogue *)0)->cluster_id)

static const char meta_key[] = "cluster";

static enum nk_err decode(struct admin_catalogue *catalogue, struct nk_bytes value)
{
    struct nk_reader reader = nk_reader_of(value);
    uint32_t version = nk_read_u32(&reader);
    if (!reader.failed && version > CATALOGUE_VERSION) {
        return NK_FORMAT_TOO_NEW;
    }
    struct nk_bytes cluster_id = nk_read_bytes(&reader, CLUSTER_ID_BYTES);
    uint32_t total_shards = nk_read_u32(&reader);
    if (reader.failed || nk_reader_left(&reader) > 0 || version != CATALOGUE_VERSION ||
        total_shards == 0 || total_shards > NK_SHARDS_MAX) {
        return NK_CORRUPT;
    }
    memcpy(catalogue->cluster_id, cluster_id.data, CLUSTER_ID_BYTES);
    catalogue->total_shards = total_shards;
    catalogue->known = true;
    return NK_OK;
}

enum nk_err admin_catalogue_open(struct admin_catalogue *catalogue, const struct nk_meta *meta)
{
    *catalogue = (struct admin_catalogue){.meta = meta};
    struct nk_buf value;
    nk_buf_init(&value);
    enum nk_err err = meta->ops->get(meta->ctx, nk_bytes_of_string(meta_key), &value);
    if (err == NK_OK) {
        err = decode(catalogue, nk_buf_bytes(&value));
    } else if (err == NK_NOT_FOUND) {
        err = NK_OK;
    }
    nk_buf_deinit(&value);
    return err;
}

static enum nk_err save(struct admin_catalogue *catalogue, const struct nk_cluster_member *member)
{
    uint8_t value[CATALOGUE_BYTES];
    nk_put_u32(value, CATALOGUE_VERSION);
    memcpy(value + 4, member->cluster_id, CLUSTER_ID_BYTES);
    nk_put_u32(value + 20, member->total_shards);
    enum nk_err err = catalogue->meta->ops->put(catalogue->meta->ctx, nk_bytes_of_string(meta_key),
                                                nk_bytes_of(value, sizeof value));
    return err == NK_OK ? decode(catalogue, nk_bytes_of(value, sizeof value)) : err;
}

/* A live shardhost that knows its cluster. */
static bool speaks(const struct nk_cluster_member *member)
{
    static const uint8_t unknown[CLUSTER_ID_BYTES] = {0};
    return strcmp(member->role, "shardhost") == 0 && member->state == NK_MEMBER_ALIVE &&
           member->total_shards > 0 && memcmp(member->cluster_id, unknown, CLUSTER_ID_BYTES) != 0;
}

enum nk_err admin_catalogue_learn(struct admin_catalogue *catalogue,
                                  const struct nk_cluster *cluster)
{
    for (size_t i = 0; i < nk_cluster_member_count(cluster); i++) {
        const struct nk_cluster_member *member = nk_cluster_member_at(cluster, i);
        if (!speaks(member)) {
            continue;
        }
        if (!catalogue->known) {
            enum nk_err err = save(catalogue, member);
            if (err != NK_OK) {
                return err;
            }
        }
        if (memcmp(catalogue->cluster_id, member->cluster_id, CLUSTER_ID_BYTES) != 0 ||
            catalogue->total_shards != member->total_shards) {
            return NK_CONFLICT;
        }
    }
    return NK_OK;
}

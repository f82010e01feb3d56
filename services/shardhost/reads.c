/* Gets.  A read point is found first, then the value.
 *
 * Read point (thesis 6.4): "lease" answers at the commit index while the leader's lease holds, and
 * falls back to a confirmed read index; "linearizable" always confirms; "stale_ok" takes whatever
 * is applied here.  "bounded_staleness" goes the way of "lease": the only replica there is leads,
 * and what it has applied is either all there is or, after a start, of unknown age.
 *
 * Value: memtables, filters and cached blocks decide on the loop; else the get goes to a read
 * worker with a snapshot.  So does a write, before it is proposed, if its apply would have to read
 * (shard.c): the worker leaves the blocks in the cache.
 *
 * Expiry: log time decides (kv.h).  A value that is alive in log time but past its time by this
 * leader's clock is not served either way: a CLOCK command moves log time first, and the get is
 * looked up again after it.  So no later reader, at whatever leader and clock, can see the key
 * again.  All gets of a shard share the CLOCK that is under way. */

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/plant.h"
#include "proto/frame.h"
#include "proto/norikv/v1/kv.pb-c.h"
#include "services/shardhost/host.h"

struct read_job {
    struct nk_job job;
    struct shard *shard;
    struct pending *pending; /* a get: taken; a write: in shard->fetching, NULL when it has gone */
    struct kv_reader reader;
    struct nk_buf key; /* a write: the names of kv_foresee */
    struct nk_buf value;
    struct kv_value found;
    enum nk_err err;
};

enum read_mode {
    READ_LEASE,
    READ_CONFIRMED,
    READ_LOCAL,
};

static void reply_value(struct shard *shard, struct caller caller, const struct kv_value *value,
                        struct nk_bytes bytes)
{
    Norikv__V1__Version version = NORIKV__V1__VERSION__INIT;
    version.term = value->version.term;
    version.index = value->version.index;
    Norikv__V1__GetResponse response = NORIKV__V1__GET_RESPONSE__INIT;
    response.version = &version;
    response.value.data = (uint8_t *)(uintptr_t)bytes.data;
    response.value.len = bytes.size;
    wire_reply(shard->host, caller, NK_OK, NULL, &response.base);
}

static void reply_missing(struct shard *shard, struct caller caller)
{
    Norikv__V1__GetResponse response = NORIKV__V1__GET_RESPONSE__INIT;
    wire_reply(shard->host, caller, NK_OK, NULL, &response.base);
}

/* A value was looked up: answers, or waits for log time to pass its expiry.  Takes the pending. */
static void finish(struct shard *shard, struct pending **pending, enum nk_err err,
                   const struct kv_value *value, struct nk_bytes bytes)
{
    struct host *host = shard->host;
    struct caller caller = (*pending)->caller;
    if (err == NK_NOT_FOUND) {
        reply_missing(shard, caller);
    } else if (err != NK_OK) {
        wire_reply(host, caller, NK_FENCED, SHARD_FENCED_TEXT, NULL);
        pending_free(host, pending);
        shard_fence(shard, err, "reading");
        return;
    } else if (value->expire_at_ms != 0 && value->expire_at_ms <= nk_wall_ms(&host->env->clock)) {
        if (NK_PLANTED(NK_PLANT_TTL_BY_READER_CLOCK)) {
            reply_missing(shard, caller);
            pending_free(host, pending);
            return;
        }
        const char *message;
        err = shard_await_clock(shard, *pending, &message);
        if (err == NK_OK) {
            *pending = NULL;
            return;
        }
        wire_reply(host, caller, err, message, NULL);
    } else {
        reply_value(shard, caller, value, bytes);
    }
    pending_free(host, pending);
}

/* ---- The way to the disk ---- */

static void read_run(struct nk_job *job)
{
    struct read_job *read = NK_CONTAINER_OF(job, struct read_job, job);
    read->err = kv_reader_get(&read->reader, nk_buf_bytes(&read->key), &read->found, &read->value);
}

static void read_free(struct read_job *read)
{
    kv_reader_release(&read->reader);
    nk_buf_deinit(&read->key);
    nk_buf_deinit(&read->value);
    nk_free(read);
}

static void read_ended(struct read_job *read)
{
    NK_ASSERT(read->shard->readers > 0);
    read->shard->readers--;
    read->shard->host->jobs_running--;
}

static void read_done(struct nk_job *job)
{
    struct read_job *read = NK_CONTAINER_OF(job, struct read_job, job);
    struct shard *shard = read->shard;
    read_ended(read);
    if (shard->state == SHARD_FENCED) {
        wire_reply(shard->host, read->pending->caller, NK_FENCED, SHARD_FENCED_TEXT, NULL);
        pending_free(shard->host, &read->pending);
    } else {
        finish(shard, &read->pending, read->err, &read->found, nk_buf_bytes(&read->value));
    }
    read_free(read);
}

static void fetch_run(struct nk_job *job)
{
    struct read_job *read = NK_CONTAINER_OF(job, struct read_job, job);
    read->err = kv_reader_fetch(&read->reader, nk_buf_bytes(&read->key));
}

static void fetch_done(struct nk_job *job)
{
    struct read_job *read = NK_CONTAINER_OF(job, struct read_job, job);
    read_ended(read);
    if (read->err != NK_OK) {
        shard_fence(read->shard, read->err, "reading"); /* refuses the write as well */
    } else if (read->pending != NULL) {
        read->pending->read_job = NULL;
        pending_resume(read->pending);
        shard_serve_fetched(read->shard, &read->pending);
    }
    read_free(read);
}

/* Takes the pending.  NULL: no worker has room, and that has been answered. */
static struct read_job *read_from_disk(struct shard *shard, struct pending **pending,
                                       struct nk_bytes key, void (*run)(struct nk_job *job),
                                       void (*done)(struct nk_job *job))
{
    struct host *host = shard->host;
    struct read_job *read = nk_alloc_zero(1, sizeof *read);
    read->job.run = run;
    read->job.done = done;
    read->shard = shard;
    read->pending = *pending;
    nk_buf_append(&read->key, key);
    kv_reader_acquire(shard->kv, &read->reader);
    if (nk_worker_submit(&host->env->worker, NK_LANE_READ, &read->job) != NK_OK) {
        wire_reply(host, (*pending)->caller, NK_BUSY,
                   "OVERLOADED: too many reads wait for the disk", NULL);
        read_free(read);
        pending_free(host, pending);
        return NULL;
    }
    shard->readers++;
    host->jobs_running++;
    *pending = NULL;
    return read;
}

void reads_fetch(struct shard *shard, struct pending **pending, struct nk_bytes names)
{
    struct pending *write = *pending;
    struct read_job *read = read_from_disk(shard, pending, names, fetch_run, fetch_done);
    if (read != NULL) {
        write->read_job = &read->pending;
        pending_await(shard->host, &shard->fetching, write);
    }
}

void reads_look_up(struct shard *shard, struct pending **pending)
{
    struct host *host = shard->host;
    if ((*pending)->op == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PROBE) {
        wire_reply(host, (*pending)->caller, NK_OK, NULL, NULL);
        pending_free(host, pending);
        return;
    }
    nk_arena_reset(&host->decode);
    Norikv__V1__GetRequest *request = (Norikv__V1__GetRequest *)nk_unpack(
        &norikv__v1__get_request__descriptor,
        nk_bytes_of((*pending)->request, (*pending)->request_size), &host->decode);
    NK_ASSERT(request != NULL); /* reads_serve has decoded it before */
    struct nk_bytes key = nk_bytes_of(request->key.data, request->key.len);
    struct kv_value value;
    enum nk_err err = kv_get(shard->kv, key, LSM_MEMORY, &value, &host->value);
    if (err == NK_WOULD_BLOCK) {
        (void)read_from_disk(shard, pending, key, read_run, read_done);
        return;
    }
    finish(shard, pending, err, &value, nk_buf_bytes(&host->value));
}

/* ---- The read point ---- */

static bool mode_of(const struct pending *pending, struct nk_arena *arena, enum read_mode *out_mode)
{
    *out_mode = READ_LEASE;
    if (pending->op == NORIKV__INTERNAL__V1__SHARD_OP__SHARD_OP_PROBE) {
        return true;
    }
    nk_arena_reset(arena);
    Norikv__V1__GetRequest *request = (Norikv__V1__GetRequest *)nk_unpack(
        &norikv__v1__get_request__descriptor, nk_bytes_of(pending->request, pending->request_size),
        arena);
    if (request == NULL) {
        return false;
    }
    static const struct {
        const char *name;
        enum read_mode mode;
    } modes[] = {
        {"", READ_LEASE},
        {"lease", READ_LEASE},
        {"linearizable", READ_CONFIRMED},
        {"strong", READ_CONFIRMED},
        {"bounded_staleness", READ_LEASE},
        {"stale_ok", READ_LOCAL},
        {"eventual", READ_LOCAL},
    };
    for (size_t i = 0; i < NK_COUNT_OF(modes); i++) {
        if (strcmp(request->consistency, modes[i].name) == 0) {
            *out_mode = modes[i].mode;
            return true;
        }
    }
    return false;
}

void reads_serve(struct shard *shard, struct pending **pending)
{
    struct host *host = shard->host;
    enum read_mode mode;
    if (!mode_of(*pending, &host->decode, &mode)) {
        wire_reply(host, (*pending)->caller, NK_INVALID, "not a GetRequest that a gateway sends",
                   NULL);
        pending_free(host, pending);
        return;
    }
    struct raft_status status;
    raft_get_status(shard->raft, host_now_us(host) / NK_US_PER_MS, &status);
    if (mode == READ_LOCAL || (mode == READ_LEASE && status.lease_valid)) {
        /* A leader applies in the step that commits, so applied == commit between steps. */
        reads_look_up(shard, pending);
        return;
    }
    (*pending)->read_id = host->read_id_next++;
    pending_await(host, &shard->reading, *pending);
    struct raft_event event = {.type = RAFT_EVENT_READ};
    event.u.read_id = (*pending)->read_id;
    struct pending *asked = *pending;
    *pending = NULL; /* from here on the list owns it; the step may have answered it */
    if (shard_step(shard, &event, NULL) == NK_NOT_LEADER) {
        wire_reply(host, asked->caller, NK_NOT_LEADER, "NOT_LEADER", NULL);
        pending_free(host, &asked);
    }
}

void reads_confirmed(struct shard *shard, const struct raft_read *read)
{
    struct host *host = shard->host;
    for (struct nk_list *link = shard->reading.next; link != &shard->reading; link = link->next) {
        struct pending *pending = NK_CONTAINER_OF(link, struct pending, link);
        if (pending->read_id != read->id) {
            continue;
        }
        pending_resume(pending);
        if (!read->confirmed) {
            wire_reply(host, pending->caller, NK_NOT_LEADER, "NOT_LEADER", NULL);
            pending_free(host, &pending);
            return;
        }
        metrics_read_index(host, host_now_us(host) - pending->arrived_us);
        struct lsm_version applied;
        struct nk_bytes state;
        lsm_applied(shard->db, &applied, &state);
        if (applied.index >= read->index) {
            nk_list_append(&shard->runnable, &pending->link);
        } else {
            shard_wait_applied(shard, pending, read->index);
        }
        return;
    }
    /* Its caller has gone: cancelled or expired. */
}

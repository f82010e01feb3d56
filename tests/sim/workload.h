#pragma once

/* The inside of the workload: clients that ask, and what is known of the answers.
 *
 *   workload.c  opening, the quiet end, the histories and their check
 *   choice.c    what a client wants next
 *   client.c    its attempts, and what an answer means to it
 *   filler.c    keys without rivals, many of them
 *   request.c   requests as bytes, answers as values
 *   session.c   what may be expected of an idempotency key that was used before
 *   watcher.c   subscribers of the cluster view */

#include "common/base/hash.h"
#include "common/base/limits.h"
#include "services/gateway/gateway.h"
#include "tests/sim/check/linearizable.h"
#include "tests/sim/sim.h"

#define CLIENTS_MAX       12
#define KEYS_MAX          48
#define WATCHERS_MAX      3
#define SESSIONS_KEPT_MAX 6
#define SESSION_NAME_SIZE 40

/* How old what a read sees may be. */
enum read_age {
    READ_NOW,
    READ_BOUNDED, /* limits.max_staleness_ms */
    READ_ANY,
};

/* Unusual ways to write a request down. */
enum twist {
    TWIST_NONE,
    TWIST_UNKNOWN_FIELDS, /* of a newer client */
    TWIST_KEY_TWICE,      /* the last one counts */
    TWIST_LONG_LENGTH,    /* a length in more bytes than it needs */
    TWIST_LONG_TAG,       /* a tag in more bytes than some parsers take: it may be refused */
    TWIST_COUNT,
};

struct request {
    enum history_kind kind;
    size_t key;
    uint64_t value; /* its number, repeated to the length */
    size_t value_bytes;
    uint64_t ttl_ms;
    bool conditional;
    struct history_version expected;
    const char *consistency;
    enum read_age age;
    char session[SESSION_NAME_SIZE]; /* idempotency key; "": none */
    enum twist twist;
};

/* An operation and all that its check needs to know. */
struct record {
    struct history_op op;
    uint64_t invoked_us;
    uint64_t ttl_ms;
    enum read_age age;
};

struct key {
    uint8_t name[NK_KEY_BYTES_MAX];
    size_t name_size;
    uint32_t shard;
    struct record *records; /* finished ones, in no order */
    size_t count;
    size_t capacity;
    size_t unknown_count; /* of the records */
};

#define FILLS_MAX        700
#define FILL_UNKNOWN_MAX 4

/* A key that one client alone writes. */
struct fill {
    struct key key;
    uint64_t value;                     /* last answered or seen; 0: missing */
    uint64_t index;                     /* the highest version index seen */
    uint64_t unknown[FILL_UNKNOWN_MAX]; /* written without an answer; 0: deleted */
    size_t unknown_count;
};

/* One shard's idempotency table, seen from outside. */
struct shard_sessions {
    uint64_t begun; /* attempts that may have made an entry */
    uint64_t made;  /* operations that surely have */
};

/* A write with an idempotency key that was answered. */
struct finished {
    bool valid;
    struct request request;
    struct history_op op;
    uint64_t begun_before; /* shard_sessions when it began */
    uint64_t made_after;   /* and when it was over */
    uint64_t wall_min;     /* the least that the clock showed while it ran */
    uint64_t wall_end;     /* the highest it had shown when it was over */
};

enum errand {
    ERRAND_NONE,
    ERRAND_OPERATION,
    ERRAND_REPEAT,   /* of a finished write, with its old idempotency key */
    ERRAND_MISUSE,   /* another write with an old idempotency key */
    ERRAND_NONSENSE, /* must be refused */
    ERRAND_FILL,     /* a key that nobody else writes */
};

struct client;

/* One attempt at the gateway; outlives the errand if the gateway died meanwhile. */
struct attempt {
    struct gateway_request request;
    struct client *client; /* NULL: nobody waits any more */
    struct nk_buf message;
    bool cancelled;
};

struct client {
    struct sim_world *world;
    size_t number;
    struct sim_event event;  /* the next step */
    struct sim_event cancel; /* it loses its patience */
    struct attempt *attempt; /* NULL: none is under way */
    enum errand errand;
    struct request request;
    struct record record;  /* of the errand; goes into the history when it is over */
    size_t uncertain;      /* attempts that may have had an effect */
    uint64_t begun_before; /* shard_sessions when the errand began */
    uint64_t made_before;
    uint64_t host_before; /* incarnation of the shardhost when it began */
    struct finished *old; /* repeat, misuse: what was finished before */
    struct finished finished[SESSIONS_KEPT_MAX];
    struct history_version seen[KEYS_MAX]; /* last version this client saw: for CAS */

    /* The quiet end. */
    bool write_left;  /* one more write is to be served */
    size_t read_next; /* the next key to read; KEYS_MAX: done */
    size_t repeat_next;
    size_t fill_next; /* the next key of its own to read; FILLS_MAX: done */
};

struct watcher {
    struct sim_world *world;
    struct sim_event event;
    struct gateway_watch watch;
    bool open;
    uint64_t epoch_seen;
    bool leads;        /* the last view: this node, and it leads */
    size_t shards_led; /* shards of it with a leader */
};

struct sim_workload {
    struct sim_world *world;
    struct client clients[CLIENTS_MAX];
    size_t client_count;
    struct key keys[KEYS_MAX];
    size_t key_count;
    size_t hot_count; /* keys that half of the operations meet on */
    struct fill *fills;
    size_t fill_count; /* 0 in most worlds */
    struct watcher watchers[WATCHERS_MAX];
    size_t watcher_count;
    struct nk_map views;             /* epoch -> hash of the view, + 1 */
    struct shard_sessions *sessions; /* by shard */
    struct nk_buf order_us;          /* when each event of the histories was */
    uint64_t value_next;
    uint64_t session_next;
    uint64_t operations_left;
    uint64_t think_us_max;
    uint32_t weights[6]; /* get, put, cas, create, delete, conditional delete */
    uint32_t ttl_chance; /* per million, as the others */
    uint32_t session_chance;
    uint32_t stale_chance;
    uint32_t twist_chance;
    uint32_t odd_chance; /* repeats, misuses and nonsense */
    uint32_t cancel_chance;
    uint64_t ttl_ms_max;
    size_t value_bytes_max;
    bool settling;
    bool rotten;            /* a read may remain unanswered */
    struct nk_map versions; /* shard, term, index -> anything: given to somebody */
};

/* ---- workload.c ---- */

/* The number of an event, in the order of their happening. */
uint64_t workload_order(struct sim_workload *workload);
struct key *workload_key(const struct client *client); /* of the client's request */
void workload_add_record(struct sim_workload *workload, size_t key, const struct record *record);

/* ---- choice.c ---- */

/* Sets the client's errand and request. */
void choice_make(struct client *client);

/* The same at the quiet end; false: nothing is left to do. */
bool choice_make_last(struct client *client);

/* ---- filler.c ---- */

void filler_open(struct sim_world *world);
void filler_close(struct sim_world *world);
void filler_choose(struct client *client);
bool filler_choose_last(struct client *client);
void filler_answered(struct client *client);
void filler_unanswered(struct client *client);

/* ---- client.c ---- */

void client_open(struct sim_world *world, size_t number);
void client_close(struct client *client);
void client_settle(struct client *client);
bool client_settled(const struct client *client);
void client_gateway_dies(struct client *client);

/* ---- request.c ---- */

void request_pack(const struct request *request, const struct key *key, struct nk_buf *out);

/* A request that must be refused; its operation is in *out_op. */
void request_pack_nonsense(struct sim_workload *workload, struct nk_prng *prng,
                           enum gateway_op *out_op, struct nk_buf *out);
enum gateway_op request_operation(const struct request *request);

/* Fills in what a definite answer says.  False: it is none of those that the contract has. */
bool request_read_answer(const struct request *request, const struct gateway_request *answer,
                         struct history_op *op);

/* ---- session.c ---- */

/* Between the attempts of the client's errand its idempotency key may have been forgotten, so that
 * they had an effect each. */
bool session_at_risk(const struct client *client);
bool session_surely_remembered(const struct client *client, const struct finished *old);
bool session_surely_forgotten(const struct client *client, const struct finished *old);
struct shard_sessions *session_shard(const struct client *client);
void session_keep(struct client *client);

/* ---- watcher.c ---- */

void watcher_open(struct sim_world *world, size_t number);
void watcher_close(struct watcher *watcher);

/* Whether the views that subscribers have are those of a node that is well. */
bool sim_watchers_quiet(struct sim_world *world, struct nk_text *reason);

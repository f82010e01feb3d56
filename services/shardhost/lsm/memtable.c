/* A skip list whose links say where the next key differs.
 *
 * Cache misses decide the speed of a memtable, and a plain skip list takes one for every key it
 * compares with.  Here a link is one 64-bit word
 *
 *     bits 63..32  reference of the next node
 *     bits 31..24  shared: how many leading bytes its key shares with the key of the node that
 * holds the link; 255 means "255 or more" bits 23..0   the next key's three bytes from there on
 *
 * A search remembers `match`, the number of leading bytes that the sought key shares with the node
 * it stands on.  Of a next node it then knows without looking at it:
 *
 *     shared > match   it agrees with this node where the sought key is already greater: go on to
 * it shared < match   it is greater than this node where the sought key still agrees: go down
 *     shared = match   the three bytes decide, unless they are equal too; only then is it read.
 *
 * Keys count as followed by endless zero bytes; where that makes two keys equal, their sizes and
 * then their indexes decide.  The head has no key: its links say shared = 0 and a search starts
 * with 0.
 *
 * Nodes live in chunks.  A reference is chunk number << 16 | offset / 16; 0 is none, for a chunk
 * starts with its header.  Links of a node lie before it, level 0 nearest.
 *
 * Readers: a node is complete before the first link to it is stored (release), links are loaded
 * with acquire, and a link is one word, so that a reference and its three bytes always belong
 * together.
 *
 * Sources: Pugh, "Skip Lists: A Probabilistic Alternative to Balanced Trees", 1990; the use of
 * common prefixes: Grossi and Italiano, "Efficient Techniques for Maintaining Multidimensional Keys
 * in Linked Data Structures", 1999. */

#include "services/shardhost/lsm/memtable.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/limits.h"

#define HEIGHT_MAX      20
#define UNIT_BYTES      ((size_t)16)
#define UNITS_MAX       ((size_t)65536) /* of one chunk */
#define CHUNKS_MAX      ((size_t)65536)
#define CHUNKS_INLINE   8
#define SHARED_MAX      255 /* stored for this many bytes or more */
#define LINK_KEY_BYTES  3
#define MATCH_ALL       ((size_t)8192) /* equal with endless zeros: more than any real match */
#define KEY_BYTES_LIMIT (NK_KEY_BYTES_MAX + 1)

static_assert(MATCH_ALL > KEY_BYTES_LIMIT + LINK_KEY_BYTES, "no real match is as long");
static_assert(LSM_CHUNK_BYTES_MAX / UNIT_BYTES <= UNITS_MAX, "an offset fits in 16 bits");

struct lsm_memtable_node {
    uint64_t index;
    uint64_t term;
    uint64_t expire_at_ms;
    uint32_t value_size;
    uint16_t key_size;
    uint8_t height;
    uint8_t tombstone;
    uint8_t bytes[]; /* key, value */
};

static_assert(sizeof(struct lsm_memtable_node) == 32, "the key follows in the same cache lines");
static_assert(KEY_BYTES_LIMIT <= UINT16_MAX, "key_size holds every key");

struct lsm_memtable {
    struct lsm_chunk_pool *pool;
    struct lsm_chunk *chunks_held; /* newest first */
    uint8_t *next;                 /* free room of the newest regular chunk */
    uint8_t *end;
    size_t bytes;
    size_t count;
    uint32_t references;   /* the adding thread's */
    uint32_t chunk_number; /* of the newest regular chunk */
    uint32_t chunk_count;
    uint32_t chunk_capacity;
    uint32_t random;
    _Atomic(uint8_t **) chunks; /* by number; grows by copy, the old table stays valid */
    _Atomic uint32_t height;    /* levels in use; 1..HEIGHT_MAX */
    const struct lsm_memtable_node *tails[HEIGHT_MAX]; /* last node of each level; NULL: the head */
    uint8_t *chunks_inline[CHUNKS_INLINE];
    _Atomic uint64_t head[HEIGHT_MAX]; /* level i at [HEIGHT_MAX - 1 - i], as in a node */
};

/* Where a search went down: the node, and what the next node after it is known to share. */
struct place {
    _Atomic uint64_t *link; /* of the last node before the sought record */
    uint64_t word;          /* what the link held */
    size_t match;           /* bytes the sought key shares with that node */
    size_t match_next;      /* and with the next one; meaningless when word is 0 */
};

/* ---- Nodes and links ---- */

static _Atomic uint64_t *link_of(const struct lsm_memtable_node *node, size_t level)
{
    return (_Atomic uint64_t *)(uintptr_t)node - 1 - level;
}

static _Atomic uint64_t *head_link(const struct lsm_memtable *memtable, size_t level)
{
    return (_Atomic uint64_t *)&memtable->head[HEIGHT_MAX - 1 - level];
}

static const struct lsm_memtable_node *node_at(const struct lsm_memtable *memtable, uint32_t ref)
{
    /* Acquire: whoever holds an old link may meet a table that has grown since. */
    uint8_t **chunks = atomic_load_explicit(&memtable->chunks, memory_order_acquire);
    return (const void *)(chunks[ref >> 16] + (size_t)(ref & 0xffff) * UNIT_BYTES);
}

static const struct lsm_memtable_node *next_of(const struct lsm_memtable *memtable, uint64_t word)
{
    return word == 0 ? NULL : node_at(memtable, (uint32_t)(word >> 32));
}

static struct nk_bytes key_of(const struct lsm_memtable_node *node)
{
    return nk_bytes_of(node->bytes, node->key_size);
}

static struct nk_bytes value_of(const struct lsm_memtable_node *node)
{
    return nk_bytes_of(node->bytes + node->key_size, node->value_size);
}

static struct lsm_entry entry_of(const struct lsm_memtable_node *node)
{
    struct lsm_entry entry = {
        .version = {node->term, node->index},
        .expire_at_ms = node->expire_at_ms,
        .tombstone = node->tombstone != 0,
    };
    return entry;
}

/* The three bytes of `key` from `at` on, first byte highest. */
static uint32_t key_bytes_at(struct nk_bytes key, size_t at)
{
    uint32_t bytes = 0;
    if (at + LINK_KEY_BYTES <= key.size) {
        const uint8_t *from = key.data + at;
        return (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
    }
    for (size_t i = at; i < at + LINK_KEY_BYTES; i++) {
        bytes = bytes << 8 | (i < key.size ? key.data[i] : 0);
    }
    return bytes;
}

static uint64_t make_link(uint32_t ref, size_t shared, struct nk_bytes next_key)
{
    size_t stored = shared < SHARED_MAX ? shared : SHARED_MAX;
    return (uint64_t)ref << 32 | (uint64_t)stored << 24 | key_bytes_at(next_key, stored);
}

/* Leading bytes that two keys share, both followed by endless zeros; `from` of them are known. */
static size_t match_of(struct nk_bytes a, struct nk_bytes b, size_t from)
{
    size_t common = a.size < b.size ? a.size : b.size;
    size_t i = from;
    while (i < common && a.data[i] == b.data[i]) {
        i++;
    }
    if (i < common) {
        return i;
    }
    struct nk_bytes longer = a.size > b.size ? a : b;
    while (i < longer.size && longer.data[i] == 0) {
        i++;
    }
    return i < longer.size ? i : MATCH_ALL;
}

/* Whether `node` comes before (key, index), given how many bytes their keys share. */
static bool comes_before(const struct lsm_memtable_node *node, struct nk_bytes key, uint64_t index,
                         size_t match)
{
    struct nk_bytes mine = key_of(node);
    if (match < MATCH_ALL) {
        uint8_t a = match < mine.size ? mine.data[match] : 0;
        uint8_t b = match < key.size ? key.data[match] : 0;
        return a < b;
    }
    if (mine.size != key.size) {
        return mine.size < key.size;
    }
    return node->index > index;
}

/* ---- Search ---- */

/* Decides about one link: true to go on to the next node, whose match is then *match. */
static inline bool goes_on(const struct lsm_memtable *memtable, uint64_t word, struct nk_bytes key,
                           uint64_t index, size_t *match, size_t *match_next)
{
    size_t shared = (size_t)(word >> 24) & 0xff;
    size_t known = *match < SHARED_MAX ? *match : SHARED_MAX;
    if (shared != known) {
        *match_next = shared;
        return shared > known; /* then the match with the next node is the same */
    }
    size_t from = shared;
    if (shared < SHARED_MAX) {
        uint32_t theirs = (uint32_t)word & 0xffffff;
        uint32_t ours = key_bytes_at(key, shared);
        if (theirs != ours) {
            *match_next = shared + (size_t)__builtin_clz((theirs ^ ours) << 8) / 8;
            if (theirs < ours) {
                *match = *match_next;
                return true;
            }
            return false;
        }
        from = shared + LINK_KEY_BYTES;
    }
    const struct lsm_memtable_node *next = next_of(memtable, word);
    *match_next = match_of(key_of(next), key, from);
    if (comes_before(next, key, index, *match_next)) {
        *match = *match_next;
        return true;
    }
    return false;
}

/* The places of (key, index) on the levels in use, `places` NULL or HEIGHT_MAX long; returns the
 * one of level 0: its next node is the first at or after (key, index). */
static struct place find(const struct lsm_memtable *memtable, struct nk_bytes key, uint64_t index,
                         struct place *places)
{
    size_t height = atomic_load_explicit(&memtable->height, memory_order_relaxed);
    const struct lsm_memtable_node *node = NULL;
    struct place place = {.match = 0};
    for (size_t level = height; level-- > 0;) {
        for (;;) {
            place.link = node == NULL ? head_link(memtable, level) : link_of(node, level);
            place.word = atomic_load_explicit(place.link, memory_order_acquire);
            if (place.word == 0 ||
                !goes_on(memtable, place.word, key, index, &place.match, &place.match_next)) {
                break;
            }
            node = next_of(memtable, place.word);
        }
        if (places != NULL) {
            places[level] = place;
        }
    }
    return place;
}

bool lsm_memtable_get(const struct lsm_memtable *memtable, struct nk_bytes key, uint64_t index_max,
                      struct lsm_entry *out_entry, struct nk_bytes *out_value)
{
    struct place place = find(memtable, key, index_max, NULL);
    if (place.word == 0 || place.match_next < key.size) {
        return false;
    }
    const struct lsm_memtable_node *node = next_of(memtable, place.word);
    if (!nk_bytes_equal(key_of(node), key)) {
        return false;
    }
    *out_entry = entry_of(node);
    *out_value = value_of(node);
    return true;
}

/* ---- Memory ---- */

/* A new chunk takes a quarter of what is held already, so that small memtables stay small. */
static size_t chunk_size_for(const struct lsm_memtable *memtable, size_t needed)
{
    size_t size = LSM_CHUNK_BYTES_MIN;
    while (size < LSM_CHUNK_BYTES_MAX && (size < memtable->bytes / 4 || size < needed)) {
        size *= 2;
    }
    return size < needed ? needed : size;
}

/* Takes a chunk with `room` bytes; returns its number and where they start. */
static uint8_t *add_chunk(struct lsm_memtable *memtable, size_t room, bool exact,
                          uint32_t *out_number, uint8_t **out_end)
{
    NK_ASSERT(memtable->chunk_count < CHUNKS_MAX);
    uint8_t **chunks = atomic_load_explicit(&memtable->chunks, memory_order_relaxed);
    bool full = memtable->chunk_count == memtable->chunk_capacity;
    size_t table_bytes = full ? 2 * memtable->chunk_capacity * sizeof *chunks : 0;
    size_t needed = sizeof(struct lsm_chunk) + table_bytes + room;
    size_t size = exact ? needed : chunk_size_for(memtable, needed);
    struct lsm_chunk *chunk = lsm_chunk_take(memtable->pool, size);
    chunk->next = memtable->chunks_held;
    memtable->chunks_held = chunk;
    memtable->bytes += size;
    uint8_t *start = (uint8_t *)(chunk + 1);
    if (full) {
        /* The table moves into the memory that it describes.  A reader of the old one lacks only
         * chunks whose nodes it cannot have seen. */
        uint8_t **grown = (uint8_t **)(void *)start;
        memcpy(grown, chunks, memtable->chunk_count * sizeof *chunks);
        memtable->chunk_capacity *= 2;
        atomic_store_explicit(&memtable->chunks, grown, memory_order_release);
        chunks = grown;
        start += table_bytes;
    }
    *out_number = memtable->chunk_count++;
    chunks[*out_number] = (uint8_t *)chunk;
    *out_end = (uint8_t *)chunk + size;
    return start;
}

/* Room for a node with its links before it; sets the node's reference. */
static struct lsm_memtable_node *allocate(struct lsm_memtable *memtable, size_t height,
                                          size_t node_bytes, uint32_t *out_ref)
{
    size_t links_bytes = height * sizeof(uint64_t);
    size_t room = links_bytes + node_bytes + UNIT_BYTES;
    uint32_t number = memtable->chunk_number;
    uint8_t *start = memtable->next;
    uint8_t *end = memtable->end;
    bool large = room > LSM_CHUNK_BYTES_MAX / 2; /* it would waste the rest of a common chunk */
    if (large || (size_t)(end - start) < room) {
        start = add_chunk(memtable, room, large, &number, &end);
    }
    uintptr_t address = ((uintptr_t)start + links_bytes + UNIT_BYTES - 1) & ~(UNIT_BYTES - 1);
    uint8_t *node = start + (address - (uintptr_t)start);
    NK_ASSERT(node + node_bytes <= end);
    if (!large) {
        memtable->next = node + node_bytes;
        memtable->end = end;
        memtable->chunk_number = number;
    }
    uint8_t **chunks = atomic_load_explicit(&memtable->chunks, memory_order_relaxed);
    size_t unit = (size_t)(node - chunks[number]) / UNIT_BYTES;
    NK_ASSERT(unit < UNITS_MAX);
    *out_ref = number << 16 | (uint32_t)unit;
    return (void *)node;
}

/* ---- Adding ---- */

/* Geometric with one half: with the next key in the link, fewer steps on more levels win. */
static size_t random_height(struct lsm_memtable *memtable)
{
    uint32_t x = memtable->random; /* xorshift32 (Marsaglia 2003) */
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    memtable->random = x;
    size_t height = 1 + (size_t)__builtin_ctz(x | UINT32_C(1) << (HEIGHT_MAX - 1));
    return height;
}

/* The place of a record behind all others, without a search: the log often brings keys in order. */
static bool find_at_tail(const struct lsm_memtable *memtable, struct nk_bytes key, uint64_t index,
                         size_t height, struct place *places)
{
    const struct lsm_memtable_node *last = memtable->tails[0];
    if (last == NULL || !comes_before(last, key, index, match_of(key_of(last), key, 0))) {
        return false;
    }
    for (size_t level = 0; level < height; level++) {
        const struct lsm_memtable_node *tail = memtable->tails[level];
        places[level] = (struct place){
            .link = tail == NULL ? head_link(memtable, level) : link_of(tail, level),
            .match = tail == NULL ? 0 : match_of(key_of(tail), key, 0),
        };
    }
    return true;
}

/* The link from the new node to what followed its place. */
static uint64_t link_onward(const struct lsm_memtable *memtable, const struct place *place)
{
    if (place->word == 0) {
        return 0;
    }
    size_t shared = (size_t)(place->word >> 24) & 0xff;
    if (shared < SHARED_MAX && shared == place->match_next) {
        return place->word;
    }
    const struct lsm_memtable_node *next = next_of(memtable, place->word);
    return make_link((uint32_t)(place->word >> 32), place->match_next, key_of(next));
}

void lsm_memtable_add(struct lsm_memtable *memtable, const struct lsm_record *record)
{
    NK_ASSERT(record->key.size > 0);
    NK_ASSERT(record->key.size <= KEY_BYTES_LIMIT);
    NK_ASSERT(record->value.size <= UINT32_MAX);
    struct place places[HEIGHT_MAX];
    size_t height = random_height(memtable);
    size_t height_before = atomic_load_explicit(&memtable->height, memory_order_relaxed);
    if (!find_at_tail(memtable, record->key, record->version.index, height, places)) {
        for (size_t level = height_before; level < height; level++) {
            places[level] = (struct place){.link = head_link(memtable, level)};
        }
        (void)find(memtable, record->key, record->version.index, places);
    }

    uint32_t ref = 0;
    size_t node_bytes = sizeof(struct lsm_memtable_node) + record->key.size + record->value.size;
    struct lsm_memtable_node *node = allocate(memtable, height, node_bytes, &ref);
    node->index = record->version.index;
    node->term = record->version.term;
    node->expire_at_ms = record->expire_at_ms;
    node->value_size = (uint32_t)record->value.size;
    node->key_size = (uint16_t)record->key.size;
    node->height = (uint8_t)height;
    node->tombstone = record->tombstone;
    memcpy(node->bytes, record->key.data, record->key.size);
    if (record->value.size > 0) {
        memcpy(node->bytes + record->key.size, record->value.data, record->value.size);
    }
    for (size_t level = 0; level < height; level++) {
        atomic_store_explicit(link_of(node, level), link_onward(memtable, &places[level]),
                              memory_order_relaxed);
        if (places[level].word == 0) {
            memtable->tails[level] = node;
        }
    }
    for (size_t level = 0; level < height; level++) {
        atomic_store_explicit(places[level].link, make_link(ref, places[level].match, record->key),
                              memory_order_release);
    }
    if (height > height_before) {
        atomic_store_explicit(&memtable->height, (uint32_t)height, memory_order_relaxed);
    }
    memtable->count++;
}

/* ---- Life ---- */

void lsm_memtable_new(struct lsm_chunk_pool *pool, struct lsm_memtable **out_memtable)
{
    struct lsm_memtable *memtable = nk_alloc_zero(1, sizeof *memtable);
    memtable->pool = pool;
    memtable->references = 1;
    memtable->random = UINT32_C(0x9E3779B9);
    memtable->chunk_capacity = CHUNKS_INLINE;
    atomic_init(&memtable->chunks, memtable->chunks_inline);
    atomic_init(&memtable->height, 1);
    *out_memtable = memtable;
}

struct lsm_memtable *lsm_memtable_hold(struct lsm_memtable *memtable)
{
    memtable->references++;
    return memtable;
}

void lsm_memtable_release(struct lsm_memtable **memtable)
{
    if (*memtable == NULL) {
        return;
    }
    NK_ASSERT((*memtable)->references > 0);
    (*memtable)->references--;
    if ((*memtable)->references == 0) {
        lsm_chunk_give_back((*memtable)->pool, (*memtable)->chunks_held);
        nk_free(*memtable);
    }
    *memtable = NULL;
}

size_t lsm_memtable_bytes(const struct lsm_memtable *memtable)
{
    return memtable->bytes;
}

size_t lsm_memtable_count(const struct lsm_memtable *memtable)
{
    return memtable->count;
}

/* ---- Walking ---- */

static const struct lsm_memtable_node *follow(const struct lsm_memtable *memtable,
                                              const struct lsm_memtable_node *node)
{
    const _Atomic uint64_t *link = node == NULL ? head_link(memtable, 0) : link_of(node, 0);
    return next_of(memtable, atomic_load_explicit(link, memory_order_acquire));
}

static void skip_invisible(struct lsm_memtable_cursor *cursor)
{
    while (cursor->node != NULL && cursor->node->index > cursor->index_max) {
        cursor->node = follow(cursor->memtable, cursor->node);
    }
}

void lsm_memtable_cursor_open(struct lsm_memtable_cursor *cursor,
                              const struct lsm_memtable *memtable, struct nk_bytes start,
                              uint64_t index_max)
{
    cursor->memtable = memtable;
    cursor->index_max = index_max;
    cursor->node = next_of(memtable, find(memtable, start, UINT64_MAX, NULL).word);
    skip_invisible(cursor);
}

void lsm_memtable_cursor_next(struct lsm_memtable_cursor *cursor)
{
    NK_ASSERT(cursor->node != NULL);
    struct nk_bytes key = key_of(cursor->node);
    do {
        cursor->node = follow(cursor->memtable, cursor->node);
    } while (cursor->node != NULL && nk_bytes_equal(key_of(cursor->node), key));
    skip_invisible(cursor);
}

/* The last node before (key, index) in the order of the list, or NULL. */
static const struct lsm_memtable_node *node_before(const struct lsm_memtable *memtable,
                                                   struct nk_bytes key, uint64_t index)
{
    const _Atomic uint64_t *link = find(memtable, key, index, NULL).link;
    return link == head_link(memtable, 0) ? NULL : (const void *)(link + 1);
}

/* The last node of all, or NULL. */
static const struct lsm_memtable_node *last_node(const struct lsm_memtable *memtable)
{
    const struct lsm_memtable_node *node = NULL;
    for (size_t level = atomic_load_explicit(&memtable->height, memory_order_relaxed);
         level-- > 0;) {
        for (;;) {
            const _Atomic uint64_t *link =
                node == NULL ? head_link(memtable, level) : link_of(node, level);
            const struct lsm_memtable_node *next =
                next_of(memtable, atomic_load_explicit(link, memory_order_acquire));
            if (next == NULL) {
                break;
            }
            node = next;
        }
    }
    return node;
}

/* `node` is the oldest version of some key, or NULL: to the newest visible one of it, or of the
 * last key before it that has one. */
static void stand_on_or_before(struct lsm_memtable_cursor *cursor,
                               const struct lsm_memtable_node *node)
{
    const struct lsm_memtable *memtable = cursor->memtable;
    while (node != NULL && node->index > cursor->index_max) {
        node = node_before(memtable, key_of(node), UINT64_MAX); /* no version is visible */
    }
    cursor->node =
        node == NULL
            ? NULL
            : next_of(memtable, find(memtable, key_of(node), cursor->index_max, NULL).word);
}

void lsm_memtable_cursor_open_back(struct lsm_memtable_cursor *cursor,
                                   const struct lsm_memtable *memtable, const struct nk_bytes *key,
                                   bool equal, uint64_t index_max)
{
    cursor->memtable = memtable;
    cursor->index_max = index_max;
    if (key == NULL) {
        stand_on_or_before(cursor, last_node(memtable));
        return;
    }
    /* Versions of one key stand with falling indexes: behind them all is (key, 0). */
    const struct lsm_memtable_node *node = node_before(memtable, *key, equal ? 0 : UINT64_MAX);
    stand_on_or_before(cursor, node);
}

void lsm_memtable_cursor_prev(struct lsm_memtable_cursor *cursor)
{
    NK_ASSERT(cursor->node != NULL);
    stand_on_or_before(cursor, node_before(cursor->memtable, key_of(cursor->node), UINT64_MAX));
}

struct nk_bytes lsm_memtable_cursor_key(const struct lsm_memtable_cursor *cursor)
{
    NK_ASSERT(cursor->node != NULL);
    return key_of(cursor->node);
}

struct nk_bytes lsm_memtable_cursor_value(const struct lsm_memtable_cursor *cursor)
{
    NK_ASSERT(cursor->node != NULL);
    return value_of(cursor->node);
}

struct lsm_entry lsm_memtable_cursor_entry(const struct lsm_memtable_cursor *cursor)
{
    NK_ASSERT(cursor->node != NULL);
    return entry_of(cursor->node);
}

#include "tests/sim/fs_data.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/units.h"

static void reserve(struct sim_data *data, uint64_t size)
{
    NK_ASSERT(size <= SIZE_MAX / 4);
    if (size <= data->capacity) {
        return;
    }
    size_t wanted = nk_max_size((size_t)size, data->capacity + data->capacity / 2);
    size_t sectors = (wanted + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES;
    size_t sectors_before = data->capacity / SIM_SECTOR_BYTES;
    data->bytes = nk_realloc(data->bytes, sectors * SIM_SECTOR_BYTES);
    memset(data->bytes + data->capacity, 0, sectors * SIM_SECTOR_BYTES - data->capacity);
    data->dirty_places = nk_realloc(data->dirty_places, sectors * sizeof(uint32_t));
    memset(data->dirty_places + sectors_before, 0, (sectors - sectors_before) * sizeof(uint32_t));
    data->capacity = sectors * SIM_SECTOR_BYTES;
}

/* Called before a sector changes. */
static void touch(struct sim_data *data, size_t number)
{
    NK_ASSERT(number < data->capacity / SIM_SECTOR_BYTES);
    if (data->dirty_places[number] != 0) {
        data->dirty[data->dirty_places[number] - 1].stuck = false;
        return;
    }
    if (data->dirty_count == data->dirty_capacity) {
        data->dirty_capacity = 2 * data->dirty_capacity + 8;
        data->dirty = nk_realloc(data->dirty, data->dirty_capacity * sizeof data->dirty[0]);
    }
    struct sim_sector *sector = &data->dirty[data->dirty_count++];
    sector->number = number;
    sector->stuck = false;
    memcpy(sector->promised, data->bytes + number * SIM_SECTOR_BYTES, SIM_SECTOR_BYTES);
    data->dirty_places[number] = (uint32_t)data->dirty_count;
}

/* What is dirty becomes promised as readers see it, except for stuck sectors if they are kept. */
static void clean(struct sim_data *data, bool keep_stuck)
{
    size_t kept = 0;
    for (size_t i = 0; i < data->dirty_count; i++) {
        struct sim_sector *sector = &data->dirty[i];
        if (keep_stuck && sector->stuck) {
            data->dirty[kept++] = *sector;
            data->dirty_places[data->dirty[kept - 1].number] = (uint32_t)kept;
        } else {
            data->dirty_places[sector->number] = 0;
        }
    }
    data->dirty_count = kept;
}

struct sim_survivors sim_survivors_draw(size_t count, struct nk_prng *prng)
{
    struct sim_survivors survivors = {0};
    switch (nk_prng_below(prng, 7)) {
    case 0: /* none: those in an empty range */
        survivors.inside = true;
        break;
    case 1: /* all: those outside one */
        break;
    case 2:
        survivors.inside = true;
        survivors.limit = (size_t)nk_prng_between(prng, 0, count);
        break;
    case 3:
        survivors.first = (size_t)nk_prng_between(prng, 0, count);
        survivors.limit = (size_t)nk_prng_between(prng, survivors.first, count);
        break;
    default:
        survivors.each = true;
        break;
    }
    return survivors;
}

bool sim_survives(const struct sim_survivors *survivors, size_t i, struct nk_prng *prng)
{
    if (survivors->each) {
        return nk_prng_chance(prng, 500000);
    }
    return (i >= survivors->first && i < survivors->limit) == survivors->inside;
}

void sim_data_init(struct sim_data *data)
{
    memset(data, 0, sizeof *data);
}

void sim_data_deinit(struct sim_data *data)
{
    nk_free(data->bytes);
    nk_free(data->dirty);
    nk_free(data->dirty_places);
    sim_data_init(data);
}

void sim_data_write(struct sim_data *data, uint64_t offset, struct nk_bytes bytes)
{
    if (bytes.size == 0) {
        return;
    }
    uint64_t end = offset + bytes.size;
    NK_ASSERT(end > offset);
    reserve(data, end);
    for (size_t i = (size_t)offset / SIM_SECTOR_BYTES; i <= (end - 1) / SIM_SECTOR_BYTES; i++) {
        touch(data, i);
    }
    memcpy(data->bytes + offset, bytes.data, bytes.size);
    data->size = nk_max_size(data->size, (size_t)end);
}

void sim_data_resize(struct sim_data *data, uint64_t size)
{
    if (size < data->size) {
        size_t last = (data->size - 1) / SIM_SECTOR_BYTES;
        for (size_t i = (size_t)size / SIM_SECTOR_BYTES; i <= last; i++) {
            touch(data, i);
        }
        memset(data->bytes + size, 0, data->size - (size_t)size);
    } else {
        reserve(data, size);
    }
    data->size = (size_t)size;
}

void sim_data_sync(struct sim_data *data)
{
    clean(data, true);
    data->size_promised = data->size;
}

void sim_data_write_broken(struct sim_data *data, uint64_t offset, struct nk_bytes bytes,
                           struct nk_prng *prng)
{
    struct sim_survivors survivors = sim_survivors_draw(bytes.size / SIM_SECTOR_BYTES + 1, prng);
    size_t done = 0;
    for (size_t i = 0; done < bytes.size; i++) {
        size_t room = SIM_SECTOR_BYTES - (size_t)((offset + done) % SIM_SECTOR_BYTES);
        size_t piece = nk_min_size(room, bytes.size - done);
        if (sim_survives(&survivors, i, prng)) {
            sim_data_write(data, offset + done, nk_bytes_of(bytes.data + done, piece));
        }
        done += piece;
    }
}

void sim_data_sync_broken(struct sim_data *data, struct nk_prng *prng)
{
    struct sim_survivors survivors = sim_survivors_draw(data->dirty_count, prng);
    for (size_t i = 0; i < data->dirty_count; i++) {
        if (!sim_survives(&survivors, i, prng)) {
            data->dirty[i].stuck = true;
        }
    }
    clean(data, true);
    if (nk_prng_chance(prng, 500000)) {
        data->size_promised = data->size;
    }
}

void sim_data_flip(struct sim_data *data, uint64_t offset, uint8_t mask)
{
    NK_ASSERT(offset < data->size);
    data->bytes[offset] ^= mask;
    uint32_t place = data->dirty_places[offset / SIM_SECTOR_BYTES];
    if (place != 0) {
        data->dirty[place - 1].promised[offset % SIM_SECTOR_BYTES] ^= mask;
    }
}

/* The length after a crash. */
static size_t draw_size(const struct sim_data *data, struct nk_prng *prng)
{
    size_t first = nk_min_size(data->size, data->size_promised);
    size_t last = nk_max_size(data->size, data->size_promised);
    switch (nk_prng_below(prng, 4)) {
    case 0:
        return data->size_promised;
    case 1:
        return (size_t)nk_prng_between(prng, first, last);
    default:
        return data->size;
    }
}

void sim_data_crash(struct sim_data *data, struct nk_prng *prng)
{
    if (data->dirty_count == 0 && data->size == data->size_promised) {
        return;
    }
    struct sim_survivors survivors = sim_survivors_draw(data->dirty_count, prng);
    size_t size = draw_size(data, prng);
    for (size_t i = 0; i < data->dirty_count; i++) {
        const struct sim_sector *sector = &data->dirty[i];
        if (!sim_survives(&survivors, i, prng)) {
            memcpy(data->bytes + sector->number * SIM_SECTOR_BYTES, sector->promised,
                   SIM_SECTOR_BYTES);
        }
    }
    clean(data, false);
    reserve(data, size);
    if (data->capacity > size) {
        memset(data->bytes + size, 0, data->capacity - size);
    }
    data->size = size;
    data->size_promised = size;
}

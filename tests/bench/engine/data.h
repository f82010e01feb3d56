#pragma once

/* Keys and values of the benchmark, the same for every engine and seed.
 *
 * Keys: 16 hexadecimal digits of 2 * id, so that byte order is the order of ids; odd numbers are
 * keys that are missing, each between two that are there.
 *
 * Values: 256 bytes that compress to about half.  The first 16 say whose value it is and from where
 * in a pool the rest comes, so a value proves itself to whoever knows its id.  The pool repeats
 * every 64 random bytes once. */

#include "common/base/bytes.h"
#include "common/base/prng.h"

#define DATA_KEY_BYTES   16
#define DATA_VALUE_BYTES 256
#define DATA_PAIR_BYTES  (DATA_KEY_BYTES + DATA_VALUE_BYTES)

void data_init(uint64_t key_count, uint64_t seed);
void data_deinit(void);

void data_key(uint64_t id, uint8_t out_key[DATA_KEY_BYTES]);
void data_missing_key(uint64_t id, uint8_t out_key[DATA_KEY_BYTES]); /* right behind id's */

void data_value(uint64_t id, struct nk_prng *prng, uint8_t out_value[DATA_VALUE_BYTES]);

/* Whether it is a value of `id`; `whole`: all of it is looked at, not only whose it is. */
bool data_value_is(uint64_t id, struct nk_bytes value, bool whole);

/* The ids 0..key_count-1 in an order of their own, each once. */
uint64_t data_shuffled(uint64_t position);

/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The node cache: shards by address, each with a lock, chains and a hand that goes
 * round (CLOCK, with a few rounds of credit instead of one).
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/thin/node-cache.h"

#define SHARDS 16
#define MOST_ROUNDS 4
#define LEAST_SLOTS 16 /* of a shard */
#define NONE UINT32_MAX

struct slot {
  uint64_t address, generation;
  struct thin_node *node; /* NULL: never used */
  uint32_t next;          /* in its chain */
  uint8_t rounds;         /* that it survives */
  bool used;
};

struct shard {
  pthread_mutex_t lock;
  struct slot *slots;
  uint32_t *chains;
  uint32_t hand;
} __attribute__ ((aligned (64)));

struct thin_cache {
  struct shard shards[SHARDS];
  uint32_t slots;  /* of each */
  uint32_t chains; /* of each, a power of two */
};

static bool
shard_init (struct thin_cache *cache, struct shard *shard)
{
  uint32_t i;

  pthread_mutex_init (&shard->lock, NULL);
  shard->slots = calloc (cache->slots, sizeof *shard->slots);
  shard->chains = malloc (cache->chains * sizeof *shard->chains);
  if (shard->slots == NULL || shard->chains == NULL)
    return false;
  for (i = 0; i < cache->chains; i++)
    shard->chains[i] = NONE;
  return true;
}

struct thin_cache *
thin_cache_create (unsigned nodes)
{
  struct thin_cache *cache =
    aligned_alloc (_Alignof(struct thin_cache), sizeof *cache);
  unsigned i;
  bool ok = true;

  if (cache == NULL)
    return NULL;
  memset (cache, 0, sizeof *cache);
  cache->slots = nodes / SHARDS < LEAST_SLOTS ? LEAST_SLOTS : nodes / SHARDS;
  for (cache->chains = LEAST_SLOTS; cache->chains < cache->slots;)
    cache->chains *= 2;
  for (i = 0; i < SHARDS; i++)
    ok = shard_init (cache, &cache->shards[i]) && ok;
  if (!ok) {
    thin_cache_free (cache);
    return NULL;
  }
  return cache;
}

void
thin_cache_free (struct thin_cache *cache)
{
  uint32_t i, j;

  for (i = 0; i < SHARDS; i++) {
    struct shard *shard = &cache->shards[i];

    for (j = 0; shard->slots && j < cache->slots; j++)
      free (shard->slots[j].node);
    free (shard->slots);
    free (shard->chains);
    pthread_mutex_destroy (&shard->lock);
  }
  free (cache);
}

unsigned
thin_cache_nodes (const struct thin_cache *cache)
{
  return cache->slots * SHARDS;
}

/* Where it is, and has its chain: neighbours are in different shards. */
static struct shard *
shard_of (struct thin_cache *cache, uint64_t address, uint32_t **chain)
{
  struct shard *shard = &cache->shards[address % SHARDS];
  uint64_t hash = (address / SHARDS) * UINT64_C (0x9e3779b97f4a7c15);

  *chain = &shard->chains[(hash >> 32) & (cache->chains - 1)];
  return shard;
}

/* Locks the shard. */
static struct slot *
find (struct thin_cache *cache, struct shard **shard, uint64_t address,
      uint64_t generation)
{
  uint32_t *chain, i;

  *shard = shard_of (cache, address, &chain);
  pthread_mutex_lock (&(*shard)->lock);
  for (i = *chain; i != NONE; i = (*shard)->slots[i].next) {
    struct slot *slot = &(*shard)->slots[i];

    if (slot->address == address && slot->generation == generation)
      return slot;
  }
  return NULL;
}

bool
thin_cache_look (struct thin_cache *cache, uint64_t address,
                 uint64_t generation, thin_node_fn *fn, void *opaque)
{
  struct shard *shard;
  struct slot *slot = find (cache, &shard, address, generation);

  if (slot) {
    if (slot->rounds < MOST_ROUNDS)
      slot->rounds++;
    fn (slot->node, opaque);
  }
  pthread_mutex_unlock (&shard->lock);
  return slot != NULL;
}

static void
copy (const struct thin_node *node, void *opaque)
{
  memcpy (opaque, node, sizeof *node);
}

bool
thin_cache_copy (struct thin_cache *cache, uint64_t address,
                 uint64_t generation, struct thin_node *node)
{
  return thin_cache_look (cache, address, generation, copy, node);
}

bool
thin_cache_has (struct thin_cache *cache, uint64_t address, uint64_t generation)
{
  struct shard *shard;
  struct slot *slot = find (cache, &shard, address, generation);

  pthread_mutex_unlock (&shard->lock);
  return slot != NULL;
}

void
thin_cache_retire (struct thin_cache *cache, uint64_t address,
                   uint64_t generation)
{
  struct shard *shard;
  struct slot *slot = find (cache, &shard, address, generation);

  if (slot)
    slot->rounds = 0;
  pthread_mutex_unlock (&shard->lock);
}

/* Take slot i out of its chain. */
static void
unlink_slot (struct thin_cache *cache, struct shard *shard, uint32_t i)
{
  uint32_t *link;

  shard_of (cache, shard->slots[i].address, &link);
  while (*link != i)
    link = &shard->slots[*link].next;
  *link = shard->slots[i].next;
  shard->slots[i].used = false;
}

/* A slot for the address: the one that has it, or another. */
static uint32_t
make_room (struct thin_cache *cache, struct shard *shard, uint32_t chain,
           uint64_t address)
{
  uint32_t i;

  for (i = chain; i != NONE; i = shard->slots[i].next)
    if (shard->slots[i].address == address)
      break;
  while (i == NONE) {
    struct slot *slot = &shard->slots[shard->hand];

    if (!slot->used || slot->rounds == 0)
      i = shard->hand;
    else
      slot->rounds--;
    shard->hand = (shard->hand + 1) % cache->slots;
  }
  if (shard->slots[i].used)
    unlink_slot (cache, shard, i);
  return i;
}

void
thin_cache_put (struct thin_cache *cache, const struct thin_node *node,
                unsigned rounds)
{
  uint64_t address = thin_get64 (node->h.address);
  uint32_t *chain, i;
  struct shard *shard = shard_of (cache, address, &chain);
  struct slot *slot;

  pthread_mutex_lock (&shard->lock);
  i = make_room (cache, shard, *chain, address);
  slot = &shard->slots[i];
  if (slot->node == NULL)
    slot->node = malloc (sizeof *slot->node);
  if (slot->node) {
    memcpy (slot->node, node, sizeof *node);
    slot->address = address;
    slot->generation = thin_get64 (node->h.generation);
    slot->rounds = rounds < MOST_ROUNDS ? rounds : MOST_ROUNDS;
    slot->used = true;
    slot->next = *chain;
    *chain = i;
  }
  pthread_mutex_unlock (&shard->lock);
}

void
thin_cache_drop (struct thin_cache *cache, uint64_t address)
{
  uint32_t *chain, i;
  struct shard *shard = shard_of (cache, address, &chain);

  pthread_mutex_lock (&shard->lock);
  for (i = *chain; i != NONE && shard->slots[i].address != address;)
    i = shard->slots[i].next;
  if (i != NONE)
    unlink_slot (cache, shard, i);
  pthread_mutex_unlock (&shard->lock);
}

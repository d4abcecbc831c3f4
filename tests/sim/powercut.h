/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Power cuts, see powercut.c.  A run is the life of one disk under one seed:
 * power is switched on and cut again several times.
 */

#ifndef POWERCUT_H
#define POWERCUT_H

#include "cache/cache.h"
#include "model-medium.h"
#include "model-oracle.h"
#include "model-store.h"
#include "model-world.h"

#define MAX_CONNS 4
#define MAX_CLIENTS 12 /* of all connections */
#define MAX_REQUEST (1u << 20)

/* What may go wrong besides power cuts.  Bits. */
#define FAULT_WRITES 0x1u   /* writes, zeroes and trims of the store fail */
#define FAULT_READS 0x2u    /* its reads fail */
#define FAULT_FLUSHES 0x4u  /* its flushes fail */
#define FAULT_RESTARTS 0x8u /* it restarts, and forgets */
#define FAULT_OUTAGES 0x10u /* ... and is out of reach for too long */
#define FAULT_ALL 0x1fu

/* What one run is like, all of it by its seed. */
struct run_config {
  uint64_t disk_size;
  uint64_t cache_size;
  struct mapping_config mapping;
  struct model_store_config store;
  unsigned faults;
  unsigned zeroes; /* that may be pending; 0: as many as usual */
  unsigned conns, clients;
  bool visitor;      /* one client comes and goes */
  uint64_t think;    /* ns, most that a client waits between requests */
  uint64_t hot_size; /* bytes of the part of the disk that is written most */
  unsigned weights[7];
  uint64_t max_request; /* bytes, usually */
  unsigned fua;         /* percent of writes, zeroes and trims */
};

enum client_op {
  CLIENT_READ,
  CLIENT_WRITE,
  CLIENT_FLUSH,
  CLIENT_ZERO,
  CLIENT_TRIM,
  CLIENT_EXTENTS,
  CLIENT_PREFETCH,
};

/* The disk's format. */
enum run_format { RUN_RAW, RUN_SHUFFLE, RUN_THIN };

/* A snapshot of a thin disk, and what it holds. */
struct run_snapshot {
  char name[8];
  uint8_t *content;
};

#define MAX_SNAPSHOTS 3

struct run {
  struct world *world;
  enum run_format format;
  struct run_config config;
  struct medium *medium;
  struct oracle *oracle;

  /* Of this life. */
  struct model_store *store;
  struct fs *fs;
  struct cache *cache;
  struct mapping *mapping;
  struct conn *conns[MAX_CONNS];
  struct oracle_told told[MAX_CONNS + 1]; /* the last: a client that comes and
                                           * goes */
  bool ending;                            /* clients are to stop */
  bool cut;          /* power is off: nothing that happens counts */
  uint64_t cut_turn; /* power is cut at that turn ... */
  unsigned cut_sync; /* ... or when so many flushes have succeeded */
  unsigned clients;  /* that have not ended */
  struct model_timer mishap;
  uint64_t hot; /* bytes: where the hot part begins */

  uint64_t requests; /* that clients have made, in all */

  struct run_snapshot snapshots[MAX_SNAPSHOTS];
  unsigned nr_snapshots, serial; /* the latter: in the last one's name */
  bool tight;                    /* the store has no room for all of the disk */
  unsigned fan;                  /* of its nodes; 0: as usual */
};

extern void run_config_choose (struct run_config *config, struct rng *rng);

/* Something goes wrong every now and then, as the config says. */
extern void mishaps_start (struct run *run);

/* No more of that; what was wrong is well again. */
extern void mishaps_end (struct run *run);

/* May a request fail with this negative errno? */
extern bool mishap_excuses (const struct run *run, int error);

/* Start the clients, fibers that make requests until run->ending. */
extern void clients_start (struct run *run);

/* Read all of the disk and ask the oracle, as after a power cut. */
extern void client_verify (struct run *run);

/* Run a seed for so many power cuts.  Returns the hash of all that happened. */
extern uint64_t run_seed (uint64_t seed, unsigned cuts, bool trace,
                          enum run_format format);

/* End the program, with what has failed, if r is negative. */
extern void run_must (struct run *run, int r, const char *what);

/* --- of a thin disk; nothing of it is open */

/* Fit the config to it. */
extern void thin_fit (struct run *run);

/* How large its store is, by chance sometimes too small for all that is written. */
extern uint64_t thin_choose_store (struct run *run);

/* Make it, on a store that has power. */
extern void thin_make (struct run *run);

/* Nothing is wrong with it, and its snapshots are what they were. */
extern void thin_verify (struct run *run);

/* What is dirty has a place, or space reserved for one. */
extern void thin_check_reserved (struct run *run);

/* Make or delete a snapshot, perhaps; the disk holds what the oracle knows. */
extern void thin_take_snapshot (struct run *run);

/* Of the disk that runs: metadata always has room. */
extern void thin_watch (struct run *run);

extern void thin_forget (struct run *run);

#endif /* POWERCUT_H */

/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * race.c on a thin disk: making its image, and what is in it when power is cut.
 */

#ifndef RACE_THIN_H
#define RACE_THIN_H

#include "tests/sim/model-world.h"
#include "tests/unit/fake-store.h"

/* A store with an empty image of a disk of so many bytes; tight: it has not room for all
 * of it.
 */
extern struct fake_store *race_thin_create (struct env *env, struct rng *rng,
                                            uint64_t disk, bool tight);

/* Power is cut, whatever the server is at: what the disk holds then.  Ends the world if
 * anything is wrong with the image.
 */
extern void race_thin_crash (struct world *world, struct fake_store *fake,
                             uint64_t seed, uint64_t disk, uint8_t *content);

#endif /* RACE_THIN_H */

/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What goes wrong in a model store, by rule.
 */

#ifndef MODEL_FAULTS_H
#define MODEL_FAULTS_H

#include "fs/store.h"
#include "model-world.h"

#define MODEL_RULES 16
#define MODEL_FOR_EVER UINT32_MAX

/* Requests of `ops' (bits 1 << STORE_*) that overlap [offset, offset+length)
 * fail: not the first `skip' of them, then `count', with the percentage.
 */
struct model_rule {
  unsigned ops;
  uint64_t offset, length; /* bytes; length 0: everywhere; FLUSH is */
  int error;               /* a negative errno */
  uint32_t skip, count;    /* count: or MODEL_FOR_EVER */
  unsigned percent;        /* of those */
};

struct model_faults {
  struct model_rule rules[MODEL_RULES];
  unsigned nr_rules;
};

/* Ignored if there are too many. */
extern void faults_add (struct model_faults *faults,
                        const struct model_rule *rule);
extern void faults_heal (struct model_faults *faults);

/* The error for the request, which is done but for that; or 0. */
extern int faults_strike (struct model_faults *faults, struct world *w,
                          const struct store_req *req);

#endif /* MODEL_FAULTS_H */

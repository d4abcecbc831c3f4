/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is between the two parts of the store in a model world.
 */

#ifndef MODEL_STORE_IMPL_H
#define MODEL_STORE_IMPL_H

#include "model-store.h"

/* A request with the store. */
struct model_job {
  struct model_job *next;
  struct model_store *store;
  struct store_req *req;
  struct model_timer timer;
  uint64_t seq; /* of the medium, when it was submitted */
  bool spent;   /* it has had its effect, though it is not over */

  bool awaited; /* in submit; then it ends there: */
  _Atomic uint32_t over;
  int error;
};

/* ---- model-effect.c */

/* The request does what it does, or fails; returns 0 or a negative errno. */
extern int model_carry_out (struct model_store *s, const struct model_job *job);

/* It fails, or power is cut: some of it may be done all the same. */
extern void model_take_some_effect (struct model_store *s,
                                    const struct store_req *req);

#endif /* MODEL_STORE_IMPL_H */

/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Rules by which requests fail.
 */

#include "model-faults.h"

void
faults_add (struct model_faults *faults, const struct model_rule *rule)
{
  if (faults->nr_rules < MODEL_RULES)
    faults->rules[faults->nr_rules++] = *rule;
}

void
faults_heal (struct model_faults *faults)
{
  faults->nr_rules = 0;
}

static bool
matches (const struct model_rule *rule, const struct store_req *req)
{
  if (!(rule->ops & (1u << req->op)) || rule->count == 0)
    return false;
  if (rule->length == 0 || req->op == STORE_FLUSH)
    return true;
  return req->offset < rule->offset + rule->length &&
         rule->offset < req->offset + req->length;
}

static bool
strikes (struct model_rule *rule, struct world *w)
{
  if (rule->skip > 0) {
    rule->skip--;
    return false;
  }
  if (!world_chance (w, rule->percent))
    return false;
  if (rule->count != MODEL_FOR_EVER)
    rule->count--;
  return true;
}

int
faults_strike (struct model_faults *faults, struct world *w,
               const struct store_req *req)
{
  unsigned i;

  for (i = 0; i < faults->nr_rules; i++)
    if (matches (&faults->rules[i], req) && strikes (&faults->rules[i], w))
      return faults->rules[i].error;
  return 0;
}

/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What commits may take.
 */

#ifndef FOLIO_THIN_COST_H
#define FOLIO_THIN_COST_H

#include "fs/thin/meta-impl.h"

/* With so many blocks in chunks no commit needs more, before or after so many more ranges.
 * m->lock held.
 */
extern uint64_t thin_cost_peak (const struct thin_meta *m, uint64_t ops);

#endif /* FOLIO_THIN_COST_H */

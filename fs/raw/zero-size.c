/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * How much to zero at once: see zero-size.h.
 */

#include "fs/env.h"
#include "fs/raw/zero-size.h"

/* ns beyond the way there: as good as nothing, and too much. */
#define QUICK (2 * NSEC_PER_MSEC)
#define SLOW (20 * NSEC_PER_MSEC)

/* ns: nearer than this more at once saves nothing. */
#define FAR (NSEC_PER_MSEC / 2)

void
zero_size_took (struct zero_size *size, uint64_t bytes, uint64_t took)
{
  uint64_t more;

  if (took < size->way)
    size->way = took;
  more = took - size->way;
  if (more > SLOW)
    size->bytes = ZERO_SIZE_MIN;
  else if (more <= QUICK && size->way >= FAR && bytes >= size->bytes &&
           size->bytes < ZERO_SIZE_MAX)
    size->bytes *= 2;
}

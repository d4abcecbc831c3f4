/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The latest requests of a test.  See history.h.
 */

#include <stdlib.h>
#include <string.h>

#include "history.h"
#include "util.h"

/* How many requests a story has at most. */
#define STORY_MAX 32

/* Bytes looked at to tell which write they come from. */
#define GLIMPSE 64

void
history_init (struct history *history)
{
  pthread_mutex_init (&history->lock, NULL);
  history->next_id = 1;
  history->ops = xcalloc (HISTORY_MAX, sizeof *history->ops);
}

void
history_free (struct history *history)
{
  pthread_mutex_destroy (&history->lock);
  free (history->ops);
  history->ops = NULL;
}

void
history_begin (struct history *history, struct op *op)
{
  pthread_mutex_lock (&history->lock);
  op->id = history->next_id++;
  op->ended = 0;
  history->ops[op->id % HISTORY_MAX] = *op;
  pthread_mutex_unlock (&history->lock);
}

void
history_end (struct history *history, struct op *op)
{
  struct op *kept = &history->ops[op->id % HISTORY_MAX];

  pthread_mutex_lock (&history->lock);
  op->ended = history->next_id - 1;
  if (kept->id == op->id)
    kept->ended = op->ended;
  pthread_mutex_unlock (&history->lock);
}

/* Are the bytes at offset what op left there? */
static bool
explains (const struct op *op, uint64_t offset, const uint8_t *got, size_t n)
{
  uint8_t buf[GLIMPSE];
  uint64_t room = op->offset + op->length - offset;

  if (!op_modifies (op))
    return false;
  n = n < sizeof buf ? n : sizeof buf;
  n = n < room ? n : (size_t) room;
  op_content (op, offset, buf, n);
  return memcmp (buf, got, n) == 0;
}

static bool
touches (const struct op *op, uint64_t offset)
{
  return op->offset <= offset && offset < op->offset + op->length;
}

/* Collect, newest first, the requests worth telling. */
static size_t
collect (struct history *history, uint64_t offset, const struct op **story)
{
  uint64_t id = history->next_id;
  size_t n = 0;
  bool flushed = false;

  while (n < STORY_MAX && --id > 0) {
    const struct op *op = &history->ops[id % HISTORY_MAX];

    if (op->id != id)
      break;
    if (touches (op, offset)) {
      story[n++] = op;
      flushed = false;
    }
    else if (op->kind == OP_FLUSH && !flushed) {
      story[n++] = op;
      flushed = true;
    }
  }
  return n;
}

void
history_tell (struct history *history, FILE *fp, uint64_t offset,
              const uint8_t *got, size_t n)
{
  const struct op *story[STORY_MAX];
  size_t i;

  pthread_mutex_lock (&history->lock);
  i = collect (history, offset, story);
  fprintf (fp, "  what happened there, oldest first (#begin-#end):\n");
  while (i-- > 0) {
    fprintf (fp, "    ");
    op_print (fp, story[i]);
    if (got && touches (story[i], offset) &&
        explains (story[i], offset, got, n))
      fprintf (fp, "   <- leaves what was found");
    fputc ('\n', fp);
  }
  pthread_mutex_unlock (&history->lock);
}

void
history_save (struct history *history, int fd, const char *path)
{
  uint64_t newest = history->next_id - 1;
  uint64_t first = newest >= HISTORY_MAX ? newest - HISTORY_MAX + 1 : 1;
  uint64_t id;

  write_all (fd, path, &history->next_id, sizeof history->next_id);
  for (id = first; id <= newest;) {
    uint64_t at = id % HISTORY_MAX;
    uint64_t n = HISTORY_MAX - at;

    n = n < newest - id + 1 ? n : newest - id + 1;
    write_all (fd, path, &history->ops[at], n * sizeof history->ops[0]);
    id += n;
  }
}

void
history_load (struct history *history, int fd, const char *path)
{
  uint64_t newest, id;

  read_all (fd, path, &history->next_id, sizeof history->next_id);
  newest = history->next_id - 1;
  id = newest >= HISTORY_MAX ? newest - HISTORY_MAX + 1 : 1;
  for (; id <= newest;) {
    uint64_t at = id % HISTORY_MAX;
    uint64_t n = HISTORY_MAX - at;

    n = n < newest - id + 1 ? n : newest - id + 1;
    read_all (fd, path, &history->ops[at], n * sizeof history->ops[0]);
    id += n;
  }
}

/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The pool of an index's nodes, and the index lock.
 *
 * Nodes never used are taken from low addresses up, used ones last in, first
 * out.  Nodes taken out of the tree go through one grace period in batches: one
 * rcu_head an index, under way or not; what is retired meanwhile makes the next
 * batch.
 */

#include <errno.h>

#include "cache/index/index-node.h"
#include "cache/base/lazy-map.h"
#include "cache/base/lock-order.h"

size_t
index_node_size (void)
{
  return sizeof (struct index_node);
}

uint32_t
index_free_nodes (struct index *index)
{
  return atomic_load_explicit (&index->nr_free, memory_order_relaxed);
}

static void
add_free (struct index *index, uint32_t count)
{
  uint32_t n = atomic_load_explicit (&index->nr_free, memory_order_relaxed);

  atomic_store_explicit (&index->nr_free, n + count, memory_order_relaxed);
}

void
index_lock (struct index *index)
{
  lock_order_took (RANK_INDEX);
  pthread_mutex_lock (&index->lock);
}

void
index_unlock (struct index *index)
{
  pthread_mutex_unlock (&index->lock);
  lock_order_gave (RANK_INDEX);
}

/* --- lists --- */

static void
list_push (struct index *index, struct node_list *list, struct index_node *node)
{
  uint32_t number = node_number (index, node);

  node->link = list->first;
  list->first = number;
  if (list->count++ == 0)
    list->last = number;
}

/* Move all of `from' to the front of `to'. */
static void
list_splice (struct index *index, struct node_list *to, struct node_list *from)
{
  if (from->count == 0)
    return;
  index->nodes[from->last].link = to->first;
  if (to->count == 0)
    to->last = from->last;
  to->first = from->first;
  to->count += from->count;
  *from = (struct node_list) { 0 };
}

static struct index_node *
list_pop (struct index *index, struct node_list *list)
{
  struct index_node *node = &index->nodes[list->first];

  list->first = node->link;
  list->count--;
  return node;
}

/* --- allocation; index lock held --- */

struct index_node *
node_alloc (struct index *index, uint64_t base, unsigned shift)
{
  struct index_node *node;

  if (index->unused.count > 0)
    node = list_pop (index, &index->unused);
  else if (index->fresh <= index->max_nodes)
    node = &index->nodes[index->fresh++];
  else
    return NULL;
  add_free (index, -1u);

  /* Relaxed: node_write makes the node known after this. */
  for (unsigned i = 0; i < NR_SLOTS; i++)
    atomic_store_explicit (&node->slots[i], 0, memory_order_relaxed);
  bits_write (&node->present, 0);
  for (unsigned tag = 0; tag < NR_TAGS; tag++)
    bits_write (&node->tags[tag], 0);
  node->base = base;
  node->shift = shift;
  node->in_tree = true;
  return node;
}

/* --- grace periods --- */

static void grace_ended (struct rcu_head *head);

/* Index lock held. */
static void
begin_grace (struct index *index)
{
  if (index->in_grace || index->closing || index->retired.count == 0)
    return;
  index->in_grace = true;
  list_splice (index, &index->waiting, &index->retired);
  rcu_call (&index->rcu_head, grace_ended);
}

static void
grace_ended (struct rcu_head *head)
{
  struct index *index = caa_container_of (head, struct index, rcu_head);

  rcu_called (head);
  index_lock (index);
  add_free (index, index->waiting.count);
  list_splice (index, &index->unused, &index->waiting);
  index->in_grace = false;
  begin_grace (index);
  if (index->closing)
    pthread_cond_broadcast (&index->grace_over);
  index_unlock (index); /* the last that is done here: see node_pool_destroy */
}

void
node_retire (struct index *index, struct index_node *node)
{
  node->in_tree = false;
  list_push (index, &index->retired, node);
  begin_grace (index);
}

void
index_reclaim_nodes (struct index *index)
{
  struct node_list nodes = { 0 };

  /* The batch under way may be taken too: grace_ended then finds none. */
  index_lock (index);
  list_splice (index, &nodes, &index->retired);
  list_splice (index, &nodes, &index->waiting);
  index_unlock (index);

  rcu_wait ();

  index_lock (index);
  add_free (index, nodes.count);
  list_splice (index, &index->unused, &nodes);
  index_unlock (index);
}

/* --- the pool --- */

static size_t
pool_bytes (const struct index *index)
{
  return ((size_t) index->max_nodes + 1) * sizeof (struct index_node);
}

int
node_pool_create (struct index *index)
{
  index->nodes = lazy_map (pool_bytes (index));
  if (index->nodes == NULL)
    return -ENOMEM;
  node_root (index)->shift = ROOT_SHIFT;
  index->fresh = NODE_ROOT + 1;
  atomic_init (&index->nr_free, index->max_nodes);
  pthread_cond_init (&index->grace_over, NULL);
  return 0;
}

void
node_pool_destroy (struct index *index)
{
  index_lock (index);
  index->closing = true;
  while (index->in_grace)
    pthread_cond_wait (&index->grace_over, &index->lock);
  index_unlock (index);
  pthread_cond_destroy (&index->grace_over);
  lazy_unmap (index->nodes, pool_bytes (index));
}

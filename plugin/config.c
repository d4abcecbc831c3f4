/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The parameters: their table, and what is done by it.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/nbd/uri.h"
#include "plugin/config.h"
#include "plugin/format.h"
#include "plugin/listen.h"
#include "plugin/parse.h"
#include "plugin/store-name.h"

#define KIB UINT64_C (1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
/* What the cache takes, to the GiB: the number of its pages fits 31 bits. */
#define CACHE_SIZE_MAX (8 * TIB - GIB)
#define DAY (86400 * NSEC_PER_SEC)

enum kind {
  STORE,
  NAME,
  SIZE,
  SIZE_OR_0,
  POWER_OF_2,
  NUMBER,
  TIME,
  CHOICE,
  ADDRESS,
  PATH
};

static const char *const stores[] = { "file",
#ifdef HAVE_LIBNBD
                                      "nbd",
#endif
                                      NULL };
/* In the order of enum cache_mode, enum direct_mode and enum file_io. */
static const char *const cache_modes[] = { "writeback", "writethrough", "none",
                                           NULL };
static const char *const direct_modes[] = { "auto", "on", "off", NULL };
static const char *const no_yes[] = { "no", "yes", NULL };
static const char *const io_modes[] = { "auto", "uring", "threads", NULL };

static const char *const off_or_on[] = { "off", "on", NULL };

/* X (field of struct config, key, what is to be given, default, kind, lowest,
 *    highest, choices, help)
 *
 * The default is parsed like a value from the command line, unless it says
 * REQUIRED or NONE.
 */
#define REQUIRED "required"
#define NONE "none"
#define PARAMETERS(X)                                                          \
  X (store, "store", "STORE", REQUIRED, STORE, 0, 0, NULL,                     \
     "the file or block device to serve, PATH or file:PATH, or the NBD\n"      \
     "    server, nbd://HOST/EXPORT, nbds://, nbd+unix:// or nbds+unix://;\n"  \
     "    \"store=\" may be left out")                                         \
  X (create, "create", "SIZE", NONE, SIZE, 1, INT64_MAX, NULL,                 \
     "make a sparse file of this size if there is none")                       \
  X (fs, "fs", "raw|thin", "raw", CHOICE, 0, 0, format_names,                  \
     "how the disk lies on the store; raw: byte for byte; thin: in an image")  \
  X (snapshot, "snapshot", "NAME", NONE, NAME, 0, 0, NULL,                     \
     "serve this snapshot of a thin image, read-only")                         \
  X (cache_size, "cache-size", "SIZE", "256M", SIZE, CACHE_SIZE_MIN,           \
     CACHE_SIZE_MAX, NULL, "memory for folios")                                \
  X (cache, "cache", "writeback|writethrough|none", "writeback", CHOICE, 0, 0, \
     cache_modes,                                                              \
     "when writes are acknowledged: from memory, when the store has\n"         \
     "    them, or without any caching")                                       \
  X (dirty_ratio, "dirty-ratio", "PERCENT", "40", NUMBER, 1, 100, NULL,        \
     "how much of cache-size may wait to be written back")                     \
  X (dirty_bytes, "dirty-bytes", "SIZE", NONE, SIZE, 4 * KIB, CACHE_SIZE_MAX,  \
     NULL, "the same in bytes, instead of dirty-ratio")                        \
  X (dirty_background_ratio, "dirty-background-ratio", "PERCENT", "10",        \
     NUMBER, 0, 100, NULL, "above how much of cache-size writing back begins") \
  X (dirty_background_bytes, "dirty-background-bytes", "SIZE", NONE,           \
     SIZE_OR_0, 4 * KIB, CACHE_SIZE_MAX, NULL,                                 \
     "the same in bytes, instead of dirty-background-ratio")                   \
  X (dirty_expire, "dirty-expire", "SECONDS", "30", TIME, 10 * NSEC_PER_MSEC,  \
     DAY, NULL, "data is written back when dirty for so long")                 \
  X (writeback_interval, "writeback-interval", "SECONDS", "5", TIME,           \
     10 * NSEC_PER_MSEC, DAY, NULL, "how often to look for such data")         \
  X (flush_target, "flush-target", "SECONDS", "10", TIME, 0, DAY, NULL,        \
     "no more data waits to be written back than the store can write in\n"     \
     "    so long; 0: as much as the dirty limit allows")                      \
  X (folio_max, "folio-max", "SIZE", "2M", POWER_OF_2, 4 * KIB, 2 * MIB, NULL, \
     "the largest folio")                                                      \
  X (preallocate, "preallocate", "off|on", "off", CHOICE, 0, 0, off_or_on,     \
     "take and lock all memory at start, for clients on the same host")        \
  X (readahead, "readahead", "SIZE", "1M", SIZE_OR_0, 4 * KIB, GIB, NULL,      \
     "the largest readahead window; 0: no readahead")                          \
  X (sequential_cutoff, "sequential-cutoff", "SIZE", "0", SIZE_OR_0, 4 * KIB,  \
     INT64_MAX, NULL,                                                          \
     "sequential streams longer than this bypass the cache; 0: none do")       \
  X (direct, "direct", "auto|on|off", "auto", CHOICE, 0, 0, direct_modes,      \
     "open the store with O_DIRECT; auto: if it can")                          \
  X (io, "io", "auto|uring|threads", "auto", CHOICE, 0, 0, io_modes,           \
     "what does the store's I/O: io_uring or threads; auto: io_uring if it\n"  \
     "    is permitted")                                                       \
  X (io_depth, "io-depth", "NUMBER", "32", NUMBER, 1, 1024, NULL,              \
     "requests in flight at the store")                                        \
  X (connections, "connections", "NUMBER", "4", NUMBER, 1, 64, NULL,           \
     "connections to an NBD server, if it allows several")                     \
  X (retry, "retry", "SECONDS", "30", TIME, 0, DAY, NULL,                      \
     "an NBD server may be out of reach for so long before requests fail")     \
  X (unsafe_no_flush, "unsafe-no-flush", "no|yes", "no", CHOICE, 0, 0, no_yes, \
     "serve an NBD server that can make nothing durable, at your own risk")    \
  X (shutdown_timeout, "shutdown-timeout", "SECONDS", "60", TIME, 0, DAY,      \
     NULL,                                                                     \
     "at the end, what the store does not take for so long is lost;\n"         \
     "    0: wait for ever")                                                   \
  X (metrics, "metrics", "[ADDRESS:]PORT|unix:PATH", NONE, ADDRESS, 0, 0,      \
     NULL,                                                                     \
     "serve counters for Prometheus at http://ADDRESS:PORT/metrics, by\n"      \
     "    default on 127.0.0.1, or on a socket in the file system")            \
  X (control, "control", "PATH", NONE, PATH, 0, 0, NULL,                       \
     "a socket by which the running server is asked and told things, see\n"    \
     "    folioctl(1)")

struct param {
  const char *key, *fallback;
  size_t field; /* offset in struct config */
  enum kind kind;
  uint64_t min, max;
  const char *const *choices;
};

#define AS_PARAM(field, key, arg, fallback, kind, min, max, choices, help)     \
  { key, fallback, offsetof (struct config, field), kind, min, max, choices },
static const struct param params[] = { PARAMETERS (AS_PARAM) };
#define NR_PARAMS (sizeof params / sizeof params[0])

#define AS_HELP(field, key, arg, fallback, kind, min, max, choices, help)      \
  key "=" arg " (" fallback ")\n    " help "\n"
const char config_help[] =
  "Parameters, each with its default:\n" PARAMETERS (AS_HELP);

static const struct param *
find (const char *key)
{
  size_t i;

  for (i = 0; i < NR_PARAMS; i++) {
    if (strcmp (params[i].key, key) == 0)
      return &params[i];
  }
  return NULL;
}

static uint64_t *
number_of (struct config *config, const struct param *param)
{
  return (uint64_t *) ((char *) config + param->field);
}

static uint32_t
bit_of (const struct param *param)
{
  return UINT32_C (1) << (param - params);
}

bool
config_given (const struct config *config, const char *key)
{
  return (config->given & bit_of (find (key))) != 0;
}

void
config_forget (struct config *config, const char *key)
{
  config->given &= ~bit_of (find (key));
}

/* --- what is wrong with a value --- */

static void
print_list (FILE *fp, const char *const *words, const char *separator)
{
  const char *between = "";

  for (; *words; words++, between = separator)
    fprintf (fp, "%s%s", between, *words);
}

static void
print_sizes (FILE *fp, const struct param *param)
{
  char buf[24];

  format_size (buf, sizeof buf, param->min);
  fputs (buf, fp);
  if (param->max == INT64_MAX) {
    fputs (" or more", fp);
    return;
  }
  format_size (buf, sizeof buf, param->max);
  fprintf (fp, " to %s", buf);
}

static void
print_allowed (FILE *fp, const struct param *param)
{
  static const char units[] = " (a whole number of bytes, or with b, s, k, M,"
                              " G, T, P or E after it)";
  char min[24], max[24];

  switch (param->kind) {
  case SIZE:
    print_sizes (fp, param);
    fputs (units, fp);
    break;
  case SIZE_OR_0:
    fputs ("0, or ", fp);
    print_sizes (fp, param);
    fputs (units, fp);
    break;
  case POWER_OF_2:
    fputs ("a power of two, ", fp);
    print_sizes (fp, param);
    break;
  case NUMBER:
    fprintf (fp, "a whole number, %" PRIu64 " to %" PRIu64, param->min,
             param->max);
    break;
  case TIME:
    format_time (min, sizeof min, param->min);
    format_time (max, sizeof max, param->max);
    fprintf (fp, "%s to %s (seconds, or with ms after it)", min, max);
    break;
  case CHOICE: print_list (fp, param->choices, ", "); break;
  case ADDRESS: fputs ("[ADDRESS:]PORT or unix:PATH", fp); break;
  case PATH: fputs ("a path in a folder that there is", fp); break;
  case NAME: fputs ("the name of a snapshot that there is", fp); break;
  case STORE: fputs (store_name_allowed, fp);
  }
}

/* Write into err through a stream, as nothing can go wrong there but that it
 * is cut short.
 */
static FILE *
open_message (char *err)
{
  err[0] = '\0';
  err[CONFIG_ERROR_MAX - 1] = '\0';
  return fmemopen (err, CONFIG_ERROR_MAX - 1, "w");
}

static int
refuse (char *err, const struct param *param, const char *value,
        const char *what)
{
  FILE *fp = open_message (err);

  if (fp == NULL)
    return -ENOMEM;
  fprintf (fp, "%s=%.100s: %s; allowed: ", param->key, value, what);
  print_allowed (fp, param);
  fclose (fp);
  return -EINVAL;
}

static int
refuse_key (char *err, const char *key)
{
  FILE *fp = open_message (err);
  const char *nearest = NULL;
  unsigned best = strlen (key) / 3 + 1; /* more wrong than that: not meant */
  size_t i;

  if (fp == NULL)
    return -ENOMEM;
  for (i = 0; i < NR_PARAMS; i++) {
    unsigned distance = edit_distance (key, params[i].key);

    if (distance < best) {
      best = distance;
      nearest = params[i].key;
    }
  }
  fprintf (fp, "unknown key '%.100s'", key);
  if (nearest)
    fprintf (fp, ", did you mean '%s'?", nearest);
  fputs ("; allowed: ", fp);
  for (i = 0; i < NR_PARAMS; i++)
    fprintf (fp, "%s%s", i ? ", " : "", params[i].key);
  fclose (fp);
  return -EINVAL;
}

/* --- taking values --- */

static const char *
explain (enum parse_result r)
{
  switch (r) {
  case PARSE_OK: return NULL;
  case PARSE_NOT_A_NUMBER: return "not a whole number";
  case PARSE_SUFFIX: return "wrong suffix";
  case PARSE_TOO_BIG: return "too big";
  }
  return "wrong";
}

static bool
in_range (const struct param *param, uint64_t n)
{
  if (param->kind == SIZE_OR_0 && n == 0)
    return true;
  if (param->kind == POWER_OF_2 && (n & (n - 1)))
    return false;
  return n >= param->min && n <= param->max;
}

/* Returns what is wrong, or NULL and the number. */
static const char *
parse_value (const struct param *param, const char *value, uint64_t *number)
{
  enum parse_result r;

  switch (param->kind) {
  case NUMBER: r = parse_number (value, number); break;
  case TIME: r = parse_time (value, number); break;
  default: r = parse_size (value, number); break;
  }
  if (r != PARSE_OK)
    return explain (r);
  return in_range (param, *number) ? NULL : "out of range";
}

static const char *
parse_choice (const struct param *param, const char *value, uint64_t *number)
{
  uint64_t i;

  for (i = 0; param->choices[i]; i++) {
    if (strcmp (param->choices[i], value) == 0) {
      *number = i;
      return NULL;
    }
  }
  return param->choices == format_names ? "not a format in this build"
                                        : "unknown value";
}

static int
set_text (struct config *config, const struct param *param, const char *value,
          char *err)
{
  char *copy = strdup (value);

  if (copy == NULL) {
    snprintf (err, CONFIG_ERROR_MAX, "%s: out of memory", param->key);
    return -ENOMEM;
  }
  *(char **) ((char *) config + param->field) = copy;
  config->given |= bit_of (param);
  return 0;
}

static int
set_store (struct config *config, const struct param *param, const char *value,
           char *err)
{
  const char *wrong = store_name_wrong (value);

  if (wrong)
    return refuse (err, param, value, wrong);
  config->nbd = nbd_store_is_uri (value);
  return set_text (config, param, store_name_rest (value), err);
}

/* Where to listen. */
static int
set_address (struct config *config, const struct param *param,
             const char *value, char *err)
{
  const char *wrong = param->kind == ADDRESS ? listen_wrong (value)
                      : value[0]             ? NULL
                                             : "no path given";

#ifndef HAVE_MICROHTTPD
  if (param->kind == ADDRESS)
    wrong = "not in this build (libmicrohttpd was missing)";
#endif
#ifndef HAVE_JANSSON
  if (param->kind == PATH)
    wrong = "not in this build (jansson was missing)";
#endif
  return wrong ? refuse (err, param, value, wrong)
               : set_text (config, param, value, err);
}

/* Which of two values was meant is not to be guessed. */
static int
refuse_twice (char *err, const struct param *param, const char *value)
{
  snprintf (err, CONFIG_ERROR_MAX,
            "%s=%.100s: %s is given a second time; allowed: once", param->key,
            value, param->key);
  return -EINVAL;
}

static int
set_param (struct config *config, const struct param *param, const char *value,
           char *err)
{
  const char *wrong;
  uint64_t number;

  if (param->kind == STORE)
    return set_store (config, param, value, err);
  if (param->kind == ADDRESS || param->kind == PATH)
    return set_address (config, param, value, err);
  if (param->kind == NAME)
    return value[0] ? set_text (config, param, value, err)
                    : refuse (err, param, value, "no name given");
  wrong = param->kind == CHOICE ? parse_choice (param, value, &number)
                                : parse_value (param, value, &number);
  if (wrong)
    return refuse (err, param, value, wrong);
  *number_of (config, param) = number;
  config->given |= bit_of (param);
  return 0;
}

int
config_set (struct config *config, const char *key, const char *value,
            char *err)
{
  const struct param *param = find (key);

  if (param == NULL)
    return refuse_key (err, key);
  if (config->given & bit_of (param))
    return refuse_twice (err, param, value);
  return set_param (config, param, value, err);
}

static bool
has_default (const struct param *param)
{
  return strcmp (param->fallback, REQUIRED) && strcmp (param->fallback, NONE);
}

void
config_init (struct config *config)
{
  char err[CONFIG_ERROR_MAX];
  size_t i;

  memset (config, 0, sizeof *config);
  for (i = 0; i < NR_PARAMS; i++) {
    if (has_default (&params[i]))
      set_param (config, &params[i], params[i].fallback, err);
  }
  config->given = 0;
}

void
config_free (struct config *config)
{
  free (config->store);
  free (config->snapshot);
  free (config->metrics);
  free (config->control);
  config->store = config->snapshot = NULL;
  config->metrics = config->control = NULL;
}

void
config_dump (FILE *fp)
{
  size_t i;

  fputs ("stores=", fp);
  print_list (fp, stores, ",");
  fputs ("\nformats=", fp);
  print_list (fp, format_names, ",");
  fputs ("\nio=", fp);
  print_list (fp, io_modes + 1, ",");
  fputc ('\n', fp);
  for (i = 0; i < NR_PARAMS; i++)
    fprintf (fp, "default_%s=%s\n", params[i].key, params[i].fallback);
}

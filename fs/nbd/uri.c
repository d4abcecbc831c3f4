/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * NBD URIs, as far as they concern more than libnbd: which they are, and their
 * parameters.  Here also when there is no libnbd, to be able to say so.
 *
 * https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/nbd/uri.h"

static const char *const schemes[] = { "nbd://", "nbds://", "nbd+unix://",
                                       "nbds+unix://" };

/* The parameters of the query that there are, all of them paths. */
enum { SOCKET, CERTIFICATES, PSK_FILE, NR_PATHS };
static const char *const paths[NR_PATHS] = { "socket", "tls-certificates",
                                             "tls-psk-file" };

#define LENGTH(array) (sizeof (array) / sizeof (array)[0])

bool
nbd_store_is_uri (const char *name)
{
  size_t i;

  for (i = 0; i < LENGTH (schemes); i++) {
    if (strncmp (name, schemes[i], strlen (schemes[i])) == 0)
      return true;
  }
  return false;
}

/* The value of a hexadecimal digit, -1 if it is none. */
static int
hex_digit (char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character that text begins with, and behind it, where the next is. */
static char
decode (const char *text, const char **next)
{
  int high, low;

  *next = text + 1;
  if (text[0] != '%' || (high = hex_digit (text[1])) < 0 ||
      (low = hex_digit (text[2])) < 0)
    return text[0];
  *next = text + 3;
  return (char) (high << 4 | low);
}

/* Does text, up to end, say this word? */
static bool
says (const char *text, const char *end, const char *word)
{
  while (text < end && *word && decode (text, &text) == *word)
    word++;
  return text == end && *word == '\0';
}

/* Which of paths has the name in [name, end)?  NR_PATHS: none. */
static size_t
which_path (const char *name, const char *end)
{
  size_t i;

  for (i = 0; i < NR_PATHS && !says (name, end, paths[i]); i++)
    ;
  return i;
}

struct parameter {
  const char *name, *name_end;
  const char *value; /* or NULL */
  const char *end;
};

/* The next parameter at *text, which moves on behind it. */
static bool
next_parameter (const char **text, struct parameter *p)
{
  *text += strspn (*text, "&");
  p->name = *text;
  p->end = *text + strcspn (*text, "&#");
  p->value = memchr (p->name, '=', p->end - p->name);
  p->name_end = p->value ? p->value : p->end;
  if (p->value)
    p->value++;
  *text = p->end;
  return p->end > p->name;
}

static const char *
query_of (const char *uri)
{
  const char *query = uri + strcspn (uri, "?#");

  return *query == '?' ? query + 1 : "";
}

/* Whatever might mean something else in a URI goes there encoded. */
static void
print_encoded (FILE *fp, const char *path)
{
  static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "0123456789-._~/";

  for (; *path; path++) {
    if (strchr (plain, *path))
      fputc (*path, fp);
    else
      fprintf (fp, "%%%02X", (unsigned char) *path);
  }
}

static bool
print_directory (FILE *fp)
{
  char *directory = getcwd (NULL, 0);

  if (directory == NULL)
    return false;
  print_encoded (fp, directory);
  if (strcmp (directory, "/") != 0)
    fputc ('/', fp);
  free (directory);
  return true;
}

/* Does it name a path, which is relative? */
static bool
is_relative (const struct parameter *p)
{
  const char *next;

  return p->value && p->value < p->end && decode (p->value, &next) != '/' &&
         which_path (p->name, p->name_end) < NR_PATHS;
}

/* False: there is no current directory. */
static bool
print_absolute (FILE *fp, const char *uri)
{
  const char *text = query_of (uri);
  struct parameter p;

  while (next_parameter (&text, &p)) {
    if (!is_relative (&p))
      continue;
    fwrite (uri, 1, p.value - uri, fp);
    if (!print_directory (fp))
      return false;
    uri = p.value;
  }
  fputs (uri, fp);
  return true;
}

char *
nbd_store_absolute_uri (const char *uri)
{
  char *absolute = NULL;
  size_t size;
  FILE *fp = open_memstream (&absolute, &size);
  int error = 0;

  if (fp == NULL)
    return NULL;
  if (!print_absolute (fp, uri))
    error = errno;
  if (fclose (fp) != 0 && error == 0)
    error = errno;
  if (error == 0)
    return absolute;
  free (absolute);
  errno = error;
  return NULL;
}

/* --------------------------------------------------------------- parameters */

/* What is wrong with a parameter that there is, or NULL. */
static const char *
fault_of (const struct parameter *p, bool tls, bool again, bool needs_tls)
{
  /* libnbd takes it for a & if there is no &. */
  if (memchr (p->name, ';', p->end - p->name))
    return "is followed by a ;, which in a path is written as %3B; parameters "
           "are separated by &";
  if (p->value == NULL || p->value == p->end)
    return "has no value; it is to be a path";
  if (again)
    return "is there twice; once is allowed";
  if (needs_tls && !tls)
    return "is only for nbds:// and nbds+unix://";
  return NULL;
}

bool
nbd_store_check_uri (const char *uri, char *why, size_t size)
{
  bool tls = strncmp (uri, "nbds", 4) == 0, seen[NR_PATHS] = { false };
  const char *text = query_of (uri), *fault;
  struct parameter p;
  size_t i;

  while (next_parameter (&text, &p)) {
    i = which_path (p.name, p.name_end);
    fault = i == NR_PATHS ? "is no parameter; there are socket, "
                            "tls-certificates and tls-psk-file"
                          : fault_of (&p, tls, seen[i], i != SOCKET);
    if (fault) {
      snprintf (why, size, "%.*s %s", (int) (p.name_end - p.name), p.name,
                fault);
      return false;
    }
    seen[i] = true;
  }
  if (!seen[CERTIFICATES] || !seen[PSK_FILE])
    return true;
  snprintf (why, size,
            "there can be tls-certificates or tls-psk-file, not both");
  return false;
}

int
nbd_store_tls_paths (const char *uri, char **certificates, bool *psk)
{
  const char *text = query_of (uri), *from;
  struct parameter p;
  char *to;

  *certificates = NULL;
  *psk = false;
  while (next_parameter (&text, &p)) {
    if (says (p.name, p.name_end, paths[PSK_FILE]))
      *psk = true;
    if (!says (p.name, p.name_end, paths[CERTIFICATES]) || p.value == NULL)
      continue;
    free (*certificates);
    to = *certificates = malloc (p.end - p.value + 1);
    if (to == NULL)
      return -ENOMEM;
    for (from = p.value; from < p.end;)
      *to++ = decode (from, &from);
    *to = '\0';
  }
  return 0;
}

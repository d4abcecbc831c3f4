/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * NBD URIs, as far as they concern more than libnbd: which they are, and the
 * paths in them.  Here also when there is no libnbd, to be able to say so.
 *
 * https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store-nbd.h"

static const char *const schemes[] = { "nbd://", "nbds://", "nbd+unix://",
                                       "nbds+unix://" };

/* Parameters of the query that are paths. */
static const char *const paths[] = { "socket", "tls-certificates",
                                     "tls-psk-file" };

#define LENGTH(array) (sizeof (array) / sizeof (array)[0])

bool
store_nbd_is_uri (const char *name)
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

/* Is the parameter in [text, end), a relative path?  Returns where its path
 * begins, or NULL.
 */
static const char *
relative_path (const char *text, const char *end)
{
  const char *equals = memchr (text, '=', end - text), *next;
  size_t i;

  if (equals == NULL || equals + 1 == end || decode (equals + 1, &next) == '/')
    return NULL;
  for (i = 0; i < LENGTH (paths); i++) {
    if (says (text, equals, paths[i]))
      return equals + 1;
  }
  return NULL;
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

/* One parameter of the query, and what separates it from the next.  Returns
 * where that begins, or NULL: there is no current directory.
 */
static const char *
print_parameter (FILE *fp, const char *text, const char *query_end)
{
  const char *end = text + strcspn (text, "&;#");
  const char *path = relative_path (text, end);

  if (path) {
    fwrite (text, 1, path - text, fp);
    if (!print_directory (fp))
      return NULL;
    text = path;
  }
  if (end < query_end)
    end++;
  fwrite (text, 1, end - text, fp);
  return end;
}

static bool
print_absolute (FILE *fp, const char *uri)
{
  const char *query_end = uri + strcspn (uri, "#");
  const char *text = memchr (uri, '?', query_end - uri);

  text = text ? text + 1 : query_end;
  fwrite (uri, 1, text - uri, fp);
  while (text && text < query_end)
    text = print_parameter (fp, text, query_end);
  if (text)
    fputs (text, fp);
  return text != NULL;
}

char *
store_nbd_absolute_uri (const char *uri)
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

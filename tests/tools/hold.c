/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * An idle client: connect, do what the options say in their order, print
 * "ready", then stay connected until standard input ends.
 */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

#include "util.h"

/* Bytes sent in one request. */
#define CHUNK (1 << 20)

static const char usage[] =
  "hold --uri URI [OPTION]...\n"
  "  --write OFFSET:LENGTH:BYTE   write LENGTH bytes of this value\n"
  "  --fua                        with FUA, all writes after this\n"
  "  --flush                      flush\n"
  "  --read OFFSET:LENGTH         read, and drop it\n"
  "  --hang-up                    print \"ready\", then exit at once without\n"
  "                               saying good bye\n";

static const struct option long_options[] = {
  { "uri", required_argument, NULL, 'u' },
  { "write", required_argument, NULL, 'w' },
  { "read", required_argument, NULL, 'r' },
  { "fua", no_argument, NULL, 'f' },
  { "flush", no_argument, NULL, 'l' },
  { "hang-up", no_argument, NULL, 'x' },
  { "help", no_argument, NULL, 'h' },
  { NULL, 0, NULL, 0 },
};

struct range {
  uint64_t offset, length, byte;
};

/* OFFSET:LENGTH[:BYTE], changing text. */
static struct range
parse_range (char *text)
{
  struct range range = { 0 };
  char *length = strchr (text, ':'), *byte;

  if (length == NULL)
    die ("'%s' is not OFFSET:LENGTH", text);
  *length++ = '\0';
  byte = strchr (length, ':');
  if (byte)
    *byte++ = '\0';
  range.offset = size_option ("write", text);
  range.length = size_option ("write", length);
  range.byte = byte ? size_option ("write", byte) : 0;
  return range;
}

static void
transfer (struct nbd_handle *nbd, char *text, int write, uint32_t flags)
{
  struct range range = parse_range (text);
  void *buf = xcalloc (CHUNK, 1);
  int r = 0;

  memset (buf, (int) range.byte, CHUNK);
  while (range.length > 0 && r == 0) {
    uint64_t n = range.length < CHUNK ? range.length : CHUNK;

    r = write ? nbd_pwrite (nbd, buf, n, range.offset, flags)
              : nbd_pread (nbd, buf, n, range.offset, 0);
    range.offset += n;
    range.length -= n;
  }
  if (r < 0)
    die ("%s", nbd_get_error ());
  free (buf);
}

static void
wait_for_eof (void)
{
  char buf[256];

  while (read (STDIN_FILENO, buf, sizeof buf) > 0)
    ;
}

static struct nbd_handle *
connect_to (const char *uri)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL || nbd_connect_uri (nbd, uri) == -1)
    die ("%s", nbd_get_error ());
  return nbd;
}

int
main (int argc, char *argv[])
{
  struct nbd_handle *nbd = NULL;
  uint32_t flags = 0;
  int opt, stay = 1;

  while ((opt = getopt_long (argc, argv, "", long_options, NULL)) != -1) {
    if (!nbd && opt != 'u' && opt != 'h')
      die ("--uri comes first");
    switch (opt) {
    case 'u': nbd = connect_to (optarg); break;
    case 'w': transfer (nbd, optarg, 1, flags); break;
    case 'r': transfer (nbd, optarg, 0, 0); break;
    case 'f': flags = LIBNBD_CMD_FLAG_FUA; break;
    case 'l':
      if (nbd_flush (nbd, 0) == -1)
        die ("%s", nbd_get_error ());
      break;
    case 'x': stay = 0; break;
    case 'h': fputs (usage, stdout); return EXIT_SUCCESS;
    default: fputs (usage, stderr); return EXIT_FAILURE;
    }
  }
  if (!nbd || optind < argc)
    die ("wrong options; see --help");
  printf ("ready\n");
  fflush (stdout);
  if (stay) {
    wait_for_eof ();
    nbd_shutdown (nbd, 0);
  }
  nbd_close (nbd);
  return EXIT_SUCCESS;
}

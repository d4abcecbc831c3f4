/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * NBD URIs: which they are, that their paths become absolute, and which
 * parameters they may have.
 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/nbd/uri.h"
#include "tests/unit/test.h"

TEST (is_uri)
{
  assert_true (nbd_store_is_uri ("nbd://localhost"));
  assert_true (nbd_store_is_uri ("nbds://localhost:10810/export"));
  assert_true (nbd_store_is_uri ("nbd+unix:///?socket=x"));
  assert_true (nbd_store_is_uri ("nbds+unix://alice@/?socket=x"));

  assert_false (nbd_store_is_uri (""));
  assert_false (nbd_store_is_uri ("nbd"));
  assert_false (nbd_store_is_uri ("nbd:localhost:10809"));
  assert_false (nbd_store_is_uri ("nbd+vsock://2"));
  assert_false (nbd_store_is_uri ("./nbd://x"));
  assert_false (nbd_store_is_uri ("http://localhost"));
}

/* In the directory /tmp/..., whose last part is in this. */
static char directory[] = "/tmp/folio uri%&;=#?+XXXXXX";
static char *encoded; /* as it should be in a URI */

static int
enter_directory (void **state)
{
  (void) state;
  if (mkdtemp (directory) == NULL || chdir (directory) != 0)
    return -1;
  return asprintf (&encoded, "/tmp/folio%%20uri%%25%%26%%3B%%3D%%23%%3F%%2B%s",
                   directory + sizeof directory - 7) < 0;
}

static int
leave_directory (void **state)
{
  (void) state;
  free (encoded);
  return chdir ("/") || rmdir (directory);
}

static void
becomes (const char *uri, const char *expected)
{
  char *absolute = nbd_store_absolute_uri (uri);

  assert_non_null (absolute);
  assert_string_equal (absolute, expected);
  free (absolute);
}

/* The same, with the directory put in where format says %1$s. */
static void
becomes_in_directory (const char *uri, const char *format)
{
  char *expected;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  assert_true (asprintf (&expected, format, encoded) > 0);
#pragma GCC diagnostic pop
  becomes (uri, expected);
  free (expected);
}

TEST (relative)
{
  becomes_in_directory ("nbd+unix:///?socket=sock",
                        "nbd+unix:///?socket=%1$s/sock");
  becomes_in_directory ("nbd+unix:///e?socket=./a%20b/../sock",
                        "nbd+unix:///e?socket=%1$s/./a%%20b/../sock");
  becomes_in_directory ("nbds://h/?tls-certificates=pki",
                        "nbds://h/?tls-certificates=%1$s/pki");
  becomes_in_directory ("nbds://alice@h/?tls-psk-file=keys.psk#x",
                        "nbds://alice@h/?tls-psk-file=%1$s/keys.psk#x");
  becomes_in_directory (
    "nbds+unix:///?socket=s&tls-certificates=c&tls-psk-file=p",
    "nbds+unix:///?socket=%1$s/s&tls-certificates=%1$s/c&"
    "tls-psk-file=%1$s/p");
  becomes_in_directory ("nbd+unix:///?s%6fcket=%73ock",
                        "nbd+unix:///?s%%6fcket=%1$s/%%73ock");
  becomes_in_directory ("nbd+unix:///?a&&socket=s=t&",
                        "nbd+unix:///?a&&socket=%1$s/s=t&");
}

static void
same (const char *uri)
{
  becomes (uri, uri);
}

TEST (unchanged)
{
  same ("nbd://localhost");
  same ("nbd://localhost:10809/socket=x");
  same ("nbd://[::1]:10810/a%20b?");
  same ("nbd+unix:///?socket=/run/x");
  same ("nbd+unix:///?socket=%2Frun/x");
  same ("nbd+unix:///?socket=%2frun%2fx&tls-certificates=/etc/pki");
  same ("nbd+unix:///?socket=");
  same ("nbd+unix:///?socket");
  same ("nbd+unix:///?sockets=x&socke=x&=x");
  same ("nbd+unix:///?tls-username=x&&;");
  same ("nbds+unix:///?tls-certificates=/c;socket=s"); /* refused, then */
  same ("nbd://h/#?socket=x");
  same ("nbd://h/?a=%&b=%4&socket%=x&socket%4=x");
}

TEST (root)
{
  assert_int_equal (chdir ("/"), 0);
  becomes ("nbd+unix:///?socket=run/x", "nbd+unix:///?socket=/run/x");
  assert_int_equal (chdir (directory), 0);
}

/* Nowhere to be relative to. */
TEST (no_directory)
{
  assert_int_equal (mkdir ("gone", 0700), 0);
  assert_int_equal (chdir ("gone"), 0);
  assert_int_equal (rmdir ("../gone"), 0);
  assert_null (nbd_store_absolute_uri ("nbd+unix:///?socket=x"));
  assert_int_equal (errno, ENOENT);
  same ("nbd+unix:///?socket=/x");
  assert_int_equal (chdir (directory), 0);
}

static void
allowed (const char *uri)
{
  char why[256] = "";

  if (!nbd_store_check_uri (uri, why, sizeof why))
    fail_msg ("%s: %s", uri, why);
}

static void
refused (const char *uri, const char *reason)
{
  char why[256] = "";

  assert_false (nbd_store_check_uri (uri, why, sizeof why));
  if (strstr (why, reason) == NULL)
    fail_msg ("%s: %s", uri, why);
}

TEST (allowed)
{
  allowed ("nbd://localhost");
  allowed ("nbd://[::1]:10810/a%20b?");
  allowed ("nbd://localhost/a;b&c=d");
  allowed ("nbd+unix:///?socket=/run/x");
  allowed ("nbd+unix:///?&&socket=/run/x=y&#&tls-psk-file=x");
  allowed ("nbd+unix:///?s%6fcket=/run/a%3Bb");
  allowed ("nbds://h/e?tls-certificates=/etc/pki");
  allowed ("nbds+unix:///?tls-certificates=/etc/pki&socket=/run/x");
  allowed ("nbds+unix://alice@/?socket=/run/x&tls-psk-file=/keys");
}

TEST (refused)
{
  refused ("nbds://h/?tls-verify-peer=false", "tls-verify-peer is no");
  refused ("nbds://h/?tls-verify-peer=true", "tls-certificates and");
  refused ("nbds+unix:///?socket=s&tls-hostname=x", "tls-hostname");
  refused ("nbd+unix:///?sockets=x", "sockets is no parameter");
  refused ("nbd+unix:///?socket=/x&socke", "socke is no parameter");
  refused ("nbd+unix:///?socket%00=/x", "is no parameter");
  refused ("nbd://h/?=x", "is no parameter");
  refused ("nbd://h/?tls-certificates=/c", "only for nbds://");
  refused ("nbd+unix:///?socket=/s&tls-psk-f%69le=/k", "nbds+unix://");
  refused ("nbd+unix:///?socket", "no value");
  refused ("nbds://h/?tls-certificates=", "no value");
  refused ("nbds://h/?tls-certificates=&tls-psk-file=/k", "no value");
  refused ("nbds://h/?tls-certificates=/c&tls-certificates=/d", "twice");
  refused ("nbds://h/?tls-certificates=/c&tls-psk-file=/k", "not both");
  refused ("nbds+unix:///?tls-certificates=/c;socket=/s", "%3B");
}

RUN_GROUP (enter_directory, leave_directory)

/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * folioctl: asks a running server how it is doing, and tells it what to do, by its
 * control socket.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folioctl/conn.h"
#include "folioctl/show.h"
#include "folioctl/top.h"

static const char usage[] =
  "Usage: folioctl [-s SOCKET] COMMAND [ARGUMENT...]\n"
  "\n"
  "  status                  what the server and its disks are doing\n"
  "  top [SECONDS [COUNT]]   the same as a screen, again and again\n"
  "  stats [--json]          all counters\n"
  "  flush                   write everything back and flush\n"
  "  drop                    drop clean data from memory\n"
  "  prefetch OFFSET LENGTH  read a range into memory\n"
  "  set KEY=VALUE...        change parameters\n"
  "  pause [SECONDS] [-- COMMAND...]\n"
  "                          write nothing back for so long, or while COMMAND\n"
  "                          runs, or until Ctrl-C\n"
  "  resume                  end such a pause\n"
  "\n"
  "SOCKET is the path that was given to control=; without -s, "
  "$FOLIO_CONTROL.\n";

struct args {
  int n;
  char **words;
};

static void
want (const struct args *args, int min, int max)
{
  if (args->n < min || args->n > max)
    die (EXIT_TROUBLE, "wrong number of arguments; see folioctl --help");
}

static json_int_t
whole_number (const char *word)
{
  char *end;
  long long n;

  errno = 0;
  n = strtoll (word, &end, 10);
  if (errno || end == word || *end || n < 0)
    die (EXIT_TROUBLE, "'%s' is no whole number", word);
  return n;
}

static void
run_status (struct conn *conn, const struct args *args)
{
  json_t *status, *disks;

  want (args, 0, 0);
  status = conn_run (conn, "query-status", NULL);
  disks = conn_run (conn, "query-disks", NULL);
  show_status (status, disks);
  json_decref (disks);
  json_decref (status);
}

static void
run_stats (struct conn *conn, const struct args *args)
{
  bool json = args->n == 1 && strcmp (args->words[0], "--json") == 0;
  json_t *stats;

  want (args, 0, json);
  stats = conn_run (conn, "query-stats", NULL);
  if (json) {
    json_dumpf (stats, stdout, JSON_INDENT (2));
    putchar ('\n');
  }
  else
    show_stats (stats);
  json_decref (stats);
}

static void
run_top (struct conn *conn, const struct args *args)
{
  double interval = 2;
  char *end;

  want (args, 0, 2);
  if (args->n > 0) {
    interval = strtod (args->words[0], &end);
    if (*end || !(interval >= 0.1 && interval <= 3600))
      die (EXIT_TROUBLE, "'%s': not from 0.1 to 3600 seconds", args->words[0]);
  }
  top (conn, interval,
       args->n > 1 ? (unsigned) whole_number (args->words[1]) : 0);
}

static void
run_long (struct conn *conn, const char *command, json_t *arguments,
          const char *done)
{
  char buf[SHOWN_MAX];
  json_t *result;

  conn_begin (conn, command, arguments);
  result = conn_answer (conn, show_progress);
  show_progress_end ();
  printf (done, show_bytes (buf, number_of (result, "bytes")));
  json_decref (result);
}

static void
run_flush (struct conn *conn, const struct args *args)
{
  want (args, 0, 0);
  run_long (conn, "flush", NULL, "all is on the store%.0s\n");
}

static void
run_drop (struct conn *conn, const struct args *args)
{
  want (args, 0, 0);
  run_long (conn, "drop-clean", NULL, "%s dropped\n");
}

static void
run_prefetch (struct conn *conn, const struct args *args)
{
  want (args, 2, 2);
  run_long (conn, "prefetch",
            json_pack ("{s:I,s:I}", "offset", whole_number (args->words[0]),
                       "length", whole_number (args->words[1])),
            "%s in memory\n");
}

static void
run_set (struct conn *conn, const struct args *args)
{
  json_t *values = json_object ();
  int i;

  want (args, 1, 100);
  for (i = 0; i < args->n; i++) {
    char *equals = strchr (args->words[i], '=');

    if (equals == NULL)
      die (EXIT_TROUBLE, "'%s' is not KEY=VALUE", args->words[i]);
    *equals = '\0';
    if (json_object_get (values, args->words[i]))
      die (EXIT_TROUBLE, "%s is given twice", args->words[i]);
    if (json_object_set_new (values, args->words[i], json_string (equals + 1)))
      die (EXIT_TROUBLE, "that is not UTF-8");
  }
  json_decref (conn_run (conn, "set", json_pack ("{s:o}", "values", values)));
}

/* Run a command; returns its status. */
static int
run_command (char **words)
{
  pid_t pid = fork ();
  int status;

  if (pid == -1)
    die (EXIT_TROUBLE, "fork: %s", strerror (errno));
  if (pid == 0) {
    execvp (words[0], words);
    fprintf (stderr, "folioctl: %s: %s\n", words[0], strerror (errno));
    _exit (127);
  }
  while (waitpid (pid, &status, 0) == -1 && errno == EINTR)
    ;
  return WIFEXITED (status) ? WEXITSTATUS (status) : 128 + WTERMSIG (status);
}

/* The pause ends with our connection, whatever ends us; and what was done in a pause
 * that had ended before was not done in one.
 */
static void
run_pause (struct conn *conn, const struct args *args)
{
  json_t *arguments = json_object (), *line;
  int i = 0, status = 0;

  if (args->n > 0 && strcmp (args->words[0], "--") != 0)
    json_object_set_new (arguments, "seconds",
                         json_integer (whole_number (args->words[i++])));
  if (i < args->n && (strcmp (args->words[i], "--") != 0 || i + 1 == args->n))
    die (EXIT_TROUBLE, "wrong arguments; see folioctl --help");
  json_decref (conn_run (conn, "pause-writeback", arguments));
  if (i < args->n) {
    status = run_command (args->words + i + 1);
    conn_begin (conn, "resume-writeback", NULL);
    json_decref (conn_answer (conn, NULL));
    exit (status);
  }
  line = conn_line (conn);
  printf ("write-back goes on: %s\n",
          line ? string_of (json_object_get (line, "data"), "why")
               : "the server is gone");
  json_decref (line);
}

static void
run_resume (struct conn *conn, const struct args *args)
{
  want (args, 0, 0);
  json_decref (conn_run (conn, "resume-writeback", NULL));
}

static const struct {
  const char *name;
  void (*run) (struct conn *conn, const struct args *args);
} commands[] = {
  { "status", run_status }, { "top", run_top },
  { "stats", run_stats },   { "flush", run_flush },
  { "drop", run_drop },     { "prefetch", run_prefetch },
  { "set", run_set },       { "pause", run_pause },
  { "resume", run_resume },
};

static void
run (const char *path, const char *name, const struct args *args)
{
  struct conn conn;
  size_t i;

  for (i = 0; i < sizeof commands / sizeof commands[0]; i++)
    if (strcmp (commands[i].name, name) == 0) {
      conn_open (&conn, path);
      commands[i].run (&conn, args);
      conn_close (&conn);
      return;
    }
  die (EXIT_TROUBLE, "there is no command '%s'; see folioctl --help", name);
}

int
main (int argc, char **argv)
{
  const char *path = getenv ("FOLIO_CONTROL");
  int opt;

  if (argc == 2 && strcmp (argv[1], "--help") == 0) {
    fputs (usage, stdout);
    return 0;
  }
  if (argc == 2 && strcmp (argv[1], "--version") == 0) {
    puts ("folioctl " PACKAGE_VERSION);
    return 0;
  }
  while ((opt = getopt (argc, argv, "+s:")) != -1) {
    if (opt != 's')
      return EXIT_TROUBLE;
    path = optarg;
  }
  if (optind == argc) {
    fputs (usage, stderr);
    return EXIT_TROUBLE;
  }
  if (path == NULL)
    die (EXIT_TROUBLE, "which server? give the path of its control socket by "
                       "-s, or in FOLIO_CONTROL");
  run (path, argv[optind],
       &(struct args) { argc - optind - 1, argv + optind + 1 });
  return fflush (stdout) == 0 ? 0 : EXIT_TROUBLE;
}

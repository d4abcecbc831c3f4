/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Commands: from a line to its answer.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "plugin/control/jobs.h"
#include "plugin/control/server.h"

#define MAX_ARGUMENTS 4

static json_t *query_commands (struct call *call);

static const struct command {
  const char *name;
  json_t *(*run) (struct call *call); /* NULL: it has failed, see call->error */
  const char *arguments[MAX_ARGUMENTS]; /* those that it may have */
} commands[] = {
  { "query-commands", query_commands, { NULL } },
  { "query-status", query_status, { NULL } },
  { "query-disks", query_disks, { "disk" } },
  { "query-stats", query_stats, { "disk" } },
  { "flush", job_flush, { "disk" } },
  { "prefetch", job_prefetch, { "disk", "offset", "length" } },
  { "drop-clean", job_drop_clean, { "disk" } },
  { "cancel", job_cancel, { "job" } },
  { "set", settings_set, { "disk", "values" } },
  { "pause-writeback", pause_begin, { "disk", "seconds" } },
  { "resume-writeback", pause_end, { "disk" } },
};
#define NR_COMMANDS (sizeof commands / sizeof commands[0])

static json_t *
query_commands (struct call *call)
{
  json_t *list = json_array ();
  size_t i;

  (void) call;
  for (i = 0; i < NR_COMMANDS; i++)
    json_array_append_new (list, json_pack ("{s:s}", "name", commands[i].name));
  return list;
}

json_t *
call_refuse (struct call *call, const char *class, const char *fmt, ...)
{
  char desc[CONFIG_ERROR_MAX];
  va_list args;

  va_start (args, fmt);
  vsnprintf (desc, sizeof desc, fmt, args);
  va_end (args);
  json_decref (call->error);
  call->error = client_error (class, desc);
  /* Of what was cut in the middle of a letter, or what a client made of none. */
  if (call->error == NULL)
    call->error = client_error (class, "not what was expected");
  return NULL;
}

bool
call_number (struct call *call, const char *name, uint64_t min, uint64_t max,
             uint64_t *number)
{
  const json_t *value = json_object_get (call->arguments, name);
  json_int_t n = json_integer_value (value);

  if (json_is_integer (value) && n >= 0 && (uint64_t) n >= min &&
      (uint64_t) n <= max) {
    *number = (uint64_t) n;
    return true;
  }
  call_refuse (call, "GenericError",
               "'%s' is no whole number from %llu to %llu", name,
               (unsigned long long) min, (unsigned long long) max);
  return false;
}

static const struct command *
find (const char *name)
{
  size_t i;

  for (i = 0; i < NR_COMMANDS; i++)
    if (strcmp (commands[i].name, name) == 0)
      return &commands[i];
  return NULL;
}

static bool
takes (const struct command *command, const char *argument)
{
  unsigned i;

  for (i = 0; i < MAX_ARGUMENTS && command->arguments[i]; i++)
    if (strcmp (command->arguments[i], argument) == 0)
      return true;
  return false;
}

/* Is all that is given something that the command takes; and is the disk, if one is
 * named, there?
 */
static bool
check_arguments (struct call *call, const struct command *command)
{
  const char *key, *disk;
  json_t *value;

  json_object_foreach (call->arguments, key, value) if (!takes (command, key))
  {
    call_refuse (call, "GenericError", "%s takes no argument '%.100s'",
                 command->name, key);
    return false;
  }
  value = json_object_get (call->arguments, "disk");
  disk = json_string_value (value);
  if (value == NULL || (disk && strcmp (disk, DISK_NAME) == 0))
    return true;
  call_refuse (call, "DiskNotFound", "there is no such disk");
  return false;
}

static json_t *
run (struct call *call, json_t *request)
{
  const struct command *command;
  const char *key, *name;
  json_t *value;

  json_object_foreach (
    request, key,
    value) if (strcmp (key, "execute") && strcmp (key, "arguments") &&
               strcmp (key, "id")) return call_refuse (call, "GenericError",
                                                       "what is '%.100s'?",
                                                       key);
  name = json_string_value (json_object_get (request, "execute"));
  if (name == NULL)
    return call_refuse (call, "GenericError", "'execute' names no command");
  command = find (name);
  if (command == NULL)
    return call_refuse (call, "CommandNotFound", "there is no command '%.100s'",
                        name);
  call->arguments = json_object_get (request, "arguments");
  if (call->arguments && !json_is_object (call->arguments))
    return call_refuse (call, "GenericError", "'arguments' is no object");
  return check_arguments (call, command) ? command->run (call) : NULL;
}

static void
answer (struct call *call, json_t *result)
{
  json_t *object =
    call->error ? call->error : json_pack ("{s:o}", "return", result);

  if (call->id)
    json_object_set (object, "id", call->id);
  client_send (call->client, object);
}

void
command_line (struct control *control, struct client *client, const char *line,
              size_t size)
{
  struct call call = { .control = control, .client = client };
  json_error_t wrong;
  json_t *request, *result = NULL;

  if (size > 0 && line[size - 1] == '\r')
    size--;
  if (size == 0)
    return;
  request = json_loadb (line, size, JSON_REJECT_DUPLICATES, &wrong);
  if (json_is_object (request)) {
    call.id = json_object_get (request, "id");
    result = run (&call, request);
  }
  else if (request)
    call_refuse (&call, "GenericError", "that is no object");
  else
    call_refuse (&call, "GenericError", "that is no JSON: %.200s", wrong.text);
  if (!call.later)
    answer (&call, result);
  json_decref (request);
}

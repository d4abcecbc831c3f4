/* nbdkit-folio
 * Copyright the nbdkit-folio authors
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Commands that change how the server works: parameters, and pauses.
 *
 * A pause belongs to the client that asked for it, and ends with it, with its time,
 * when somebody says so, and when the server is stopped.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cache/cache.h"
#include "fs/num.h"
#include "plugin/control/server.h"

/* Seconds. */
#define PAUSE_DEFAULT 60
#define PAUSE_MOST 3600

/* --- parameters --- */

/* One key's new value, a string as on the command line, or a number. */
static bool
change (struct call *call, struct config *config, const char *key,
        const json_t *value)
{
  char number[24], err[CONFIG_ERROR_MAX];
  const char *text = json_string_value (value);

  if (json_is_integer (value)) {
    snprintf (number, sizeof number, "%" JSON_INTEGER_FORMAT,
              json_integer_value (value));
    text = number;
  }
  if (text == NULL)
    call_refuse (call, "GenericError",
                 "the value of '%.100s' is no string and no whole number", key);
  else if (config_change (config, key, text, err) < 0)
    call_refuse (call, "GenericError", "%s", err);
  else if (config->io_depth > call->control->io_depth)
    call_refuse (call, "GenericError",
                 "io-depth=%s: there is room for %" PRIu64
                 ", which the server was started with; allowed: up to that",
                 text, call->control->io_depth);
  return call->error == NULL;
}

static void
log_value (void *opaque, const char *key, const char *value)
{
  struct call *call = opaque;

  if (json_object_get (json_object_get (call->arguments, "values"), key))
    env_log (call->control->env, LOG_INFO, "%s=%s is set", key, value);
}

/* All of the values, or none. */
json_t *
settings_set (struct call *call)
{
  struct control *control = call->control;
  json_t *values = json_object_get (call->arguments, "values"), *value;
  struct config config = *control->config;
  struct mapping_config mapping;
  char err[CONFIG_ERROR_MAX];
  const char *key;

  if (!json_is_object (values))
    return call_refuse (call, "GenericError", "'values' is no object");
  json_object_foreach (
    values, key, value) if (!change (call, &config, key, value)) return NULL;
  if (config_check (&config, err) < 0)
    return call_refuse (call, "GenericError", "%s", err);
  *control->config = config;
  config_mapping (&config, &mapping);
  mapping_configure (disk_mapping (control->disk), &mapping);
  config_each_changeable (&config, log_value, call);
  return json_object ();
}

static void
add_value (void *opaque, const char *key, const char *value)
{
  json_object_set_new (opaque, key, json_string (value));
}

json_t *
settings_now (const struct config *config)
{
  json_t *object = json_object ();

  config_each_changeable (config, add_value, object);
  return object;
}

/* --- pauses --- */

static void
end_pause (struct control *control, const char *why)
{
  struct client *client = control->pause.client;

  if (client == NULL)
    return;
  mapping_pause (disk_mapping (control->disk), false);
  control->pause = (struct pause) { .until = ENV_FOREVER };
  env_log (control->env, LOG_INFO, "write-back goes on: %s", why);
  client_send (client, json_pack ("{s:s,s:{s:s,s:s}}", "event", "resumed",
                                  "data", "disk", DISK_NAME, "why", why));
}

json_t *
pause_begin (struct call *call)
{
  struct control *control = call->control;
  uint64_t seconds = PAUSE_DEFAULT;

  if (json_object_get (call->arguments, "seconds") &&
      !call_number (call, "seconds", 1, PAUSE_MOST, &seconds))
    return NULL;
  if (disk_stopping (control->disk))
    return call_refuse (call, "GenericError", "the server is being stopped");
  if (control->pause.client && control->pause.client != call->client)
    return call_refuse (call, "GenericError",
                        "another client has paused it already");
  control->pause.client = call->client;
  control->pause.until =
    control->env->now (control->env) + seconds * NSEC_PER_SEC;
  mapping_pause (disk_mapping (control->disk), true);
  env_log (control->env, LOG_INFO,
           "write-back is paused, for %" PRIu64 " seconds at most", seconds);
  return json_object ();
}

json_t *
pause_end (struct call *call)
{
  if (call->control->pause.client == NULL)
    return call_refuse (call, "GenericError", "it is not paused");
  end_pause (call->control, "a client says so");
  return json_object ();
}

void
pause_forget (struct control *control, struct client *client)
{
  if (control->pause.client != client)
    return;
  client->broken = true; /* is told nothing any more */
  end_pause (control, "the client that paused it is gone");
}

void
pause_look (struct control *control)
{
  if (control->pause.client == NULL)
    return;
  if (disk_stopping (control->disk))
    end_pause (control, "the server is being stopped");
  else if (control->env->now (control->env) >= control->pause.until)
    end_pause (control, "its time is over");
}

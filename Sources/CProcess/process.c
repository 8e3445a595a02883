#define _GNU_SOURCE
#include "process.h"
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

static int describe(posix_spawn_file_actions_t *actions, int input, int output, int errors) {
  int sources[2] = {output, errors};
  int code = input >= 0 ? posix_spawn_file_actions_adddup2(actions, input, 0)
                        : posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
  for (int i = 0; i < 2 && code == 0; i++)
    code = sources[i] >= 0
               ? posix_spawn_file_actions_adddup2(actions, sources[i], i + 1)
               : posix_spawn_file_actions_addopen(actions, i + 1, "/dev/null", O_WRONLY, 0);
  return code ? code : posix_spawn_file_actions_addclosefrom_np(actions, 3);
}

static int start(pid_t *pid, const char *path, char *const arguments[], char *const environment[],
                 int input, int output, int errors, int new_session) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  int code = posix_spawn_file_actions_init(&actions);
  if (code) return code;
  code = posix_spawnattr_init(&attributes);
  if (code == 0) {
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              (new_session ? POSIX_SPAWN_SETSID : 0));
    code = describe(&actions, input, output, errors);
    if (code == 0) code = posix_spawn(pid, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_destroy(&actions);
  return code;
}

int exzo_spawn(pid_t *pid, const char *path, char *const arguments[], char *const environment[],
               int output, int errors, int new_session) {
  return start(pid, path, arguments, environment, -1, output, errors, new_session);
}

int exzo_spawn_with_input(pid_t *pid, const char *path, char *const arguments[],
                          char *const environment[], int input, int output, int errors) {
  return start(pid, path, arguments, environment, input, output, errors, 1);
}

int exzo_leave_descriptors(void) {
  return close_range(3, ~0U, CLOSE_RANGE_UNSHARE);
}

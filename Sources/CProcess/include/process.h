#ifndef EXZO_PROCESS_H
#define EXZO_PROCESS_H
#include <sys/types.h>
/// Starts a program through posix_spawn(3), with nothing of ours but two descriptors.
///
/// Standard input is /dev/null; `output` and `errors` become 1 and 2 (-1: /dev/null); every other
/// descriptor is closed, signals are at their defaults and unblocked.
/// Returns 0 and the process id in `pid`, or an errno.
int exzo_spawn(pid_t *pid, const char *path, char *const arguments[], char *const environment[],
               int output, int errors, int new_session);
/// The same with a descriptor for standard input (-1: /dev/null), always in a session of its own.
int exzo_spawn_with_input(pid_t *pid, const char *path, char *const arguments[],
                          char *const environment[], int input, int output, int errors);
#endif

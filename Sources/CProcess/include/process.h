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
/// Gives the calling thread a table of descriptors of its own, with 0, 1 and 2 of what the process has.
///
/// Descriptors of the process mean nothing to it afterwards. Source: close_range(2). Returns -1 and errno on failure.
int exzo_leave_descriptors(void);
#endif

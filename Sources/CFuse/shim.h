// Glibc's module and this one must agree on struct statvfs and friends: the system headers are
// included first, and _FILE_OFFSET_BITS is defined only just before libfuse's own header.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#define FUSE_USE_VERSION 312
#define _FILE_OFFSET_BITS 64
#include <fuse3/fuse_lowlevel.h>

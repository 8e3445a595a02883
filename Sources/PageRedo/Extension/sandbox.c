/* What a worker may still do once it has opened its files: compute, and answer on its channel. */
#include "postgres.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "storage/pg_shmem.h"

#include "sandbox.h"

#if defined(__x86_64__)
#define OUR_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "page redo knows the system calls of x86-64 and arm64 only"
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(action) BPF_STMT(BPF_RET | BPF_K, (action))
#define ALLOW(name) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), ANSWER(SECCOMP_RET_ALLOW)
#define REFUSAL (SECCOMP_RET_ERRNO | EPERM)

/* No opening of files, no sockets, no processes, no signals to others, no executable memory. */
static struct sock_filter filter[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCHITECTURE, 1, 0),
    ANSWER(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    ALLOW(read),
    ALLOW(write),
    ALLOW(pread64),
    ALLOW(pwrite64),
    ALLOW(lseek),
    ALLOW(close),
    ALLOW(munmap),
    ALLOW(mremap),
    ALLOW(madvise),
    ALLOW(brk),
    ALLOW(futex),
    ALLOW(clock_gettime),
    ALLOW(getpid),
    ALLOW(setitimer),
#ifdef __NR_alarm
    ALLOW(alarm),
#endif
    ALLOW(restart_syscall),
    ALLOW(rt_sigreturn),
    ALLOW(rt_sigprocmask),
    ALLOW(exit),
    ALLOW(exit_group),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mmap, 1, 0),
    ANSWER(REFUSAL),
    LOAD(args[2]),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
    ANSWER(REFUSAL),
    ANSWER(SECCOMP_RET_ALLOW),
};

static void limit(int resource, rlim_t value)
{
  struct rlimit bound = {value, value};

  if (setrlimit(resource, &bound) != 0)
    elog(FATAL, "limit resource %d of a redo worker: %m", resource);
}

void forget_shared_memory_key(void)
{
  int id = shmget((key_t) UsedShmemSegID, 0, 0);

  /* Gone with its last process: a worker that is killed leaves nothing behind. */
  if (id >= 0 && shmctl(id, IPC_RMID, NULL) != 0)
    elog(FATAL, "mark shared memory segment %d for removal: %m", id);
}

void enter_sandbox(void)
{
  struct sock_fprog program = {lengthof(filter), filter};

  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, (rlim_t) 1 << 30);
  limit(RLIMIT_AS, (rlim_t) 1 << 30);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    elog(FATAL, "give up new privileges: %m");
  /* A kernel without seccomp leaves the other walls: a user of its own, limits, no network. */
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0 && errno != EINVAL)
    elog(FATAL, "filter system calls: %m");
}

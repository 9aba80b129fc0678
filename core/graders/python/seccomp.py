"""The system calls that code in a sandbox may make, as a program for the kernel's seccomp filter.

It is a list of what is allowed: what CPython needs to start, to compute, and to write files below /tmp. No
process and no thread can be started, no socket opened, no signal sent. `execve` is allowed, since bubblewrap
starts Python with it after the filter is set. The only program that there is in the sandbox is the same
Python.
"""

import struct
from collections.abc import Iterator

AUDIT_ARCH_X86_64 = 0xC000003E
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16  # bytes in struct seccomp_data (linux/seccomp.h)
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
LOAD, JUMP_IF_EQUAL, JUMP_IF_GREATER_OR_EQUAL, RETURN = 0x20, 0x15, 0x35, 0x06  # linux/bpf_common.h
FIRST_YOUNG = 424  # libraries try these calls first, and an older one where ENOSYS says that there is none

# Names and numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
ALLOWED_CALLS = """
read:0 write:1 open:2 close:3 stat:4 fstat:5 lstat:6 poll:7 lseek:8 mmap:9 mprotect:10 munmap:11 brk:12
rt_sigaction:13 rt_sigprocmask:14 rt_sigreturn:15 pread64:17 pwrite64:18 readv:19 writev:20 access:21
select:23 sched_yield:24 mremap:25 madvise:28 dup:32 dup2:33 nanosleep:35 getpid:39 execve:59 exit:60
wait4:61 uname:63 fcntl:72 fsync:74 fdatasync:75 ftruncate:77 getdents:78 getcwd:79 chdir:80 rename:82
mkdir:83 rmdir:84 unlink:87 readlink:89 umask:95 gettimeofday:96 getrlimit:97 getrusage:98 times:100
getuid:102 getgid:104 geteuid:107 getegid:108 getppid:110 sigaltstack:131 arch_prctl:158 gettid:186
time:201 futex:202 sched_getaffinity:204 getdents64:217 set_tid_address:218 clock_gettime:228
clock_getres:229 clock_nanosleep:230 exit_group:231 waitid:247 openat:257 mkdirat:258 newfstatat:262
unlinkat:263 renameat:264 readlinkat:267 faccessat:269 pselect6:270 ppoll:271 set_robust_list:273
dup3:292 renameat2:316 getrandom:318 statx:332 rseq:334 faccessat2:439
"""
ALLOWED = {name: int(number) for name, number in (call.split(":") for call in ALLOWED_CALLS.split())}
IOCTL, PRLIMIT = 16, 302
TCGETS, FIOCLEX = 0x5401, 0x5451  # whether a file is a terminal; that it is closed in a new program


def program() -> bytes:
    """Return the filter as an array of struct sock_filter, as `bwrap --seccomp` reads it."""
    return b"".join(_instructions())


def _instructions() -> Iterator[bytes]:
    yield _load(ARCHITECTURE_AT)
    yield _jump(JUMP_IF_EQUAL, AUDIT_ARCH_X86_64, 1, 0)
    yield _return(KILL)
    yield _load(NUMBER_AT)
    for number in sorted(ALLOWED.values()):
        yield _jump(JUMP_IF_EQUAL, number, 0, 1)
        yield _return(ALLOW)
    yield from _with_argument(IOCTL, 1, (TCGETS, FIOCLEX))
    yield from _with_argument(PRLIMIT, 0, (0,))  # of the process itself
    yield _jump(JUMP_IF_GREATER_OR_EQUAL, FIRST_YOUNG, 0, 1)
    yield _return(ERRNO | ENOSYS)
    yield _return(ERRNO | EPERM)


def _with_argument(number: int, argument: int, values: tuple[int, ...]) -> Iterator[bytes]:
    """Allow a call only with one of these values as an argument, which the kernel reads as 32 bits."""
    yield _jump(JUMP_IF_EQUAL, number, 0, 2 + 2 * len(values))
    yield _load(ARGUMENTS_AT + 8 * argument)
    for value in values:
        yield _jump(JUMP_IF_EQUAL, value, 0, 1)
        yield _return(ALLOW)
    yield _return(ERRNO | EPERM)


def _load(offset: int) -> bytes:
    return _instruction(LOAD, 0, 0, offset)


def _jump(kind: int, value: int, if_so: int, if_not: int) -> bytes:
    return _instruction(kind, if_so, if_not, value)


def _return(value: int) -> bytes:
    return _instruction(RETURN, 0, 0, value)


def _instruction(code: int, if_so: int, if_not: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_so, if_not, value)

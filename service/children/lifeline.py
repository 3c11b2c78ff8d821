"""The confinement of a child process: what it gives up before it reads untrusted data.

Everything that a child needs is imported before that: afterwards it may be another user, who cannot even find Python.
"""

from __future__ import annotations

import ctypes
import encodings.cp437  # for names in an npz, because encodings are otherwise imported on first use
import encodings.utf_8_sig  # noqa: F401 - for CSV files
import fcntl
import os
import resource
import select
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from service.errors import ImportCrashedError

#: The user and group of a child whose parent is root: "nobody", by number, because a system may not have the name.
NOBODY = 65_534

#: The lowest of all priorities of a processor, and the one of a disk that is only served when nobody else waits.
_LAST_IN_LINE = 19
_IOPRIO_WHO_PROCESS, _IOPRIO_IDLE = 1, 3 << 13
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # the C library has no function for this system call

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522
_LIBC = ctypes.CDLL(None, use_errno=True)


def confine(
    lifeline: int, limits: Mapping[int, tuple[int, int]], directory: int | None = None
) -> None:  # pragma: no cover - runs only in children, where coverage is not measured
    """Permanently give up what a child does not need: its user, capabilities, and resources beyond the limits.

    The child ends when the other end of ``lifeline``, its standard input, is closed. ``limits`` are soft and hard
    values of ``resource.RLIMIT_*``. ``directory`` is a descriptor of the only directory that it may write to, which
    becomes its working directory. Raises OSError.
    """
    _end_with_parent(lifeline)
    _be_first_to_go()
    os.fchdir(directory) if directory is not None else os.chdir("/")
    for kind, values in {resource.RLIMIT_CORE: (0, 0), **limits}.items():
        _limit(kind, *values)
    if os.geteuid() == 0:
        _become_nobody(directory)
    _call(_LIBC.capset, (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)())
    _call(_LIBC.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    hide_memory()


def hide_memory() -> None:
    """Hide this process's memory and environment in /proc from unprivileged processes, even of the same user."""
    _call(_LIBC.prctl, _PR_SET_DUMPABLE, 0, 0, 0, 0)


def give_way(child: int) -> None:
    """Let a child process run only on processors and disks that the server leaves idle."""
    with suppress(ProcessLookupError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, child, _LAST_IN_LINE)
    if number := _IOPRIO_SET.get(os.uname().machine):
        _LIBC.syscall(number, _IOPRIO_WHO_PROCESS, child, _IOPRIO_IDLE)


def take_back(directory: Path) -> None:
    """Take ownership of a directory written by a confined child, so that no later child can change it.

    Raises OSError, and ImportCrashedError if it contains anything but files.
    """
    for path in (directory, *directory.iterdir()):
        found = path.lstat()
        if path != directory and not (stat.S_ISREG(found.st_mode) and found.st_nlink == 1):
            raise ImportCrashedError(f"The importing process left {path.name}, which is not a plain file.")
        os.chown(path, os.geteuid(), os.getegid())
        path.chmod(stat.S_IMODE(found.st_mode) & 0o755)


def _end_with_parent(lifeline: int) -> None:  # pragma: no cover - as above
    """End this process when its parent ends."""
    # The kernel's signal ends the process even during an endless C call, when none of its threads would run.
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # the parent has already ended
        os._exit(1)


def _be_first_to_go() -> None:  # pragma: no cover - as above
    """Make the kernel kill this process rather than the server if memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(kind: int, soft: int, hard: int) -> None:  # pragma: no cover - as above
    highest = resource.getrlimit(kind)[1]
    if highest != resource.RLIM_INFINITY:  # a lower limit stays
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(kind, (soft, hard))


def _become_nobody(directory: int | None) -> None:  # pragma: no cover - as above
    """Change the user if possible: a user namespace may lack the other user, a container the capability."""
    with suppress(OSError):
        if directory is not None:
            os.fchown(directory, NOBODY, NOBODY)
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError:
            if directory is not None:
                os.fchown(directory, 0, 0)


def _call(function: ctypes._NamedFuncPointer, *arguments: object) -> None:
    """Call a C library function. Raises OSError if it fails."""
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

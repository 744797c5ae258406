"""Linux's calls for namespaces, which Python's own library lacks."""

import ctypes
import fcntl
import os
import platform
import signal
import socket
import struct
from pathlib import Path

NEW_MOUNTS, NEW_NAME, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USERS, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
NO_SETUID, NO_DEVICES, NO_PROGRAMS = 2, 4, 8
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_READ_ONLY = 1
_DETACH = 2
_DEATH_SIGNAL, _NO_NEW_PRIVILEGES, _DUMPABLE = 1, 38, 4
_FROM_HERE, _ALL_BELOW = -100, 0x8000
# The same on every processor since there is this call; that of pivot_root is not.
_MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave namespaces behind, for new ones. Raise OSError where that is not permitted."""
    _done(_libc.unshare(flags), "unshare")


def mount(kind: str, target: str, flags: int = 0, options: str = "") -> None:
    """Mount a new file system of that kind."""
    _done(_libc.mount(kind.encode(), target.encode(), kind.encode(), flags, options.encode()), target)


def hide_mounts() -> None:
    """Let nothing that is mounted from here on be seen outside."""
    _done(_libc.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None), "/")


def bind(source: str, target: str) -> None:
    """Have a file or folder, with all that is mounted below it, at another place as well."""
    _done(_libc.mount(source.encode(), target.encode(), None, _BIND | _RECURSIVE, None), source)


def read_only(target: str, *, below: bool = True) -> None:
    """Let nothing there be written, nor give anybody rights by a file's mode."""
    attributes = struct.pack("QQQQ", _READ_ONLY | NO_SETUID | (NO_DEVICES if below else 0), 0, 0, 0)
    flags = _ALL_BELOW if below else 0
    result = _libc.syscall(
        _MOUNT_SETATTR, _FROM_HERE, target.encode(), flags, attributes, ctypes.c_size_t(len(attributes))
    )
    _done(result, target)


def enter(root: str) -> None:
    """Let this folder be all there is."""
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(f"the confinement is not supported on {platform.machine()}")
    os.chdir(root)
    _done(_libc.syscall(number, b".", b"."), root)
    _done(_libc.umount2(b".", _DETACH), root)
    os.chdir("/")


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends."""
    _libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def gain_nothing() -> None:
    """Let no program that is started from here on have more rights than this one."""
    _done(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")


def be_opaque(*, opaque: bool = True) -> None:
    """Let nobody of the same user look into this process, or let that be as it is by default."""
    _libc.prctl(_DUMPABLE, 0 if opaque else 1, 0, 0, 0)


def own_users() -> None:
    """Have a namespace of users, in which there is nobody but who we are already."""
    user, group = os.getuid(), os.getgid()
    unshare(NEW_USERS)
    for name, value in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(value)


def raise_loopback() -> None:
    """Let this network's own address, 127.0.0.1, be in use."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(asked, _GET_FLAGS, request))[1]
        fcntl.ioctl(asked, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))

"""What runs first inside a sandbox: it gives up what the sandbox's builder could do, sets limits, starts the program.

The interpreter is started with `BOOT`, which reads this module and the sandbox's own modules from standard input as
compiled code: no file of this project is visible inside. From then on standard input and output belong to the sandboxed
program; what the two ends say to each other goes over the copies that `main(requests, replies, settings)` is given.

Imports nothing that takes longer than a millisecond: every verdict pays for it.
"""

from __future__ import annotations

import os
import resource
import sys

TYPE_CHECKING = False  # `typing` takes longer to import than most programs run
if TYPE_CHECKING:
    from typing import Any, BinaryIO

BOOT = """
import marshal, os, sys
requests, replies = open(os.dup(0), "rb"), open(os.dup(1), "wb")
modules, settings = marshal.load(requests)
for name, code in modules:
    sys.modules[name] = module = type(sys)(name)
    exec(code, module.__dict__)
sys.modules["curation.verify.sandbox_entry"].enter(requests, replies, *settings)
"""

READY = b"ready\n"
"""The first thing that a sandbox says; one that ends without it could not be built."""

_NOBODY = 65534


def enter(
    requests: BinaryIO,
    replies: BinaryIO,
    module: str,
    uid: int | None,
    limits: dict[str, int],
    settings: Any,
) -> None:
    """Become `uid` (None: stay who one is), take on the limits (by the end of their RLIMIT names) and run the module's
    `main(requests, replies, settings)`.
    """
    if uid is not None:
        _become(uid)
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # At the soft CPU limit a process gets a signal that tells why it ended, a second later the one that it cannot
        # catch.
        resource.setrlimit(kind, (soft, soft + 1 if name == "CPU" and hard == resource.RLIM_INFINITY else soft))
    sys.set_int_max_str_digits(0)  # CPU time is limited: the number of digits need not be
    nothing = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)
    replies.write(READY)
    replies.flush()
    sys.modules[module].main(requests, replies, settings)


def _become(uid: int) -> None:
    """Give root up, for good. An id that no other process has: the limit on processes counts by it."""
    os.setgroups([])
    try:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError:  # a container that maps few ids
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)

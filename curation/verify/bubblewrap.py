"""The command line that puts a Python interpreter into bubblewrap (https://github.com/containers/bubblewrap).

Inside there is no network, no `/proc`, no `/etc`, no home: the libraries of the system and of this interpreter, without
installed packages, to read; `/dev/null`; and a private `/tmp` of limited size, which is all that can be written.

As an ordinary user the sandbox lives in a user namespace. Root builds it without one and keeps the right to become
somebody else, for `sandbox_entry` to do so at once: how many processes root has is not limited by the kernel, also not
where root goes by another id in a user namespace; those of any other user are counted by its id.
"""

import functools
import os
import shutil
import sys
from pathlib import Path

INSTALL = "bubblewrap is not installed, and code is never run without it: apt-get install bubblewrap"

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_NOBODY = "65534"


@functools.cache
def command(root: bool, tmp_bytes: int, host: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """The words up to the interpreter's last options; None when bubblewrap is not there.

    root: whether the caller is root. tmp_bytes: the size of `/tmp`. host: further folders to show.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return None
    return (
        *(bwrap, "--die-with-parent", "--new-session"),
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--hostname", "sandbox", "--clearenv", "--setenv", "PATH", "/usr/bin"),
        # Sets have the same order in every run: a verdict is repeatable.
        *("--setenv", "PYTHONHASHSEED", "0", "--setenv", "PYTHONUTF8", "1", "--setenv", "HOME", "/tmp"),
        *(
            ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
            if root
            else ("--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY)
        ),
        *_shown(host),
        *_folder("/dev"),
        *("--dev-bind", "/dev/null", "/dev/null"),
        *("--perms", "1777", "--size", str(tmp_bytes), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp"),
        # No site module and no packages, no current folder on the path, nothing compiled is written.
        *("--", _python(), "-SsPB"),
    )


def _python() -> str:
    return os.path.realpath(sys.executable)


def _shown(host: tuple[str, ...]) -> list[str]:
    """Mounts of what can be read, in an order in which none hides another."""
    words: list[str] = []
    seen: list[str] = []
    for path in sorted({*_LIBRARIES, f"{sys.base_prefix}/lib", _python(), *host}):
        if any(path.startswith(f"{folder}/") for folder in seen) or not os.path.exists(path):
            continue
        # Folders on the way are made here, or only their owner could pass them.
        words += [word for folder in reversed(Path(path).parents[:-1]) for word in _folder(str(folder))]
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        else:
            words += ["--ro-bind", path, path]
            seen.append(path)
    standard = f"{sys.base_prefix}/lib/python{sys.version_info.major}.{sys.version_info.minor}"
    for packages in (f"{standard}/site-packages", f"{standard}/dist-packages"):
        if os.path.isdir(packages):
            words += ["--size", "4096", "--tmpfs", packages, "--remount-ro", packages]
    return words


def _folder(path: str) -> tuple[str, ...]:
    return ("--perms", "0755", "--dir", path)

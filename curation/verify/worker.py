"""The child side of the grader pool: a fork server, and the workers that it forks.

multiprocessing's own fork server is not used: its preload list is one for the whole process and ignored once it runs,
failed preloads are silent, and every child imports the caller's `__main__` again. This one is a fresh interpreter
that imports the verifiers once and then forks on request.

Control socket (SOCK_SEQPACKET), from the pool: `fork` with the worker's socket attached, `end PID`. From the server,
JSON: `{"forked": pid}` in the order of the requests, `{"ended": pid, "status": wait status, "cpu": seconds}`.

Worker socket (stream), from the pool: frames of a length (4 bytes) and a pickled list of jobs. From the worker, one
JSON line for each job, in order and at once: `[outcome, extracted, reason, CPU seconds so far]`. So the job in
progress is always the first without an answer. Answers are JSON because a worker has read text written by models and
is not trusted.

Nothing outlives the pool: the server ends, with its workers, when the control socket closes or its parent is gone; a
worker ends when its socket closes or (by the kernel) when the server is gone.
"""

import ctypes
import gc
import json
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback

from curation import verify

LENGTH = struct.Struct("!I")
DEADLINE_SIGNAL = signal.SIGPROF

_PR_SET_PDEATHSIG = 1
_PARENT_CHECK_SECONDS = 2.0


def serve(control_fd: int, preload: list[str], cpu_seconds: float, memory_bytes: int) -> None:
    """Import and warm the verifiers named in `preload`, then fork workers until the pool is gone."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the pool's owner
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    control = socket.socket(fileno=control_fd)
    for name in preload:
        verify.verifier(name).warm()
    gc.collect()
    gc.freeze()  # what is imported stays in pages that workers share
    children: set[int] = set()
    try:
        while os.getppid() == parent:
            # A process that the pool's owner forked may hold the control socket open after its death: hence the look
            # at the parent.
            if not select.select([control], [], [], _PARENT_CHECK_SECONDS)[0]:
                continue
            message, fds, _, _ = socket.recv_fds(control, 256, 1)
            if not message:
                break
            if message == b"fork":
                children.add(pid := _fork(control, fds[0], preload, cpu_seconds, memory_bytes))
                os.close(fds[0])
                reply: dict[str, float] = {"forked": pid}
            else:
                pid = int(message.split()[1])
                os.kill(pid, signal.SIGKILL)  # changes nothing of how it ended if it did already: it is not reaped yet
                _, status, usage = os.wait4(pid, 0)
                children.discard(pid)
                reply = {"ended": pid, "status": status, "cpu": usage.ru_utime + usage.ru_stime}
            control.send(json.dumps(reply).encode())
    except (BrokenPipeError, ConnectionResetError):
        pass  # the pool is gone
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _fork(control: socket.socket, fd: int, preload: list[str], cpu_seconds: float, memory_bytes: int) -> int:
    server = os.getpid()
    if pid := os.fork():
        return pid
    code = 1
    try:
        control.close()
        pool = socket.socket(
            fileno=fd
        )  # open until the exit code is certain: the pool has a worker killed whose socket closes
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == server:
            limit = _address_space() + memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            signal.signal(DEADLINE_SIGNAL, signal.SIG_DFL)
            work(pool, preload, cpu_seconds)
            code = 0
    except (BrokenPipeError, ConnectionResetError):
        code = 0  # the pool is gone
    except BaseException:  # noqa: BLE001 - whatever ends a worker must not run the server's code in the fork
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def work(pool: socket.socket, preload: list[str], cpu_seconds: float) -> None:
    """Grade jobs until the socket closes, or until memory ran out once: what then stays allocated would fail the next
    job.

    Every job gets `cpu_seconds` of user and system time. The kernel's ITIMER_PROF ends the process by SIGPROF, in the
    middle of C code too, and unlike RLIMIT_CPU it counts in less than seconds and starts again for each job.
    """
    requests = pool.makefile("rb", buffering=1 << 16)
    loaded = set(preload)
    while head := requests.read(LENGTH.size):
        for name, answer, completion, args in pickle.loads(requests.read(LENGTH.unpack(head)[0])):
            if name not in loaded:
                signal.setitimer(signal.ITIMER_PROF, 0)  # imports are not the job's
                verify.verifier(name).warm()
                loaded.add(name)
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            verdict = verify.grade(name, answer, completion, args)
            line = json.dumps([verdict.outcome, verdict.extracted, verdict.reason, time.process_time()])
            pool.sendall(line.encode() + b"\n")
            if verdict.reason.startswith("MemoryError"):
                return


def _address_space() -> int:
    """Bytes of address space in use, which the limit for one worker comes on top of."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()

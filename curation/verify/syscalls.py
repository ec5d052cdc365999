"""The system calls that a sandboxed program does not get, as a seccomp filter for `bwrap --seccomp`.

Refused (EPERM) is what makes memory that no limit counts, what makes namespaces and mounts (in a user namespace of its
own a program may have any), what looks into other processes, sockets of unusual families, and what has little use and
much history: the rest of the kernel is needed by one interpreter or another. `clone3` does not exist (ENOSYS), because
a filter cannot see its flags; libraries then use `clone`. Calls of another architecture than the machine's end the
program.

The filter is classic BPF: `struct sock_filter {u16 code; u8 jt, jf; u32 k}` over `struct seccomp_data {int nr; u32 arch;
u64 instruction_pointer, args[6]}` (linux/seccomp.h, linux/filter.h). Numbers are those of asm/unistd.h.
"""

import errno
import functools
import platform
import struct

_NUMBERS = {
    # name: (x86_64, aarch64)
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the numbers above, and AUDIT_ARCH."""

_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6: the sandbox's own network namespace bounds those, but no AF_VSOCK and its like."""
_X32 = 0x40000000
_LOAD, _EQUAL, _GREATER_OR_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCH_AT, _ARGUMENT_AT = 0, 4, 16


@functools.cache
def seccomp_filter(machine: str = platform.machine()) -> bytes | None:
    """The filter; None for a machine whose numbers are not known here: there bubblewrap is all."""
    if machine not in _MACHINES:
        return None
    column, arch = _MACHINES[machine]
    refused = sorted(numbers[column] for numbers in _NUMBERS.values())
    answer = {"allow": _ALLOW, "kill": _KILL, "refuse": _ERRNO | errno.EPERM, "absent": _ERRNO | errno.ENOSYS}
    # (operation, operand, label when it holds); what holds nowhere goes on.
    checks = [
        *[(_EQUAL, number, "refuse") for number in refused],
        (_EQUAL, _CLONE3[column], "absent"),
        (_GREATER_OR_EQUAL, _X32, "refuse"),
    ]
    # The program: 4 instructions about the architecture, the checks, some about sockets, 4 about clone, the answers.
    families = len(_FAMILIES)
    at = {label: 4 + len(checks) + families + 3 + 4 + place for place, label in enumerate(answer)}
    program = [(_LOAD, 0, 0, _ARCH_AT), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER_AT)]
    for operation, operand, label in checks:
        program.append((operation, at[label] - len(program) - 1, 0, operand))
    program += [(_EQUAL, 0, families + 2, _SOCKET[column]), (_LOAD, 0, 0, _ARGUMENT_AT)]
    for family in _FAMILIES:
        program.append((_EQUAL, at["allow"] - len(program) - 1, 0, family))
    program.append((_RETURN, 0, 0, answer["refuse"]))
    program.append((_EQUAL, 0, 1, _CLONE[column]))
    program.append((_LOAD, 0, 0, _ARGUMENT_AT))
    # Without clone the accumulator holds the call's number, which has none of these bits.
    program.append((_ANY_BIT, at["refuse"] - len(program) - 1, 0, _NAMESPACES))
    program.append((_RETURN, 0, 0, _ALLOW))
    program += [(_RETURN, 0, 0, value) for value in answer.values()]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)

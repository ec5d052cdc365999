"""What the commands share: options, finding a dataset, and how results and mistakes are told."""

import contextlib
import errno
import json
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import click

from curation.inspect.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

    from curation.publish import Dataset

FAILED, WRONG, SPENT = 1, 2, 3
"""Exit codes: it failed, the command or the recipe is wrong, the budget is spent."""
AGAIN = "What was measured is in the workspace: run the same command again to go on."

workspace_option = click.option(
    "--workspace",
    default="cuvee-data",
    show_default=True,
    envvar="CUVEE_WORKSPACE",
    help="Where everything is kept: a folder, or s3://bucket/path.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")


def find(ref: str, workspace: str) -> "Dataset":
    from curation.publish import find
    from curation.store import Store

    return find(Store(workspace), ref)


def pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE options as a mapping."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"{option}: {text!r} is not of the form NAME=VALUE")
        if key.strip() in found and option != "--set":
            raise click.UsageError(f"{option}: {key.strip()} is given twice")
        found[key.strip()] = value.strip()
    return found


@contextlib.contextmanager
def mistakes(again: str = "") -> Iterator[None]:
    """Says in a line what went wrong: exit code 2 for what the user can mend in the command or recipe, 1 for the rest.

    again: said when the work may go on where it stopped.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, SystemExit, BrokenPipeError):
        raise
    except BaseException as error:  # noqa: BLE001 - the last place where an error can be told kindly
        chain = list(_chain(error))
        if any(isinstance(e, (KeyboardInterrupt, click.Abort)) for e in chain):
            end(130, f"\nstopped. {again}" if again else "\nstopped")
        if any(isinstance(e, OSError) and e.errno == errno.ENOSPC for e in chain):
            workspace = click.get_current_context().params.get("workspace", "the workspace")
            end(FAILED, f"error: no space left on device in {workspace}; free some and run the same command again")
        step = getattr(error, "step", None)
        cause = error.__cause__ if step is not None and error.__cause__ is not None else error
        where = f"step {step}: " if step is not None else ""
        if _is_told(cause):
            wrong = isinstance(cause, ValueError) and type(cause).__name__ not in (
                "WorkspaceLocked",
                "WorkspaceDamaged",
            )
            goes_on = again if step and not wrong else ""
            end(WRONG if wrong else FAILED, f"error: {where}{_rule_named(cause)}", goes_on)
        trace = "".join(traceback.format_exception(cause))
        with tempfile.NamedTemporaryFile("w", prefix="cuvee-error-", suffix=".txt", delete=False) as file:
            file.write(trace)
        end(FAILED, f"error: {where}{type(cause).__name__}: {cause}", again, f"The traceback is in {file.name}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [found.__cause__, found.__context__]


def end(code: int, *lines: str) -> NoReturn:
    """Ends the command with what there is to say."""
    click.echo(visible("\n".join(line for line in lines if line)), err=True)
    sys.exit(code)


def _is_told(error: BaseException) -> bool:
    """Whether an error is ours, and so says itself what was given, what is allowed and what to do."""
    return type(error).__module__.split(".")[0] in ("curation", "distill", "train", "flows")


def _rule_named(error: BaseException) -> str:
    rule = getattr(error, "rule", None)
    return str(error) if rule is None else f"rule {rule}: {error}"


def terminal() -> "Console":
    from rich.console import Console

    # Tables keep their shape where there is no terminal to ask for its width.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def say(console: "Console", line: str) -> None:
    """Prints a line with names or paths in it: as they are, and whole, to be copied."""
    console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def json_text(value: Any) -> str:
    # ASCII: any terminal and encoding takes it, and no control character is left in it.
    return json.dumps(value, default=str, indent=2).replace("\x7f", "\\u007f")

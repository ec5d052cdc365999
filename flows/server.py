"""The Prefect API that a run uses: the one that is configured, else a local one for the length of the run.

Prefect only orders and shows; it holds no state that matters. So its own noise (logs, tracebacks of failed tasks,
farewells at exit) stays out of the user's terminal: what failed is said once, by the command line.
"""

import atexit
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from curation.supervisor import supervised

HOME = Path("~/.cache/cuvee/prefect").expanduser()
QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_LOGGERS_PREFECT_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "1",
}
START_SECONDS = 180


@contextlib.contextmanager
def prefect_api(say: Callable[[str], None]) -> Iterator[None]:
    """Prefect's API for the block. Raises curation.supervisor.ServerError when a local one does not start.

    say: told where a local one shows the run.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    atexit.register(leave_quietly)
    import prefect.settings

    if prefect.settings.get_current_settings().api.url is not None:
        yield
        return
    HOME.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    # The background services (late runs, schedules) have nothing to do in a server that lives for one run.
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-services",
    ]
    environment = os.environ | {
        "PREFECT_HOME": str(HOME),
        "PREFECT_API_URL": address,
        "PREFECT_SERVER_UI_API_URL": address,
    }
    log = Path(tempfile.gettempdir()) / f"cuvee-prefect-{os.getpid()}.log"
    with supervised(command, env=environment, log=log) as server:
        server.wait_for(f"{address}/health", timeout=START_SECONDS)
        say(f"Prefect shows this run at {address.removesuffix('/api')} while it lasts")
        with prefect.settings.temporary_settings({prefect.settings.PREFECT_API_URL: address}):
            try:
                yield
            finally:
                _drain()
    log.unlink(missing_ok=True)


def leave_quietly() -> None:
    """Closes standard error when all else has ended.

    Prefect's threads outlive the interpreter's modules; native libraries (nanobind in DuckDB) report that as leaks.
    """
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _drain() -> None:
    """Sends what Prefect still holds back, so that nothing is tried after the server has gone."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all()
    APILogWorker.drain_all()

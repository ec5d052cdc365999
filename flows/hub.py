"""The Hub's client, as it is used here: quiet, and its errors told in a line that says what to do."""

import contextlib
from collections.abc import Iterator


class HubFailed(RuntimeError):
    """The Hub could not be reached, or does not let us."""


def quieten() -> None:
    """Leaves progress and messages to us."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # loaded when asked for
    from huggingface_hub.utils.logging import set_verbosity_error

    disable_progress_bars()
    set_verbosity_error()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def told(name: str, besides: type[Exception]) -> Iterator[None]:
    """Raises HubFailed for what goes wrong in the block, which works on the repository `name`; `besides` goes through."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except besides:
        raise
    # Its HTTP library's, the network's, and what it wraps those of its storage in.
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise HubFailed(meaning(error, name)) from error


def meaning(error: BaseException, name: str) -> str:
    """What an error of the client says to someone who writes to the repository `name`, and what to do."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return "the Hub's client is told to stay offline: unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
    answered = next((cause for cause in causes if isinstance(cause, HfHubHTTPError)), None)
    if answered is None:
        first = (str(error).splitlines() or [""])[0]
        return f"the Hub did not answer ({type(error).__name__}: {first}); the same command again goes on"
    status, said = answered.response.status_code, (answered.server_message or "").partition("\n")[0]
    said = f" ({said})" if said else ""
    if status == 400:
        return f"the Hub refuses what is sent: {' '.join(str(error).split())[:300]}"
    if status == 401:
        return f"the Hub does not know the token{said}: `hf auth login`, or set HF_TOKEN to one that may write"
    if status == 403:
        owner = name.partition("/")[0]
        return f"the token may not write to {name}{said}: take one with the role `write` on {owner}, or another name"
    if status == 404:
        return f"{name} is not there, or the token may not see it{said}"
    if status == 409:
        return f"{name} is there and the token may not see it, or another push is at work{said}"
    return f"the Hub answered {status}{said}; the same command again goes on"

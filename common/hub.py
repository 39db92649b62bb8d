"""The model hub: whether it answers, the current commit of a repository, and why a fetch failed."""

import functools
import time
from pathlib import Path

from huggingface_hub import HfApi, constants, get_session
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import logging

PATIENCE = (5, 10)  # seconds to wait for an answer, at the first and the second try


@functools.cache
def connect() -> str | None:
    """Ask the hub for any answer; without one, switch its clients to their cache. Returns the problem, or None.

    The clients alone would retry for every file: half a minute each, or minutes if a firewall drops the packets.
    """
    logging.set_verbosity_error()  # ten lines about retries would hide the one that helps
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    for patience in PATIENCE:
        try:
            get_session().head(constants.ENDPOINT, timeout=patience)
            return None
        except Exception as error:  # name resolution, proxy, certificate, timeout
            reason = f"{constants.ENDPOINT}: {error}"
            time.sleep(0.5)
    constants.HF_HUB_OFFLINE = True  # read by huggingface_hub and transformers at every call
    return reason


def pin_commit(location: str, revision: str | None) -> str | None:
    """The commit that `revision` of the repository `location` means now, by the hub or else by the cache.

    Ask once, so that configuration, tokenizer and weights come from the same commit. Returns `revision` itself for a
    local folder or an unknown repository; loading then reports the error.
    """
    if location == "tiny" or Path(location).is_dir():
        return revision
    connect()
    try:
        return HfApi().resolve_revision(location, revision=revision).resolved
    except Exception:
        return revision


def explain_fetch(error: BaseException) -> str | None:
    """Why a fetch failed and what to do, as the end of a sentence; None if the hub is not the cause.

    `error` is any exception of a client. This looks at its causes, since the libraries' own texts name the wrong one.
    """
    causes = list(_causes(error))

    def caused_by(*kinds):
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    if caused_by(RepositoryNotFoundError):
        return (
            "is not on the hub, or you have no access. Check the spelling; if its page asks for consent, give it there "
            "and log in with: hf auth login"
        )
    if connect() and caused_by(LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError):
        return f"cannot be fetched: no connection to the hub ({connect()}), and it is not in the local cache"
    broken = next((cause for cause in causes if type(cause).__module__.startswith("httpx")), None)
    if broken:
        return f"cannot be fetched: the connection to the hub broke ({broken}); start the same command again"
    refused = caused_by(HfHubHTTPError)
    if refused and not isinstance(refused, RemoteEntryNotFoundError):
        return f"cannot be fetched: the hub answers {refused.response.status_code}; try again later"
    return None


def _causes(error):
    """An exception and its causes, one after the other."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

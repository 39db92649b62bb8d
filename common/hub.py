"""The model hub: whether it answers, which commit of a repository is meant, and why a fetch failed."""

import functools
import time
from dataclasses import replace
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

PATIENCE = (5, 10)  # seconds to wait for the hub's first answer, at the first and the second try


@functools.cache
def connect():
    """Wait for any answer of the hub; without one its clients go on from their cache. Returns what is wrong, or None.

    Left to themselves the clients ask for every file again and again: half a minute each, or minutes where a firewall
    swallows the packets.
    """
    logging.set_verbosity_error()  # ten lines about retries would hide the one that helps
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    for patience in PATIENCE:
        try:
            get_session().head(constants.ENDPOINT, timeout=patience)
            return None
        except Exception as error:  # name resolution, proxy, certificate, time: in any case, no hub
            reason = f"{constants.ENDPOINT}: {error}"
            time.sleep(0.5)
    constants.HF_HUB_OFFLINE = True  # read by huggingface_hub and transformers at every call
    return reason


def pin_commit(source):
    """A Source (common/training/encoders/sources.py) with the commit that its revision means now.

    The hub's commit, else the cache's. Ask once, so that configuration, tokenizer and weights are of one state. Local
    folders, and what cannot be had, come back as they are; loading says why.
    """
    if source.location == "tiny" or Path(source.location).is_dir():
        return source
    connect()
    try:
        return replace(source, revision=HfApi().resolve_revision(source.location, revision=source.revision).resolved)
    except Exception:
        return source


def explain_fetch(error):
    """Why a fetch failed, with what to do, as the end of a sentence; None where the hub is not to blame.

    `error` is whatever a client raised. Its causes are looked at: the libraries' own texts name the wrong one.
    """
    causes = list(_causes(error))

    def caused_by(*kinds):
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    if caused_by(RepositoryNotFoundError):
        return (
            "is not on the hub, or not open to you. Check the spelling; where it asks for consent, give it on its page "
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
    """An exception and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

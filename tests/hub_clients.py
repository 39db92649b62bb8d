"""The real clients of the hub, in processes of their own, since they read their environment when they are imported."""

import contextlib
import json
import os
import shutil

from tests.scripts import ROOT, run_script, start_server

# Also what train.py imports late
CLIENTS = "train, datasets, common.training.inputs, common.training.run, common.training.compute.devices"


def empty_cache():
    """Forget what was ever fetched: the folder is that of these tests alone, see conftest.py."""
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


def online(url):
    """The environment of a user whose hub is at `url`."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    addresses = {"HF_ENDPOINT": url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return kept | addresses | {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


@contextlib.contextmanager
def connect_clients(url):
    """What `run_script` needs for scripts whose clients have just been imported, with the hub at `url`."""
    environment = online(url)
    with start_server(CLIENTS, environment) as server:
        yield {"environment": environment, "server": server}


def train_each(lines, place, data, **clients):
    """Run train.py in a process with each of the command lines; returns their [exit code, stderr, seconds].

    Without `clients`, those of the tests' process: with HF_HUB_OFFLINE=1.
    """
    done = run_script(ROOT / "tests/hub_calls.py", data, json.dumps(lines), place=place, **clients)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

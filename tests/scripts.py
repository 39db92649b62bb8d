"""Scripts in processes of their own: forks of one that has imported torch, which takes longer than most scripts run.

By default that one is itself a fork of the tests' process, made when all tests are collected and none has run (see
conftest.py): a script meets what imports leave, and nothing that a test left.
"""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS = 300  # a script that takes longer hangs


class Server:
    """Our end of the connection to a process that forks one script at a time."""

    default = None

    def __init__(self, connection):
        self.connection = connection
        self.last = None  # script


class Script:
    """A running script, as `python <arguments>` starts it; what it writes is in files until it is collected."""

    def __init__(self, *arguments, environment=None, place=None, server=None):
        server = server or Server.default
        if server is None:
            pytest.skip("forks")
        if server.last and server.last.returncode is None:  # of a test that failed
            os.kill(server.last.pid, signal.SIGKILL)
            server.last.collect()
        self.returncode = None  # as subprocess has it: minus the signal that killed it
        self._folder = tempfile.TemporaryDirectory()
        self._connection = server.connection
        words = [str(argument) for argument in arguments]
        self._connection.send((words, self._folder.name, place or os.getcwd(), environment or dict(os.environ)))
        self.pid = self._connection.recv()
        server.last = self

    def wait_until_stopped(self):
        """Wait for what SIGSTOP does."""
        assert os.WIFSTOPPED(self._connection.recv())

    def poll(self):
        """The exit code; None while the script runs."""
        return self._wait(0)

    def collect(self):
        """Wait for the end; returns what was written to stdout and to stderr."""
        while self._wait(MOST_SECONDS) is None:
            os.kill(self.pid, signal.SIGKILL)
        with self._folder as folder:
            return [Path(folder, name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]

    def _wait(self, seconds):
        while self.returncode is None and self._connection.poll(seconds):
            status = self._connection.recv()
            if not os.WIFSTOPPED(status):
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def run_script(*arguments, environment=None, place=None, server=None):
    """What subprocess.run returns for `python <arguments>`: of a fork, where the system can fork."""
    if not hasattr(os, "fork"):
        command = [sys.executable, *map(str, arguments)]
        environment = (environment or os.environ) | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
        settings = {"cwd": place, "env": environment, "encoding": "utf-8", "capture_output": True, "check": False}
        return subprocess.run(command, **settings)
    script = Script(*arguments, environment=environment, place=place, server=server)
    stdout, stderr = script.collect()
    return subprocess.CompletedProcess(arguments, script.returncode, stdout, stderr)


def start_default_server():
    """Fork the process that forks; it ends when this one does."""
    ours, theirs = Pipe()
    if os.fork() == 0:
        ours.close()
        try:
            serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    Server.default = Server(ours)


@contextlib.contextmanager
def start_server(modules, environment):
    """A server whose process starts anew, since these modules read `environment` when they are imported."""
    if not hasattr(os, "fork"):
        yield None
        return
    ours, theirs = Pipe()
    code = f"import {modules}; from tests.scripts import Connection, serve; serve(Connection({theirs.fileno()}))"
    command, fds = [sys.executable, "-c", code], [theirs.fileno()]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=fds, stdin=subprocess.DEVNULL)
    theirs.close()
    try:
        yield Server(ours)
    finally:
        ours.close()
        process.wait()


def serve(connection: Connection):
    """One script after another: send its process id, then each of its states as os.waitpid has them."""
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        process = os.fork()
        if process == 0:
            connection.close()
            _become(*asked)
        connection.send(process)
        status = None
        while status is None or os.WIFSTOPPED(status):
            status = os.waitpid(process, os.WUNTRACED)[1]
            connection.send(status)


def _become(arguments, folder, place, environment):
    """Be the script, in this place; never returns."""
    code = 1
    try:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(environment)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT), number)
            setattr(sys, name, os.fdopen(number, "w", buffering=1, encoding="utf-8"))
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):  # words, as Python has it
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

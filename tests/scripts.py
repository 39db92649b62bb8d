"""Scripts in processes of their own: forks of one that has imported torch, which takes longer than most scripts run.

That one is itself a fork of the tests' process, made when all tests are collected and none has run (see conftest.py):
a script meets what imports leave, and nothing that a test left.
"""

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from multiprocessing import Pipe
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS = 300  # a script that takes longer hangs
_server = None  # our end of the connection to the process that forks
_last = None  # the script that was started last; the process that forks knows one at a time


class Script:
    """A running script, as `python <arguments>` starts it; what it writes is in files until it is collected."""

    def __init__(self, *arguments, environment=None):
        global _last
        if _server is None:
            pytest.skip("forks")
        if _last and _last.returncode is None:  # of a test that failed
            os.kill(_last.pid, signal.SIGKILL)
            _last.collect()
        self.returncode = None  # as subprocess has it: minus the signal that killed it
        self._folder = tempfile.TemporaryDirectory()
        words = [str(argument) for argument in arguments]
        _server.send((words, self._folder.name, os.getcwd(), os.environ | (environment or {})))
        self.pid = _server.recv()
        _last = self

    def wait_until_stopped(self):
        """Wait for what SIGSTOP does."""
        assert os.WIFSTOPPED(_server.recv())

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
        while self.returncode is None and _server.poll(seconds):
            status = _server.recv()
            if not os.WIFSTOPPED(status):
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def run_script(*arguments, environment=None):
    """What subprocess.run returns for `python <arguments>`: of a fork, where the system can fork."""
    if _server is None:
        command = [sys.executable, *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"} | (environment or {})
        return subprocess.run(command, env=environment, encoding="utf-8", capture_output=True, check=False)
    script = Script(*arguments, environment=environment)
    stdout, stderr = script.collect()
    return subprocess.CompletedProcess(arguments, script.returncode, stdout, stderr)


def start_server():
    """Fork the process that forks; it ends when this one does."""
    global _server
    _server, theirs = Pipe()
    if os.fork() == 0:
        _server.close()
        try:
            _serve(theirs)
        finally:
            os._exit(0)
    theirs.close()


def _serve(connection):
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
        runpy.run_path(arguments[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

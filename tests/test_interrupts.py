"""Ctrl-C and SIGTERM: within the loop, outside of it, in finalizers, twice."""

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

from common.cli import exit_codes
from common.interrupts import Interrupted, StopSignals

ROOT = Path(__file__).resolve().parent.parent


def test_signals_ask_the_loop_to_end_and_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for signum in (signal.SIGTERM, signal.SIGINT):
        with pytest.raises(Interrupted, match="saved"), StopSignals() as stop:
            assert not stop.requested
            os.kill(os.getpid(), signum)
            assert stop.requested
            raise Interrupted("saved")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_the_loop_did_not_see_is_not_forgotten(signum):
    with pytest.raises(KeyboardInterrupt), StopSignals():
        os.kill(os.getpid(), signum)  # in its last step


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_outside_the_loop_is_one_line_too(capsys, signum):
    @exit_codes
    def main(argv=None):
        os.kill(os.getpid(), signum)

    before = signal.getsignal(signal.SIGTERM)
    assert main() == 130
    assert capsys.readouterr() == ("", "interrupted\n")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("where", ["finalizer", "callback"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_finalizer_is_not_swallowed(capsys, signum, where):
    """Python ignores what a finalizer raises: a progress bar's was once what a signal met, and the run went on."""

    class Bar:
        pass

    def signals(*_):
        os.kill(os.getpid(), signum)

    @exit_codes
    def main(argv=None):
        bar = Bar()
        if where == "finalizer":
            Bar.__del__ = signals
        else:
            weakref.finalize(bar, signals)
        del bar
        for _ in range(1000):
            time.sleep(0.01)

    assert main() == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize(
    "script", ["create_confusion_matrix.py", "create_ensemble_submission.py", "find_label_issues.py", "predict.py"]
)
def test_a_signal_while_the_imports_run_is_one_line_too(script, tmp_path):
    """A numpy first on the path, during whose import the signal comes."""
    (tmp_path / "numpy.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(ROOT / script), "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "interrupted\n")


def test_other_errors_while_the_imports_run_keep_their_traceback(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ValueError('broken')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(ROOT / "predict.py"), "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("Traceback ")
    assert done.stderr.endswith("ValueError: broken\n")


def test_a_second_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt, match="late"), StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # a machine that repeats itself
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise KeyboardInterrupt("late")
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler

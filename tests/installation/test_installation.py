"""An installation that will not do is told in one line; what is installed, required and recorded agree."""

from common.installation import fits, read_ranges, require

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from common import installation

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(ROOT.glob("*.py"))


@pytest.mark.parametrize(
    ("installed", "wanted", "answer"),
    [
        ("5.0.0", ">=5.0,<6", True),
        ("5.23.0", ">=5.0,<6", True),
        ("4.57.1", ">=5.0,<6", False),
        ("6.0.0.dev0", ">=5.0,<6", False),
        ("2.13.0+cpu", ">=2.13", True),
        ("2.13.0a0+git1234.nv25.11", ">=2.13", True),
        ("2.9.1", ">=2.10", False),
        ("10.0", ">=9", True),
        ("1.0", "", True),
    ],
)
def test_versions_in_ranges(installed, wanted, answer):
    assert fits(installed, wanted) is answer


def ended(capsys, *packages):
    with pytest.raises(SystemExit) as caught:
        require(*packages)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_an_old_a_new_and_a_missing_package_are_one_line(monkeypatch, capsys):
    mend = "python -m pip install -r requirements.txt"
    monkeypatch.setattr("importlib.metadata.version", lambda _: "4.57.1")
    assert ended(capsys, "transformers") == (
        f"error: transformers 4.57.1 is installed, transformers>=5.18,<6 is needed: {mend}\n"
    )
    monkeypatch.undo()
    monkeypatch.setattr(installation, "read_ranges", lambda: {"nowhere-to-be-found": ">=1"})
    assert ended(capsys, "nowhere-to-be-found") == f"error: nowhere-to-be-found is not installed: {mend}\n"
    monkeypatch.setattr(installation, "OLDEST_PYTHON", (9, 9))
    assert re.match(r"error: Python 3\.\d+ is too old, expected 3.11 or newer: make setup", ended(capsys))
    monkeypatch.setenv("RANK", "1")
    assert ended(capsys) == ""


def test_what_is_installed_is_in_the_ranges_and_is_what_constraints_say():
    exact = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    ranges = read_ranges()
    assert len(ranges) == 11
    for package, wanted in ranges.items():
        assert fits(exact[package], wanted), package
    names = [*ranges, *read_ranges(ROOT / "requirements-dev.txt")]
    if "TEST_OLDEST" not in os.environ:
        assert {name: version(name).split("+")[0] for name in names} == {name: exact[name] for name in names}


def test_every_imported_package_is_required():
    """A package that another one happens to bring is none of ours to rely on, but for those named here."""
    brought = dict.fromkeys(("safetensors", "tokenizers", "huggingface_hub"), "transformers")
    known = {"sklearn": "scikit-learn", "scipy": "scikit-learn", "cycler": "matplotlib", **brought}
    found = set()
    for path in [*SCRIPTS, *ROOT.glob("common/**/*.py"), *ROOT.glob("data/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found |= {name.partition(".")[0] for name in names}
    ours = {"common", "data", *(path.stem for path in SCRIPTS)}
    foreign = {known.get(name, name) for name in found - ours - set(sys.stdlib_module_names)}
    assert foreign <= set(read_ranges()) | OPTIONAL


OPTIONAL = {"openpyxl", "mlflow", "wandb"}  # asked for by name where an option needs them


def run_as(python, script, **environment):
    done = subprocess.run(
        [python, script, "--help"], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


OLD = """
import runpy, sys
sys.version_info = (3, 9, 6, "final", 0)
for package in ("numpy", "pandas", "torch", "matplotlib"):
    sys.modules[package] = None  # importing it fails
sys.argv = [sys.argv[1], "--help"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("script", [path.name for path in SCRIPTS])
def test_apples_python_is_refused_in_one_line(script):
    done = subprocess.run([sys.executable, "-c", OLD, script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: Python 3.9 is too old, expected 3.11 or newer: make setup PYTHON=")


def test_old_pythons_can_read_what_refuses_them():
    for path in (ROOT / "common/__init__.py", ROOT / "common/installation/__init__.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 6))
    for path in SCRIPTS:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_an_older_package_is_refused_before_any_import_fails(tmp_path):
    """A transformers 4 first on the path, which fails when it is imported."""
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers" / "__init__.py").write_text("raise ImportError('13 lines of traceback')")
    metadata = tmp_path / "transformers-4.57.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.57.1\n")
    code, error = run_as(sys.executable, "train.py", PYTHONPATH=str(tmp_path))
    assert code == 2 and error.count("\n") == 1
    assert error.startswith("error: transformers 4.57.1 is installed, transformers>=5.18,<6 is needed: ")


@pytest.mark.slow  # a process for each script
def test_optimized_python_runs_the_analysis_and_refuses_training_in_one_line():
    assert run_as(sys.executable, "create_ensemble_submission.py", PYTHONOPTIMIZE="2")[0] == 0
    code, error = run_as(sys.executable, "train.py", PYTHONOPTIMIZE="2")
    assert (
        code == 2 and error.startswith("error: transformers does not work under python -OO") and error.count("\n") == 1
    )

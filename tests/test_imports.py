"""Who may import whom, and that importing changes nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
# Folders of common/ that every feature may import
SHARED = {"", "confidence", "installation", "reading", "saved", "splitting", "tfidf"}
HEAVY = {"torch", "transformers", "safetensors", "tokenizers"}  # common/training alone


def imported_modules(path):
    """The dotted names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name, modules):
    """The module of ours that a dotted name means (`common.cli.UserError` -> `common.cli`), or None."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def imports_of_common():
    """Each module of common/ -> the modules of common/ that it imports."""
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.glob("common/**/*.py")}
    return {name: {module_of(each, paths) for each in imported_modules(path)} - {None} for name, path in paths.items()}


def folder_of(module):
    """`common.training.loop` -> `training`; a module of common/ itself -> ''."""
    return module.split(".")[1] if module.count(".") >= 2 else ""


def test_imports_point_downwards():
    for module, imported in imports_of_common().items():
        for other in imported:
            assert folder_of(other) in SHARED | {folder_of(module)}, f"{module} imports {other}"


def test_no_module_imports_itself_by_a_detour():
    imports = imports_of_common()
    open_modules = dict(imports)
    while leaves := [module for module, needs in open_modules.items() if not needs & open_modules.keys()]:
        for module in leaves:
            del open_modules[module]
    assert not open_modules


def test_torch_is_imported_in_training_alone():
    others = set(ROOT.glob("common/**/*.py")) - set(ROOT.glob("common/training/**/*.py"))
    for path in [*others, *(ROOT / name for name in SCRIPTS)]:
        assert not {name.partition(".")[0] for name in imported_modules(path)} & HEAVY, path


def run_python(code, **environment):
    """What a new Python process prints that runs `code` in the repository."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_analysis_scripts_start_without_torch():
    scripts = [name.removesuffix(".py") for name in SCRIPTS if not name.startswith(("train", "predict"))]
    code = f"import sys, {', '.join(scripts)}; print(sorted({HEAVY} & sys.modules.keys()))"
    assert len(scripts) >= 3 and run_python(code) == "[]"


@pytest.mark.parametrize("backend", ["svg", "tkagg"])
def test_pictures_leave_the_backend_and_the_style_of_a_notebook_alone(tmp_path, backend):
    """`tkagg` needs a display, which is not there: pictures are drawn all the same."""
    picture = tmp_path / "matrix.png"
    code = f"""
import matplotlib.pyplot, numpy as np
before = dict(matplotlib.rcParams)
from common.confusion.plots import draw_matrix
from common.plots import save_figure
save_figure(draw_matrix(np.eye(2), ["a", "b"], [0, 1], "title"), {str(picture)!r})
print(dict(matplotlib.rcParams) == before)
"""
    assert run_python(code, MPLBACKEND=backend, DISPLAY="") == "True"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("script", ["train", "train_ensemble"])
def test_a_dataset_that_is_not_there_is_told_before_torch_is_imported(script):
    code = f"import sys, {script}; print({script}.main(['--data', 'nowhere']), 'torch' in sys.modules)"
    assert run_python(code) == "2 False"

"""The notebook from its first cell to the last; and scripts called from a notebook of another environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "kaggle.ipynb"


def test_a_kernel_of_another_environment_may_name_its_own_backend(tmp_path):
    """Jupyter exports its backend to what it starts: `!.venv/bin/python train.py` met a module that .venv lacks."""
    draw = "from common.training.plots import draw_learning_curves; draw_learning_curves('curves.png', {})"
    environment = os.environ | {"MPLBACKEND": "module://backend_of_another_environment", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", draw], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_notebook_is_committed_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow  # seven trainings and three other scripts in processes of their own: a minute
def test_the_notebook_runs_from_end_to_end(tmp_path, small_data):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for path in [*ROOT.glob("*.py"), ROOT / "requirements.txt", ROOT / "common", ROOT / "data"]:
        (tmp_path / path.name).symlink_to(path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    names = notebook.cells[1]
    names.source = names.source.replace('DATA = "sample"', f"DATA = {str(small_data)!r}")
    names.source = names.source.replace('MODEL = "starter"', 'MODEL = "tiny"')
    resources = {"metadata": {"path": str(tmp_path)}}
    done = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()

    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert "Traceback" not in printed and "error:" not in printed, printed
    assert "written to runs/ensemble/label_issues/" in printed and "wrote submission.csv (12 rows)" in printed
    assert kinds.count("image/png") == 3 and kinds.count("text/html") == 4
    assert (tmp_path / "submission.csv").read_text(encoding="utf-8").count("\n") == 13

"""What it takes to reproduce a run's figures: versions, machine and commit."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "scikit-learn", "cleanlab", "numpy", "pandas")


def environment() -> dict[str, Any]:
    """Versions, machine and commit, as a JSON object: what it takes to reproduce the numbers."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    repository = Path(__file__).resolve().parents[2]
    git = (
        subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=repository,
            text=True,
            capture_output=True,
            check=False,
        )
        if shutil.which("git")
        else None
    )
    return {
        "versions": versions,
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "commit": git.stdout.strip() or None if git and git.returncode == 0 else None,
    }

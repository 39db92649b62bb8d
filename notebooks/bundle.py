"""Pack everything that a machine without internet needs into one folder: repository, wheels, an encoder.

    python -m notebooks.bundle --model gbert-base --python 3.12      # for Kaggle: upload the folder as a dataset
    python -m notebooks.bundle --model starter --torch --output usb  # for an environment without torch

The folder has repository/, wheels/ and encoder/. On the other machine, where BUNDLE is the folder's path, run
python -m pip install --no-index --find-links BUNDLE/wheels -r BUNDLE/repository/requirements.txt, then, in a copy of
BUNDLE/repository, python train.py --model BUNDLE/encoder. Kaggle and Colab already have torch. --torch adds it, which
takes gigabytes on Linux.
"""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from common.cli import Parser, UserError, exit_codes

ROOT = Path(__file__).resolve().parent.parent
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")  # Kaggle, Colab, most Linux
ENCODER_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


@exit_codes
def main(argv=None) -> int:
    """Fill the folder; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--model", default="gbert-base", metavar="NAME_OR_FOLDER", help="short name, hub id, or folder")
    parser.add_argument("--output", default="bundle", metavar="DIR", help="new or empty folder")
    parser.add_argument(
        "--python", metavar="3.X", help="Python version of the other machine, a Linux one (default: as here)"
    )
    parser.add_argument("--torch", action="store_true", help="also pack torch")
    arguments = parser.parse_args(argv)
    folder = Path(arguments.output)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name another with --output")

    pack_repository(folder / "repository")
    pack_encoder(arguments.model, folder / "encoder")
    pack_wheels(folder / "wheels", arguments.python, arguments.torch)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"wrote {folder}/: repository, encoder, wheels; {size / 1e6:,.0f} MB")
    return 0


def pack_repository(target: Path) -> None:
    """Pack the committed files, without history. Raises UserError without a git clone."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        raise UserError(f"{ROOT} is not a git clone: {archive.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(target, filter="data")


def pack_encoder(name: str, target: Path) -> None:
    """Pack configuration, tokenizer and safetensors weights, from a folder or the hub.

    Raises UserError if the encoder cannot be found or fetched, or has no safetensors weights.
    """
    from huggingface_hub import snapshot_download

    from common.hub import explain_fetch
    from common.training.encoders.sources import find_source

    source = find_source(name)
    if source.folder:
        for path in sorted({path for pattern in ENCODER_FILES for path in source.folder.glob(pattern)}):
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    else:
        try:
            snapshot_download(
                source.location, revision=source.revision, local_dir=target, allow_patterns=list(ENCODER_FILES)
            )
        except Exception as error:
            reason = explain_fetch(error)
            if reason is None:
                raise
            raise UserError(f"model {source.location!r} {reason}") from error
        shutil.rmtree(target / ".cache", ignore_errors=True)
    if not any(target.glob("*.safetensors")):
        raise UserError(f"model {source.location!r} has no safetensors weights; save it with them, and name its folder")


def pack_wheels(target: Path, python: str | None, torch: bool) -> None:
    """Download the wheels of requirements.txt and their dependencies, in the versions of constraints.txt."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(target)]
    if python:
        command += ["--only-binary", ":all:", "--python-version", python]
        command += [part for platform in PLATFORMS for part in ("--platform", platform)]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text("\n".join(line for line in lines if torch or not line.startswith("torch")), encoding="utf-8")
        done = subprocess.run([*command, "-c", str(ROOT / "constraints.txt"), "-r", str(wanted)], check=False)
    if done.returncode:
        raise UserError("pip could not download the wheels; its message is above")


if __name__ == "__main__":
    sys.exit(main())

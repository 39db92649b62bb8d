"""Run folders: which one is meant, when it may be entered again, and what a crash leaves behind."""

import errno
import json
import os
from pathlib import Path

import numpy
import pytest
from filelock import FileLock

from common import runs
from common.cli import UserError
from common.runs import (
    append_metrics,
    check_run,
    complete_runs,
    cut_metrics,
    find_run,
    is_complete,
    open_run,
    read_metrics,
    run_folder,
    run_name,
)
from common.saved.environment import environment
from common.training.plots import draw_learning_curves

CONFIG = {
    "script": "train.py",
    "seed": 0,
    "data": {"name": "news", "folder": "/here/news", "fingerprint": {"train.csv": "abc"}},
    "model": {"name": "tiny", "location": "/here/tiny", "revision": None},
    "recipe": {"epochs": 3, "learning_rate": 1e-4},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in an empty folder, where runs/ appears."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_run(folder, complete=True, time=None, files=(), config=CONFIG):
    folder = Path(folder)
    for name in ("config.json", *files, *(["results.json"] if complete else [])):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(config))
    if time:
        os.utime(folder / "results.json", (time, time))
    return folder


def changed(**parts):
    """CONFIG with other values in some of its parts."""
    return {
        key: {**value, **parts[key]} if isinstance(value, dict) and key in parts else parts.get(key, value)
        for key, value in CONFIG.items()
    }


# Which folder


@pytest.mark.parametrize(
    ("run", "meant"),
    [
        ("demo", "runs/demo"),
        ("a.b-c", "runs/a.b-c"),
        (".hidden", "runs/.hidden"),
        ("./demo", "demo"),
        ("demo/", "demo"),
        ("runs/demo", "runs/demo"),
        ("../demo", "../demo"),
        ("/volume/demo", "/volume/demo"),
        (".", "."),
        ("..", ".."),
        (Path("a/demo"), "a/demo"),
    ],
)
def test_names_lie_below_runs_and_paths_are_paths(run, meant):
    assert run_folder(run) == Path(meant)


def test_a_plain_name_means_a_run_here_only_where_runs_has_none():
    make_run("demo", complete=False)  # no complete run, perhaps a model's folder
    assert run_folder("demo") == Path("runs/demo")
    make_run("demo")
    assert run_folder("demo") == Path("demo")
    make_run("runs/demo", complete=False)
    assert run_folder("demo") == Path("runs/demo")
    assert run_folder("./demo") == Path("demo")


def test_the_newest_complete_run_with_the_file():
    oof = "predictions/oof.csv"
    make_run("runs/old", time=1000, files=[oof])
    make_run("runs/new", time=3000, files=[oof])
    make_run("runs/newer", time=4000)
    make_run("runs/unfinished", complete=False, files=[oof])
    make_run("runs/newer/members/seed0", time=5000, files=[oof])  # members are no runs of their own
    assert find_run(oof) == Path("runs/new")
    assert find_run("results.json") == Path("runs/newer")
    assert find_run("predictions/test.csv") is None
    assert complete_runs() == [Path("runs/newer"), Path("runs/new"), Path("runs/old")]


def test_without_runs_none_is_found():
    assert find_run("results.json") is None and complete_runs() == []


def test_a_run_that_the_user_names_is_checked():
    make_run("runs/demo", complete=False)
    with pytest.raises(UserError, match=r"^run runs/demo is not complete; run its command again to finish it$"):
        check_run("demo")
    make_run("runs/demo")
    assert check_run("demo") == check_run("runs/demo") == Path("runs/demo")
    with pytest.raises(UserError, match=r"^run runs/demo has no predictions/oof.csv$"):
        check_run("demo", "predictions/oof.csv")
    with pytest.raises(UserError, match=r"^no run 'dmeo': runs/dmeo/config.json does not exist; .* runs: demo$"):
        check_run("dmeo")
    with pytest.raises(UserError, match=r"^no run './demo': demo/config.json does not exist; the newest complete"):
        check_run("./demo")


# Opening


def test_a_new_run_then_the_same_again_then_complete():
    assert open_run("runs/demo", CONFIG) is False
    assert json.loads(Path("runs/demo/config.json").read_text()) == CONFIG
    assert sorted(os.listdir("runs/demo")) == [".lock", "config.json"]
    assert open_run("runs/demo", CONFIG) is False and not is_complete("runs/demo")
    Path("runs/demo/results.json").write_text("{}")
    assert open_run("runs/demo", CONFIG) is True and is_complete("runs/demo")


def test_tuples_and_lists_are_the_same_configuration():
    open_run("runs/demo", {"script": "train.py", "classes": ("A", "B")})
    assert open_run("runs/demo", {"script": "train.py", "classes": ["A", "B"]}) is False


@pytest.mark.parametrize(
    ("config", "difference"),
    [
        (changed(seed=1), "seed: 0 there, 1 now"),
        (changed(recipe={"epochs": 4}), "recipe.epochs: 3 there, 4 now"),
        (changed(data={"fingerprint": {"train.csv": "abd"}}), 'data.fingerprint.train.csv: "abc" there, "abd" now'),
        (changed(model={"name": "x" * 60}), f'model.name: "tiny" there, "{"x" * 36}... now'),
        (changed(model={"revision": "1a2b"}), 'model.revision: null there, "1a2b" now'),
        (changed() | {"fold": 2}, "fold: null there, 2 now"),
        ({key: value for key, value in CONFIG.items() if key != "seed"}, "seed: 0 there, null now"),
    ],
)
def test_another_configuration_is_refused(config, difference):
    make_run("runs/demo", complete=False, files=["environment.json"])
    with pytest.raises(UserError) as caught:
        open_run("runs/demo", config)
    assert str(caught.value) == (
        f"runs/demo has a run with another configuration ({difference}); "
        "choose another name with --run, or discard that run with --overwrite"
    )
    assert json.loads(Path("runs/demo/config.json").read_text()) == CONFIG


def test_data_and_model_may_lie_elsewhere():
    open_run("runs/demo", CONFIG)
    Path("runs/demo/environment.json").touch()
    moved = changed(data={"folder": "/volume/news"}, model={"location": "/volume/tiny"})
    assert open_run("runs/demo", moved) is False


def test_corrections_are_known_by_their_content():
    """Browsers save a second download as `corrections (1).csv`."""
    given = {"file": "corrections.csv", "sha256": "1a2b", "counts": {"relabelled": 2}}
    make_run("runs/demo", files=["environment.json"], config=changed(data={"corrections": given}))
    again = given | {"file": "corrections (1).csv"}
    assert open_run("runs/demo", changed(data={"corrections": again})) is True
    with pytest.raises(UserError, match=r"data\.corrections\.sha256"):
        open_run("runs/demo", changed(data={"corrections": again | {"sha256": "3c4d"}}))


def test_overwrite_discards_the_earlier_run():
    make_run("runs/demo", files=["model/model.safetensors", "metrics.jsonl"])
    Path("shared").mkdir()
    Path("shared/keep.txt").touch()
    Path("runs/demo/link").symlink_to(Path("shared").absolute())
    assert open_run("runs/demo", changed(seed=1), overwrite=True) is False
    assert sorted(os.listdir("runs/demo")) == [".lock", "config.json"]
    assert json.loads(Path("runs/demo/config.json").read_text())["seed"] == 1
    assert Path("shared/keep.txt").exists()  # a link goes, not what it leads to
    assert open_run("runs/other", CONFIG, overwrite=True) is False  # nothing there to discard


def test_a_run_without_more_than_its_configuration_is_replaced():
    """The script that opened it was refused then; of an ensemble there is a member, too. Not if jobs share it."""
    make_run("runs/e", complete=False, files=["members/tiny-seed0/config.json"])
    with pytest.raises(UserError, match="has a run with another configuration"):
        open_run("runs/e", changed(seed=1), shared=True)
    assert open_run("runs/e", changed(seed=1)) is False
    assert json.loads(Path("runs/e/config.json").read_text())["seed"] == 1 and not Path("runs/e/members").exists()
    make_run("runs/f", complete=False, files=["members/tiny-seed0/environment.json"])
    with pytest.raises(UserError, match="has a run with another configuration"):
        open_run("runs/f", changed(seed=1))


def test_members_that_another_process_writes_are_not_discarded():
    """A job with --members holds the folder of its member only."""
    make_run("runs/e", complete=False, files=["members/tiny-seed0/metrics.jsonl", "members/tiny-seed1/metrics.jsonl"])
    member = Path("runs/e/members/tiny-seed1")
    with FileLock(member / ".lock"):
        with pytest.raises(UserError, match=f"^{member} is being written by another process"):
            open_run("runs/e", CONFIG, overwrite=True)
        assert (member / "metrics.jsonl").exists() and Path("runs/e/members/tiny-seed0/metrics.jsonl").exists()
    assert open_run("runs/e", CONFIG, overwrite=True) is False and not member.exists()
    member.mkdir(parents=True)  # perhaps with the inode of the deleted folder
    with FileLock(member / ".lock"), pytest.raises(UserError, match="is being written by another process"):
        open_run(member, CONFIG)


def test_overwrite_does_not_delete_what_the_command_reads():
    make_run("runs/demo", files=["label_issues/corrections.csv"])
    Path("link").symlink_to(Path("runs/demo/label_issues").absolute())
    for path in ("runs/demo", "runs/demo/label_issues/corrections.csv", "link/corrections.csv"):
        with pytest.raises(UserError, match=f"--overwrite would delete {path}, which is read"):
            open_run("runs/demo", changed(seed=1), overwrite=True, reads=["runs/other.csv", path])
    assert is_complete("runs/demo") and Path("runs/demo/label_issues/corrections.csv").exists()
    assert open_run("runs/demo", CONFIG, reads=["runs/demo/label_issues/corrections.csv"]) is True


def test_a_discarding_that_is_cut_short_leaves_an_incomplete_run(monkeypatch):
    make_run("runs/demo", files=["model/model.safetensors", "metrics.jsonl"])

    def fail(path):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(runs.shutil, "rmtree", fail)
    with pytest.raises(UserError, match=r"^cannot delete runs/demo: Permission denied$"):
        open_run("runs/demo", CONFIG, overwrite=True)
    assert not is_complete("runs/demo") and Path("runs/demo/config.json").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_peoples_files_are_left_alone(overwrite):
    Path("thesis").mkdir()
    Path("thesis/chapter1.tex").write_text("Einleitung")
    make_run("models/gbert", complete=False, files=["model.safetensors"], config={"model_type": "bert"})
    for place in ("thesis", "models/gbert"):
        before = sorted(os.listdir(place))
        with pytest.raises(UserError, match=rf"^{place} is not empty and not a run; give another name with --run$"):
            open_run(place, CONFIG, overwrite)
        assert sorted(os.listdir(place)) == before


def test_an_empty_folder_or_one_of_a_killed_start_will_do():
    Path("runs/demo").mkdir(parents=True)
    assert open_run("runs/demo", CONFIG) is False
    Path("runs/killed").mkdir()
    Path("runs/killed/.config.json.x1y2.tmp.json").touch()
    assert open_run("runs/killed", CONFIG) is False
    assert Path("runs/killed/config.json").exists()


def test_a_run_that_cannot_be_made_or_read_is_refused():
    Path("file").touch()
    with pytest.raises(UserError, match=r"^cannot write file/config.json: "):
        open_run("file", CONFIG)
    Path("runs/demo").mkdir(parents=True)
    Path("runs/demo/config.json").write_text('{"script": ')
    with pytest.raises(UserError, match=r"^runs/demo/config.json is not valid JSON: "):
        open_run("runs/demo", CONFIG)


# The log

RECORDS = [{"event": "step", "step": step, "epoch": step / 2, "train_loss": 1 / step} for step in (1, 2, 3, 4)]


def log(*records):
    for record in records:
        append_metrics(".", record)


def test_metrics_are_appended_and_read():
    assert read_metrics(".") == []
    log(RECORDS[0], {"event": "note", "step": 1, "text": "Größe\u2028\x85 🙂\r\n"})
    assert read_metrics(".") == [RECORDS[0], {"event": "note", "step": 1, "text": "Größe\u2028\x85 🙂\r\n"}]
    assert Path("metrics.jsonl").read_bytes().count(b"\n") == 2


def test_a_log_cut_anywhere_gives_the_whole_lines():
    log(RECORDS[0], {"step": 2, "text": "Ümläut 🙂"})
    whole = Path("metrics.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(len(whole)):
        Path("metrics.jsonl").write_bytes(whole[:cut])
        assert len(read_metrics(".")) == (cut >= first - 1) + (cut >= len(whole) - 1)


def test_going_on_drops_what_came_after_the_checkpoint():
    log(*RECORDS)
    with open("metrics.jsonl", "a") as file:
        file.write('{"event": "st')
    cut_metrics(".", 3)
    assert read_metrics(".") == RECORDS[:3]
    log(RECORDS[3])
    assert read_metrics(".") == RECORDS
    cut_metrics(".", 0)  # from the start
    assert read_metrics(".") == []


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(UserError, match=r"^cannot write metrics.jsonl: No space left on device$"):
        append_metrics(".", RECORDS[0])


def test_learning_curves_of_any_log():
    epochs = [{"event": "epoch", "step": 2, "epoch": 1.0, "train_loss": 0.5}]
    scores = {"valid_loss": 0.4, "valid_accuracy": 0.8, "valid_macro_f1": 0.7}
    validated = [{**epochs[0], **scores}]
    for number, logs in enumerate(
        [
            {"demo": RECORDS + epochs},
            {"demo": RECORDS + validated},
            {"demo": []},
            {"$a_{b": RECORDS + validated, "_b": epochs},
        ]
    ):
        draw_learning_curves(f"curves{number}.png", logs)
        assert Path(f"curves{number}.png").read_bytes().startswith(b"\x89PNG")


def test_environment_names_what_decides_the_numbers():
    found = environment()
    assert found["versions"]["numpy"] == numpy.__version__
    assert set(found) == {"versions", "platform", "processors", "commit"}
    assert found["processors"] >= 1
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("runs/demo", "demo"), ("demo", "./demo"), ("/a/b", "/a/b"), ("runs/zwei Wörter", "'zwei Wörter'")],
)
def test_a_run_is_named_as_a_command_finds_it(folder, name, in_tmp):
    assert run_name(Path(folder)) == name
    assert run_folder(name.strip("'")) == Path(folder)

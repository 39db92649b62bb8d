"""predict.py with other people's habits: two at once, no ids, cp1252 on standard input, an output that is something."""

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import create_confusion_matrix
import predict
import train
from common.predicting import texts as texts_module
from common.predicting.parts import open_parts
from common.predictions import read_predictions
from common.runs import LOCK, complete_runs
from tests.conftest import write_csv


@pytest.fixture(scope="module")
def small_run(small_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")
    rows = [line.split(",", 1) for line in (small_data / "train.csv").read_text(encoding="utf-8").splitlines()]
    (folder / "train.csv").write_text("\n".join(f"nr{row[0]},{row[1]}" for row in rows).replace("nrid", "nr", 1))
    run = folder / "run"
    assert train.main(["--model", "tfidf", "--data", str(folder), "--id-column", "nr", "--run", str(run)]) == 0
    return run


def refused(capsys, *arguments):
    capsys.readouterr()
    assert predict.main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_an_output_belongs_to_one_process(small_run, in_tmp, capsys):
    write_csv(Path("new.csv"), ["text"], [["Das Tor fiel spät."]])
    holder = open_parts(Path("out.csv.parts"), {"of": "another process"})
    from common import runs

    lock, held = runs._held.popitem()  # as the other process: its lock is not ours
    assert "is being written by another process" in refused(capsys, small_run, "new.csv", "--output", "out.csv")
    assert json.loads(Path("out.csv.parts/plan.json").read_text()) == {"of": "another process"}
    runs._held[lock] = held
    holder.remove()
    assert not Path("out.csv.parts").exists()
    assert predict.main([str(small_run), "new.csv", "--output", "out.csv"]) == 0
    assert not Path("out.csv.parts").exists() and not list(Path().rglob(LOCK))


def test_new_texts_without_the_ids_of_training(small_run, in_tmp, capsys):
    write_csv(Path("texte.csv"), ["text", "a", "a"], [["Das Tor fiel spät.", "1", "2"]])
    assert predict.main([str(small_run), "texte.csv", "--output", "out.csv"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "texte.csv has no column 'nr', which had the ids in training: row numbers are the ids" in told
    assert "columns of the same name are left out: a" in told
    assert Path("out.csv").read_text().startswith("id,text,label,probability\n1,Das Tor")
    assert "has no column 'nr' (--id-column)" in refused(capsys, small_run, "texte.csv", "--id-column", "nr")


def give(monkeypatch, content):
    """Let standard input hold these bytes."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16", "utf-16-le", "utf-7"])
def test_standard_input_in_another_encoding(small_run, in_tmp, monkeypatch, capsys, encoding):
    """In UTF-16, Ċ and ਊ hold a byte that is a line feed elsewhere."""
    texts = ["Süß", "", "Ein Tor"] + ["ĊĊa", "ਊ"] * (encoding != "cp1252")
    bom = "\ufeff" * (encoding in ("utf-8", "utf-16-le"))
    for end in ("", "\r\n"):
        give(monkeypatch, (bom + "\r\n".join(texts) + end).encode(encoding))
        assert predict.main([str(small_run), "-", "--encoding", encoding]) == 0
        rows = capsys.readouterr().out.splitlines()[1:]
        assert [row.split(",")[:2] for row in rows] == [[str(n), text] for n, text in enumerate(texts, 1)]


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        ("Tor\nSüß\n".encode("cp1252"), None, "standard input, line 2: not UTF-8 ("),
        ("Tor\nÄ".encode()[:-1], None, "standard input, line 2: not UTF-8 ("),
        ("Tor\n".encode("utf-16")[:-1], "utf-16", "standard input, line 1: not utf-16 ("),
        (b"Tor", "nonsense", "--encoding nonsense: no such encoding"),
        (b"Tor", "base64", "--encoding base64: no such encoding"),
    ],
)
def test_standard_input_that_is_not_in_the_encoding(small_run, in_tmp, monkeypatch, capsys, content, encoding, message):
    give(monkeypatch, content)
    assert message in refused(capsys, small_run, "-", *(["--encoding", encoding] if encoding else []))


def test_an_unknown_encoding_of_a_file_that_is_streamed(small_run, in_tmp, monkeypatch, capsys):
    write_csv(Path("new.csv"), ["text"], [["Das Tor fiel spät."]])
    monkeypatch.setattr("common.reading.chunks.WHOLE", 0)
    assert "no such encoding" in refused(capsys, small_run, "new.csv", "--encoding", "nonsense")


def interrupt_third_chunk(monkeypatch):
    """Let predict.py read chunks of two rows, and stop it after the second one."""
    calls, real = [], predict.predict_probabilities

    def counted(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(texts_module, "CHUNK", 2)
    monkeypatch.setattr(predict, "predict_probabilities", counted)


@pytest.mark.parametrize("same", [True, False])
def test_finished_parts_belong_to_the_lines_of_standard_input(small_run, in_tmp, monkeypatch, capsys, same):
    texts = ["Tor", "Aktie", "Oper", "Spiel", "Börse", "Theater"]
    first, again = ("\n".join(lines).encode() for lines in (texts if same else texts[::-1], texts))
    interrupt_third_chunk(monkeypatch)
    for content, code in ((first, 130), (again, 0)):
        give(monkeypatch, content)
        assert predict.main([str(small_run), "-", "--output", "out.csv", "--probabilities"]) == code
        captured = capsys.readouterr()
        assert code == 0 or "kept in out.csv.parts; the same command continues" in captured.err
    give(monkeypatch, again)
    assert predict.main([str(small_run), "-", "--output", "fresh.csv", "--probabilities"]) == 0
    assert Path("out.csv").read_bytes() == Path("fresh.csv").read_bytes()


def test_without_an_output_nothing_is_kept_and_it_does_not_say_so(small_run, in_tmp, monkeypatch, capsys):
    give(monkeypatch, b"Tor\n" * 6)
    interrupt_third_chunk(monkeypatch)
    assert predict.main([str(small_run), "-"]) == 130
    captured = capsys.readouterr()
    assert "nothing was written; --output keeps finished parts" in captured.err and "continues" not in captured.err
    assert captured.out == "" and not list(Path().iterdir())


def test_blank_texts_alone_get_a_label_as_among_others(small_run, in_tmp, monkeypatch):
    write_csv(Path("new.csv"), ["text"], [[text] for text in ("Tor", "Oper", "", " ", "Börse", "")])
    for size in (2, 6):
        monkeypatch.setattr(texts_module, "CHUNK", size)
        assert predict.main([str(small_run), "new.csv", "--output", f"{size}.csv", "--probabilities"]) == 0
    assert Path("2.csv").read_bytes() == Path("6.csv").read_bytes()


def copy_run(run, folder, **settings):
    """A run whose model folder has other settings."""
    shutil.copytree(run, folder)
    path = Path(folder, "model/predicting.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return f"./{folder}"


def test_runs_that_read_different_columns_need_the_name_of_one(small_run, in_tmp, capsys):
    write_csv(Path("new.csv"), ["nr", "text", "Betreff", "Inhalt"], [["7", "Tor", "Aktie", "Oper"]])
    other = copy_run(small_run, "other", text_column="Betreff,Inhalt")
    alike = copy_run(small_run, "alike", text_column="Betreff, Inhalt")
    ids = copy_run(small_run, "ids", id_column="id")
    told = refused(capsys, small_run, other, "new.csv")
    assert "with --text-column 'text', other/model with 'Betreff,Inhalt'; give --text-column" in told
    told = refused(capsys, ids, small_run, "new.csv")
    assert "were trained with --id-column 'id' or 'nr', and new.csv has 'nr'; give --id-column" in told
    for arguments, text in (
        ([small_run, other, "--text-column", "text"], "Tor"),
        ([small_run, other, "--text-column", "Inhalt"], "Oper"),
        ([other, alike], "Aktie"),
        ([small_run, ids, "--id-column", "nr"], "Tor"),
    ):
        assert predict.main([*map(str, arguments), "new.csv", "--output", "out.csv", "--probabilities"]) == 0
        found = read_predictions("out.csv")
        write_csv(Path("one.csv"), ["text"], [["Aktie\n\nOper" if text == "Aktie" else text]])
        assert predict.main([str(small_run), "one.csv", "--output", "one-out.csv", "--probabilities"]) == 0
        assert list(found.ids) == ["7"]
        assert np.array_equal(found.probabilities, read_predictions("one-out.csv").probabilities)


def test_runs_with_different_id_columns_predict_texts_without_ids(small_run, in_tmp, capsys):
    write_csv(Path("new.csv"), ["text"], [["Tor"], ["Aktie"]])
    other = copy_run(small_run, "other", id_column="Kennung")
    assert predict.main([str(small_run), other, "new.csv", "--output", "out.csv"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("new.csv has no column 'nr' or 'Kennung', which had the ids in training: row numbers are") == 1
    assert Path("out.csv").read_text().startswith("id,text,label,probability\n1,Tor,")


def test_column_names_that_differ_in_case_are_the_same(small_run, in_tmp):
    write_csv(Path("new.csv"), ["NR", "TEXT"], [["7", "Tor"]])
    other = copy_run(small_run, "other", text_column="Text", id_column="Nr")
    assert predict.main([str(small_run), other, "new.csv", "--output", "out.csv"]) == 0
    assert [line.split(",")[0] for line in Path("out.csv").read_text().splitlines()] == ["id", "7"]


def test_closed_standard_input_is_refused(small_run, in_tmp, monkeypatch, capsys):
    """As by `<&-` in a shell, with an output that is there already and without one."""
    monkeypatch.setattr(sys, "stdin", None)
    Path("out.csv").write_text("id,label\n")
    assert "standard input is closed" in refused(capsys, small_run, "-", "--output", "out.csv")
    assert "standard input is closed" in refused(capsys, small_run, "-")


def test_outputs_that_would_ruin_something(small_run, in_tmp, capsys):
    write_csv(Path("new.csv"), ["text"], [["Das Tor fiel spät."]])
    before = (small_run / "model/predicting.json").read_bytes()
    for output in (small_run / "model/predicting.json", small_run / "predictions/valid.csv", "out.xlsx"):
        assert "--output" in refused(capsys, small_run, "new.csv", "--output", output)
    assert (small_run / "model/predicting.json").read_bytes() == before and not Path("out.xlsx").exists()


def test_outputs_that_standard_input_would_ruin(small_run, in_tmp, monkeypatch, capsys):
    weights = small_run / "model/tfidf.npz"
    before = weights.read_bytes()
    give(monkeypatch, b"Der Ball")
    for output in (weights, small_run / "predictions/valid.csv", "out.xlsx", in_tmp):
        assert str(output) in refused(capsys, small_run, "-", "--output", output)
    assert sys.stdin.buffer.tell() == 0  # refused before it is read
    Path("texts.txt").write_text("Der Ball")
    with open("texts.txt", "rb") as file:
        monkeypatch.setattr(predict, "STDIN", file.fileno())
        assert "is the input" in refused(capsys, small_run, "-", "--output", "texts.txt")
    assert weights.read_bytes() == before and Path("texts.txt").read_text() == "Der Ball"


def test_other_peoples_folders_below_runs(small_run, in_tmp):
    for name, config in (("a", "{}"), ("b", "no JSON"), ("c", '{"model": "bert"}'), ("d", None)):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "results.json").write_text("{}")
        if config:
            Path("runs", name, "config.json").write_text(config)
    assert complete_runs() == []
    Path("runs/mine").symlink_to(small_run)
    assert complete_runs() == [Path("runs/mine")]


def test_few_rows_all_right(in_tmp, capsys):
    """An interval has a width, and one row does not check itself."""
    write_csv(Path("p.csv"), ["id", "label", "prob_a", "prob_b"], [["1", "a", "0.9", "0.1"]])
    assert create_confusion_matrix.main(["--predictions", "p.csv"]) == 0
    metrics = json.loads(Path("confusion_matrix/metrics.json").read_text())
    assert metrics["accuracy_interval"] == pytest.approx([0.2065, 1], abs=1e-4)  # Wilson: 1 / (1 + 1.96 ** 2)
    assert metrics["coverage"]["targets"] == []
    assert "cross-checked" not in capsys.readouterr().out

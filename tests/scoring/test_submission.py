import hashlib
import json
import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from hpa.data.tables import read_sample_submission
from hpa.errors import BadInput
from hpa.scoring import submission
from hpa.scoring.submission import check_submission, score_submission, write_submission
from hpa.tasks import HPA

CLASSES = len(HPA.classes)

identifiers = st.text(string.ascii_letters + string.digits + '-_,"é', min_size=1, max_size=12)
label_sets = st.sets(st.integers(0, CLASSES - 1), min_size=1, max_size=5)


def write_sample(path, ids):
    pd.DataFrame({"Id": ids, "Predicted": "0"}).to_csv(path, index=False)
    return path


def multi_hot(label_sets):
    rows = np.zeros((len(label_sets), CLASSES), bool)
    for row, labels in zip(rows, label_sets, strict=True):
        row[list(labels)] = True
    return rows


@pytest.fixture
def sample(tmp_path):
    return write_sample(tmp_path / "sample.csv", ["a", "b", "c", "d"])


def check_text(tmp_path, sample, text):
    path = tmp_path / "entry.csv"
    path.write_bytes(text.encode())
    return check_submission(path, sample, CLASSES)


def story(path):
    """Return what was told about a submission, after a look at whether it is the story of this one."""
    about = json.loads(path.with_suffix(".json").read_text())
    assert about.pop("sha256") == hashlib.sha256(path.read_bytes()).hexdigest()
    return about


def test_the_bytes_are_the_competition_s_format(tmp_path):
    path = tmp_path / "new folder" / "entry.csv"
    write_submission(path, np.array(["b", "a"]), multi_hot([{16, 0}, {27, 3, 11}]), {"shift": 0.34})
    assert path.read_bytes() == b"Id,Predicted\nb,0 16\na,3 11 27\n"
    assert story(path) == {"shift": 0.34}
    assert {each.name for each in path.parent.iterdir()} == {"entry.csv", "entry.json"}


@settings(max_examples=60, deadline=None)
@given(rows=st.dictionaries(identifiers, label_sets, min_size=1, max_size=20))
def test_what_is_written_passes_the_check_and_reads_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("entry")
    predicted = multi_hot(list(rows.values()))
    sample = write_sample(folder / "sample.csv", list(rows))
    write_submission(folder / "entry.csv", np.array(list(rows)), predicted, {})
    assert np.array_equal(check_submission(folder / "entry.csv", sample, CLASSES), predicted)


@settings(max_examples=60, deadline=None)
@given(rows=st.dictionaries(identifiers, label_sets, min_size=3, max_size=20), data=st.data())
def test_every_damage_is_found(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp("entry")
    sample = write_sample(folder / "sample.csv", list(rows))
    lines = [(identifier, " ".join(map(str, labels))) for identifier, labels in rows.items()]
    at = data.draw(st.integers(0, len(lines) - 2))
    identifier, labels = lines[at]
    damage = data.draw(st.sampled_from(["drop", "repeat", "rename", "swap", "empty", "28", "-1", "1.0", "x", "twice"]))
    match damage:
        case "drop":
            del lines[at]
        case "repeat":
            lines.append(lines[at])
        case "rename":
            lines[at] = (identifier + "!", labels)
        case "swap":
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        case "empty":
            lines[at] = (identifier, "")
        case "twice":
            lines[at] = (identifier, f"{labels} {labels.split()[0]}")
        case _:
            lines[at] = (identifier, f"{labels} {damage}")
    pd.DataFrame(lines, columns=["Id", "Predicted"]).to_csv(folder / "entry.csv", index=False)
    with pytest.raises(BadInput, match=r"entry\.csv"):
        check_submission(folder / "entry.csv", sample, CLASSES)


def test_all_faults_are_listed_at_once(tmp_path, sample):
    with pytest.raises(BadInput) as caught:
        check_text(tmp_path, sample, "Id,Predicted\nb,28 a\na,\nb,1\nz,2 2\nc,0\n")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path / 'entry.csv'}: 7 faults"
    assert [line.strip() for line in lines[1:]] == [
        "line 2: id b: Predicted holds '28', 'a'; class numbers are 0 to 27",
        "line 3: id a: Predicted is empty; give at least one class number",
        "line 4: id b is already on line 2; keep one of them",
        f"line 5: id z is not in {sample}; remove it",
        "line 5: id z: Predicted '2 2' names a class twice; name it once",
        f"id d of {sample} is missing; add its row",
        f"line 2: id b is where {sample} has a; use its order",
    ]


def test_the_number_of_faults_is_told_where_the_list_is_cut(tmp_path, sample):
    rows = "".join(f"x{row},0\n" for row in range(30))
    with pytest.raises(BadInput, match=r"34 faults(?s:.*)and 24 more"):
        check_text(tmp_path, sample, "Id,Predicted\n" + rows)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_line_ends_do_not_matter(tmp_path, sample, ends):
    predicted = check_text(tmp_path, sample, ends.join(["Id,Predicted", "a,1 0", "b,27", "c,3", "d,4", ""]))
    assert np.array_equal(predicted, multi_hot([{0, 1}, {27}, {3}, {4}]))


SPOILT = {
    "a byte order mark": ("\ufeffId,Predicted\na,1\nb,2\nc,3\nd,4\n", "begins with a byte order mark"),
    "a third column": (
        "Id,Predicted,Score\na,1,0\nb,2,0\nc,3,0\nd,4,0\n",
        "the first line is Id, Predicted, Score; it must be",
    ),
    "an index": (
        ",Id,Predicted\n0,a,1\n1,b,2\n2,c,3\n3,d,4\n",
        "the first line is , Id, Predicted; it must be Id,Predicted",
    ),
    "another order of columns": ("Predicted,Id\n1,a\n2,b\n3,c\n4,d\n", "it must be Id,Predicted"),
    "two columns of classes": ("Id,Predicted,Predicted\na,1,2\nb,2,2\nc,3,2\nd,4,2\n", "column Predicted is there 2 times"),
    "a NUL byte": ("Id,Predicted\na,1\nb,2\0\nc,3\nd,4\n", "line 3: holds NUL bytes"),
    "rows of NUL bytes": ("Id,Predicted\na,1\n" + "\0" * 8 + "\nd,4\n", "line 3: holds NUL bytes, 8 in all"),
    "a line break": ('Id,Predicted\na,1\nb,"2\n3"\nc,3\nd,4\n', "line 3: Predicted '2\\n3' holds a line break"),
    "a tab": ("Id,Predicted\na,1\nb,2\t3\nc,3\nd,4\n", "line 3: Predicted '2\\t3' holds"),
    "a space of another kind": ("Id,Predicted\na,1\nb,2\u00a03\nc,3\nd,4\n", "line 3: id b: Predicted holds '2\u00a03'"),
    "a monstrous class": (f"Id,Predicted\na,{'1' * 10**6}\nb,2\nc,3\nd,4\n", "Predicted holds '111"),
    "a monstrous id": (f"Id,Predicted\n{'a' * 10**6},1\n", "5 faults"),
}


@pytest.mark.parametrize(("content", "named"), SPOILT.values(), ids=SPOILT)
def test_what_kaggle_would_not_read_alike_is_refused(tmp_path, sample, content, named):
    with pytest.raises(BadInput, match=r"entry\.csv: ") as caught:
        check_text(tmp_path, sample, content)
    assert named in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_a_sample_submission_may_begin_with_a_byte_order_mark(tmp_path, sample):
    sample.write_text("\ufeff" + sample.read_text())
    assert len(check_text(tmp_path, sample, "Id,Predicted\na,1\nb,2\nc,3\nd,4\n")) == 4


def test_a_full_disk_leaves_the_old_pair(tmp_path, monkeypatch):
    path = tmp_path / "entry.csv"
    write_submission(path, np.array(["a"]), multi_hot([{1}]), {"entry": 1})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="No space"):
        write_submission(path, np.array(["a"]), multi_hot([{2}]), {"entry": 2})
    assert path.read_text() == "Id,Predicted\na,1\n"
    assert story(path) == {"entry": 1}


def test_a_crash_between_the_two_files_leaves_no_json_of_another_table(tmp_path, monkeypatch):
    path = tmp_path / "entry.csv"
    write_submission(path, np.array(["a"]), multi_hot([{1}]), {"entry": 1})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(submission, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        write_submission(path, np.array(["a"]), multi_hot([{2}]), {"entry": 2})
    assert path.read_text() == "Id,Predicted\na,2\n"
    assert not path.with_suffix(".json").exists()


def test_the_score_is_scikit_learn_s_whatever_the_order(tmp_path):
    generator = np.random.default_rng(0)
    targets, predicted = generator.random((2, 50, CLASSES)) < 0.1
    targets[~targets.any(1), 0] = predicted[~predicted.any(1), 0] = True
    targets[:, 27] = False  # a class that the key lacks counts as 0
    targets[~targets.any(1), 1] = True
    ids = np.array([f"cell{row}" for row in range(50)])
    texts = [" ".join(map(str, np.flatnonzero(row))) for row in targets]
    pd.DataFrame({"Id": ids, "Target": texts}).to_csv(tmp_path / "key.csv", index=False)
    order = generator.permutation(50)
    write_submission(tmp_path / "entry.csv", ids[order], predicted[order], {})
    expected = f1_score(targets, predicted, average="macro", zero_division=0)
    assert score_submission(tmp_path / "entry.csv", tmp_path / "key.csv", HPA) == pytest.approx(expected, abs=1e-12)


def test_a_key_of_other_samples_is_refused(tmp_path):
    (tmp_path / "key.csv").write_text("Id,Target\na,1\nb,2\n")
    write_submission(tmp_path / "entry.csv", np.array(["a"]), multi_hot([{1}]), {})
    with pytest.raises(BadInput, match=r"id b of .*key\.csv is missing"):
        score_submission(tmp_path / "entry.csv", tmp_path / "key.csv", HPA)


def test_the_competition_s_own_sample_is_a_valid_submission(shared_data, tmp_path):
    sample = shared_data / "kaggle_csv" / "sample_submission.csv"
    assert check_submission(sample, sample, CLASSES).sum(axis=0)[0] == 11702
    ids = read_sample_submission(sample).ids
    write_submission(tmp_path / "entry.csv", ids, multi_hot([{0}] * len(ids)), {})
    assert (tmp_path / "entry.csv").read_bytes().split() == sample.read_bytes().split()

import numpy as np
import pytest

from hpa.data.tables import read_sample_submission, read_training_table
from hpa.errors import BadInput
from hpa.tasks import HPA


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "train.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def labels_of(table):
    return [set(np.flatnonzero(row).tolist()) for row in table.targets]


def message_of(read, *arguments):
    with pytest.raises(BadInput) as caught:
        read(*arguments)
    return str(caught.value)


def test_targets_come_in_any_order_and_rows_in_that_of_the_file(write):
    table = read_training_table(write("Id,Target\nb,16 0\na,0 16\nNA,27\nd,5  5 3\n"), HPA)
    assert table.ids.tolist() == ["b", "a", "NA", "d"]
    assert labels_of(table) == [{0, 16}, {0, 16}, {27}, {3, 5}]
    assert table.targets.dtype == np.uint8
    assert table.targets.shape == (4, 28)
    assert table.ids.dtype.kind == "U"
    assert len(table) == 4


def test_columns_are_found_by_name(write):
    table = read_training_table(write('Note,Target,Id\n"x, y",1 2,a\n,3,b\n'), HPA)
    assert table.ids.tolist() == ["a", "b"]
    assert labels_of(table) == [{1, 2}, {3}]


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfId,Target\na,16 0\nb,1\n", b"Id,Target\r\na,16 0\r\nb,1\r\n", b"\xef\xbb\xbfId,Target\r\na,16 0\r\nb,1"],
    ids=["byte order mark", "CRLF", "both, and no last line end"],
)
def test_files_from_windows(write, content):
    table = read_training_table(write(content), HPA)
    assert table.ids.tolist() == ["a", "b"]
    assert labels_of(table) == [{0, 16}, {1}]


@pytest.mark.parametrize("target", ["28", "-1", "a", "3 28", "1.0", "1,5", "+1", "²", "٣", "9" * 5000])
def test_a_target_that_is_no_class(write, target):
    message = message_of(read_training_table, write(f'Id,Target\nfine,0\nodd,"{target}"\n'), HPA)
    assert "line 3: id odd: Target holds" in message
    assert f"'{target.split()[-1]}'" in message
    assert "0 to 27" in message


@pytest.mark.parametrize("target", ["", "   "])
def test_an_empty_target(write, target):
    assert "line 2: id odd: Target is empty" in message_of(read_training_table, write(f"Id,Target\nodd,{target}\n"), HPA)


@pytest.mark.parametrize("identifier", ["../x", "a/b", "a\\b", "..", ".hidden", "/x"])
def test_an_id_that_is_a_path(write, identifier):
    message = message_of(read_training_table, write(f"Id,Target\n{identifier},0\n"), HPA)
    assert f"line 2: id '{identifier}' looks like a path" in message
    message = message_of(read_sample_submission, write(f"Id,Predicted\n{identifier},0\n"))
    assert f"line 2: id '{identifier}' looks like a path" in message


@pytest.mark.parametrize("identifier", ["", " a", "a "])
def test_an_id_that_is_empty_or_has_spaces(write, identifier):
    assert f"line 2: id '{identifier}'" in message_of(read_training_table, write(f"Id,Target\n{identifier},0\n"), HPA)


def test_an_id_that_stands_twice(write):
    message = message_of(read_training_table, write("Id,Target\na,0\nb,1\na,0\n"), HPA)
    assert "line 4: id a stands already on line 2" in message
    message = message_of(read_sample_submission, write("Id,Predicted\na,0\na,0\n"))
    assert "line 3: id a stands already on line 2" in message


def test_all_faults_come_at_once_in_the_order_of_the_file(write):
    path = write("Id,Target\na,28\n../x,0\nb,\na,1\nc,-1 a\nd,0\n")
    lines = message_of(read_training_table, path, HPA).splitlines()
    assert lines[0] == f"{path}: 5 faults"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["line 2", "line 3", "line 4", "line 5", "line 6"]
    assert "'-1', 'a'" in lines[5]


def test_many_faults_are_counted_and_the_first_named(write):
    path = write("Id,Target\n" + "".join(f"id{number},28\n" for number in range(25)))
    lines = message_of(read_training_table, path, HPA).splitlines()
    assert "25 faults" in lines[0]
    assert "id9" in lines[10]
    assert "15 more" in lines[11]
    assert len(lines) == 12


def test_empty_lines_at_the_end_are_no_rows(write):
    assert read_training_table(write("Id,Target\na,0\nb,1\n\n\n"), HPA).ids.tolist() == ["a", "b"]
    assert "line 3" in message_of(read_training_table, write("Id,Target\na,0\n\nb,1\n"), HPA)
    assert "no rows" in message_of(read_training_table, write("Id,Target\n\n\n"), HPA)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("Id,Label\na,0\n", "no column Target; the first line has Id, Label"),
        ("a,0\nb,1\n", "no column Id, Target"),
        ("Id;Target\na;0\n", "no column Id, Target"),
        ("Id,Target\n", "no rows"),
        ("", "not a CSV"),
        ("Id,Target\na,0,1\nb,1,2\n", "more fields"),
        ("Id,Target\na,0\nb,1,2\n", "line 3"),
        ('Id,Target\n"a,0\n', "not a CSV"),
        ("Id,Target\né,0\n".encode("latin-1"), "UTF-8"),
        ("Id,Target\na,0\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_files_that_are_no_such_table(write, content, named):
    path = write(content)
    message = message_of(read_training_table, path, HPA)
    assert message.startswith(f"{path}: ")
    assert named in message


def test_files_that_are_not_there(tmp_path):
    assert "No such file" in message_of(read_training_table, tmp_path / "train.csv", HPA)
    assert "directory" in message_of(read_sample_submission, tmp_path)


def test_sample_submission_gives_the_ids_alone(write):
    table = read_sample_submission(write("Id,Predicted\nb,0\na,\n"))
    assert table.ids.tolist() == ["b", "a"]
    assert table.targets is None
    assert "no column Predicted" in message_of(read_sample_submission, write("Id,Target\nb,0\n"))


def test_the_tables_of_the_competition(shared_data):
    table = read_training_table(shared_data / "kaggle_csv/train.csv", HPA)
    assert table.targets.shape == (31072, 28)
    assert np.bincount(table.targets.sum(axis=1)).tolist() == [0, 15126, 12485, 3160, 299, 2]
    assert table.targets.sum(axis=0, dtype=int)[[0, 10, 15, 25, 27]].tolist() == [12885, 28, 21, 8228, 11]
    assert len(read_sample_submission(shared_data / "kaggle_csv/sample_submission.csv")) == 11702

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa.data.layout import find_files
from hpa.data.tables import (
    read_columns,
    read_ids,
    read_labelled,
    read_sample_submission,
    read_training_table,
    shown,
)
from hpa.errors import BadInput
from hpa.tasks import HEP2, HPA


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "train.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def touch(tmp_path):
    """A function that makes empty files, which is all that reading tables and class folders looks at."""

    def touch(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return touch


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
    assert f"'{shown(target.split()[-1])}'" in message
    assert "0 to 27" in message
    assert len(message) < 500


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


def names_of(table, task=HEP2):
    """The classes of a table with one class a row, by id."""
    assert (table.targets.sum(axis=1) == 1).all()
    return {str(identifier): task.classes[row.argmax()] for identifier, row in zip(table.ids, table.targets, strict=True)}


def test_classes_by_name_and_by_number(write):
    table = read_training_table(write("Image ID,Image class\n00002,Golgi\n7,NuMem\n00011,3\n4, Golgi \n"), HEP2)
    assert names_of(table) == {"00002": "Golgi", "7": "NuMem", "00011": "NuMem", "4": "Golgi"}
    assert table.targets.shape == (4, 6)


def test_names_with_spaces_and_several_of_them(write):
    table = read_training_table(
        write("Id,Target\na,Nuclear membrane|Rods & rings\nb, Lipid droplets\nc,Cytosol | 3|3\n"), HPA
    )
    assert labels_of(table) == [{1, 27}, {20}, {25, 3}]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 27), min_size=1), min_size=1, max_size=8), st.data())
def test_names_and_numbers_say_the_same(tmp_path_factory, rows, data):
    path = tmp_path_factory.getbasetemp() / "mixed.csv"
    texts = []
    for numbers in rows:
        spelled = [
            data.draw(st.sampled_from((str(number), HPA.classes[number])))
            for number in data.draw(st.permutations(sorted(numbers)))
        ]
        blank = all(name.isdecimal() for name in spelled) and data.draw(st.booleans())
        texts.append((" " if blank else data.draw(st.sampled_from(("|", " | ")))).join(spelled))
    path.write_text("Id,Target\n" + "".join(f'{number},"{text}"\n' for number, text in enumerate(texts)), encoding="utf-8")
    assert labels_of(read_training_table(path, HPA)) == rows


@pytest.mark.parametrize("target", ["Golgi|NuMem", "1 3", "Golgi|3", "1 1 3"])
def test_two_classes_where_there_is_one(write, target):
    path = write(f"Image ID,Image class\n1,Golgi\n2,{target}\n")
    assert message_of(read_training_table, path, HEP2) == (
        f"{path}: line 3: id 2: Image class names 2 classes; this task has one a sample"
    )
    assert labels_of(read_training_table(path, replace(HEP2, labels="many"))) == [{1}, {1, 3}]


def test_one_class_said_twice_is_one(write):
    assert labels_of(read_training_table(write("Id,Target\na,1 1\nb,Golgi|1\n"), HEP2)) == [{1}, {1}]


@pytest.mark.parametrize("target", ["golgi", "Golgi body", "6", "Golgi|Rods", "Golgi|", "|"])
def test_a_class_name_that_is_unknown(write, target):
    path = write(f"Image ID,Image class\n00001,Golgi\n00002,{target}\n")
    message = message_of(read_training_table, path, HEP2)
    assert message.startswith(f"{path}: line 3: id 00002: Image class holds '")
    assert f"'{target.replace('|', ' ').split(' ')[-1]}'" in message
    assert message.endswith("class numbers are 0 to 5 or Centromere, Golgi, Homogeneous, NuMem, Nucleolar, Speckled")


def test_all_unknown_class_names_come_at_once(write):
    path = write("Image ID,Image class\n" + "".join(f"{number},Nope\n" for number in range(12)))
    lines = message_of(read_training_table, path, HEP2).splitlines()
    assert lines[0] == f"{path}: 12 faults"
    assert lines[-1] == "  ... and 2 more"


def test_the_columns_of_either_table(write):
    assert read_training_table(write("Image class,Note,Image ID\nGolgi,x,1\n"), HEP2).ids.tolist() == ["1"]
    message = message_of(read_training_table, write("Image ID,Class\n1,Golgi\n"), HEP2)
    assert message.endswith(
        "no column Image class; the first line has Image ID, Class; accepted are Id,Target or Image ID,Image class"
    )
    assert "accepted" not in message_of(read_sample_submission, write("Id,Target\nb,0\n"))


def test_class_folders(touch):
    data = touch("train/NuMem/00010.png", "train/Golgi/00002.png", "train/Golgi/00003.tif", "train/Speckled/00001.jpg")
    table = read_labelled(data / "train", HEP2)
    assert list(names_of(table).items()) == [
        ("00001", "Speckled"),
        ("00002", "Golgi"),
        ("00003", "Golgi"),
        ("00010", "NuMem"),
    ]
    assert table.targets.dtype == np.uint8
    assert table.targets.shape == (4, 6)
    assert [files[0].relative_to(data / "train").as_posix() for files in find_files(data / "train", table.ids, HEP2)] == [
        "Speckled/00001.jpg",
        "Golgi/00002.png",
        "Golgi/00003.tif",
        "NuMem/00010.png",
    ]


def test_hidden_and_other_files_are_passed_over(touch):
    folder = touch(
        "Golgi/1.png", "Golgi/Thumbs.db", "Golgi/.2.png", "Golgi/notes.txt", "Golgi/png", ".cache/3.png", "readme.md"
    )
    assert names_of(read_labelled(folder, HEP2)) == {"1": "Golgi"}
    (folder / "Golgi/1.png").unlink()
    assert "class folder Golgi holds no image" in message_of(read_labelled, folder, HEP2)


def test_class_folders_of_samples_with_several_files(touch):
    task = replace(HPA, labels="one", classes=("v1.5", "Rods & rings"))
    channels = [f"{place}_{channel}.png" for place in ("v1.5/a", "Rods & rings/b_red") for channel in HPA.channels]
    folder = touch(*channels)
    table = read_labelled(folder, task)
    assert names_of(table, task) == {"a": "v1.5", "b_red": "Rods & rings"}
    assert [len(files) for files in find_files(folder, table.ids, task)] == [4, 4]


def test_faulty_class_folders_are_all_named(touch):
    folder = touch("Golgi/1.png", "Golgi/2.png", "NuMem/1.png", "Nucleoli/3.png", "nucleoli2/4.png")
    (folder / "Speckled").mkdir()
    lines = message_of(read_labelled, folder, HEP2).splitlines()
    assert lines[0] == f"{folder}: 4 faults"
    assert lines[1:] == [
        "  id 1 is in Golgi and in NuMem, but ids are distinct over all classes; "
        "rename one, or delete it if it is the same image",
        "  folder Nucleoli is not one of the classes Centromere, Golgi, Homogeneous, NuMem, Nucleolar, Speckled; rename it",
        "  class folder Speckled holds no image; fill it or delete it",
        "  folder nucleoli2 is not one of the classes Centromere, Golgi, Homogeneous, NuMem, Nucleolar, Speckled; rename it",
    ]


def test_images_beside_the_class_folders(touch):
    folder = touch("Golgi/1.png", "2.png", "notes.txt")
    fault = "2.png lies next to the class folders; move it into one of them"
    assert message_of(read_labelled, folder, HEP2) == f"{folder}: {fault}"


def test_an_id_in_two_class_folders_with_its_files_apart(touch):
    folder = touch("Nucleoli/a_red.png", "Cytosol/a_green.png")
    assert "id a is in Cytosol and in Nucleoli" in message_of(read_labelled, folder, replace(HPA, labels="one"))


@pytest.mark.parametrize(("in_table", "in_folder"), [("00001", "1"), ("1", "00001"), ("1", "1"), ("00001", "00001")])
def test_a_flat_folder_with_a_table_next_to_it(touch, in_table, in_folder):
    data = touch(f"train/{in_folder}.png", "train/00010.png")
    (data / "train.csv").write_text(f"Image ID,Image class\n00010,NuMem\n{in_table},Golgi\n")
    table = read_labelled(data / "train", HEP2)
    assert names_of(table) == {"00010": "NuMem", in_table: "Golgi"}
    assert [file.name for (file,) in find_files(data / "train", table.ids, HEP2)] == ["00010.png", f"{in_folder}.png"]


@pytest.mark.parametrize("beside", ["train/__MACOSX/._00001.png", "train/old/00001.tif", "train/golgi/00010.jpg"])
def test_folders_that_are_no_classes_beside_a_flat_folder_with_a_table(touch, beside):
    data = touch("train/00001.png", "train/00010.png", beside)
    (data / "train.csv").write_text("Image ID,Image class\n00010,NuMem\n00001,Golgi\n")
    table = read_labelled(data / "train", HEP2)
    assert names_of(table) == {"00010": "NuMem", "00001": "Golgi"}
    files = [data / "train/00010.png", data / "train/00001.png"]
    assert [file for (file,) in find_files(data / "train", table.ids, HEP2, whole=True)] == files


def test_a_class_folder_counts_before_the_table_next_to_it(touch):
    data = touch("train/Golgi/1.png", "train/odd/2.png")
    (data / "train.csv").write_text("Image ID,Image class\n1,NuMem\n2,NuMem\n")
    assert "folder odd is not one of the classes" in message_of(read_labelled, data / "train", HEP2)
    (data / "train/odd/2.png").rename(data / "train/Golgi/2.png")
    (data / "train/odd").rmdir()
    assert names_of(read_labelled(data / "train", HEP2)) == {"1": "Golgi", "2": "Golgi"}


def test_names_that_are_not_utf_8_are_all_named(touch):
    folder = touch(b"Golgi/\xe9.png".decode(errors="surrogateescape"), "Golgi/1.png", "NuMem/\udcff.tif", "NuMem/é.png")
    assert message_of(read_labelled, folder, HEP2).splitlines() == [
        f"{folder}: 2 faults",
        r"  Golgi/\xe9.png has a name that is not valid UTF-8; rename it",
        r"  NuMem/\xff.tif has a name that is not valid UTF-8; rename it",
    ]


def test_a_table_that_is_named_counts_before_class_folders(touch):
    folder = touch("Golgi/1.png", "odd/2.png")
    (folder / "other.csv").write_text("Image ID,Image class\n2,NuMem\n1,NuMem\n")
    assert names_of(read_labelled(folder, HEP2, folder / "other.csv")) == {"2": "NuMem", "1": "NuMem"}


def test_a_flat_folder_without_a_table(touch):
    folder = touch("train/1.png") / "train"
    assert message_of(read_labelled, folder, HEP2) == (
        f"{folder}.csv: no such table, and no class folders in {folder}; put the images into folders named Centromere, "
        f"Golgi, Homogeneous, NuMem, Nucleolar, Speckled, or the labels into {folder}.csv"
    )
    many_classes = replace(HEP2, classes=tuple(f"class {number}" for number in range(11)))
    message = message_of(read_labelled, folder, many_classes)
    assert f"put the images into folders named class 0, class 1, class 2, ..., or the labels into {folder}.csv" in message
    named = folder / "other.csv"
    assert message_of(read_labelled, folder, HEP2, named) == f"{named}: cannot be read (No such file or directory)"
    assert "nowhere: cannot be listed" in message_of(read_labelled, folder / "nowhere", HEP2)


def test_many_labels_without_a_table(touch):
    data = touch("train/1_red.png", "cells/Golgi/2.png", "cells/odd/3.png", "odd/odd/4.png")
    task = ", or name the task if the classes lie in folders or are your own"
    for name, mend in (("train", task), ("odd", task), ("nowhere", "")):
        assert message_of(read_labelled, data / name, HPA) == (
            f"{data / name}.csv: no such table; the labels of the images in {data / name} belong there{mend}"
        )
    assert message_of(read_labelled, data / "cells", HPA) == (
        f"{data / 'cells'}.csv: no such table; the class folders in {data / 'cells'} are those of the task hep2"
    )


def test_the_folder_that_one_is_in(touch, monkeypatch):
    data = touch("train/1.png")
    (data / "train.csv").write_text("Id,Target\n1,2\n")
    monkeypatch.chdir(data / "train")
    assert names_of(read_labelled(Path("."), HEP2)) == {"1": "Homogeneous"}


def test_the_ids_of_the_test_set(touch):
    data = touch("test/2.png", "test/00010.png", "test/.3.png", "test/notes.txt")
    assert read_ids(data, HEP2).tolist() == ["00010", "2"]
    (data / "sample_submission.csv").write_text("Id,Predicted\n2,\n")
    assert read_ids(data, HEP2).tolist() == ["2"]


def test_a_test_set_that_is_absent_or_empty(touch):
    data = touch("elsewhere/1.png")
    assert "sample_submission.csv: cannot be read" in message_of(read_ids, data, HEP2)
    (data / "test").mkdir()
    assert message_of(read_ids, data, HEP2) == f"{data / 'test'}: holds no image (<id>.png); fill it"
    assert message_of(read_ids, data, HPA) == f"{data / 'test'}: holds no image (<id>_red.png); fill it"


def test_the_hep2_cells(shared_data):
    hep2 = shared_data / "hep2"
    given = read_training_table(hep2 / "gt_training.csv", HEP2)
    assert given.targets.sum(axis=0).tolist() == [2254, 559, 1971, 1767, 2069, 2256]  # as awk counts them
    class_of = names_of(given)
    for name, count in (("train", 8701), ("validation", 2175)):
        found = names_of(read_labelled(hep2 / name, HEP2))
        assert len(found) == count
        assert found.items() <= class_of.items()


LABELS = "Id,Target\na,0\nb,1\nc,2\n"
SPOILT = {
    "a NUL byte in an id": (LABELS.replace("b,", "b\0,"), "line 3: holds NUL bytes, 1 in all"),
    "a NUL byte in a target": (LABELS.replace("b,1", "b,1\0"), "line 3: holds NUL bytes, 1 in all"),
    "a NUL byte in a column that is not read": ("Note,Id,Target\nx\0,a,0\n", "line 2: holds NUL bytes"),
    "a block of NUL bytes over some rows": (LABELS[:12] + "\0" * 40 + LABELS[20:], "line 2: holds NUL bytes, 40 in all"),
    "UTF-16 without its mark": (LABELS.encode("utf-16-le"), "not in UTF-8, save it as that"),
    "a line break in an id": ('Id,Target\n"a\nb",0\nc,1\n', r"line 2: Id 'a\nb' holds a line break or control character"),
    "a line end of Windows in an id": ('Id,Target\n"a\r\nb",0\n', r"line 2: Id 'a\r\nb' holds"),
    "a tab in an id": ("Id,Target\na\tb,0\n", r"line 2: Id 'a\tb' holds"),
    "an escape character in an id": ("Id,Target\nx,1\na\x1b[2J,0\n", r"line 3: Id 'a\x1b[2J' holds"),
    "a line break in a target": ('Id,Target\na,"0\n1"\n', r"line 2: Target '0\n1' holds"),
    "two columns of ids": ("Id,Id,Target\na,z,0\n", "column Id is there 2 times; keep one of them"),
    "two columns of targets": ("Id,Target,Target\na,0,1\n", "column Target is there 2 times"),
    "three equal columns": ("Target,Id,Target,Target\n0,a,0,0\n", "column Target is there 3 times"),
    "both pairs of columns": (
        "Id,Target,Image ID,Image class\na,0,a,1\n",
        "has both Id,Target and Image ID,Image class; keep one pair of columns",
    ),
    "a monstrous column name": (f"Id,{'x' * 10**6}\na,0\n", "no column Target; the first line has Id, xxx"),
    "a monstrous id": (f"Id,Target\na,0\n../{'x' * 10**6},0\n", "line 3: id '../xxx"),
    "a monstrous target": (f"Id,Target\na,{'x' * 10**6}\n", "Target holds 'xxx"),
    "a hundred thousand classes": (f"Id,Target\na,{'x ' * 10**5}\n", "Target holds 'x', 'x'"),
}


@pytest.mark.parametrize(("content", "named"), SPOILT.values(), ids=SPOILT)
def test_spoilt_tables_are_refused(write, content, named):
    path = write(content)
    message = message_of(read_training_table, path, HPA)
    assert message.startswith(f"{path}: ")
    assert named in message
    assert "\n" not in message
    assert len(message) < 1000


def test_other_columns_may_be_there_twice_and_hold_line_breaks(write):
    table = read_training_table(write('Note,Id,Note,Target,Image ID\n"x\ny",a,z,1 2,b\n'), HPA)
    assert table.ids.tolist() == ["a"]
    assert labels_of(table) == [{1, 2}]


@pytest.mark.parametrize("columns", ["Id,group,set", "Id,set,group"])
def test_an_alternative_that_holds_another_is_no_clash(write, columns):
    path = write(f"{columns}\na,0,0\n")
    assert list(read_columns(path, ["Id", "group", "set"], ["Id", "group"])) == ["Id", "group", "set"]


def zip_of_two(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one.csv", LABELS)
        archive.writestr("two.csv", LABELS)


def tar(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("train.csv"))


ARCHIVES = {
    "zip": zip_of_two,
    "tar": tar,
    "gz": lambda path: path.write_bytes(gzip.compress(LABELS.encode())),
    "bz2": lambda path: path.write_bytes(bz2.compress(LABELS.encode())),
    "xz": lambda path: path.write_bytes(lzma.compress(LABELS.encode())),
    "zst": lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20)),
}


@pytest.mark.parametrize("name", ["train.csv", "own suffix"])
@pytest.mark.parametrize("suffix", ARCHIVES)
def test_compressed_tables_are_to_be_unpacked(tmp_path, suffix, name):
    path = tmp_path / (name if name == "train.csv" else f"train.{suffix}")
    ARCHIVES[suffix](path)
    message = message_of(read_training_table, path, HPA)
    assert message.startswith(f"{path}: is a ")
    assert message.endswith("not a CSV table; unpack it and name the table in it")


@pytest.mark.parametrize("suffix", [".zip", ".gz", ".bz2", ".xz", ".zst", ".tar", ".tar.gz", ""])
def test_the_name_of_a_table_does_not_matter(tmp_path, suffix):
    path = tmp_path / f"train{suffix}"
    path.write_text("Id,Target\nPK,0\n")
    assert read_training_table(path, HPA).ids.tolist() == ["PK"]
    path.write_text("PK,Id,Target\n1,a,0\n")
    assert read_training_table(path, HPA).ids.tolist() == ["a"]


def fifo(path):
    os.mkfifo(path)


def link_to_itself(path):
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (fifo, "is a pipe or a device"),
        (Path.mkdir, "cannot be read (Is a directory)"),
        (link_to_itself, "cannot be read (Too many levels of symbolic links)"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read (No such file or directory)"),
        (lambda path: (path.parent / "x").write_text("") and path.symlink_to("x/y"), "No such file"),
    ],
)
def test_what_is_no_plain_file_is_not_read(tmp_path, make, named):
    path = tmp_path / "train.csv"
    make(path)
    for read in (lambda path: read_training_table(path, HPA), read_sample_submission):
        message = message_of(read, path)
        assert message.startswith(f"{path}: ")
        assert named in message
        assert "\n" not in message


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[2J"])
def test_names_of_files_with_control_characters_are_refused(touch, name):
    data = touch(f"train/Golgi/{name}.png", "train/Golgi/fine.png", f"test/{name}.png")
    said = f"the name of {name!r} holds a line break or control character; rename it"
    assert message_of(read_labelled, data / "train", HEP2) == f"{data / 'train'}: {said}"
    assert message_of(read_ids, data, HEP2) == f"{data / 'test'}: {said}"

import errno
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa.data.sorting import sort_images
from hpa.data.tables import read_labelled
from hpa.errors import BadInput, Failure
from hpa.files import locked
from hpa.tasks import HEP2, HPA


class Cells:
    """A flat folder whose files hold their own names, a table, and the folder to sort into."""

    def __init__(self, folder):
        self.images, self.table, self.out = folder / "cells", folder / "cells.csv", folder / "out" / "train"
        self.images.mkdir(exist_ok=True)

    def write(self, *names, folder=None):
        for name in names:
            ((folder or self.images) / name).write_text(name)

    def label(self, **class_of):
        rows = [f"{identifier.removeprefix('_')},{name}\n" for identifier, name in class_of.items()]
        self.table.write_text("Image ID,Image class\n" + "".join(rows))

    def sort(self, task=HEP2, **options):
        return sort_images(self.images, self.table, self.out, task, **options)

    def fault(self, task=HEP2):
        """The text of a refusal, which must come before anything is written."""
        before = self.tree()
        with pytest.raises(BadInput) as caught:
            self.sort(task)
        assert self.tree() == before
        return str(caught.value)

    def tree(self, folder=None):
        folder = folder or self.out
        return {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in folder.rglob("*")
            if path.is_file() and path.name != ".lock"
        }


@pytest.fixture
def cells(tmp_path):
    """Three cells, one of them with leading zeros in the file's name and one in the table, and files of other kinds."""
    cells = Cells(tmp_path)
    cells.write("00001.png", "2.png", "00010.tif", "Thumbs.db", ".3.png")
    cells.label(_1="Golgi", _00002="NuMem", _00010="1")
    return cells


SORTED = {"Golgi/00001.png": "00001.png", "Golgi/00010.tif": "00010.tif", "NuMem/2.png": "2.png"}
COUNTS = {"Centromere": 0, "Golgi": 2, "Homogeneous": 0, "NuMem": 1, "Nucleolar": 0, "Speckled": 0}


def test_files_are_copied_under_their_own_names(cells):
    before = cells.tree(cells.images)
    assert cells.sort() == (COUNTS, 3)
    assert cells.tree() == SORTED
    assert cells.tree(cells.images) == before
    assert not (cells.out / "Golgi" / "00001.png").samefile(cells.images / "00001.png")
    table = read_labelled(cells.out, HEP2)
    assert table.ids.tolist() == ["00001", "00010", "2"]
    assert table.targets.argmax(axis=1).tolist() == [1, 1, 3]


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.integers(0, 99), st.sampled_from(HEP2.classes), min_size=1, max_size=8), st.booleans(), st.data())
def test_what_is_sorted_reads_as_the_table(tmp_path_factory, class_of, link, data):
    cells = Cells(tmp_path_factory.mktemp("any"))
    padding = st.sampled_from((1, 5))
    cells.write(*(f"{number:0{data.draw(padding)}}.png" for number in class_of))
    cells.label(**{f"_{number:0{data.draw(padding)}}": name for number, name in class_of.items()})
    cells.sort(link=link)
    table = read_labelled(cells.out, HEP2)
    found = {int(identifier): HEP2.classes[row.argmax()] for identifier, row in zip(table.ids, table.targets, strict=True)}
    assert found == class_of


def test_all_files_of_a_sample_stay_together(cells):
    task = replace(HPA, labels="one")
    cells.write(*(f"{identifier}_{channel}.png" for identifier in ("a", "007") for channel in HPA.channels))
    for name in ("00001.png", "2.png", "00010.tif"):
        (cells.images / name).unlink()
    cells.label(a="Rods & rings", _7="0")
    counts, written = cells.sort(task)
    assert (counts["Rods & rings"], counts["Nucleoplasm"], sum(counts.values()), written) == (1, 1, 2, 8)
    places = {"a": "Rods & rings", "007": "Nucleoplasm"}
    assert set(cells.tree()) == {
        f"{place}/{each}_{channel}.png" for each, place in places.items() for channel in HPA.channels
    }
    (cells.images / "a_blue.png").unlink()
    assert "id a: no a_blue.png" in cells.fault(task)


def test_hard_links(cells):
    assert cells.sort(link=True) == (COUNTS, 3)
    assert cells.tree() == SORTED
    for place, name in SORTED.items():
        assert (cells.out / place).samefile(cells.images / name)
        assert not (cells.out / place).is_symlink()
    assert cells.sort() == (COUNTS, 0)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP])
def test_symbolic_links_where_hard_links_cannot_be(cells, monkeypatch, number):
    def refused(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.chdir(cells.images)
    cells.images = cells.images.relative_to(cells.images)  # the links must hold wherever one stands
    assert cells.sort(link=True) == (COUNTS, 3)
    monkeypatch.chdir("/")
    assert all((cells.out / place).is_symlink() for place in SORTED)
    assert cells.tree() == SORTED


def test_links_to_images_are_sorted_as_images(cells, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (cells.images / "2.png").rename(tmp_path / "elsewhere" / "2.png")
    (cells.images / "2.png").symlink_to("../elsewhere/2.png")
    assert cells.sort(link=True) == (COUNTS, 3)
    assert (cells.out / "NuMem" / "2.png").samefile(tmp_path / "elsewhere" / "2.png")
    assert cells.tree() == SORTED
    (tmp_path / "elsewhere" / "2.png").unlink()
    assert cells.fault() == f"{cells.images}: 2.png is no file that can be read"


def test_again_does_nothing(cells):
    cells.sort()
    times = {place: os.stat(cells.out / place).st_mtime_ns for place in SORTED}
    assert cells.sort() == (COUNTS, 0)
    assert cells.sort(link=True) == (COUNTS, 0)
    assert {place: os.stat(cells.out / place).st_mtime_ns for place in SORTED} == times


def test_a_second_set_joins_the_first(cells):
    cells.sort()
    for name in ("00001.png", "2.png", "00010.tif"):
        (cells.images / name).unlink()
    cells.write("4.png")
    cells.label(_4="NuMem")
    assert cells.sort() == ({**dict.fromkeys(HEP2.classes, 0), "NuMem": 1}, 1)
    assert cells.tree() == SORTED | {"NuMem/4.png": "4.png"}


def test_it_goes_on_after_a_failure_and_leaves_no_part_of_a_file(cells, monkeypatch):
    written, replaced = [], os.replace

    def fails_late(source, target):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(target)
        replaced(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fails_late)
        with pytest.raises(OSError, match="No space"):
            cells.sort()
    (done,) = cells.tree().items()
    assert done in SORTED.items()
    assert cells.sort() == (COUNTS, 2)
    assert cells.tree() == SORTED


def test_a_file_that_differs_is_never_overwritten(cells):
    (cells.out / "Golgi").mkdir(parents=True)
    (cells.out / "NuMem" / "2.png").mkdir(parents=True)
    cells.write("00010.tif", folder=cells.out / "Golgi")
    (cells.out / "Golgi" / "00001.png").write_text("00002.png")  # as long as the other
    lines = cells.fault().splitlines()
    assert lines[0] == f"{cells.out}: 2 faults"
    assert sorted(lines[1:]) == [
        f"  {place} is there already and differs from {cells.images}/{name}; delete one of them"
        for place, name in (("Golgi/00001.png", "00001.png"), ("NuMem/2.png", "2.png"))
    ]


def test_a_link_to_nowhere_is_not_overwritten(cells):
    (cells.out / "Golgi").mkdir(parents=True)
    (cells.out / "Golgi" / "00001.png").symlink_to("nowhere.png")
    assert "Golgi/00001.png is there already and differs" in cells.fault()
    assert (cells.out / "Golgi" / "00001.png").is_symlink()


def test_a_sample_that_lies_in_another_class_already(cells):
    cells.sort()
    cells.label(_1="Golgi", _2="Golgi", _10="Golgi")
    assert cells.fault() == f"{cells.out}: NuMem/2.png is in the way of Golgi/2.png; delete it or fix the table"


def test_what_would_make_the_class_folders_unreadable(cells):
    (cells.out / "cells of 2014").mkdir(parents=True)
    cells.write("9.png", "Speckled", "notes.txt", folder=cells.out)
    assert cells.fault().splitlines() == [
        f"{cells.out}: 3 faults",
        "  folder cells of 2014 is none of the classes; move it away or name another folder",
        "  Speckled is a file; a class folder belongs there",
        "  9.png lies next to the class folders; move it away",
    ]


def test_the_folder_of_the_images_and_those_around_it(cells):
    cells.out = cells.images / ".." / "cells"
    assert cells.fault() == f"{cells.out}: the images lie here themselves; name another folder"
    cells.out = cells.images.parent
    assert "folder cells is none of the classes" in cells.fault()
    cells.out = cells.images / "sorted"
    assert cells.sort() == (COUNTS, 3)
    assert cells.sort() == (COUNTS, 0)
    assert cells.tree() == SORTED


def test_rows_without_an_image_are_all_named(cells):
    cells.label(_1="Golgi", _2="NuMem", _10="Golgi", **{f"_{number}": "Golgi" for number in range(20, 32)})
    lines = cells.fault().splitlines()
    assert lines[0] == f"{cells.images}: 12 faults"
    assert lines[1] == "  id 20: no 20.png"
    assert lines[-1] == "  ... and 2 more"


def test_images_without_a_row_are_all_named(cells):
    cells.write(*(f"{number}.png" for number in range(20, 32)), "200.jpg")
    lines = cells.fault().splitlines()
    assert lines[0] == f"{cells.images}: 13 faults"
    assert lines[1] == f"  20.png belongs to no row of {cells.table}; add a row or move the file away"
    assert lines[-1] == "  ... and 3 more"


def test_an_unknown_class_and_two_classes(cells):
    cells.label(_1="Golgi", _2="Goggi", _10="Golgi|NuMem")
    lines = cells.fault().splitlines()
    assert "line 3: id 2: Image class holds 'Goggi'" in lines[1]
    assert "line 4: id 10: Image class names 2 classes" in lines[2]


def test_a_task_with_many_labels(cells):
    assert cells.fault(HPA) == "task hpa is multi-label; a sample cannot lie in two class folders"


def test_two_at_once_do_not_mix(cells):
    with locked(cells.out / ".lock", wait=False), pytest.raises(Failure, match="another process is at work here"):
        cells.sort()
    assert cells.tree() == {}


def test_the_hep2_cells(shared_data, tmp_path):
    """Real cells, laid flat with numbers for names, come back to the classes they were given in."""
    (tmp_path / "flat").mkdir()
    given = {file.stem: file for file in sorted((shared_data / "hep2" / "validation").glob("*/*.png"))[::7]}
    for stem, file in given.items():
        (tmp_path / "flat" / f"{int(stem)}.png").symlink_to(file)
    header, *rows = (shared_data / "hep2" / "gt_training.csv").read_text().splitlines()
    (tmp_path / "table.csv").write_text("\n".join([header, *(row for row in rows if row.split(",")[0] in given)]))
    counts, written = sort_images(tmp_path / "flat", tmp_path / "table.csv", tmp_path / "out", HEP2)
    assert (sum(counts.values()), written) == (311, 311)
    for stem, file in given.items():
        assert (tmp_path / "out" / file.parent.name / f"{int(stem)}.png").read_bytes() == file.read_bytes()
    assert dict(zip(HEP2.classes, read_labelled(tmp_path / "out", HEP2).targets.sum(axis=0), strict=True)) == counts

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa.errors import BadInput
from hpa.runs.folder import open_run, read_task_of, require_same_run, settings_config
from hpa.settings import Settings
from hpa.tasks import HEP2, HPA, TASKS, Task, make_task, read_task

YEAST = """
classes = ["budding", "shmoo", "dead cell"]
channels = ["light", "marker"]
labels = "one"
"""


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "yeast.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def faults_of(path):
    with pytest.raises(BadInput) as caught:
        read_task(path)
    first, *more = str(caught.value).splitlines()
    assert first.startswith(f"{path}: ")
    return [line.strip() for line in more] or [first.removeprefix(f"{path}: ")]


def test_the_known_tasks():
    assert TASKS == {"hpa": HPA, "hep2": HEP2}
    assert (len(HPA.classes), HPA.labels) == (28, "many")
    assert HPA.classes[8] == "Peroxisomes"
    assert HPA.suffixes == ("_red", "_green", "_blue", "_yellow")
    assert (HEP2.channels, HEP2.suffixes, HEP2.labels) == (("grey",), ("",), "one")
    assert list(HEP2.classes) == sorted(HEP2.classes)  # the order that class folders give


def test_name_and_suffixes_follow_from_the_file_and_the_channels(write):
    assert read_task(write(YEAST)) == Task(
        name="yeast",
        classes=("budding", "shmoo", "dead cell"),
        channels=("light", "marker"),
        suffixes=("_light", "_marker"),
        labels="one",
    )


def test_name_and_suffixes_can_be_given(write):
    task = read_task(write(YEAST + 'name = "Hefe-2"\nsuffixes = ["", "-488"]\n'))
    assert (task.name, task.suffixes) == ("Hefe-2", ("", "-488"))


def test_suffixes_may_begin_with_a_dot_or_a_space(write):
    assert read_task(write(YEAST + 'suffixes = [".c0", " (2)"]\n')).suffixes == (".c0", " (2)")


def test_colours_are_no_part_of_what_a_run_is(write, tmp_path):
    plain, painted = read_task(write(YEAST)), read_task(write(YEAST + 'colours = ["#0000ff", "#00ff00"]\n'))
    assert painted.colours == ("#0000ff", "#00ff00")
    assert plain == painted
    folder = tmp_path / "run"
    open_run(folder, settings_config(Settings(), painted), tmp_path)
    require_same_run(folder, settings_config(Settings(), plain))
    assert read_task_of(folder).colours == painted.colours
    open_run(tmp_path / "plain", settings_config(Settings(), plain), tmp_path)
    require_same_run(tmp_path / "plain", settings_config(Settings(), painted))


READING = 'files = "{plate}_w{channel}*.tif"\naxes = "ZYX"\nplane = "maximum"\nfit = "pad"\n'


def test_how_files_are_read_is_part_of_what_a_run_is_where_it_is_stated(write):
    plain, own = read_task(write(YEAST)), read_task(write(YEAST + READING))
    assert own.suffixes == ("light", "marker")  # what stands for {channel}
    assert own.reading == {"files": "{plate}_w{channel}*.tif", "axes": "ZYX", "plane": "maximum", "fit": "pad"}
    assert plain.reading == {}
    assert settings_config(Settings(), plain)["task"].keys() == {"name", "classes", "channels", "suffixes", "labels"}
    kept = settings_config(Settings(), own)["task"]
    assert kept.keys() == {"name", "classes", "channels", "suffixes", "labels", *own.reading}
    assert make_task(write(""), json.loads(json.dumps(kept))) == own
    assert read_task(write(YEAST + "plane = 2\npixel_size = 0.5")).reading == {"plane": 2, "pixel_size": 0.5}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_byte_order_mark(write, line_end):
    marked = b"\xef\xbb\xbf" + YEAST.replace("\n", line_end).encode()
    assert read_task(write(marked)) == read_task(write(YEAST))


letters = st.text(string.ascii_letters + "äß中 &.,'\"-+()", min_size=1, max_size=8).map(str.strip)
channel_names = letters.filter(bool)
class_names = channel_names.filter(lambda name: not name.startswith("."))


def distinct(names, least):
    return st.lists(names, min_size=least, max_size=6, unique=True).map(tuple)


@settings(max_examples=60, deadline=None)
@given(distinct(class_names, 2), distinct(channel_names, 1), st.sampled_from(("one", "many")))
def test_what_a_file_says_is_what_is_read(tmp_path_factory, classes, channels, labels):
    task = Task("any", classes, channels, tuple(f"-{channel}" for channel in channels), labels)
    path = tmp_path_factory.getbasetemp() / "any.toml"
    lines = [f"{key} = {json.dumps(getattr(task, key), ensure_ascii=False)}" for key in task.__dataclass_fields__]
    path.write_text("\n".join(lines), encoding="utf-8")  # what JSON writes for a text or a list is TOML too
    assert read_task(path) == task


@pytest.mark.parametrize(
    ("typo", "meant"), [("clases", "classes"), ("channel", "channels"), ("label", "labels"), ("Classes", "classes")]
)
def test_a_typo_in_a_key(write, typo, meant):
    missing, unknown = faults_of(write(YEAST.replace(meant, typo)))
    assert missing == f"no key {meant}; add it"
    assert unknown == f"unknown key {typo}; is {meant} meant?"


def test_a_key_like_no_other(write):
    assert faults_of(write(YEAST + "size = 64\n")) == [
        "unknown key size; the keys are name, labels, classes, channels, suffixes, colours, files, axes, plane, grey, fit, "
        "pixel_size"
    ]


def test_an_empty_file_lacks_every_key(write):
    assert faults_of(write("")) == [f"no key {key}; add it" for key in ("channels", "classes", "labels")]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("name = 3", "name must be a text, found 3"),
        ('suffixes = "_a"', "suffixes must be a list of texts, found '_a'"),
        ('suffixes = ["_a", 1]', "suffixes must be a list of texts, found ['_a', 1]"),
        ('suffixes = ["_a"]', "1 suffixes for 2 channels; give one for each"),
        ('suffixes = ["_a", "_a"]', "suffixes names '_a' twice"),
        ('suffixes = ["", "../"]', "suffixes holds '../', which cannot be part of a file's name"),
        ('colours = ["#0000ff"]', "1 colours for 2 channels; give one for each, or none"),
        ('colours = ["#0000ff", "red"]', "colours holds 'red'; a colour is # and six digits, such as #0000ff for blue"),
        ('name = "../yeast"', "name '../yeast' must consist of letters, digits, - and _"),
        ('name = ""', "name '' must consist of letters, digits, - and _"),
        ('files = "{channel}.tif"', "files '{channel}.tif' has no field that makes an id; write {id} where it stands"),
        ('files = "*.tif"', "files '*.tif' has no field that makes an id; write {id} where it stands"),
        ('files = "{id}"', "files '{id}' does not end in an extension; end it in one such as .tif, or in .*"),
        ('files = "{id}_{id}.tif"', "files '{id}_{id}.tif' has the field {id} twice"),
        (
            'files = "{a}{b}.tif"',
            "files '{a}{b}.tif' has fields without a letter between them, so that it is not clear where one ends",
        ),
        (
            'files = "{id}*.tif"',
            "files '{id}*.tif' has fields without a letter between them, so that it is not clear where one ends",
        ),
        (
            'files = "{plate}/{well}.tif"',
            "files '{plate}/{well}.tif' holds { or } around something else than small letters and _, or a / between folders",
        ),
        (
            'files = "{Id}.{id}.tif"',
            "files '{Id}.{id}.tif' holds { or } around something else than small letters and _, or a / between folders",
        ),
        ("files = 3", "files must be a text, found 3"),
        ('axes = "CYXT"', "axes is 'CYXT'; it has Y and X and maybe C and Z, each once, such as CYX"),
        ('axes = "CZ"', "axes is 'CZ'; it has Y and X and maybe C and Z, each once, such as CYX"),
        ("plane = 0", 'plane is 0; it is "maximum" or the number of a plane, from 1'),
        ('plane = "mean"', "plane is 'mean'; it is \"maximum\" or the number of a plane, from 1"),
        ("plane = true", "plane must be a text or a whole number, found True"),
        ('grey = "mean"', "grey is 'mean'; it is brightest, or left out"),
        ('fit = "squash"', "fit is 'squash'; it is stretch, pad or crop"),
        ("pixel_size = -1", "pixel_size is -1; it is a number of micrometres, above 0 and at most 1000"),
        ("pixel_size = nan", "pixel_size is nan; it is a number of micrometres, above 0 and at most 1000"),
        ('pixel_size = "1 um"', "pixel_size must be a number or a whole number, found '1 um'"),
        (
            'pixel_size = 0.5\nfit = "pad"',
            "pixel_size and fit exclude each other: with a pixel size the middle of an image is cut or padded",
        ),
    ],
)
def test_a_key_that_can_be_left_out_but_is_wrong(write, line, fault):
    assert faults_of(write(f"{YEAST}{line}\n")) == [fault]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('classes = ["a", "b", "a"]', "classes names 'a' twice"),
        ('classes = ["a"]', "classes has 1 names; there are at least two"),
        ("classes = []", "classes has 0 names; there are at least two"),
        ('classes = "a"', "classes must be a list of texts, found 'a'"),
        ('classes = ["a", ""]', "classes holds '', which cannot be read from tables and class folders"),
        ('classes = ["a", "b/c"]', "classes holds 'b/c', which cannot be read from tables and class folders"),
        ('classes = ["a", "b|c"]', "classes holds 'b|c', which cannot be read from tables and class folders"),
        ('classes = ["a", ".."]', "classes holds '..', which cannot be read from tables and class folders"),
        ('classes = ["a", ".b"]', "classes holds '.b', which cannot be read from tables and class folders"),
        ('classes = ["a", " b"]', "classes holds ' b', which cannot be read from tables and class folders"),
        ('classes = ["1", "0"]', "class 0 is called '1', which tables would take for a class number"),
        ("channels = []", "channels is empty; name at least one"),
        ('channels = ["a", "a"]', "channels names 'a' twice"),
        ('labels = "two"', "labels is 'two'; it is one or many"),
        ("labels = 1", "labels must be a text, found 1"),
    ],
)
def test_a_key_that_is_wrong(write, line, fault):
    key = line.split()[0]
    others = [each for each in YEAST.splitlines() if not each.startswith(key)]
    assert fault in faults_of(write("\n".join([*others, line])))


def test_class_names_may_be_their_own_numbers(write):
    digits = json.dumps([str(digit) for digit in range(10)])
    assert read_task(write(f'classes = {digits}\nchannels = ["ink"]\nlabels = "one"')).classes[3] == "3"


@pytest.mark.parametrize(
    "content", ["classes = [", "classes", '{"classes": []}', 'labels = "one"\nlabels = "many"', "é = 1".encode("latin-1")]
)
def test_what_is_not_toml(write, content):
    (fault,) = faults_of(write(content))
    assert fault.startswith("not a TOML file (")


def test_what_is_no_file(tmp_path):
    (fault,) = faults_of(tmp_path / "hep3")
    assert fault == "cannot be read (No such file or directory); a task is hpa, hep2 or such a file"
    assert "Is a directory" in faults_of(tmp_path)[0]

"""Searches in small: a stand-in for `train` that scores a setting by a formula, and once real runs on 16 pixels."""

import contextlib
import json
import os
import shlex
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import optuna
import pandas as pd
import pytest
from PIL import Image
from train_settings import train_settings

from hpa import search, train
from hpa.data.store import store_folder
from hpa.data.tables import read_labelled
from hpa.errors import BadInput, Busy, Diverged, Failure
from hpa.files import locked
from hpa.models.gapnet import VARIANTS
from hpa.runs.folder import is_finished, open_run, read_history, read_settings, run_config, run_folders, write_history
from hpa.settings import Settings
from hpa.tasks import HEP2, HPA
from hpa.training import fit
from hpa.training import search as room
from hpa.training.presets import PRESETS, preset_settings

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ["--task", "hep2", "--data", "data", "--size", "16", "--epochs", "2", "--rows", "40"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """72 cells of 16 pixels in class folders, each class with a texture of its own, and a validation set not to be read."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number, name in enumerate(HEP2.classes):
        folder = Path("data/train", name)
        folder.mkdir(parents=True)
        stripes = 60 * np.sin(np.arange(16) * (number + 1) / 2)[:, np.newaxis] + 120
        for cell in range(12):
            pixels = (stripes + random.normal(0, 20, (16, 16))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}{cell:02d}.png")
    Path("data/validation/not-a-class").mkdir(parents=True)
    return tmp_path


class Trainer:
    """Stands in for `train`: writes what a run leaves, with a score that is best for four stages, relu and 1e-2."""

    def __init__(self):
        self.asked, self.fail, self.interrupt = [], set(), None
        self.reason: Failure = Diverged("training has diverged")

    def __call__(self, settings, task, data, runs, name):
        folder = runs / name / settings.stage
        if is_finished(folder):
            return
        self.asked.append((name, settings))
        number = int(name.rpartition("-")[2])
        open_run(folder, run_config(settings, task, read_labelled(data / "train", task), None), data)
        if number == self.interrupt:
            self.interrupt = None
            raise KeyboardInterrupt
        if number in self.fail:
            raise self.reason
        score = 0.2 * len(settings.filters) - 0.1 * abs(np.log10(settings.learning_rate) + 2)
        score -= 0.3 * (settings.activation == "mish")
        scores = pd.DataFrame({"epoch": [1, 2], "validation_accuracy": [score, score - 0.1]})
        (folder / "model.keras").write_bytes(b"weights")
        write_history(folder, scores)


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    monkeypatch.setattr(room, "train", trainer)
    monkeypatch.setattr(room, "load", lambda path: SimpleNamespace(count_params=lambda: 123))
    monkeypatch.setattr(room, "draw_trials", lambda *drawn: None)  # takes longer than all else
    monkeypatch.setattr(room, "write_figure", lambda path, figure: path.write_bytes(b"picture"))
    return trainer


def run(*options, runs="runs"):
    return search.main([*OPTIONS, "--runs", runs, *map(str, options)])


def trials_of(runs="runs", name="search"):
    return pd.read_csv(Path(runs, "searches", name, "trials.csv"), float_precision="round_trip")


def settings_of(preset, task=HEP2, **others):
    own = preset_settings(preset) | {"folds": 5, "loss": task.kind.loss} | others
    return Settings(**own)


@pytest.mark.parametrize(
    ("start", "task", "own"),
    [
        (settings_of("cells"), HEP2, {"stages": 4, "first_filters": 32, "first_blocks": 1, "middle_blocks": 2, "kernel": 3}),
        (settings_of("report", variant=5), HEP2, {"variant": 5, "loss": "categorical-crossentropy"}),
        (settings_of("report", HPA, variant=0), HPA, {"variant": 0, "loss": "binary-crossentropy"}),
        (settings_of("alexnet"), HEP2, {"augmentation": "alexnet", "learning_rate": 1e-3}),
    ],
)
def test_the_space_around_a_setting(start, task, own):
    searched = room.space(start, task)
    first = room.propose(start, searched, [])
    assert own.items() <= first.items()
    assert room.with_parameters(start, first) == start
    tried = [room.create_trial(params=first, distributions=searched, value=0.5)]
    drawn = [room.with_parameters(start, room.propose(start, searched, tried * count)) for count in range(1, 40)]
    for settings in drawn:
        assert start.learning_rate / 10 <= settings.learning_rate <= start.learning_rate * 10
        if start.model == "cellnet":
            assert len(settings.filters) == len(settings.blocks)
            assert all(2 * a == b for a, b in zip(settings.filters, settings.filters[1:], strict=False))
            assert len(set(settings.blocks[1:-1])) <= 1
    assert {settings.mixing for settings in drawn} == {"none", "mix-up", "cutmix", "mosaic"}
    if start.model == "cellnet":
        assert {len(settings.filters) for settings in drawn} == {2, 3, 4}


def test_variants_that_the_size_does_not_allow_are_not_tried():
    size = VARIANTS[2].smallest_size  # the smallest of all
    fitting = room.space(settings_of("report", size=size, variant=2), HEP2)["variant"].choices
    assert fitting == (2, 3)
    assert set(room.space(settings_of("report", variant=2), HEP2)["variant"].choices) == set(range(8))


def test_what_a_search_leaves(place, trainer, capsys):
    assert run("--trials", 14) == 0
    table = trials_of()
    assert table["number"].tolist() == list(range(14))
    assert [name for name, _ in trainer.asked] == [f"searches/search/trial-{number}" for number in range(14)]
    assert trainer.asked[0][1] == settings_of("cells", size=16, epochs=2, rows=40, ema_momentum=0.0)
    assert table["parameters"].tolist() == [123] * 14
    assert table["seconds"].notna().all()
    for (_, settings), row in zip(trainer.asked, table.to_dict("records"), strict=True):
        assert (settings.folds, settings.fold, settings.rows, settings.epochs, settings.seed) == (5, 0, 40, 2, 0)
        assert (len(settings.filters), settings.learning_rate) == (row["stages"], row["learning_rate"])
        assert row["score"] == read_history(Path("runs/searches/search", f"trial-{row['number']}", "base")).iloc[0, 1]
    assert table.drop(columns=["number", "seconds"]).drop_duplicates().shape[0] == 14
    best = table["score"].idxmax()
    assert table["score"][best] > table["score"][0]
    assert [path.parts[-3] for path in Path("runs").rglob("model.keras")] == [f"trial-{best}"]
    said = capsys.readouterr().out
    assert f"trial {best} is the best, with {table['score'][best]:.4f}: runs/presets/search.json" in said
    assert said.endswith("train it at full length: python -m hpa.train --task hep2 --preset search --name search\n")
    with pytest.raises(BadInput, match="no run folders"):
        run_folders(Path("runs"))  # trials are no members of an ensemble


def test_the_best_setting_can_be_trained_at_full_length(place, trainer):
    assert run("--trials", 4) == 0
    found = trainer.asked[trials_of()["score"].idxmax()][1]
    settings = train_settings("--task", "hep2", "--data", "data", "--preset", "search")
    full_length = {"rows": None, "epochs": 40, "folds": None, "ema_momentum": 0.995}
    for field in fields(Settings):
        assert getattr(settings, field.name) == full_length.get(field.name, getattr(found, field.name)), field.name
    assert preset_settings("search", Path("runs"))["filters"] == found.filters


def test_a_search_from_what_another_one_found(place, trainer):
    assert run("--trials", 4) == 0
    assert run("--trials", 1, "--preset", "search", "--name", "again") == 0
    again = train_settings("--task", "hep2", "--data", "data", "--preset", "again")
    assert again == train_settings("--task", "hep2", "--data", "data", "--preset", "search")


@pytest.mark.parametrize(("epochs", "momentum"), [(2, 0.0), (40, 0.75), (4000, 0.995)])
def test_a_short_trial_averages_over_fewer_steps(place, trainer, epochs, momentum):
    assert run("--trials", 1, "--epochs", epochs) == 0  # of one step each
    assert run("--trials", 1, "--epochs", epochs, "--rows", 2000, "--name", "all") == 0  # there are fewer rows
    assert [settings.ema_momentum for _, settings in trainer.asked] == [momentum] * 2


def test_a_search_goes_on_on_another_processor(place, trainer, monkeypatch):
    begun = preset_settings("cells")["precision"]
    assert run("--trials", 1) == 0
    [other] = {"float32", "mixed_bfloat16"} - {begun}
    monkeypatch.setitem(PRESETS["cells"], "precision", other)
    assert run("--trials", 2) == 0
    assert [settings.precision for _, settings in trainer.asked] == [begun, begun]
    assert train_settings("--task", "hep2", "--data", "data", "--preset", "search").precision == other


def test_the_command_that_goes_on_can_be_run_as_it_is_printed(place, trainer, capsys):
    (place / "my tasks").mkdir()
    fields_of = {"name": "cells", "classes": list(HEP2.classes), "channels": ["grey"], "suffixes": [""], "labels": "one"}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in fields_of.items()]
    Path("my tasks/grey cells.toml").write_text("".join(lines))
    Path("data").rename("cells of 2014")
    typed = ["--task", "my tasks/grey cells.toml", "--data", "cells of 2014"]
    assert run(*typed, "--trials", 1, "--name", "found", runs="other runs") == 0
    again = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("train it at full length: "))
    assert again[:3] == ["python", "-m", "hpa.train"]
    assert again[3:] == [*typed, "--runs", "other runs", "--preset", "found", "--name", "found"]
    assert train.build_parser().parse_args(again[3:]).task == replace(HEP2, name="cells")
    assert train_settings(*again[3:]).filters == trainer.asked[0][1].filters


def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(place, trainer, capsys):
    assert run("--trials", 12, runs="whole") == 0
    whole, trainer.asked[:] = list(trainer.asked), []
    for trainer.interrupt in (0, 2, 11):  # 0 is the setting to start from, 2 drawn at random, 11 from what was learnt
        assert run("--trials", 12) == 1
        assert "goes on where it stopped" in capsys.readouterr().err
        assert trainer.asked.pop() == whole[len(trainer.asked)]
    assert run("--trials", 12) == 0
    assert trainer.asked == whole
    table, expected = trials_of(), trials_of("whole")
    assert table.index[table["seconds"].isna()].tolist() == [0, 2, 11]
    pd.testing.assert_frame_equal(table.drop(columns="seconds"), expected.drop(columns="seconds"), check_exact=True)
    assert Path("runs/presets/search.json").read_text() == Path("whole/presets/search.json").read_text()


def test_one_worker_proposes_what_the_sampler_does_for_finished_trials(place, trainer):
    assert run("--trials", 13) == 0
    searched = room.space(start := trainer.asked[0][1], HEP2)
    study = room._open_study(Path("runs/searches/search/study.db"), searched)
    for number in (1, 10, 12):  # drawn at random, and from what was learnt
        seed = int(np.random.SeedSequence([start.seed, number]).generate_state(1)[0])
        plain = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        plain.add_trials(study.trials[:number])
        assert study.trials[number].params == plain.ask(searched).params


@pytest.mark.parametrize("interrupt", [None, 1, 7])
def test_several_trials_at_once(place, trainer, interrupt, monkeypatch):
    """With threads for a cluster: as many at once as there are workers; what was at work goes on as it was proposed."""
    at_work, most, lock, first_three = [0], [0], threading.Lock(), threading.Barrier(3)
    waited = set()

    def slowly(*arguments):
        name = arguments[-1]
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        try:
            if int(name.rpartition("-")[2]) < 3 and name not in waited:
                waited.add(name)
                first_three.wait(60)
            with lock:
                trainer(*arguments)
        finally:
            with lock:
                at_work[0] -= 1

    monkeypatch.setattr(room, "train", slowly)
    monkeypatch.setattr(search, "calls", lambda options, name: contextlib.nullcontext(executor.submit))
    trainer.interrupt = interrupt
    with ThreadPoolExecutor(8) as executor:
        if interrupt is not None:
            assert run("--trials", 12, "--workers", 3, "--address", "auto") == 1
        assert run("--trials", 12, "--workers", 3, "--address", "auto") == 0
    assert most[0] == 3
    numbers = [int(name.rpartition("-")[2]) for name, _ in trainer.asked]
    assert sorted(set(numbers)) == list(range(12))
    settings = dict(trainer.asked)
    assert len(set(settings.values())) == 12  # no setting twice
    assert all(settings[name] == own for name, own in trainer.asked)  # the interrupted one is the same again
    assert trials_of()["number"].tolist() == list(range(12))
    assert set(trials_of()["state"]) == {"complete"}


@pytest.mark.parametrize("option", ["--workers 2", "--cores-per-task 2", "--gpus-per-task 0.5", "--memory-per-task 4"])
def test_what_only_a_cluster_heeds_is_refused_without_one(place, trainer, capsys, option):
    assert run("--trials", 2, *option.split()) == 2
    told = capsys.readouterr().err
    assert told == f"hpa.search: {option}: needs a Ray cluster; give --address local, or another one\n"
    assert not Path("runs").exists()


@pytest.mark.parametrize("address", ["none", "local"])
def test_a_trial_takes_one_gpu_at_most(place, trainer, capsys, address):
    assert run("--trials", 2, "--address", address, "--gpus-per-task", 2) == 2
    assert capsys.readouterr().err == "hpa.search: --gpus-per-task 2: a trial trains on one GPU; ask for at most 1\n"
    assert not Path("runs").exists()


def test_more_trials_can_be_asked_for_and_fewer_are_there_already(place, trainer, capsys):
    assert run("--trials", 3) == 0
    assert run("--trials", 5) == 0
    assert len(trainer.asked) == 5
    for file in ("trials.csv", "trials.png"):
        Path("runs/searches/search", file).unlink()
    assert run("--trials", 2) == 0
    assert len(trainer.asked) == 5
    assert "is finished already: 5 trials" in capsys.readouterr().out
    assert len(trials_of()) == 5
    assert Path("runs/searches/search/trials.png").exists()


def test_the_picture_of_the_trials():
    searched = {name: each for name, each in room.space(settings_of("cells"), HEP2).items() if name in ("kernel", "dropout")}
    table = pd.DataFrame({"number": range(4), "score": [0.5, np.nan, 0.25, 0.75], "kernel": [3, 3, 5, 5], "dropout": 0.5})
    figure = room.draw_trials(table, searched, "validation accuracy")
    top, *panels = figure.axes
    scores, best, failed = (line.get_xydata().tolist() for line in top.lines)
    assert [each for each in scores if each[0] != 1] == [[0, 0.5], [2, 0.25], [3, 0.75]]
    assert best == [[0, 0.5], [1, 0.5], [2, 0.5], [3, 0.75]]
    assert [number for number, _ in failed] == [1]
    assert {panel.get_xlabel() for panel in panels} == {"kernel", "dropout"}


def test_another_seed_draws_other_settings(place, trainer):
    assert run("--trials", 2) == 0
    assert run("--trials", 2, "--seed", 1, "--name", "other") == 0
    assert trials_of()["learning_rate"][0] == trials_of(name="other")["learning_rate"][0]
    assert trials_of()["learning_rate"][1] != trials_of(name="other")["learning_rate"][1]
    assert trainer.asked[-1][1].seed == 1


def test_a_trial_that_diverges_counts_as_failed(place, trainer, capsys):
    trainer.fail = {0, 2}
    assert run("--trials", 4) == 0
    table = trials_of()
    assert table["state"].tolist() == ["failed", "complete", "failed", "complete"]
    assert table["score"].isna().tolist() == [True, False, True, False]
    assert "failed: training has diverged" in capsys.readouterr().out
    assert run("--trials", 4) == 0
    assert len(trainer.asked) == 4  # not tried again


@pytest.mark.parametrize("reason", [Busy("another process is at work"), Failure("the disk is full")])
def test_a_trial_that_could_not_be_done_now_is_done_later(place, trainer, capsys, reason):
    trainer.fail, trainer.reason = {1}, reason
    assert run("--trials", 3) == 1
    assert str(reason) in capsys.readouterr().err
    assert trials_of()["state"].tolist() == ["complete"]
    trainer.fail = set()
    assert run("--trials", 3) == 0
    assert trials_of()["state"].tolist() == ["complete"] * 3


def test_weight_decay_stays_below_one(place, trainer):
    searched = room.space(settings_of("cells", weight_decay=0.3), HEP2)["weight_decay"]
    assert (searched.low, searched.high) == (pytest.approx(0.03), 0.99)


def test_all_trials_fail(place, trainer, capsys):
    trainer.fail = {0, 1}
    assert run("--trials", 2) == 1
    assert "all 2 trials failed" in capsys.readouterr().err
    assert not Path("runs/presets").exists()


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--epochs", "3"], "epochs 2, now 3"),
        (["--rows", "30"], "rows 40, now 30"),
        (["--seed", "7"], "seed 0, now 7"),
        (["--preset", "report", "--loss", "smooth-l1", "--size", "80"], "model cellnet, now gapnet; variant None, now 0"),
        (["--data", "more"], "table_sha256"),
    ],
)
def test_a_search_begun_with_other_settings_or_data_is_refused(place, trainer, capsys, options, difference):
    assert run("--trials", 1) == 0
    Path("more").mkdir()
    Path("more/train").symlink_to(place / "data/train")
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    if "more" in options:
        Path("data/train/Golgi/100.png").rename("data/train/Golgi/999.png")
    assert run("--trials", 2, *options) == 2
    error = capsys.readouterr().err
    assert "runs/searches/search: made with other settings" in error
    assert difference in error
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", [lambda whole: b"nonsense" * 200, lambda whole: whole[: len(whole) // 2]])
def test_a_damaged_study(place, trainer, capsys, damage):
    assert run("--trials", 4) == 0
    before, study = trials_of(), Path("runs/searches/search/study.db")
    study.write_bytes(damage(study.read_bytes()))
    assert run("--trials", 4) == 2
    assert "study.db: not a study that can be read" in capsys.readouterr().err
    study.unlink()
    assert run("--trials", 4) == 0
    assert len(trainer.asked) == 4  # what was trained is not trained again
    unmeasured = ["seconds", "parameters"]
    pd.testing.assert_frame_equal(trials_of().drop(columns=unmeasured), before.drop(columns=unmeasured), check_exact=True)


FOREIGN = {
    "a folder": lambda study: [study.unlink(), study.mkdir()],
    "a pipe": lambda study: [study.unlink(), os.mkfifo(study)],
    "another database": lambda study: [
        study.unlink(), sqlite3.connect(study).executescript("CREATE TABLE studies (a INTEGER)"),
    ],
    "parameters that are no JSON": lambda study: sqlite3.connect(study).executescript(
        "UPDATE trial_params SET distribution_json = 'nonsense'"
    ),
    "attributes that are no JSON": lambda study: sqlite3.connect(study).executescript(
        "UPDATE trial_user_attributes SET value_json = 'nonsense'"
    ),
    "attributes of other types": lambda study: sqlite3.connect(study).executescript(
        "UPDATE trial_user_attributes SET value_json = '\"a text\"'"
    ),
    "a state unheard of": lambda study: sqlite3.connect(study).executescript("UPDATE trials SET state = 'DONE'"),
    "a trial at work": lambda study: sqlite3.connect(study).executescript("UPDATE trials SET state = 'RUNNING'"),
    "parameters of another search": lambda study: sqlite3.connect(study).executescript(
        "DELETE FROM trial_params WHERE param_name = 'kernel'"
    ),
    "a score that is a text": lambda study: sqlite3.connect(study).executescript("UPDATE trial_values SET value = 'good'"),
    "no score": lambda study: sqlite3.connect(study).executescript("DELETE FROM trial_values"),
    "another direction": lambda study: sqlite3.connect(study).executescript(
        "UPDATE study_directions SET direction = 'SIDEWAYS'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_foreign_study_is_refused_in_one_line(place, trainer, capsys, damage):
    assert run("--trials", 2) == 0
    study = Path("runs/searches/search/study.db")
    FOREIGN[damage](study)
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file() and path != study}
    capsys.readouterr()
    assert run("--trials", 3) == 2
    error = capsys.readouterr().err
    assert error.startswith("hpa.search: runs/searches/search/study.db: ")
    assert len(error.splitlines()) == 1
    assert {path: path.read_bytes() for path in before} == before
    assert len(trainer.asked) == 2


def test_a_trial_whose_model_was_deleted_is_not_trained_again(place, monkeypatch):
    """`train` would ask for the model of a finished run."""
    trained = []
    monkeypatch.setattr(room, "train", lambda *arguments: trained.append(arguments))
    settings = settings_of("cells", size=16, epochs=1)
    folder = Path("runs/searches/search/trial-0/base")
    open_run(folder, run_config(settings, HEP2, read_labelled(Path("data/train"), HEP2), None), Path("data"))
    write_history(folder, pd.DataFrame({"epoch": [1], "validation_accuracy": [0.75]}))
    outcome = room._outcome(settings, HEP2, Path("data"), Path("runs"), "searches/search/trial-0")
    assert (outcome["value"], outcome["user_attrs"]) == (0.75, {"seconds": None, "parameters": None})
    assert not trained


def test_what_is_refused_before_its_first_trial_does_not_block_a_corrected_search(place, trainer, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(room, "train", lambda *arguments: (_ for _ in ()).throw(BadInput("a damaged image")))
        assert run("--trials", 1) == 2
    assert run("--trials", 1, "--rows", "30") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "cells"], "is the name of a preset or a stage already"),
        (["--name", "base"], "is the name of a preset or a stage already"),
        (["--preset", "odd", "--name", "odd"], "is the name of a preset or a stage already"),
        (["--preset", "odd"], "dropout 0.9, activation relu) is outside what is searched; choose another preset"),
        (["--preset", "uneven"], "is outside what is searched"),
        (["--preset", "report", "--loss", "smooth-l1"], "size 16 is too small for gapnet variant 0"),
        (["--preset", "nonsense"], "no preset nonsense"),
        (["--preset", "lost"], "lost.json: does not name the preset that the search started from"),
        (["--data", "nowhere"], "nowhere"),
        (["--rows", "0"], "a whole number from 1"),
    ],
)
def test_bad_input(place, trainer, capsys, options, message):
    Path("runs/presets").mkdir(parents=True)
    for name, change in {"odd": {"dropout": 0.9}, "uneven": {"filters": (32, 48, 64, 96)}}.items():
        Path("runs/presets", f"{name}.json").write_text(json.dumps({"preset": "cells"} | change))
    Path("runs/presets/lost.json").write_text(json.dumps(preset_settings("cells")))
    before = set(place.rglob("*"))
    try:
        code = run("--trials", 1, *options)
    except SystemExit as refused:
        code = refused.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert set(place.rglob("*")) == before
    assert trainer.asked == []


def test_one_process_at_a_time(place, trainer, capsys):
    with locked(Path("runs/searches/search/.lock"), wait=False):
        assert run("--trials", 1) == 1
    assert "another process is at work here" in capsys.readouterr().err
    assert trainer.asked == []


def test_real_trials_are_taken_up_in_the_middle(place, monkeypatch, capsys):
    """The second trial is interrupted after its first epoch; a dense layer stands in for the network."""

    def dense_layer(model, size, channels, classes, output, **_):
        images = keras.layers.Input((size, size, channels), dtype="uint8")
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
        return keras.Model(images, keras.layers.Dense(classes, output)(x))

    monkeypatch.setattr(sys.modules["hpa.training.train"], "build", dense_layer)
    begin, begun = fit.Epochs.on_epoch_begin, []

    def interrupted(callback, epoch, logs=None):
        begun.append((callback.folder.parts[-2], epoch))
        if begun == [("trial-0", 0), ("trial-0", 1), ("trial-1", 0), ("trial-1", 1)]:
            raise KeyboardInterrupt
        begin(callback, epoch, logs)

    monkeypatch.setattr(fit.Epochs, "on_epoch_begin", interrupted)
    assert run("--trials", 2) == 1
    first_epoch = read_history(Path("runs/searches/search/trial-1/base"))
    assert len(first_epoch) == 1
    assert run("--trials", 2) == 0
    assert begun[4:] == [("trial-1", 1)]
    history = read_history(Path("runs/searches/search/trial-1/base"))
    pd.testing.assert_frame_equal(history[:1], first_epoch, check_exact=True)
    table = trials_of()
    assert table["score"][1] == history["validation_accuracy"].max()
    assert table["parameters"].tolist() == [16 * 16 * 6 + 6] * 2
    best = table["score"].idxmax()
    assert [str(path) for path in Path("runs").rglob("*.keras")] == [f"runs/searches/search/trial-{best}/base/model.keras"]
    assert [path.name for path in Path("runs/stores").iterdir() if path.is_dir()] == [
        store_folder(Path("runs"), Path("data/train"), HEP2, 16).name  # packed once, for all
    ]
    assert read_settings(Path("runs/searches/search/trial-0/base")).rows == 40
    split = pd.read_csv("runs/searches/search/trial-0/base/split.csv", dtype=str)
    assert split["fold"].value_counts().to_dict() == {"1": 40, "0": 14, "2": 18}  # learned from, held out, neither
    with Image.open("runs/searches/search/trials.png") as picture:
        assert picture.size[0] > 1000


def test_in_a_process_of_its_own(place):
    command = [sys.executable, "-m", "hpa.search", *OPTIONS, "--name", "report"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "hpa.search: --name report: is the name of a preset or a stage already; choose another\n"

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpa import cluster
from hpa.cluster.competition import competition
from hpa.cluster.plan import Task
from hpa.cluster.share import TaskError, do, patiently
from hpa.drawn.fields import write_dataset
from hpa.errors import Busy, Failure
from hpa.files import cores
from hpa.options import as_text, read
from hpa.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--size=48", "--batch-size=16", "--epochs=1", "--cores-per-task=1"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with drawn data."""
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "data", train=24, test=6, size=32, seed=0)
    return tmp_path


def tasks_of(*options):
    return competition(cluster._asked(cluster.build_parser().parse_args(["plan", *SMALL, *options])))


def graph(tasks):
    return {task.name: [tasks[before].name for before in task.after] for task in tasks}


def test_the_whole_competition_is_one_graph(place):
    tasks = tasks_of(
        "--variants=0,4", "--folds=2", "--stages=base,cnn", "--svm=linear", "--rule=best", "--gpus-per-task=0.5", "--size=80"
    )
    assert graph(tasks) == {
        "pack": [],
        **{
            name: before
            for run in ("0", "0-fold1", "4", "4-fold1")
            for name, before in [
                (f"train {run}", ["pack"]),
                (f"cnn {run}", [f"train {run}"]),
                (f"svm {run}", [f"cnn {run}"]),
            ]
        },
        "predict": ["svm 0", "svm 0-fold1", "svm 4", "svm 4-fold1"],
        "thresholds": ["predict"],
        "ensemble": ["thresholds"],
    }
    assert {task.name.split()[0]: task.gpus for task in tasks} == {
        "pack": 0, "train": 0.5, "cnn": 0.5, "svm": 0.5, "predict": 0.5, "thresholds": 0, "ensemble": 0
    }  # fmt: skip
    by_name = {task.name: task for task in tasks}
    assert "--variants 0,0-svm-linear,4,4-svm-linear" in by_name["ensemble"].typed
    assert by_name["cnn 4-fold1"].folder == Path("runs/4-fold1/cnn")


def test_a_task_with_several_gpus_trains_on_all_of_them(place):
    tasks = tasks_of("--variants=2", "--stages=base,cnn", "--gpus-per-task=2", "--size=80")
    assert {task.name: task.gpus for task in tasks if task.gpus} == {"train 2": 2, "cnn 2": 2, "predict": 1}
    assert [task.name for task in tasks if "--devices=2" in task.arguments] == ["train 2", "cnn 2"]


def test_large_sets_are_packed_and_predicted_in_parts(place):
    tasks = tasks_of("--variants=2", "--shard-rows=5", "--gpus-per-task=1")
    assert graph(tasks) == {
        **{f"pack train {number}/5": [] for number in range(1, 6)},
        **{f"pack test {number}/2": [] for number in range(1, 3)},
        "pack": [*(f"pack train {number}/5" for number in range(1, 6)), "pack test 1/2", "pack test 2/2"],
        "train 2": ["pack"],
        "predict 1/2": ["train 2"],
        "predict 2/2": ["train 2"],
        "predict": ["predict 1/2", "predict 2/2"],
        "ensemble": ["predict"],
    }
    assert {task.name.split()[0]: task.gpus for task in tasks} == {"pack": 0, "train": 1, "predict": 1, "ensemble": 0}
    assert "--set test --shard 2/2" in tasks[6].typed


def test_the_report_has_30_and_32_trainings(place):
    stages = "--stages=base,cnn,dnn,dnn2"
    commands = [task.command for task in tasks_of("--variants=0,1,2,3,4,5,6,7", "--size=150", stages)]
    assert commands.count("train") == 8
    assert commands.count("finetune") == 24
    assert [task.command for task in tasks_of("--folds=5", "--size=150")].count("train") == 30  # the report's six variants


def test_seeds_and_other_networks_have_names(place):
    assert {"train 2", "train 2-seed1"} < graph(tasks_of("--variants=2", "--seeds=0,1")).keys()
    assert "train cellnet-seed3-fold1" in graph(tasks_of("--model=cellnet", "--preset=cells", "--loss=binary-crossentropy",
        "--seeds=3", "--folds=2"))  # fmt: skip


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--stages=cnn"], "--stages cnn: expected the first of base, cnn, dnn, dnn2, in this order"),
        (["--stages=base,dnn"], "--stages base,dnn: expected the first of"),
        (["--variants=9"], "variant is 9; expected a whole number from 0 to 7"),
        (["--variants=x"], "variants x: expected numbers"),
        (["--model=mobilenet-v2", "--variants=0"], "--variants 0: mobilenet-v2 has none; leave them out"),
        (["--variants=2", "--data=nowhere"], "nowhere"),
        (["--variants=2", "--warm-up=1", "--schedule=plateau"], "warm_up"),
        (["--stage=cnn"], "--stage cnn: the runs have only base; add it to --stages, or choose last"),
        (
            ["--stages=base,cnn", "--stage=cnn", "--svm=rbf"],
            "--stage cnn: SVM heads have only the stage base; choose last, or leave out --svm",
        ),
        (["--finetune-options=--epochs=3"], "--finetune-options: no stage after base is asked for; leave them out"),
        (["--gpus-per-task=3"], "--batch-size 16: 3 devices cannot share it equally; choose 15 or 18"),
        (["--gpus-per-task=2", "--augment-on=device"], "--augment-on device: is for one device; choose host"),
        (
            ["--variants=2", "--gpus-per-task=2", "--stages=base,cnn", "--finetune-options=--batch-size=9"],
            "--finetune-options for cnn: batch_size 9: 2 devices cannot share it equally; choose 8 or 10",
        ),
        (
            ["--variants=2", "--stages=base,cnn", "--finetune-options=--loss=categorical-crossentropy"],
            "--finetune-options for cnn: loss categorical-crossentropy is not for multi-label tasks",
        ),
    ],
)
def test_faults_are_told_before_anything_is_done(place, capsys, options, text):
    assert cluster.main(["run", *SMALL, *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert text in captured.err.replace("warm-up", "warm_up")
    assert len(captured.err.splitlines()) == 1
    assert not (place / "runs").exists()


@pytest.mark.parametrize("option", ["--rule=best", "--threshold=0.4"])
def test_thresholds_of_a_single_label_task_are_refused_before_anything_is_done(place, capsys, drawn_cells, option):
    assert cluster.main(["run", "--task=hep2", f"--data={drawn_cells}", "--size=32", option]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    name, _, _ = option.partition("=")
    assert captured.err == f"hpa.cluster: {name}: single-label tasks have no thresholds; leave it out\n"
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--shift=a"], "hpa.ensemble: error: argument --shift"),
        (["--rule=a"], "hpa.thresholds: error: argument --rule"),
        (["--finetune-options=--epochs=0", "--stages=base,cnn"], "hpa.finetune: error: argument --epochs"),
        (["--gpus-per-task=1.5"], "expected a whole number of GPUs or a share of one"),
        (["--seed=1"], "unrecognized arguments: --seed=1"),
    ],
)
def test_faulty_options_are_told_before_anything_is_done(place, capsys, options, text):
    with pytest.raises(SystemExit) as caught:
        cluster.main(["run", *SMALL, "--variants=2", *options])
    assert caught.value.code == 2
    assert text in capsys.readouterr().err
    assert not (place / "runs").exists()


@pytest.mark.parametrize("text", ["100:4095", "0:65535,8-bit"])
def test_settings_become_options_again(text):
    assert as_text("intensity_range", read("intensity_range", text)) == text


def test_every_setting_becomes_an_option_again():
    values = {"filters": (4, 8), "size": 32, "learning_rate": 1e-4, "loss": "focal+soft-f1:0.3", "external_weight": 1.0}
    settings = Settings(**values)
    assert {name: read(name, as_text(name, getattr(settings, name))) for name in values} == values


def test_the_same_command_goes_on_and_other_settings_are_told(place, capsys):
    run = ["--variants=2", "--ensemble-weights=equal", "--out=entry.csv", *SMALL]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "hpa.cluster", "run", *run], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[4/4] $ hpa ensemble" in done.stdout
    assert len((place / "entry.csv").read_text().splitlines()) == 7
    assert json.loads((place / "entry.json").read_text())["members"][0]["folder"] == "runs/2/base"
    assert cluster.main(["plan", *run]) == 0
    assert "4 tasks: 2 ready, 1 finished, 1 waiting" in capsys.readouterr().out
    assert cluster.main(["run", "--dry-run", *run, "--variants=2,3"]) == 0
    assert "5 tasks: 1 ready, 1 finished, 3 waiting" in capsys.readouterr().out
    assert cluster.main(["run", *run, "--epochs=2"]) == 2
    assert "runs/2/base: made with other settings (epochs 1, now 2)" in capsys.readouterr().err
    (place / "runs" / "2" / "base" / "curves.png").unlink()
    assert cluster.main(["plan", *run]) == 0
    assert "4 tasks: 1 ready, 1 1 epochs done" in capsys.readouterr().out


def test_a_failed_task_stops_what_comes_after_it(place, capsys):
    (place / "data" / "test").rename(place / "data" / "elsewhere")
    assert cluster.main(["run", *SMALL, "--variants=2,3"]) == 1
    captured = capsys.readouterr()
    assert "pack: " in captured.err
    assert "data/test" in captured.err
    assert captured.err.splitlines()[-1] == (
        "hpa.cluster: 1 of 5 tasks failed, 4 that come after them were left out; fix what is said above and run the same "
        "command again"
    )


def test_a_task_says_what_its_command_would_have_said(place, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    before = cores()
    with pytest.raises(TaskError, match=r"^predict 3/4: nowhere: no run folders here"):
        do(Task("predict 3/4", "predict", ("--runs", "nowhere"), cores=before))
    assert cores() == before


def test_a_lock_is_waited_for_as_long_as_its_owner_may_be_dead():
    tries = []

    def work():
        tries.append(1)
        if len(tries) < 2:
            raise Busy("runs: another process is at work here")
        return 7

    assert patiently(work, 5) == 7
    with pytest.raises(Busy):
        patiently(lambda: tries.clear() or work(), 0)
    with pytest.raises(Failure, match="diverged"):
        patiently(lambda: (_ for _ in ()).throw(Failure("diverged")))

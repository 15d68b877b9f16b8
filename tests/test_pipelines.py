"""The scripts as a user runs them, in small: one variant or a few fields, one epoch, from a folder of the user's own."""

import contextlib
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from alexnet_weights import WEIGHTS
from kaggle_server import CREATE, DOWNLOAD, KEY, PUT, START, environment

from hpa import demo
from hpa.drawn.fields import write_dataset
from hpa.models.alexnet import STATE_DICT_LAYERS
from hpa.scoring.predictions import read_predictions
from hpa.tasks import HPA

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
needs_venv = pytest.mark.skipif(Path(sys.prefix) != VENV, reason="run by pipelines/test.sh, which makes the .venv")


def run(script, *options, folder, **variables):
    command = ["bash", str(ROOT / "pipelines" / script), *map(str, options)]
    result = subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=900)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.slow
@needs_venv
def test_the_demo_goes_from_drawing_to_a_scored_submission(tmp_path):
    options = ["--data", tmp_path / "cells", "--runs", tmp_path / "runs", "--out", tmp_path / "entry.csv", "--size", "80"]
    options += ["--train", "40", "--test", "12", "--epochs", "1", "--shift", "0"]
    code, out, err = run("demo.sh", *options, folder=tmp_path)
    assert code == 0, err
    assert len(pd.read_csv(tmp_path / "entry.csv")) == 12
    assert {folder.name for folder in (tmp_path / "runs").iterdir()} == {"0", "cellnet", "stores"}
    for line in ("constant guess", "runs/0/cnn", "runs/cellnet/cnn", "the blend is "):
        assert line in out
    assert out.count("$ python -m hpa.finetune") == 2
    assert "oneDNN" not in err  # TensorFlow's greeting


@needs_venv
@pytest.mark.slow
def test_the_competition_on_a_ray_of_this_machine(tmp_path):
    write_dataset(tmp_path / "cells", train=40, test=12, size=48, seed=0)
    small = "--size 48 --epochs 1 --variants 2 --stages base --tta 1"
    code, out, err = run("cluster/local.sh", "cells", "runs", "entry.csv", folder=tmp_path, CLUSTER_OPTIONS=small)
    assert code == 0, err
    assert "[ensemble] done; 5 of 5 done" in out
    assert len(pd.read_csv(tmp_path / "entry.csv")) == 12


@pytest.mark.slow
@needs_venv
@pytest.mark.skipif(importlib.util.find_spec("kaggle") is None, reason="the kaggle client is not installed")
def test_the_competition_from_download_to_upload(drawn_data, kaggle, tmp_path):
    kaggle.archive = archive(drawn_data)
    twin = pd.read_csv(drawn_data / "train.csv").iloc[0]
    copy, sister, other = "10580_1610_C1_1", "10580_1610_C1_2", "42_77_A12_3"
    write_dataset(tmp_path / "more", train=2, test=1, size=128, seed=1)
    more = pd.read_csv(tmp_path / "more" / "train.csv")
    sources = {copy: drawn_data / "train" / twin["Id"]}
    sources |= {new: tmp_path / "more" / "train" / old for new, old in zip((sister, other), more["Id"], strict=True)}
    (tmp_path / "data" / "external").mkdir(parents=True)
    for identifier, source in sources.items():
        for colour in HPA.channels:
            shutil.copy(f"{source}_{colour}.png", tmp_path / "data" / "external" / f"{identifier}_{colour}.png")
    external = pd.DataFrame({"Id": list(sources), "Target": [twin["Target"], *more["Target"]]})
    external.to_csv(tmp_path / "data" / "external.csv", index=False)
    variables = {"VARIANTS": "2", "FOLDS": "2", "TTA": "2", "KAGGLE_USERNAME": "me", "KAGGLE_KEY": KEY}
    variables["TRAIN_OPTIONS"] = "--size 48 --epochs 1 --batch-size 16"
    variables |= environment(tmp_path / "home", kaggle)
    code, out, err = run("kaggle.sh", "data", "runs", "entry.csv", folder=tmp_path, **variables)
    assert code == 0, err
    assert kaggle.calls == [DOWNLOAD, START, PUT, CREATE]
    assert kaggle.uploaded == (tmp_path / "entry.csv").read_bytes()
    assert "4711" in out
    sides = []  # of the twin and the external fields: validated with 0, learned from 1, neither 2
    for fold, run_of_fold in enumerate(("2", "2-fold1")):
        [folder] = (tmp_path / "runs" / run_of_fold).iterdir()
        assert (folder / "thresholds.json").exists()
        config = json.loads((folder / "config.json").read_text())
        assert (config["folds"], config["preset"], config["optimizer"]) == (2, "winner", "adamw")
        assert (config["groups"], config["external_weight"]) == ("runs/copies.csv,antibodies", 1)
        split = pd.read_csv(folder / "split.csv", index_col="Id")["fold"]
        sides.append((split[[twin["Id"], copy, sister, other]] - fold).tolist())
    assert sorted(sides) == [[0, 2, 2, 1], [1, 1, 1, 1]]
    copies = pd.read_csv(tmp_path / "runs" / "copies.csv")
    assert (set(copies["Id"]), copies["group"].nunique()) == ({copy, twin["Id"]}, 1)
    assert "looked at train (60 images), external (3 images), test (20 images)" in out
    about = json.loads((tmp_path / "entry.json").read_text())
    assert [each["folder"] for each in about["members"]] == ["runs/2/base (2 folds)"]

    times = {file: file.stat().st_mtime_ns for file in tmp_path.glob("runs/2*/*/*.npz")}
    code, out, err = run("kaggle.sh", "data", "runs", "entry.csv", folder=tmp_path, **variables)
    assert code == 0, err
    assert out.count("finished already") == 2
    assert "uploaded already" in out
    assert "looked at" not in out
    assert kaggle.calls.count(DOWNLOAD) == kaggle.calls.count(PUT) == 1
    assert {file: file.stat().st_mtime_ns for file in times} == times

    calls = list(kaggle.calls)
    for mark in ("data/.downloaded", "entry.csv.uploaded"):
        (tmp_path / mark).unlink()
    code, out, err = run("kaggle.sh", "data", "runs", "entry.csv", folder=tmp_path, **variables | {"UPLOAD": "no"})
    assert code == 0, err
    assert out.splitlines()[-1].endswith("fits data/sample_submission.csv")
    assert kaggle.calls == calls


@pytest.mark.slow
@needs_venv
def test_hep2_our_way(drawn_cells, tmp_path):
    options = "--size 32 --filters 4,8 --blocks 1,1 --epochs 1 --batch-size 16"
    (tmp_path / "-cells").symlink_to(drawn_cells)  # no name of a folder passes for an option
    code, out, err = run("hep2.sh", "-cells", "-runs", "-cells.csv", folder=tmp_path, FOLDS="2", TRAIN_OPTIONS=options)
    assert code == 0, err
    assert len(pd.read_csv(tmp_path / "-cells.csv")) == 24
    assert "fold 0: epoch 1/1" in out
    assert "fold 1: epoch 1/1" in out
    runs = tmp_path / "-runs"
    folders = [runs / "folds-svm-rbf" / "base", runs / "folds-fold1-svm-rbf" / "base"]
    labelled = sorted(path.stem for part in ("train", "validation") for path in drawn_cells.glob(f"{part}/*/*.png"))
    assert sorted(identifier for each in folders for identifier in read_predictions(each / "validation.npz").ids) == labelled
    about = json.loads((tmp_path / "-cells.json").read_text())
    assert [each["folder"] for each in about["members"]] == ["-runs/folds-svm-rbf/base (2 folds)"]
    assert (runs / "evaluation-test" / "confusion.png").exists()
    models = json.loads((runs / "evaluation-test" / "scores.json").read_text())["models"]
    assert list(models) == ["-runs/folds-svm-rbf/base", "-runs/folds-fold1-svm-rbf/base", "blend of 2"]
    assert (tmp_path / "-cells.html").exists()


def processes_at(folder):
    """The working processes whose current folder is this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if (process / "cwd").samefile(folder) and (process / "cmdline").read_bytes():
                found.append(process.name)
    return found


def waited_for(wanted, seconds):
    """Whether `wanted()` came true in so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := wanted()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@needs_venv
def test_one_network_of_hep2_that_dies_stops_the_others(drawn_cells, tmp_path):
    options = "--size 32 --filters 4,8 --blocks 1,1 --epochs 1000 --batch-size 16"
    variables = os.environ | {"FOLDS": "2", "TRAIN_OPTIONS": options}
    command = ["bash", str(ROOT / "pipelines" / "hep2.sh"), str(drawn_cells), "runs"]
    script = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert waited_for((tmp_path / "runs" / "folds-fold1" / "base" / "history.csv").exists, 300)
    for process in processes_at(tmp_path):
        if b"\0--fold\x001\0" in Path("/proc", process, "cmdline").read_bytes():
            os.kill(int(process), signal.SIGKILL)
    assert script.wait(60) == 128 + signal.SIGKILL
    assert waited_for(lambda: not processes_at(tmp_path), 10)


@needs_venv
@pytest.mark.parametrize(
    ("variables", "out", "told"),
    [
        ({"FOLDS": "four"}, "entry.csv", "FOLDS=four: expected how many folds there are"),
        ({"FOLDS": "08"}, "entry.csv", "FOLDS=08: expected"),
        ({"TRAIN_OPTIONS": "--epochs 1 --fold=1"}, "entry.csv", "TRAIN_OPTIONS=--epochs 1 --fold=1: the task, folders"),
        ({}, "entry", "entry: the name of this table ends in .csv"),
    ],
)
def test_hep2_refuses_what_it_cannot_end_with(drawn_cells, tmp_path, variables, out, told):
    code, output, err = run("hep2.sh", drawn_cells, "runs", out, folder=tmp_path, **variables)
    assert (code, output) == (2, "")
    assert err.startswith(told)
    assert not (tmp_path / "runs").exists()


@needs_venv
def test_hep2_checks_its_networks_before_the_first_is_trained(drawn_cells, tmp_path):
    code, _, err = run("hep2.sh", drawn_cells, "runs", folder=tmp_path, TRAIN_OPTIONS="--epochs x")
    assert code == 2
    assert err.startswith("hpa.train: error: argument --epochs")
    assert err.endswith("nothing was trained: fix what is said above and run this again\n")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["copies.csv"]


@needs_venv
@pytest.mark.parametrize("script", ["all_stages.sh", "kaggle.sh"])
def test_options_of_later_stages_are_checked_before_the_base_models(drawn_data, tmp_path, script):
    places = ["--data", drawn_data, "--runs", "runs"] if script == "all_stages.sh" else [drawn_data, "runs", "entry.csv"]
    variables = {"PRESET": "report", "UPLOAD": "no", "VARIANTS": "0", "FINETUNE_OPTIONS": "--rate 1"}
    code, _, err = run(script, *places, folder=tmp_path, **variables)
    assert (code, err) == (2, "hpa.finetune: error: unrecognized arguments: --rate 1\n")
    assert not (tmp_path / "runs").exists()


def test_names_of_folders_are_no_patterns(paper, tmp_path):
    (tmp_path / "a[b]*" / "test" / "Golgi").mkdir(parents=True)
    asked = paper("hep2_alexnet.sh", "a[b]*", "runs", folder=tmp_path)
    assert [line.split()[3] for line in asked if "hpa.evaluate" in line] == ["a[b]*/test"]


def test_the_antialiased_network_gets_as_much_of_a_cell_as_the_reports(paper, tmp_path):
    asked = paper("hep2_alexnet.sh", "cells", "runs", "imagenet", folder=tmp_path)
    assert any("--model alexnet-antialiased --size 110 " in line for line in asked if "hpa.train" in line)


@pytest.mark.slow
@needs_venv
def test_hep2_the_reports_way(drawn_cells, tmp_path):
    for part in ("train", "validation"):
        shutil.copytree(drawn_cells / part, tmp_path / "cells" / part)
    random = np.random.default_rng(0)
    tensors = {}
    for layer, shape in WEIGHTS.items():
        tensors[f"{layer}.weight"] = random.random(shape, np.float32).astype(np.float16) / 1024
        tensors[f"{layer}.bias"] = np.zeros(shape[0], np.float16)
    np.savez(tmp_path / "imagenet.npz", **tensors)
    options = {"TRAIN_OPTIONS": "--epochs 1 --rows 8 --size 64"}
    code, _, err = run("hep2_alexnet.sh", "cells", "runs", "imagenet.npz", folder=tmp_path, **options)
    assert code == 0, err
    network = keras.saving.load_model(tmp_path / "runs" / "alexnet" / "base" / "model.keras", compile=False)
    for layer in (name for name in WEIGHTS if name.startswith("features")):
        kernel = keras.ops.convert_to_numpy(network.get_layer(STATE_DICT_LAYERS[layer]).kernel)
        np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), tensors[f"{layer}.weight"])
    config = json.loads((tmp_path / "runs" / "alexnet" / "base" / "config.json").read_text())
    assert {"optimizer": "sgd", "batch_size": 4, "schedule": "plateau", "part": "dense"}.items() <= config.items()
    assert json.loads((tmp_path / "runs" / "evaluation-validation" / "scores.json").read_text())["rows"] == 24


def archive(data):
    """Return the data as Kaggle hands it out: tables, and an archive of images for each of train and test."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as outer:
        for name in ("train.csv", "sample_submission.csv"):
            outer.write(data / name, name)
        for part in ("train", "test"):
            images = io.BytesIO()
            with zipfile.ZipFile(images, "w") as inner:
                for file in (data / part).iterdir():
                    inner.write(file, file.name)
            outer.writestr(f"{part}.zip", images.getvalue())
    return whole.getvalue()


@pytest.fixture
def paper(tmp_path):
    """A function that runs a script beside a Python of paper and returns what that was asked for."""
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    (tmp_path / "requirements.txt").write_text("numpy\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >>"$0.log"\n')
    python.chmod(0o755)

    def asked(script, *options, folder="/", **variables):
        python.with_suffix(".log").write_text("")
        command = ["bash", str(tmp_path / "pipelines" / script), *options]
        subprocess.run(command, cwd=folder, env=os.environ | variables, check=True, capture_output=True)
        return python.with_suffix(".log").read_text().splitlines()

    return asked


def test_each_variant_is_trained_on_each_fold(paper):
    def commands(*options, **variables):
        return commands_of(paper("all_stages.sh", "--data", "cells", *options, **variables))

    runs = [f"--variant {variant} --fold {fold}" for variant in (2, 0) for fold in (0, 1, 2)]
    expected = [f"train {run} --folds 3 --data cells --epochs 1" for run in runs]
    expected += [f"finetune {run} --stage {stage} --data cells" for stage in ("cnn", "dnn", "dnn2") for run in runs]
    assert commands(VARIANTS="2 0", FOLDS="3", TRAIN_OPTIONS="--epochs 1") == expected
    assert commands()[:2] == ["train --variant 0 --fold 0 --data cells", "train --variant 1 --fold 0 --data cells"]
    assert len(commands()) == 32


def test_views_are_predicted_before_the_blend(paper):
    asked = paper("ensemble.sh", "cells", "runs", VARIANTS="0 2", TTA="8", TTA_AVERAGE="logits")
    assert "-m hpa.predict --data cells --runs runs --variants 0,2 --tta 8 --tta-average logits" in asked
    assert "-m hpa.predict --data data --runs runs --variants 0,1,2,3,4,6 --tta 1 --tta-average probabilities" in paper(
        "ensemble.sh"
    )


def commands_of(lines):
    """The commands that were run, without the checks before them; see `checks_of`."""
    commands = [line.removeprefix("-m hpa.") for line in lines if line.startswith("-m hpa.")]
    return [each for each in commands if each.startswith("submit") or not each.endswith(" --check-only")]


def checks_of(lines):
    commands = [line.removeprefix("-m hpa.") for line in lines if line.startswith(("-m hpa.train", "-m hpa.finetune"))]
    return [each.removesuffix(" --check-only") for each in commands if each.endswith(" --check-only")]


def test_every_run_is_checked_before_the_first_is_trained(paper):
    asked = paper("base.sh", "--data", "cells", VARIANTS="2 0", FOLDS="2")
    runs = [f"train --variant {variant} --fold {fold} --folds 2 --data cells" for variant in (2, 0) for fold in (0, 1)]
    assert checks_of(asked) == commands_of(asked) == runs
    assert [line.endswith(" --check-only") for line in asked if "hpa.train" in line] == [True] * 4 + [False] * 4
    asked = paper("finetune_cnn.sh", VARIANTS="2 0")
    assert checks_of(asked) == commands_of(asked) == [f"finetune --variant {each} --fold 0 --stage cnn" for each in (2, 0)]
    assert not checks_of(paper("base.sh", VARIANTS="2"))  # it checks all that itself


@needs_venv
def test_all_faults_of_a_plan_are_told_before_the_first_epoch(drawn_data, tmp_path):
    options = ["--data", drawn_data, "--runs", tmp_path / "runs", "--size", "80"]
    code, out, err = run("base.sh", *options, folder=tmp_path, VARIANTS="0 1 5")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "hpa.train: size 80 is too small for gapnet variant 1, whose convolutions need at least 146 pixels",
        "hpa.train: size 80 is too small for gapnet variant 5, whose convolutions need at least 111 pixels",
        "nothing was trained: fix what is said above and run this again",
    ]
    assert not (tmp_path / "runs").exists()


def test_the_competition_as_a_winner_does_it(paper, tmp_path):
    data, runs = tmp_path / "data", tmp_path / "runs"
    where = f"--data {data} --runs {runs}"
    data.mkdir()
    runs.mkdir()
    (data / ".downloaded").touch()
    (data / "external.csv").touch()
    entry = tmp_path / "entry.csv"
    entry.touch()
    (runs / "copies.csv").write_text("Id,group,set,kind\nx,0,test,exact\ny,0,train,exact\n")
    asked = commands_of(paper("kaggle.sh", str(data), str(runs), str(entry), VARIANTS="2", FOLDS="2"))
    recipe = f"--preset winner --external-weight 1 --groups {runs}/copies.csv,antibodies"
    assert asked[:2] == [f"train --variant 2 --fold {fold} --folds 2 {where} {recipe}" for fold in (0, 1)]
    assert len(asked) == 7
    chosen = f"--runs {runs} --variants 2"
    assert asked[-5:] == [
        f"predict --data {data} {chosen} --tta 8 --tta-average probabilities",
        f"thresholds {chosen} --rule best",
        f"ensemble --data {data} {chosen} --weights equal --shift 0.34 --out {entry}",
        f"submit {entry} --data {data} --check-only",
        f"submit {entry} --data {data} -m hpa, winner, variants 2, 2 fold(s), tta 8",
    ]

    (data / "external.csv").unlink()
    asked = commands_of(paper("kaggle.sh", str(data), str(runs), str(entry)))
    assert asked[4] == f"train --variant 0 --fold 4 --folds 5 {where} --preset winner --groups {runs}/copies.csv"
    (data / "external-mine").mkdir()
    asked = commands_of(paper("kaggle.sh", str(data), str(runs), str(entry)))
    assert asked[0] == f"train --variant 0 --fold 0 --folds 5 {where} {recipe}"

    (runs / "copies.csv").unlink()
    assert f"duplicates --data {data} --out {runs}/copies.csv" in commands_of(
        paper("kaggle.sh", str(data), str(runs), str(entry))
    )

    def looks_for_copies():
        (runs / "copies.csv").touch()
        return f"duplicates --data {data} --out {runs}/copies.csv" in commands_of(
            paper("kaggle.sh", str(data), str(runs), str(entry))
        )

    assert not looks_for_copies()
    for table in ("external.csv", "train.csv", "sample_submission.csv"):
        (data / table).touch()
        os.utime(data / table, (time.time() + 999,) * 2)
        assert looks_for_copies()
        os.utime(data / table, (0, 0))
        assert not looks_for_copies()


def test_without_an_upload_the_data_is_taken_as_it_is(paper, tmp_path):
    asked = paper("kaggle.sh", f"{tmp_path}/data", f"{tmp_path}/runs", f"{tmp_path}/entry.csv", UPLOAD="no")
    assert not [line for line in asked if "kaggle" in line]
    assert commands_of(asked)[-1] == f"submit {tmp_path}/entry.csv --data {tmp_path}/data --check-only"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        paper("kaggle.sh", UPLOAD="No")
    assert caught.value.stderr == b"UPLOAD=No: expected yes or no\n"


def test_the_competition_as_the_report_did_it(paper, tmp_path):
    (tmp_path / "data").mkdir()
    for file in ("data/.downloaded", "entry.csv"):
        (tmp_path / file).touch()
    where = f"--data {tmp_path}/data --runs {tmp_path}/runs"
    asked = commands_of(paper("kaggle.sh", f"{tmp_path}/data", f"{tmp_path}/runs", f"{tmp_path}/entry.csv", PRESET="report"))
    variants = (0, 1, 2, 3, 4, 6)
    stages = [
        f"finetune --variant {variant} --fold 0 --stage {stage} {where}"
        for stage in ("cnn", "dnn", "dnn2")
        for variant in variants
    ]
    assert asked[:24] == [f"train --variant {variant} --fold 0 {where} --preset report" for variant in variants] + stages
    chosen = f"--data {tmp_path}/data --runs {tmp_path}/runs --variants 0,1,2,3,4,6"
    assert asked[24:26] == [
        f"predict {chosen} --tta 1 --tta-average probabilities",
        f"ensemble {chosen} --weights shifted --shift 0.34 --out {tmp_path}/entry.csv",
    ]


@pytest.mark.parametrize(
    ("script", "last"), [("ensemble.sh", "-x.csv"), ("kaggle.sh", "-x.csv"), ("hep2_alexnet.sh", "-x.npz")]
)
def test_names_that_begin_with_a_dash_pass_for_no_option(paper, tmp_path, script, last):
    asked = paper(script, "-data", "-runs/", last, folder=tmp_path, VARIANTS="0", UPLOAD="no", PRESET="report")
    asked = [line.split() for line in asked if line.startswith("-m hpa.")]
    assert asked
    assert not [line for line in asked if {"-data", "-runs", "-runs/", last} & set(line)]
    assert all("./-runs" in line or "submit" in line[1] or "evaluate" in line[1] for line in asked)


def test_the_demo_takes_names_that_begin_with_a_dash():
    options = demo.build_parser().parse_args(["--data=-data", "--runs=-runs", "--out=-x.csv", "--shift=-1e-5"])
    *steps, report = [
        (name, vars(importlib.import_module(f"hpa.{name}").build_parser().parse_args(arguments)))
        for name, arguments in demo.commands(options)
    ]
    for _, parsed in steps:
        assert parsed.get("data", Path("-data")) == Path("-data")
        assert parsed.get("runs", Path("-runs")) == Path("-runs")
    assert parsed["file"] == Path("-x.csv")
    name, parsed = report
    assert (name, parsed["ensemble"], parsed["out"]) == ("report", Path("-x.json"), Path("-x.html"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--out", "x" * 300], "too long"),
        (["--runs", "x" * 300], "too long"),
        (["--data", "/".join(["x" * 200] * 25)], "too long"),
        (["--out", "folder"], "--out folder: is a folder; name a file"),
        (["--out", "data/drawn/train.csv"], "--out data/drawn/train.csv: "),
        (["--size", "999999999"], "GiB are free; choose a smaller size"),
    ],
)
def test_the_demo_refuses_names_and_sizes_before_it_begins(tmp_path, monkeypatch, capsys, options, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert demo.main(options) == 2
    assert named in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.fixture
def machine(tmp_path):
    """A function that runs a script on a machine of few programs, with Pythons of given versions, and returns what it says.

    They make virtual environments of themselves, but install nothing.
    """
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    (tmp_path / "requirements.txt").write_text("numpy\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "cat", "cp", "dirname", "id", "mkdir"):
        (programs / name).symlink_to(shutil.which(name))

    def start(pythons, script="base.sh"):
        for name, version in pythons.items():
            (programs / name).write_text(
                f"""#!{programs}/bash
case "$*" in
    *pip*|*cv2*) exit 0 ;;
    "-m venv"*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python" ;;
    -c*) exec {sys.executable} -c "import platform, sys
version = '{version}'
platform.python_version, sys.version_info = lambda: version, tuple(map(int, version.split('.')))
$2" ;;
    *) echo "{version} $*" ;;
esac
"""
            )
            (programs / name).chmod(0o755)
        command = [programs / "bash", tmp_path / "pipelines" / script]
        variables = {"PATH": str(programs), "VARIANTS": "0"}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return start


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": "3.12.4"}, "3.12.4"),
        ({"python3": "3.14.0", "python3.13": "3.13.1"}, "3.13.1"),
        ({"python3": "3.9.2", "python3.11": "3.11.2", "python3.12": "3.12.0"}, "3.11.2"),
    ],
)
def test_a_python_in_range_is_chosen(machine, pythons, chosen):
    code, out, err = machine(pythons)
    assert (code, err) == (0, "")
    assert f"{chosen} -m hpa.train" in out


@pytest.mark.parametrize(
    ("pythons", "found"), [({"python3": "3.14.0"}, "3.14.0"), ({"python3": "3.10.9"}, "3.10.9"), ({}, "missing")]
)
def test_no_python_in_range_is_told(machine, pythons, found):
    code, out, err = machine(pythons)
    assert (code, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith(f"Python 3.11, 3.12 or 3.13 is needed, python3 is {found}; install one (Debian: apt-get install")


def test_an_environment_of_another_python_is_made_anew(machine, tmp_path):
    assert machine({"python3": "3.13.0"})[0] == 0
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(python.read_text().replace("3.13.0", "3.14.0"))
    (tmp_path / "requirements.txt").write_text("numpy\npandas\n")
    code, out, err = machine({"python3": "3.13.0"})
    assert (code, err) == (0, "")
    assert "3.13.0 -m hpa.train" in out


def test_an_older_bash_is_told_what_is_needed(machine, tmp_path):
    setup = tmp_path / "pipelines" / "setup.sh"
    setup.write_text(setup.read_text().replace("-lt 44 ]", "-lt 9999 ]"))
    code, out, err = machine({"python3": "3.12.4"})
    assert (code, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith("bash 4.4 or later is needed, this is ")


def test_requirements_are_installed_once_and_again_when_they_change(tmp_path, paper):
    def installs():
        return sum("pip install" in line for line in paper("base.sh", VARIANTS="0"))

    assert [installs(), installs()] == [1, 0]
    (tmp_path / "requirements.txt").write_text("numpy\npandas\n")
    assert [installs(), installs()] == [1, 0]

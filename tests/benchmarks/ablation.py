"""What each ingredient of the recipe `winner` is worth: macro F1 on drawn test fields, beside the recipe `report`.

Run `python tests/benchmarks/ablation.py FOLDER`; stopped and started again, it goes on. Every recipe trains the same network
with three seeds on the same 2,000 drawn fields, as many images in all (within 4 %: where an epoch is longer, there are fewer
of them), on one core each. Classes are as frequent as in the competition, but for the eight rarest, which have 25 of 2,500
fields each, in training and test alike, so that a score of them means something. Thresholds are found by class on the
validation rows.
`recipes.csv` compares the recipes with `report`, and `winner` with an ingredient less or more with `winner`;
`afterwards.csv` what is done with the trained models of these two: other thresholds, views, and the mean of five folds,
each as long in training as one.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.data.tables import read_training_table  # noqa: E402
from hpa.files import cores  # noqa: E402
from hpa.scoring.members import read_members  # noqa: E402
from hpa.scoring.metrics import macro_f1  # noqa: E402
from hpa.scoring.thresholds import find_thresholds, predict_classes  # noqa: E402
from hpa.stages import fold_name  # noqa: E402
from hpa.tasks import HPA  # noqa: E402
from hpa.training.presets import fastest_precision  # noqa: E402

FIELDS, EXTERNAL_FIELDS, SIZE, EPOCHS = 2500, 500, 80, 12
SEEDS, FOLDS, FOLDED = (0, 1, 2), 5, "winner"
COMMON = ["--variant", "0", "--size", str(SIZE), "--batch-size", "32", "--precision", fastest_precision()]
THRESHOLDS = {"0.5 for all": 0.5, "the best for all": "global", "by class": "per-class", "by share": "class-share"}


@dataclass(frozen=True)
class Recipe:
    """What a run does otherwise than the recipe `report`.

    Attributes:
        options: of `hpa.train`.
        longer: how much longer an epoch is.
        stages: whether the last epochs are those of the three fine-tune stages.
    """

    options: str = ""
    longer: float = 1.0
    stages: bool = False


RECIPES = {
    "report": Recipe(),
    "fine-tune stages, 2, 1 and 1 of the epochs": Recipe(stages=True),
    "AdamW 2e-3, weight decay, warm-up, cosine": Recipe(
        "--optimizer adamw --learning-rate 2e-3 --weight-decay 0.01 --warm-up 1 --schedule cosine"
    ),
    "gradients clipped at 1": Recipe("--clip-norm 1"),
    "moving average 0.99": Recipe("--ema-momentum 0.99"),
    "label smoothing 0.05": Recipe("--label-smoothing 0.05"),
    "half soft F1 in the loss": Recipe("--loss binary-crossentropy+soft-f1"),
    "focal loss": Recipe("--loss focal"),
    "asymmetric loss": Recipe("--loss asymmetric"),
    "positives weighed by square root": Recipe("--positive-weights square-root"),
    "oversampling 0.05": Recipe("--oversampling 0.05", longer=1.15),
    "500 external fields": Recipe("--external-weight 1", longer=1.25),
    "winner": Recipe("--preset winner", longer=1.15),
    "winner with gradients clipped at 1": Recipe("--preset winner --clip-norm 1", longer=1.15),
    "winner with Adam 1e-3 in place of AdamW, warm-up and cosine": Recipe(
        "--preset winner --optimizer adam --learning-rate 1e-3 --weight-decay 0 --warm-up 0 --schedule constant", longer=1.15
    ),
    "winner without soft F1": Recipe("--preset winner --loss binary-crossentropy", longer=1.15),
    "winner without oversampling": Recipe("--preset winner --oversampling 0"),
    "winner without moving average": Recipe("--preset winner --ema-momentum 0", longer=1.15),
    "winner with positives weighed": Recipe("--preset winner --positive-weights square-root", longer=1.15),
}


def hpa(name: str, *arguments: object) -> None:
    """Run a command of the package on one core."""
    threads = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    command = [sys.executable, "-m", f"hpa.{name}", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | threads | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")


def train(data: Path, runs: Path, number: int, seed: int, fold: int) -> None:
    """Make the run `<number of the recipe>-<seed>` on a fold."""
    recipe = list(RECIPES.values())[number]
    epochs = round(EPOCHS / recipe.longer) - 4 * recipe.stages
    which = ["--data", data, "--runs", runs, "--name", f"{number}-{seed}", "--fold", fold]
    hpa("train", *which, *COMMON, "--seed", seed, "--epochs", epochs, *recipe.options.split())
    for stage, own in (("cnn", 2), ("dnn", 1), ("dnn2", 1)) if recipe.stages else ():
        hpa("finetune", *which, "--variant", 0, "--stage", stage, "--epochs", own)


def score(data: Path, folders: Sequence[Path], threshold: str | float = "per-class") -> float:
    """Return the macro F1 on the test fields of what a run, or all folds of one, predict."""
    truth = read_training_table(data / "test_key.csv", HPA)
    run = read_members(folders, truth.ids)
    thresholds = find_thresholds(threshold, run.targets, run.validation[0])
    return macro_f1(truth.targets, predict_classes(run.test[0], thresholds)[0])


def afterwards(data: Path, runs: Path) -> Iterator[tuple[str, str, int, float]]:
    """Give recipe, what is done, seed and score for thresholds and views, with the models of two recipes."""
    for recipe in ("report", "winner"):
        number = list(RECIPES).index(recipe)
        names = [f"{number}-{seed}" for seed in SEEDS]
        if recipe == FOLDED:
            for seed, name in zip(SEEDS, names, strict=True):
                folds = [runs / fold_name(name, fold) / "base" for fold in range(FOLDS)]
                yield recipe, "mean of five folds, threshold by class", seed, score(data, folds)
        which = ["--data", data, "--runs", runs, "--variants", ",".join(names)]
        for views, average in ((8, "logits"), (8, "probabilities"), (1, "probabilities")):
            hpa("predict", *which, "--tta", views, "--tta-average", average)
            for seed, name in zip(SEEDS, names, strict=True):
                if views == 1:
                    for rule, threshold in THRESHOLDS.items():
                        yield recipe, f"threshold {rule}", seed, score(data, [runs / name / "base"], threshold)
                else:
                    yield recipe, f"eight views, mean {average}", seed, score(data, [runs / name / "base"])


def table(rows: list[tuple], against: str) -> pd.DataFrame:
    """Return mean and spread over the seeds of each kind of run, and of what it has above `against` with the same seed."""
    frame = pd.DataFrame(rows, columns=["what", "seed", "f1"]).pivot_table(
        index="what", columns="seed", values="f1", sort=False
    )
    gain = frame - frame.loc[against]
    return pd.DataFrame(
        {
            "mean": frame.mean(axis=1),
            "lowest": frame.min(axis=1),
            "highest": frame.max(axis=1),
            "gain": gain.mean(axis=1),
            "gain_lowest": gain.min(axis=1),
            "gain_highest": gain.max(axis=1),
        }
    ).round(4)


def main() -> None:
    """Draw, train, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where data and runs are written")
    folder = parser.parse_args().folder
    data, runs = folder / "data", folder / "runs"
    hpa("draw", "--out", data, "--train", FIELDS, "--test", FIELDS, "--size", SIZE)
    if not (data / "external").exists():  # fields of another drawing, under other ids
        hpa("draw", "--out", folder / "more", "--train", EXTERNAL_FIELDS, "--test", 1, "--size", SIZE, "--seed", 1)
        more = pd.read_csv(folder / "more" / "train.csv")
        shutil.rmtree(folder / "external", ignore_errors=True)  # of a try that was stopped in the middle
        (folder / "external").mkdir()
        for file in (folder / "more" / "train").iterdir():
            os.link(file, folder / "external" / f"external-{file.name}")
        more.assign(Id="external-" + more["Id"]).to_csv(data / "external.csv", index=False)
        (folder / "external").rename(data / "external")
    hpa("pack", "--data", data, "--runs", runs, "--size", SIZE)
    jobs = [(number, seed, 0) for number in range(len(RECIPES)) for seed in SEEDS]
    jobs += [(list(RECIPES).index(FOLDED), seed, fold) for seed in SEEDS for fold in range(1, FOLDS)]
    with ThreadPoolExecutor(cores()) as pool:
        for (number, seed, fold), _ in zip(jobs, pool.map(lambda job: train(data, runs, *job), jobs), strict=True):
            print(f"trained: {list(RECIPES)[number]}, seed {seed}, fold {fold}", flush=True)
    hpa("predict", "--data", data, "--runs", runs)

    rows = []
    for number, (recipe, about) in enumerate(RECIPES.items()):
        stage = "dnn2" if about.stages else "base"
        rows += [(recipe, seed, score(data, [runs / f"{number}-{seed}" / stage])) for seed in SEEDS]
    truth = read_training_table(data / "test_key.csv", HPA).targets
    print(f"constant guess, every class for every field: {macro_f1(truth, np.ones_like(truth)):.4f}")
    recipes = pd.concat(
        [
            table([row for row in rows if not row[0].startswith("winner with")], "report"),
            table([row for row in rows if row[0].startswith("winner")], "winner"),
        ],
        keys=["against report", "against winner"],
    )
    recipes.to_csv(folder / "recipes.csv")
    print(recipes.to_string())

    rows = [(f"{recipe}, {what}", seed, f1) for recipe, what, seed, f1 in afterwards(data, runs)]
    done = pd.concat(
        [
            table([row for row in rows if row[0].startswith(each)], f"{each}, threshold by class")
            for each in ("report", "winner")
        ]
    )
    done.to_csv(folder / "afterwards.csv")
    print(done.to_string())


if __name__ == "__main__":
    main()

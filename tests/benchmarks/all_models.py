"""The first report's open question: is a blend of all 32 models, with tuned weights, better than that of its six?

Run `python tests/benchmarks/all_models.py FOLDER`; stopped and started again, it goes on. All eight variants go through all
four stages on 960 drawn fields of 148 pixels, the fewest that variant 1 takes, one model a core at a time. What is blended,
with which weights, is scored by macro F1 on 1,000 drawn test fields; `gain` is what it has more than the report's six with
shifted weights, with a basic bootstrap interval of 95 %. Thresholds and weights are found on 240 validation rows, and
`validation` is the F1 on these very rows.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from ablation import hpa

from hpa.data.tables import read_sample_submission, read_training_table
from hpa.files import cores
from hpa.models.gapnet import VARIANTS
from hpa.scoring.blend import blend_members, member_f1
from hpa.scoring.members import read_members
from hpa.scoring.metrics import macro_f1, resampled_macro_f1
from hpa.scoring.rules import WEIGHTS
from hpa.stages import STAGES
from hpa.tasks import HPA
from hpa.training.presets import fastest_precision

FIELDS, TEST_FIELDS, SIZE = 1200, 1000, 148
EPOCHS = {"base": 8, "cnn": 2, "dnn": 1, "dnn2": 1}
REPORTS_SIX = (0, 1, 2, 3, 4, 6)
RESAMPLES = 1000
SHIFT = 0.8  # of the worst member's F1, as the report's 0.34 is of 0.42


def main() -> None:
    """Train, blend, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where data and runs are written")
    folder = parser.parse_args().folder
    data, runs = folder / "data", folder / "runs"

    def train(variant: int) -> None:
        which = ["--data", data, "--runs", runs, "--variant", variant]
        how = ["--size", SIZE, "--epochs", EPOCHS["base"], "--batch-size", 16, "--precision", fastest_precision()]
        hpa("train", *which, *how)
        for stage in list(EPOCHS)[1:]:
            hpa("finetune", *which, "--stage", stage, "--epochs", EPOCHS[stage])
        print(f"trained: variant {variant}", flush=True)

    hpa("draw", "--out", data, "--train", FIELDS, "--test", TEST_FIELDS, "--size", SIZE)
    hpa("pack", "--data", data, "--runs", runs, "--size", SIZE)
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(train, range(len(VARIANTS))))
    hpa("predict", "--data", data, "--runs", runs, "--stage", "all")

    ids = read_sample_submission(data / "sample_submission.csv").ids
    truth = read_training_table(data / "test_key.csv", HPA).targets
    last = list(STAGES)[-1]
    choices = {
        "the report's six": [runs / str(variant) / last for variant in REPORTS_SIX],
        "eight, last stage": [runs / str(variant) / last for variant in range(len(VARIANTS))],
        "all 32": [runs / str(variant) / stage for variant in range(len(VARIANTS)) for stage in STAGES],
    }
    print(f"constant guess, every class for every field: {macro_f1(truth, np.ones_like(truth)):.4f}")
    rows, predicted = [], []
    for choice, folders in choices.items():
        members = read_members(folders, ids)
        f1 = member_f1(members.targets, members.validation, "per-class")
        best = read_members([folders[f1.argmax()]], ids)
        for name, blended in [
            ("best member alone", blend_members(best, "equal", 0, "per-class")),
            *((rule, blend_members(members, rule, SHIFT * f1.min(), "per-class")) for rule in WEIGHTS),
        ]:
            used = np.count_nonzero(blended.weights)
            rows.append((choice, name, used, blended.f1, macro_f1(truth, blended.predicted)))
            predicted.append(blended.predicted)
    table = pd.DataFrame(rows, columns=["models", "weights", "weighing more than 0", "validation", "test"])
    [reference] = table.index[(table["models"] == "the report's six") & (table["weights"] == "shifted")]
    resampled = resampled_macro_f1(truth, np.array(predicted), RESAMPLES, np.random.default_rng(0))
    table["gain"] = table["test"] - table["test"][reference]
    lower, upper = np.quantile(resampled - resampled[reference], [0.025, 0.975], axis=1)
    table["gain_low"], table["gain_high"] = 2 * table["gain"] - upper, 2 * table["gain"] - lower
    table.to_csv(folder / "blends.csv", index=False)
    print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()

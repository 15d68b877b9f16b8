"""Score trained models on a labelled folder, whether class folders or a flat folder with a table.

    python -m hpa.evaluate --run runs/hep2/base --data data/test

Several runs are blended with equal weights. Writes the scores, the scores of every class, the predictions with their
probabilities, the confusion matrix (for many labels the F1 of every class) and the worst mistakes as pictures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command
from hpa.errors import BadInput, refuse
from hpa.files import read_json

MISTAKE_SIZE = 192


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m hpa.evaluate`."""
    parser = command.parser("evaluate", "Score trained models on a labelled folder.")
    add = parser.add_argument
    add("--run", type=Path, nargs="+", required=True, metavar="FOLDER", help="run folders; several are blended")
    add("--data", type=Path, required=True, metavar="FOLDER", help="the images, in class folders or with a table")
    add("--table", type=Path, metavar="FILE.csv", help="the classes, in place of class folders or the CSV beside --data")
    add(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where to write; for one run <run>/evaluation-<name of --data> if not given",
    )
    command.add_tta(parser)
    return parser


def work(options: argparse.Namespace) -> None:
    """Predict the labelled images with every run's model, blend, write and print what came of it."""
    twice = [str(folder) for folder in dict.fromkeys(options.run) if options.run.count(folder) > 1]
    refuse("--run", [f"{folder} is named twice; once is enough" for folder in twice])
    if options.out is None and len(options.run) > 1:
        raise BadInput(f"--run names {len(options.run)} folders; say with --out where to write")
    out = options.out or options.run[0] / f"evaluation-{options.data.resolve().name}"
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out}: is a file; name a folder")
    if options.out is None and (out / "scores.json").exists():
        scored = read_json(out / "scores.json").get("data")
        if scored not in (None, str(options.data.resolve())):
            raise BadInput(f"{out}: holds the scores of {scored}; say with --out where to write")
    import numpy as np

    from hpa.data.images import read_image
    from hpa.data.intensity import measure
    from hpa.data.layout import find_files
    from hpa.data.tables import read_labelled, table_beside
    from hpa.scoring.blend import blend, thresholds_and_rows
    from hpa.scoring.evaluation import WRITTEN, describe, evaluate, write_evaluation
    from hpa.scoring.predictions import Predictions

    for name in WRITTEN:
        command.require_output(options, out / name, [options.data, table_beside(options.data)])
    with command.quiet_import():
        from hpa.inference.predict import common_task, predict_files

    task = common_task(options.run)
    table = read_labelled(options.data, task, options.table)
    files = find_files(options.data, table.ids, task, whole=True)

    members = {str(folder): [folder] for folder in options.run}
    if len(options.run) > 1:
        members[f"blend of {len(options.run)}"] = options.run
    tta = command.tta(options)
    found = [thresholds_and_rows(folders, task.labels, len(task.classes), tta) for folders in members.values()]
    probabilities = list(predict_files(options.run, files, tta))
    if len(options.run) > 1:
        probabilities.append(blend(probabilities))
    evaluations = {
        name: evaluate(Predictions(table.ids, task.classes, own, table.targets, task.labels, tta), *cuts)
        for name, own, cuts in zip(members, probabilities, found, strict=True)
    }

    def images_of(rows: np.ndarray) -> np.ndarray:
        ranges = measure(options.data, [files[row] for row in rows])
        return np.stack([read_image(files[row], MISTAKE_SIZE, ranges) for row in rows])

    write_evaluation(out, evaluations, images_of, options.data, options.table)
    print(describe(evaluations))
    print(f"\n{len(files)} images; wrote {out}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())

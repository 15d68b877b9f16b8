"""Score trained models on a labelled folder: class folders, or a flat folder with a table.

    python -m hpa.evaluate --run runs/hep2/base --data data/test

Several runs are blended with equal weights. Writes the scores, the scores of every class, the predictions with their
probabilities, the confusion matrix (for multi-label samples the F1 of every class) and pictures of the worst mistakes.

With `--groups` scores have intervals over groups, such as specimens, and groups of single-label samples vote. With
`--coverage` each image gets the set of classes that it may have, and a class is in it with at least that probability; the
runs' validation rows calibrate it. With both, `--groups` names the groups of these rows; the images may have none.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.backend import quiet_import
from hpa.errors import BadInput
from hpa.files import read_json
from hpa.kinds import Share
from hpa.options import add_settings


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("evaluate", shared="tta tta-average")
    add = parser.add_argument
    command.add_run(parser, "run folders; several are blended")
    add("--data", type=Path, required=True, metavar="FOLDER", help="the images, in class folders or with a table")
    help = "the classes, instead of class folders or the CSV next to --data"
    add("--table", type=Path, metavar="FILE.csv", help=help)
    help = "where to write; for one run <run>/evaluation-<name of --data> if not given"
    add("--out", type=Path, metavar="FOLDER", help=help)
    add_settings(parser, ["groups"], lambda *_: "for intervals over groups, and label sets that hold for new groups")
    help = "write sets.csv: for each image the classes that it may have, among them its own with this probability"
    add("--coverage", type=command.number(Share), metavar="SHARE", help=help)
    return parser


def work(options: argparse.Namespace) -> None:
    """Predict the labelled images with every run's model, blend, and write and print the scores."""
    folders = command.chosen_folders(options)
    if options.out is None and len(folders) > 1:
        raise BadInput(f"--run names {len(folders)} folders; say with --out where to write")
    out = options.out or folders[0] / f"evaluation-{options.data.resolve().name}"
    if options.out is None and (out / "scores.json").exists():
        scored = read_json(out / "scores.json").get("data")
        if scored not in (None, str(options.data.resolve())):
            raise BadInput(f"{out}: holds the scores of {scored}; say with --out where to write")
    from hpa.data.tables import table_next_to
    from hpa.scoring.evaluation import WRITTEN, describe

    for name in (*WRITTEN, "sets.csv"):
        command.require_output(options, out / name, [options.data, table_next_to(options.data)])
    with quiet_import():
        from hpa.inference.evaluate import evaluate_runs

    tta = command.tta(options)
    found = evaluate_runs(folders, options.data, options.table, tta, options.groups, options.coverage)
    found.write(out)
    print(describe(found.evaluations))
    print(
        "\naccuracy of the surest part:",
        ", ".join(f"{each.accuracy:.4f} of {each.share:.0%}" for each in found.selective.itertuples()),
    )
    if found.calibration is not None:
        quality = ", ".join(f"{name} {value:.4f}" for name, value in found.quality_of_sets.items())
        print(f"\nlabel sets for {options.coverage:.0%}: {quality}")
    if found.groups is not None:
        print(f"\n{found.intervals.to_string(float_format='{:.4f}'.format)}")
        print(f"low to high: 95 % interval over {len(set(found.groups.tolist()))} groups")
        if len(votes := found.votes):
            print(f"votes of groups with one label: {(votes['vote'] == votes['class']).sum()} of {len(votes)} right")
    print(f"\n{len(found.files)} images; wrote {out}")


main = command.main(__name__, build_parser, work)

"""`python -m hpa.export (--run FOLDER | --ensemble FILE.json) --format onnx --out FILE`: a model that runs without hpa."""

import argparse
from pathlib import Path

from hpa import command
from hpa.backend import quiet_import
from hpa.errors import BadInput
from hpa.tta import NO_TTA


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    more = "It takes raw pixels and returns probabilities; classes, channels, size and thresholds come with it."
    parser = command.parser("export", more, "tta tta-average")
    what = parser.add_mutually_exclusive_group(required=True)
    command.add_run(what, "run folder", several=False, required=False)
    what.add_argument(
        "--ensemble", type=Path, metavar="FILE.json", help="the JSON that hpa ensemble wrote next to a submission"
    )
    parser.add_argument("--format", choices=("onnx", "html", "saved-model", "litert"), required=True, help="what to write")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="the file, or the folder of a saved-model")
    parser.add_argument(
        "--runtime",
        type=Path,
        metavar="FILE.tgz",
        help="for html: the npm package onnxruntime-web, which is fetched once if not given",
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Write the model."""
    written = [options.out / "saved_model.pb" if options.format == "saved-model" else options.out]
    if options.format in ("saved-model", "litert"):  # which have their metadata next to them
        written.append(options.out.parent / f"{options.out.name}.json")
    for path in written:
        command.require_output(options, path, [options.run] if options.run else [])
    if options.ensemble and command.tta(options) != NO_TTA:
        raise BadInput("--tta is for --run; an ensemble has that of its members")
    with quiet_import():
        from hpa.inference.export import chosen_ensemble, chosen_run, export, require_format

    if options.runtime and options.format != "html":
        raise BadInput("--runtime is for --format html; leave it out")
    require_format(options.format, options.out)
    chosen = chosen_run(options.run, command.tta(options)) if options.run else chosen_ensemble(options.ensemble)
    print(export(chosen, options.format, options.out, options.runtime))


main = command.main(__name__, build_parser, work)

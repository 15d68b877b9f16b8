"""Runs the notebooks and stores their outputs: `python docs/notebooks.py`. It takes some minutes."""

import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "pages" / "notebooks").glob("*.ipynb"))


def execute(path: Path, folder: Path, values: dict[str, object] | None = None) -> nbformat.NotebookNode:
    """Run a notebook and return it with its outputs.

    Args:
        path: of the notebook.
        folder: where it runs.
        values: other values for the variables that its cell with the tag "parameters" sets.
    """
    notebook = nbformat.read(path, as_version=4)
    [parameters] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    source = parameters.source
    parameters.source = "\n".join([source, *(f"{name} = {json.dumps(value)}" for name, value in (values or {}).items())])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=1800, startup_timeout=300, resources=where).execute()
    parameters.source = source
    return notebook


def main() -> None:
    """Run all of them, each in a folder of its own."""
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times, which would differ each time
        nbformat.write(notebook, path)
        print(path.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    main()

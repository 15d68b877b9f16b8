"""Imports go one way: a module imports from its own room and from rooms below it, and no two modules import each other."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hpa"
# From the top; rooms on one line do not import from each other.
ROOMS = [("training",), ("inference",), ("runs",), ("scoring", "drawn"), ("data",)]
BASE = 0  # models, and the modules at the top that are no command: settings, tasks, files, errors ...
RANKS = {room: len(ROOMS) - place for place, rooms in enumerate(ROOMS) for room in rooms} | {"models": BASE}
# Commands, and what they share.
TOP = RANKS["cluster"] = RANKS["report"] = len(ROOMS) + 1
COMMANDS = {path.stem for path in PACKAGE.glob("*.py") if "def build_parser" in path.read_text()} | {
    "api",
    "command",
    "options",
    "__main__",
}


def modules() -> dict[str, Path]:
    """Return the package's modules by their dotted names."""
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imports(path: Path, known: set[str]) -> set[str]:
    """Return the package's modules that a file imports, inside of functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in known else str(node.module)
                for alias in node.names
            }
    return found & known


def rank(module: str) -> int:
    room = module.split(".")[1] if "." in module else ""
    return TOP if room in COMMANDS else RANKS.get(room, BASE)


MODULES = modules()
IMPORTS = {name: imports(path, set(MODULES)) for name, path in MODULES.items()}
IMPORTS["hpa"] = set()  # what the package offers is loaded when it is first used


def test_the_package_has_these_rooms():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == RANKS.keys()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_imports_from_a_room_above_it(module):
    own, room = rank(module), module.split(".")[1:2]
    for other in IMPORTS[module]:
        same_room = own in (BASE, TOP) or other.split(".")[1:2] == room
        assert rank(other) < own or (rank(other) == own and same_room), f"{module} imports {other}"


def test_no_modules_import_each_other_in_a_circle():
    left = {name: set(found) for name, found in IMPORTS.items()}
    while free := {name for name, found in left.items() if not found}:
        left = {name: found - free for name, found in left.items() if name not in free}
    assert not left

"""Draws the rooms of the package and the imports between them as an SVG picture: `python docs/architecture.py FILE.svg`.

The picture is made from the code, so it stays true. A room is a folder of `hpa/`, or one of two groups of modules at the
top: the commands, and the base that everything uses. An arrow says that a room imports from another; it is left out where
a longer way of arrows says the same.
"""

import ast
import sys
import textwrap
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "hpa"
WIDTH, MARGIN, GAP, LINE, LETTER = 900, 50, 46, 17, 7.6  # pixels
COMMANDS = "commands"
BASE = "base"
PURPOSES = {
    COMMANDS: "Options in, one call into the library, a short result out.",
    BASE: "What is classified, settings, names, files and errors: what all rooms use.",
    "api": "The library's face: Run and blend.",
}


@dataclass
class Room:
    """A box of the picture.

    Attributes:
        purpose: one sentence.
        modules: their names.
        imports: the names of the rooms that it imports from.
    """

    purpose: str
    modules: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)


def rooms(package: Path = PACKAGE) -> dict[str, Room]:
    """Return the rooms of a package by name; `hpa/__init__.py`, which offers `api` lazily, belongs to none."""
    found: dict[str, Room] = {}
    own = (path for path in package.rglob("*.py") if "take_away" not in path.parts)  # what exports hold imports nothing
    paths = sorted(path for path in own if path != package / "__init__.py")
    for path in paths:
        room = found.setdefault(_room_of(path.relative_to(package), package), Room(""))
        if path.name == "__init__.py":
            room.purpose = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
        elif path.stem != "__main__":
            room.modules.append(path.stem)
    for name, room in found.items():
        room.purpose = PURPOSES.get(name, room.purpose)
    for path in paths:
        name = _room_of(path.relative_to(package), package)
        found[name].imports |= {_room_of(each, package) for each in _imported(path, package)} - {name}
    return found


def _room_of(path: Path, package: Path) -> str:
    """Return the room of a module, whose path is relative to the package."""
    if len(path.parts) > 1:
        return path.parts[0]
    if path.stem in ("__main__", "command", "options") or "def build_parser" in (package / path).read_text(encoding="utf-8"):
        return COMMANDS
    return path.stem if path.stem == "api" else BASE


def _imported(path: Path, package: Path) -> set[Path]:
    """Return the package's modules that a file imports, inside of functions too, as paths relative to the package."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == package.name and len(parts) > 1:
            inner = Path(*parts[1:])
            found |= {each for each in (inner.with_suffix(".py"), inner / "__init__.py") if (package / each).is_file()}
    return found


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return what can be reached from `start`.

    >>> sorted(reachable({"a": {"b"}, "b": {"c"}, "c": set()}, "a"))
    ['b', 'c']
    """
    found: set[str] = set()
    left = [start]
    while left:
        for each in graph[left.pop()] - found:
            found.add(each)
            left.append(each)
    return found


def arrows(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Return the edges of a graph that no longer way stands for.

    >>> sorted(arrows({"a": {"b", "c"}, "b": {"c"}, "c": set()}))
    [('a', 'b'), ('b', 'c')]
    """
    return {
        (start, end)
        for start, ends in graph.items()
        for end in ends
        if not any(end in reachable(graph, each) and start not in reachable(graph, each) for each in ends - {end})
    }


def ranks(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the rooms in rows from the top: each as low as it can be above all that it imports, circles in one row.

    >>> ranks({"a": {"b", "c"}, "b": {"d"}, "c": set(), "d": set()})
    [['a'], ['b'], ['c', 'd']]
    """
    rows: list[list[str]] = []
    left = set(graph)
    while left:
        lowest = {
            name for name in left if all(name in reachable(graph, each) for each in reachable(graph, name) & left - {name})
        }
        rows.insert(0, sorted(lowest))
        left -= lowest
    return rows


def draw(package: Path = PACKAGE) -> str:
    """Return the picture as SVG."""
    found = rooms(package)
    graph = {name: room.imports & found.keys() for name, room in found.items()}
    boxes: dict[str, tuple[float, float, float, float]] = {}  # left, top, width, height
    places: dict[str, int] = {}  # the number of each room's row
    parts, top = [], 10.0
    for number, row in enumerate(ranks(graph)):
        width = min((WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row), 560)
        texts = {name: _text(found[name], int((width - 24) / LETTER)) for name in row}
        height = max(34 + LINE * (len(purpose) + len(modules)) + 8 for purpose, modules in texts.values())
        left = (WIDTH - width * len(row) - GAP * (len(row) - 1)) / 2
        for name in row:
            places[name] = number
            boxes[name] = (left, top, width, height)
            parts.append(_box(name, texts[name], boxes[name]))
            left += width + GAP
        top += height + GAP
    lines = [_arrow(boxes[start], boxes[end], places[end] - places[start]) for start, end in sorted(arrows(graph))]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top - GAP + 10:.0f}" role="img"',
            'font-family="sans-serif">',
            "<title>The rooms of hpa and the imports between them</title>",
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">',
            '<path d="M0 0 L10 5 L0 10 z" fill="#5c6bc0"/></marker></defs>',
            *parts,
            *lines,
            "</svg>",
        ]
    )


def _text(room: Room, characters: int) -> tuple[list[str], list[str]]:
    """Return the lines of a room's purpose and of its modules."""
    return textwrap.wrap(room.purpose, characters), textwrap.wrap("  ".join(room.modules), characters)


def _box(name: str, text: tuple[list[str], list[str]], place: tuple[float, float, float, float]) -> str:
    left, top, width, height = place
    lines = [('font-size="16" font-weight="bold" fill="#1a237e"', f"{name}/" if (PACKAGE / name).is_dir() else name)]
    lines += [('font-size="13" fill="#37474f"', each) for each in text[0]]
    lines += [('font-size="12.5" fill="#546e7a" font-family="monospace"', each) for each in text[1]]
    texts = [
        f'<text x="{left + 12:.0f}" y="{top + 24 + LINE * number:.0f}" {style}>{escape(line)}</text>'
        for number, (style, line) in enumerate(lines)
    ]
    frame = f'x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" rx="8" fill="#eef1fb" stroke="#5c6bc0"'
    return "\n".join([f"<g><rect {frame}/>", *texts, "</g>"])


def _arrow(start: tuple[float, float, float, float], end: tuple[float, float, float, float], rows: int) -> str:
    """Return an arrow from one box to another, which stands so many rows below it."""
    x1, y1 = start[0] + start[2] / 2, start[1] + start[3]
    x2, y2 = end[0] + end[2] / 2, end[1]
    if rows == 1:
        middle = (y1 + y2) / 2
        path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2 - 1:.0f}"
    elif rows:  # below the start's row, which may have a box on that side, and around the boxes between them
        left = x2 <= WIDTH / 2
        x1, x2 = start[0] + start[2] * (0.1 if left else 0.9), end[0] + end[2] * (not left)
        side, y2 = MARGIN / 3 if left else WIDTH - MARGIN / 3, end[1] + end[3] / 2
        path = f"M{x1:.0f} {y1:.0f} v{GAP / 4:.0f} H{side:.0f} V{y2:.0f} H{x2:.0f}"
    else:
        right = start[0] < end[0]
        y = start[1] + start[3] / 2
        path = f"M{start[0] + start[2] * right:.0f} {y:.0f} L{end[0] + end[2] * (not right):.0f} {y:.0f}"
    return f'<path d="{path}" fill="none" stroke="#5c6bc0" stroke-width="1.6" marker-end="url(#head)"/>'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(), encoding="utf-8")

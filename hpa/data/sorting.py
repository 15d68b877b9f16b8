"""Sort a flat folder of images into class folders by a table."""

import filecmp
import os
from pathlib import Path

from tqdm import tqdm

from hpa.data.layout import find_files, find_folders, list_images
from hpa.data.tables import read_training_table
from hpa.errors import BadInput, refuse
from hpa.files import locked, written_whole
from hpa.tasks import Task


def sort_images(images: Path, table: Path, out: Path, task: Task, link: bool = False) -> tuple[dict[str, int], int]:
    """Copy the images of a folder to `<out>/<class>/`, under their own names, all files of a sample together.

    Nothing is removed or overwritten. Equal files that are there already are left, so an interrupted sort goes on where it
    stopped, and several sets can be sorted into one folder. Every file is written whole or not at all.

    The table is a CSV as `read_training_table` takes it; ids may have other leading zeros than the files. Only classes with
    a sample get a folder. With `link` files are hard links, or symbolic ones where the file system does not allow these.
    Returns how many samples each class has, in the order of the task, and how many files were written.

    Raises:
        BadInput: before anything is written, for a multi-label task, a faulty table, a row without an image, an
            image without a row, and anything in `out` that is not a class folder or that another file would replace.
        Failure: if another process is sorting into `out`.
    """
    if not task.kind.exclusive:
        raise BadInput(f"task {task.name} is multi-label; a sample cannot lie in two class folders")
    samples = read_training_table(table, task)
    class_of = [task.classes[number] for number in samples.known_targets.argmax(axis=1)]
    files = find_files(images, samples.ids, task)
    target_of = {file: out / name / file.name for sample, name in zip(files, class_of, strict=True) for file in sample}
    rowless = [file.relative_to(images) for file in list_images(images, task) if file not in target_of]
    refuse(images, [f"{name} belongs to no row of {table}; add a row or move the file away" for name in rowless])
    refuse(images, [f"{file.name} is no file that can be read" for file in target_of if not file.is_file()])
    if out.exists():
        refuse(out, ["the images lie here themselves; name another folder"] if out.samefile(images) else [])
        refuse(out, _standing_faults(out, target_of, task))
    with locked(out / ".lock", wait=False):
        absent = {file: target for file, target in target_of.items() if not os.path.lexists(target)}
        for file, target in tqdm(absent.items(), desc="sorting", unit="file", disable=None):
            target.parent.mkdir(exist_ok=True)
            if not link:
                with written_whole(target) as temporary:
                    temporary.write_bytes(file.read_bytes())
                continue
            try:
                os.link(file.resolve(), target)
            except OSError:  # another disk, or a file system or an owner that forbids it
                target.symlink_to(file.resolve())
    return {name: class_of.count(name) for name in task.classes}, len(absent)


def _standing_faults(out: Path, target_of: dict[Path, Path], task: Task) -> list[str]:
    """Say what in `out` is in the way of the new files, or would make the class folders unreadable."""
    strange = [folder.name for folder in find_folders(out) if folder.name not in task.classes]
    faults = [f"folder {name} is none of the classes; move it away or name another folder" for name in strange]
    faults += [f"{name} is a file; a class folder belongs there" for name in task.classes if (out / name).is_file()]
    target_of_stem = {target.stem: target for target in target_of.values()}
    for standing in list_images(out, task):
        target = target_of_stem.get(standing.stem, standing)
        if standing.parent == out:
            faults.append(f"{standing.name} lies next to the class folders; move it away")
        elif standing != target:
            old, new = standing.relative_to(out), target.relative_to(out)
            faults.append(f"{old} is in the way of {new}; delete it or fix the table")
    for file, target in target_of.items():
        if os.path.lexists(target) and not (target.is_file() and filecmp.cmp(file, target, shallow=False)):
            faults.append(f"{target.relative_to(out)} is there already and differs from {file}; delete one of them")
    return faults

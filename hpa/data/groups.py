"""Groups of rows that a split keeps together: copies of one image, fields of one antibody, cells of one specimen."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hpa.data.tables import read_columns, repeated_faults
from hpa.errors import BadInput, refuse, shown


def read_groups(groups: str | None, ids: np.ndarray) -> np.ndarray | None:
    """Return the group of every row, int64 [n], or None if there are no groups.

    Groups are one of these, or several separated by commas. Rows that any of them puts together are together.

    - `"antibodies"`, for ids such as `<antibody>_<plate>_<well>_<field>`: the part before the first underscore;
    - `"neighbours-<n>"`, where ids are numbers: ranges of n neighbouring ids. Cells of one specimen have neighbouring ids,
      so a split by ranges keeps most of them together, but cuts a specimen at the end of most ranges;
    - a CSV with the columns `Id` and `group`, and maybe `set`, such as `hpa.duplicates` writes. Rows that it does not name
      are groups of their own.

    Raises:
        BadInput: if no id has an antibody, ids are not numbers where ranges are asked for, or the file cannot be read,
            names an id twice, or names rows but none of these (of other sets than train it may).
    """
    if groups is None:
        return None
    first, *others = (_read_grouping(each.strip(), ids) for each in groups.split(","))
    for other in others:
        count = first.max() + other.max() + 2
        graph = coo_array((np.ones(len(ids), bool), (first, first.max() + 1 + other)), (count, count))
        first = connected_components(graph, directed=False)[1][first].astype(np.int64)
    return first


def copies_of_test(groups: str | None, ids: np.ndarray) -> np.ndarray:
    """Tell which ids, str array [n], have a copy in the test set by a CSV among the groups (see `read_groups`): bool [n]."""
    found = np.zeros(len(ids), bool)
    for grouping in map(str.strip, groups.split(",")) if groups else ():
        rule = grouping == "antibodies" or grouping.startswith("neighbours-")
        if not rule and "set" in (frame := _read_table(grouping)):
            tested = frame["set"] == "test"
            found |= np.isin(ids, frame["Id"][~tested & frame["group"].isin(frame["group"][tested])])
    return found


def _read_grouping(grouping: str, ids: np.ndarray) -> np.ndarray:
    """Return the group of every row, int64 [n] from 0, of one part of what `read_groups` takes."""
    if grouping == "antibodies":
        if not any("_" in identifier for identifier in ids.tolist()):
            fault = "no id has the form <antibody>_<plate>_<well>_<field>; leave it out"
            refuse(f"groups {grouping}", [fault], "groups")
        return np.unique([identifier.partition("_")[0] for identifier in ids.tolist()], return_inverse=True)[1]
    span = grouping.removeprefix("neighbours-")
    if span != grouping:
        unsound = [identifier for identifier in ids.tolist() if not identifier.isdecimal()]
        faults = [f"id {shown(each)} is not a number, so it has no neighbours" for each in unsound]
        if not faults and (not span.isdecimal() or not int(span)):
            faults = ["expected neighbours-<how many ids a range has>, as in neighbours-300"]
        refuse(f"groups {grouping}", faults, "groups")
        return np.unique([int(identifier) // int(span) for identifier in ids.tolist()], return_inverse=True)[1]
    frame = _read_table(grouping)
    if "set" in frame:
        frame = frame[frame["set"] != "test"]  # an id may mean another sample there
    expected = "set" not in frame or (frame["set"] == "train").any()  # a run may leave all other sets alone
    if expected and not np.isin(ids, frame["Id"]).any():
        raise BadInput(f"groups {grouping}: names none of the ids, the first of which is {shown(ids[0])}", "groups")
    refuse(grouping, repeated_faults(frame["Id"]))
    group_of_row = pd.factorize(frame.set_index("Id")["group"].reindex(ids))[0].astype(np.int64)  # -1 for an id without
    alone = group_of_row < 0
    group_of_row[alone] = group_of_row.max() + 1 + np.arange(np.count_nonzero(alone))
    return group_of_row


def _read_table(grouping: str) -> pd.DataFrame:
    return read_columns(Path(grouping), ["Id", "group", "set"], ["Id", "group"], may_be_empty=True)

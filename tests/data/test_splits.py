import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpa.data.groups import copies_of_test, read_groups
from hpa.data.splits import make_folds, read_split, share_table, write_split
from hpa.data.stratify import stratified_folds
from hpa.data.tables import SampleTable, read_training_table
from hpa.errors import BadInput
from hpa.tasks import HPA

SEEDS = st.integers(0, 2**32)


@st.composite
def tables_and_folds(draw):
    """Draw targets of any sort, rows without a label and classes without a row included, and a number of folds."""
    folds = draw(st.integers(2, 6))
    shape = (draw(st.integers(folds, 40)), draw(st.integers(1, 6)))
    return draw(arrays(np.uint8, shape, elements=st.integers(0, 1))), folds


def counts_by_fold(targets, fold_of_row, folds):
    return np.stack([targets[fold_of_row == fold].sum(axis=0, dtype=int) for fold in range(folds)])


def long_tailed_targets(rows, generator):
    """One to three of 28 classes a row, the first class some fifty times as frequent as the last."""
    share = np.exp(-np.arange(28) / 7)
    targets = np.zeros((rows, 28), np.uint8)
    for row in targets:
        row[generator.choice(28, generator.integers(1, 4), replace=False, p=share / share.sum())] = 1
    return targets


@given(tables_and_folds(), SEEDS)
@settings(deadline=None)
def test_every_label_set_is_shared_out_evenly(table, seed):
    targets, folds = table
    fold_of_row = stratified_folds(targets, folds, seed)
    assert fold_of_row.shape == (len(targets),)
    assert set(fold_of_row) == set(range(folds))  # every row in one fold, no fold empty
    for labels in np.unique(targets, axis=0):
        of_set = np.bincount(fold_of_row[(targets == labels).all(axis=1)], minlength=folds)
        assert np.ptp(of_set) <= 1


@given(tables_and_folds(), SEEDS)
@settings(deadline=None)
def test_fold_sizes_are_even(table, seed):
    targets, folds = table
    targets[:, targets.sum(axis=0) == 1] = 0  # keeping such a class out of fold 0 may cost evenness
    assert np.ptp(np.bincount(stratified_folds(targets, folds, seed))) <= 1


@given(tables_and_folds(), SEEDS)
@settings(deadline=None)
def test_holding_out_fold_0_trains_on_a_class_of_one_row(table, seed):
    targets, folds = table
    targets[:, 0] = 0
    targets[0, 0] = 1
    fold_of_row = stratified_folds(np.concatenate([targets, np.zeros_like(targets)]), folds, seed)[: len(targets)]
    single = targets.sum(axis=0) == 1
    assert not targets[fold_of_row == 0][:, single].any()


@given(tables_and_folds(), SEEDS)
@settings(deadline=None)
def test_the_same_seed_gives_the_same_folds(table, seed):
    targets, folds = table
    np.testing.assert_array_equal(stratified_folds(targets, folds, seed), stratified_folds(targets, folds, seed))


@given(st.lists(st.integers(0, 5), min_size=6, max_size=200), st.integers(2, 6), SEEDS)
@settings(deadline=None)
def test_one_label_a_row_is_stratified_exactly(labels, folds, seed):
    targets = np.eye(6, dtype=np.uint8)[labels]
    counts = counts_by_fold(targets, stratified_folds(targets, folds, seed), folds)
    assert np.ptp(counts, axis=0).max() <= 1


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
@pytest.mark.parametrize("seed", range(5))
def test_small_long_tailed_tables(folds, seed):
    """As many rows as a demonstration has; a class with two rows or more must be on the training side of every fold."""
    targets = long_tailed_targets(95, np.random.default_rng(seed))
    fold_of_row = stratified_folds(targets, folds, seed)
    counts, total = counts_by_fold(targets, fold_of_row, folds), targets.sum(axis=0, dtype=int)
    assert np.abs(counts - total / folds).max() < 1
    assert (counts < total)[:, total > 1].all()
    assert (counts > 0)[:, total >= folds].all()
    assert (counts[0] < total)[total > 0].all()


def test_many_classes_of_one_row_never_leave_a_fold_empty():
    for folds in (2, 5, 10):
        assert np.bincount(stratified_folds(np.eye(10, dtype=np.uint8), folds, 0)).tolist() == [10 // folds] * folds


def test_another_seed_gives_other_folds():
    targets = long_tailed_targets(200, np.random.default_rng(0))
    assert (stratified_folds(targets, 5, 0) != stratified_folds(targets, 5, 1)).mean() > 0.5


@pytest.mark.parametrize(
    ("rows", "folds", "seed", "named"), [(9, 1, 0, "at least 2"), (4, 5, 0, "4 rows cannot fill 5"), (9, 2, -1, "-1")]
)
def test_what_cannot_be_split(rows, folds, seed, named):
    with pytest.raises(BadInput, match=named):
        stratified_folds(np.ones((rows, 3), np.uint8), folds, seed)


@pytest.mark.parametrize(
    ("name", "folds"), [("train.csv", 3), ("train.csv", 5), ("train.csv", 10), ("HPAv18RBGY_wodpl.csv", 5)]
)
def test_the_tables_of_the_competition(shared_data, name, folds):
    targets = read_training_table(shared_data / "kaggle_csv" / name, HPA).targets
    fold_of_row = stratified_folds(targets, folds, 0)
    counts, total = counts_by_fold(targets, fold_of_row, folds), targets.sum(axis=0, dtype=int)
    assert counts.min() > 0
    assert (total - counts).min() > 0
    assert np.abs(counts - total / folds).max() < 1
    assert np.abs(np.bincount(fold_of_row) - len(targets) / folds).max() < 1


@given(tables_and_folds(), SEEDS, st.data())
@settings(deadline=None)
def test_groups_stay_whole_and_fill_every_fold(table, seed, data):
    targets, folds = table
    groups = np.array([*range(folds), *data.draw(st.lists(st.integers(0, 12), min_size=40, max_size=40))])[: len(targets)]
    fold_of_row = stratified_folds(targets, folds, seed, groups)
    assert set(fold_of_row) == set(range(folds))
    assert all(len(set(fold_of_row[groups == group])) == 1 for group in groups)
    np.testing.assert_array_equal(fold_of_row, stratified_folds(targets, folds, seed, groups))


@given(tables_and_folds(), SEEDS)
@settings(deadline=None)
def test_groups_of_one_row_are_no_groups(table, seed):
    targets, folds = table
    np.testing.assert_array_equal(
        stratified_folds(targets, folds, seed, np.arange(len(targets)) * 3 - 50), stratified_folds(targets, folds, seed)
    )


@given(SEEDS)
@settings(deadline=None)
def test_holding_out_fold_0_trains_on_a_class_of_one_group(seed):
    groups = np.repeat(np.arange(20), 3)
    targets = np.zeros((60, 3), np.uint8)
    targets[:, 0] = 1
    targets[groups == 7, 1] = 1
    assert stratified_folds(targets, 4, seed, groups)[groups == 7][0] > 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("group_count", [60, 200])
def test_every_fold_has_every_class_that_has_groups_enough(seed, group_count):
    """Rows of a long-tailed table in groups of some ten or three, whose labels have nothing in common."""
    random = np.random.default_rng(seed)
    targets, groups = long_tailed_targets(600, random), random.integers(0, group_count, 600)
    fold_of_row = stratified_folds(targets, 5, seed, groups)
    counts = counts_by_fold(targets, fold_of_row, 5)
    enough = np.array([len(set(groups[column == 1])) >= 5 for column in targets.T])
    assert enough.sum() > 20
    assert (counts > 0)[:, enough].all()
    assert np.abs(np.bincount(fold_of_row) - 120).max() <= 10


def test_more_folds_than_groups():
    with pytest.raises(BadInput, match="2 groups cannot fill 3 folds"):
        stratified_folds(np.ones((9, 3), np.uint8), 3, 0, np.arange(9) % 2)


def test_the_external_table_by_antibodies(shared_data):
    """Every class in every fold: the rarest, Microtubule ends, has seven antibodies of six rows each."""
    table = read_training_table(shared_data / "kaggle_csv/HPAv18RBGY_wodpl.csv", HPA)
    fold_of_row = make_folds(table, 5, 0, "antibodies")
    antibodies = np.array([identifier.split("_")[0] for identifier in table.ids])
    assert len({*zip(antibodies, fold_of_row, strict=True)}) == len(set(antibodies)) == 12_815
    counts, total = counts_by_fold(table.targets, fold_of_row, 5), table.targets.sum(axis=0, dtype=int)
    assert sorted(counts[:, 15]) == [6, 6, 6, 12, 12]
    assert counts.min() > 0
    assert np.abs(counts - total / 5).max() < 5
    assert np.abs(np.bincount(fold_of_row) - len(table) / 5).max() < 5


def same(groups):
    """Which rows are together, bool [n, n]."""
    return groups[:, None] == groups


def test_antibodies_are_the_first_part_of_an_id():
    groups = read_groups("antibodies", np.array(["10_1_A1_1", "10_2_A1_1", "100_1_A1_1", "00070df0-bbc3", "10"]))
    assert same(groups).tolist() == same(np.array([0, 0, 1, 2, 0])).tolist()


def test_groups_of_several_sorts_are_joined(tmp_path):
    """A copy ties its two antibodies, and a row of the training set, together."""
    copies = tmp_path / "copies.csv"
    copies.write_text("Id,group\nt1,5\n10_1_A1_2,5\n20_1_A1_1,5\nt3,8\nelsewhere,8\n")
    ids = np.array(["t1", "t2", "t3", "10_1_A1_1", "10_1_A1_2", "20_1_A1_1", "20_1_A1_2", "30_1_A1_1"])
    expected = same(np.array([0, 1, 2, 0, 0, 0, 0, 3])).tolist()
    for order in (f"antibodies,{copies}", f"{copies}, antibodies"):
        assert same(read_groups(order, ids)).tolist() == expected
    more = tmp_path / "more.csv"
    more.write_text("Id,group\n30_1_A1_1,x\nt2,x\n")
    assert (
        same(read_groups(f"antibodies,{copies},{more}", ids)).tolist() == same(np.array([0, 1, 2, 0, 0, 0, 0, 1])).tolist()
    )


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=30))
@settings(deadline=None, max_examples=30)
def test_joined_groups_are_the_connected_ones(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("groups")
    ids = np.array([f"{antibody}_{row}" for row, (antibody, _) in enumerate(pairs)])
    (folder / "c.csv").write_text("Id,group\n" + "".join(f"{i},{g}\n" for i, (_, g) in zip(ids, pairs, strict=True)))
    together = np.array([[a[0] == b[0] or a[1] == b[1] for a in pairs] for b in pairs])
    for _ in pairs:
        together = together @ together
    assert same(read_groups(f"antibodies,{folder / 'c.csv'}", ids)).tolist() == together.tolist()


def test_neighbours_may_have_long_numbers():
    groups = read_groups("neighbours-10,neighbours-15", np.array(["123456789012345678", "7", "12", "123456789012345679"]))
    assert same(groups).tolist() == same(np.array([0, 1, 1, 0])).tolist()


def test_groups_of_the_test_set_tie_nothing_and_some_id_must_be_named(tmp_path):
    copies = tmp_path / "copies.csv"
    copies.write_text("Id,group,set,kind\n7,0,train,near\n7,1,test,near\n8,0,validation,near\n9,1,train,near\n")
    groups = read_groups(str(copies), np.array(["7", "8", "9"]))
    assert same(groups).tolist() == same(np.array([0, 0, 1])).tolist()
    with pytest.raises(BadInput, match="names none of the ids, the first of which is 07"):
        read_groups(str(copies), np.array(["07", "08"]))


def test_a_table_that_found_no_copies_ties_nothing(tmp_path):
    copies, ids = tmp_path / "copies.csv", np.array(["7", "8", "9"])
    for rows in ("", "x,0,external,near\ny,0,external,near\nz,1,external-mine,exact\n7,1,test,exact\n"):
        copies.write_text("Id,group,set,kind,label\n" + rows)
        assert len(np.unique(read_groups(str(copies), ids))) == 3
    copies.write_text("Id,group\n")
    with pytest.raises(BadInput, match="names none of the ids"):
        read_groups(str(copies), ids)


def test_copies_of_test_images_are_found_in_the_tables_alone(tmp_path):
    copies, ids = tmp_path / "copies.csv", np.array(["7", "8", "9", "10"])
    copies.write_text("Id,group,set\n7,0,external\n7,1,test\n8,1,external\n9,2,train\n10,2,external\n")
    assert copies_of_test(f"neighbours-10, {copies}", ids).tolist() == [False, True, False, False]
    assert not copies_of_test("neighbours-10,antibodies", ids).any()
    assert not copies_of_test(None, ids).any()
    copies.write_text("Id,group\n7,0\n8,0\n")
    assert not copies_of_test(str(copies), ids).any()


@pytest.mark.parametrize(
    ("groups", "named"),
    [
        ("antibodies", "no id has the form <antibody>_<plate>_<well>_<field>"),
        ("neighbours-10", "2 faults"),
        ("nowhere.csv", "nowhere.csv: cannot be read"),
        ("antibodies,", "no id has the form"),
    ],
)
def test_groups_that_cannot_be_read(groups, named):
    with pytest.raises(BadInput, match=named):
        make_folds(SampleTable(np.array(["a", "b"]), np.ones((2, 3), np.uint8)), 2, 0, groups)


def test_share_table_of_a_hand_worked_case():
    targets = np.array([[1, 0], [1, 0], [1, 1], [1, 1], [0, 1]], np.uint8)
    shares = share_table(targets, np.array([0, 0, 0, 1, 1]), ("first", "second"))
    assert shares.index.tolist() == ["first", "second"]
    assert shares.columns.tolist() == ["fold 0", "fold 1", "ideal", "worst deviation"]
    assert shares.to_numpy().tolist() == [[3, 1, 2, 1], [1, 2, 1.5, 0.5]]


def test_a_split_comes_back_in_the_order_of_the_table(tmp_path):
    ids, folds = np.array(["a", "NA", "1", "01"]), np.array([1, 0, 2, 0])
    path = tmp_path / "folder" / "split.csv"
    write_split(path, ids, folds)
    assert path.read_text() == "Id,fold\na,1\nNA,0\n1,2\n01,0\n"
    back = read_split(path, ids[::-1])
    assert back.tolist() == folds[::-1].tolist()
    assert np.issubdtype(back.dtype, np.integer)
    assert [file.name for file in path.parent.iterdir()] == ["split.csv"]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("a,0\nb,1\n", ["1 ids of the table missing (c); the run was made on another table"]),
        ("a,0\nb,1\nc,0\nx,0\ny,1\n", ["2 ids that the table does not have (x, y); the run was made on another table"]),
        ("a,0\nb,1\nx,0\n", ["2 faults", "missing (c)", "not have (x)"]),
        ("a,0\nb,1\nc,0\na,0\n", ["line 5: id a is here twice"]),
        ("a,-1\nb,1.0\nc,\n", ["3 faults", "line 2: fold '-1'", "line 3: fold '1.0'", "line 4: fold ''"]),
        ("a,x\na,0\nb,0\nz,9999999999\n", ["line 2: fold 'x'", "line 3: id a", "line 5: fold '9999999999'", "(c)", "(z)"]),
        ("", ["no rows"]),
    ],
)
def test_a_split_that_does_not_fit(tmp_path, rows, named):
    path = tmp_path / "split.csv"
    path.write_text("Id,fold\n" + rows)
    with pytest.raises(BadInput) as caught:
        read_split(path, np.array(["a", "b", "c"]))
    assert str(caught.value).startswith(f"{path}: ")
    for text in named:
        assert text in str(caught.value)


def test_only_the_first_of_many_differences_are_named(tmp_path):
    path = tmp_path / "split.csv"
    write_split(path, np.array(["x"]), np.array([0]))
    with pytest.raises(BadInput, match=r"20 ids of the table missing \(id0, id1, id2, \.\.\.\)"):
        read_split(path, np.array([f"id{number}" for number in range(20)]))


def test_many_folds_of_many_rows_take_seconds():
    """Threads of the matrix library would wait for each other for half a minute here."""
    random = np.random.default_rng(0)
    targets = (random.random((75_000, 28)) < np.geomspace(0.3, 0.002, 28)).astype(np.uint8)
    start = time.process_time()
    fold_of_row = stratified_folds(targets, 40, 0)
    assert time.process_time() - start < 10
    counts = np.stack([targets[fold_of_row == fold].sum(axis=0) for fold in range(40)])
    assert np.abs(counts - counts.mean(axis=0)).max() < 1
    assert np.unique(np.bincount(fold_of_row)).tolist() == [1875]

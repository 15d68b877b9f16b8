import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpa.data.splits import read_split, share_table, stratified_folds, write_split
from hpa.data.tables import read_training_table
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

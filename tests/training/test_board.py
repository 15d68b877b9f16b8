"""TensorBoard sees what history.csv holds, also of a run that was interrupted."""

import pytest

from hpa import train
from hpa.runs.folder import read_history
from hpa.training import board

TINY = ["--task", "hep2", "--size", "16", "--filters", "2,4", "--blocks", "1,1", "--batch-size", "16", "--name", "a"]


def run(data, runs):
    return train.main(["--data", str(data), "--runs", str(runs), *TINY, "--epochs", "2", "--tensorboard"])


def test_a_resumed_run_goes_on_in_the_same_folder(drawn_cells, tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tensors = pytest.importorskip("tensorboard.util.tensor_util")
    write = board.Board.on_epoch_end

    def interrupted(self, epoch, logs=None):
        write(self, epoch, logs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(board.Board, "on_epoch_end", interrupted)
        assert run(drawn_cells, tmp_path) == 1
    assert run(drawn_cells, tmp_path) == 0
    folder = tmp_path / "a" / "base"
    history = read_history(folder)
    for part, names in {
        "train": {"epoch_loss": "loss", "epoch_accuracy": "accuracy"},
        "validation": {"epoch_loss": "validation_loss", "epoch_accuracy": "validation_accuracy"},
    }.items():
        found = events.EventAccumulator(str(folder / board.LOGS / part))
        found.Reload()
        for name, column in names.items():
            scalars = found.Tensors(name)
            assert [each.step for each in scalars] == [0, 1]
            values = [float(tensors.make_ndarray(each.tensor_proto)) for each in scalars]
            assert values == pytest.approx(history[column].tolist(), rel=1e-6)


def test_without_tensorboard_nothing_begins(drawn_cells, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(board, "find_spec", lambda name: None if name == "tensorboard" else name)
    assert run(drawn_cells, tmp_path) == 2
    fix = "pip install '.[tensorboard]' in the folder with hpa's source"
    assert capsys.readouterr().err.endswith(f"--tensorboard: needs tensorboard; {fix}\n")
    assert list(tmp_path.iterdir()) == []

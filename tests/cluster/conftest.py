import logging
import os
from pathlib import Path

import pytest

from hpa.backend import backend

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")


@pytest.fixture(scope="module")
def three_nodes():
    """A Ray cluster of three nodes on this machine, with one core each: the head, and two that may be killed.

    They are started with another backend of Keras than the command has.
    """
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])  # for the nodes' workers, wherever they are
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KERAS_BACKEND", "jax" if backend() == "tensorflow" else "tensorflow")
        cluster = cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}, shutdown_at_exit=False
        )
        for _ in range(2):
            cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(autouse=True)
def _messages():
    logging.getLogger("hpa").setLevel(logging.INFO)

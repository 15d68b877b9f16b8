"""Work on a Ray cluster: the only module that knows Ray.

Ray decides where a task runs. What is done here: to see that every node is fit before it gets work, to begin a task again
whose worker or node is lost, and to bring its messages to the screen. A task is given out as bytes and is unpacked on a node
that was found fit, so that one without hpa can say so. The node is told the backend of Keras: its workers have the
environment of the shell in which it was started, not that of the command.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hpa import hardware
from hpa.backend import backend
from hpa.cluster.plan import Task
from hpa.cluster.share import TaskError
from hpa.errors import BadInput, Failure, installing, refuse
from hpa.files import cores, write_json

try:
    import ray
    from ray import exceptions
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    fix = f"{installing('cluster')}, or --address none"
    raise BadInput(f"address: Ray is not installed; {fix}", "address") from error

R = TypeVar("R")

CRASHES = 10  # of a task's worker, one after the other, after which the task is given up; the loss of a node does not count
OUT_OF_MEMORY = 3
PROBES = 10  # of a node that does not answer
ANSWER = 120  # seconds in which a node has to answer
CLOCK = 30  # seconds by which a node's clock may differ from that of the shared folder; locks are judged by it

DAY = 86400  # seconds

logger = logging.getLogger(__name__)


class Cluster:
    """A Ray cluster whose nodes were found fit."""

    def __init__(self, folders: Mapping[str, Path], workers: int | None = None) -> None:
        """Probe the nodes of the cluster that this process is connected to.

        Args:
            folders: what every node must see, by what it is called; those called "runs" it must write to.
            workers: at most so many tasks at once; None for all that fit.

        Raises:
            BadInput: naming each node that is not fit and why.
        """
        self.workers, self._unfit, self._closed = workers, dict[str, str](), False
        self._probe = {name: str(folder) for name, folder in folders.items()}
        self._probe["token"] = secrets.token_hex(8)
        versions = hardware.versions()
        for file in folders["runs"].glob(f"{_probe_file(Path(), '*')}"):
            if time.time() - file.stat().st_mtime > DAY:  # of a process that was killed
                file.unlink(missing_ok=True)
        write_json(_probe_file(folders["runs"], self._probe["token"]), versions)
        self._fixed = self._probe, versions, os.getcwd(), backend()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board = ray.remote(num_cpus=0, scheduling_strategy=here)(_Board).remote()
        self._attempt = ray.remote(_attempt())
        self._require_fit()

    def close(self) -> None:
        """Stop all tasks of this process and leave the cluster."""
        self._closed = True
        for file in Path(self._probe["runs"]).glob(f"{_probe_file(Path(), self._probe['token'])}*"):
            file.unlink(missing_ok=True)
        ray.shutdown()

    def require_room(self, tasks: Sequence[Task]) -> None:
        """Raise BadInput if no node is large enough for some task."""
        nodes = [(node["NodeManagerHostname"], node["Resources"]) for node in _nodes()]
        for need, kind, setting in (("cores", "CPU", "cores"), ("gpus", "GPU", "gpus"), ("memory", "memory", "memory")):
            largest, name = max((resources.get(kind, 0), name) for name, resources in nodes)
            needed = max((getattr(task, need) for task in tasks), default=0)
            if needed > largest:
                raise BadInput(
                    f"{setting}_per_task: a task needs {_amount(need, needed)}, and the largest node, {name}, has "
                    f"{_amount(need, largest)}; ask for less, or add a larger node",
                    f"{setting}_per_task",
                )

    def at_once(self, task: Task) -> int:
        """Return how many tasks like this one are at work at once when the cluster is busy."""
        room = sum(_room(node["Resources"], task) for node in _nodes())
        return min(self.workers or room, room) or 1

    def places(self, task: Task) -> int:
        """Return how many tasks like this one the cluster may be given: twice as many as there is room for."""
        twice = 2 * self.at_once(task)
        return min(self.workers or twice, twice)

    def read_messages(self) -> list[tuple[str, str, str]]:
        """Return what tasks have said since the last time, as (task, node, text)."""
        try:
            found: list[tuple[str, str, str]] = ray.get(self._board.read.remote(), timeout=ANSWER)
        except (exceptions.RayError, exceptions.GetTimeoutError):
            return []
        return found

    def call(self, task: Task, work: Callable[..., R], *arguments: object) -> R:
        """Return what `work` returns on some node with what the task needs; begun again if its worker or node is lost.

        Raises:
            BadInput, Failure: what the work raises, with the name of the node.
            TaskError: if the task runs out of memory or crashes its worker again and again.
        """
        payload, crashes, full = pickle.dumps((work, arguments)), 0, 0
        needs = {"num_cpus": task.cores, "num_gpus": task.gpus, "memory": task.memory or None}
        while True:
            selector = {"ray.io/node-id": f"!in({','.join(self._unfit)})"} if self._unfit else None
            attempt = self._attempt.options(**needs, max_retries=0, name=task.name, label_selector=selector)
            try:
                kind, node, host, value = ray.get(attempt.remote(payload, task.name, *self._fixed, self._board))
            except exceptions.RayTaskError as error:
                raise TaskError(f"{task.name}: a defect: {error}") from error
            except exceptions.OutOfMemoryError as error:
                full += 1
                if full >= OUT_OF_MEMORY:
                    raise TaskError(
                        f"{task.name}: ran out of memory {full} times; give --memory-per-task, fewer --workers, or smaller "
                        "images or batches"
                    ) from error
                logger.warning("%s: ran out of memory, begins again", task.name)
            except exceptions.NodeDiedError:
                self._require_open()
                logger.warning("%s: its node is lost, begins again", task.name)
            except exceptions.RayError as error:
                self._require_open()
                crashes += 1
                if crashes >= CRASHES:
                    raise TaskError(f"{task.name}: its worker died {crashes} times ({_first_line(error)})") from error
                logger.warning("%s: its worker is lost, begins again", task.name)
            else:
                if kind == "done":
                    return value
                if kind == "raised":
                    raised = pickle.loads(value)
                    raise type(raised)(f"{raised} (on {host})")
                if node not in self._unfit:  # one that joined later: the others were probed at the start
                    logger.warning("%s; it gets no tasks", value)
                self._unfit[node] = value

    def _require_open(self) -> None:
        if self._closed or not ray.is_initialized():
            raise Failure("the connection to the cluster is closed")

    def _require_fit(self) -> None:
        """Raise BadInput if a node is not fit; those that are lost meanwhile do not count."""
        references = {node["NodeID"]: self._check_on(node["NodeID"]) for node in _nodes()}
        faults = [self._fault_of(node, reference) for node, reference in references.items()]
        found = [fault for fault in faults if fault]
        runs, fit = Path(self._probe["runs"]), sum(fault == "" for fault in faults)
        written = len(list(runs.glob(f"{_probe_file(Path(), self._probe['token'])}-*")))
        if not found and written < fit:
            found = [f"{fit - written} of the nodes write to another {runs} than this machine; share the folder"]
        refuse("cluster", found)

    def _check_on(self, node: str) -> Any:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_check()).remote(*self._fixed)

    def _fault_of(self, node: str, reference: Any) -> str | None:
        """Return what is wrong with a node, "" if it is fit, and None if it is lost."""
        for _ in range(PROBES):
            try:
                return ray.get(reference, timeout=ANSWER) or ""
            except exceptions.RayError as error:
                reason = _first_line(error)
            time.sleep(ANSWER / PROBES / 10)  # Ray may notice only now that it is lost
            names = {each["NodeID"]: f"{each['NodeManagerHostname']} ({each['NodeManagerAddress']})" for each in _nodes()}
            if node not in names:
                return None
            reference = self._check_on(node)
        return f"{names[node]}: does not work ({reason})"


class _Board:
    """Collects what tasks say."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def tell(self, task: str, node: str, text: str) -> None:
        self.lines.append((task, node, text))

    def read(self) -> list[tuple[str, str, str]]:
        found, self.lines = self.lines, []
        return found


@contextmanager
def connected(address: str, folders: Mapping[str, Path], workers: int | None = None) -> Iterator[Cluster]:
    """Connect to a Ray cluster and yield it; leave it at the end.

    Args:
        address: `"local"` for one of this machine that ends with the block, `"auto"` for the one that this machine belongs
            to, or the HOST:PORT of a cluster's head.
        folders: as for `Cluster`.
        workers: as for `Cluster`.

    Raises:
        BadInput: if there is no such cluster, it has other versions of Ray or Python, or a node is not fit.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            ray.init(address="local", num_cpus=cores(), include_dashboard=False, **quiet)
        else:
            if address != "auto":
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address=address, **quiet)
    except (ConnectionError, OSError, ValueError, OverflowError, RuntimeError) as error:
        raise BadInput(
            f"address {address}: no Ray cluster that this process can join ({_first_line(error)}); start one with `ray "
            "start --head`, or --address local",
            "address",
        ) from error
    cluster = None
    try:
        cluster = Cluster(folders, workers)
        yield cluster
    finally:
        if cluster:
            cluster.close()
        ray.shutdown()


def _check() -> Callable[..., str | None]:
    """Return the function that says what is wrong with the node that it runs on. Ray sends its text: hpa may be absent."""
    allowed = CLOCK

    def check(probe: dict[str, str], versions: dict[str, str], folder: str, keras_backend: str) -> str | None:
        import contextlib
        import importlib.metadata
        import importlib.util
        import os
        import platform
        import time

        import ray

        name = f"{platform.node()} ({ray.util.get_node_ip_address()})"
        with contextlib.suppress(OSError):  # absolute paths need it not
            os.chdir(folder)
        try:
            import hpa

            if importlib.util.find_spec(keras_backend) is None:
                fix = f"install version {versions[keras_backend]}, or set KERAS_BACKEND to another"
                return f"{name}: {keras_backend}, the backend of Keras here, is not installed there; {fix}"
            found = {"hpa": hpa.__version__, "python": platform.python_version()}
            found |= {package: importlib.metadata.version(package) for package in versions if package not in found}
        except ImportError as error:
            return f"{name}: hpa or a package that it needs is not installed there ({error}); install the same version"
        other = [
            f"{each} {found[each]} there, {version} here" for each, version in versions.items() if found[each] != version
        ]
        if other:
            return f"{name}: has other versions ({'; '.join(other)}); install the same ones"
        for what, place in probe.items():
            if what != "token" and not os.path.isdir(place):
                return f"{name}: does not see the folder of {what}, {place}; share it with all nodes under the same path"
        file = os.path.join(probe["runs"], f".probe-{probe['token']}")
        if not os.path.isfile(file):
            return f"{name}: has another folder at {probe['runs']} than this machine; share it with all nodes"
        own = f"{file}-{ray.get_runtime_context().get_node_id()}"
        try:
            with open(own, "w") as stream:
                stream.write(name)
            late = time.time() - os.stat(own).st_mtime
        except OSError as error:
            return f"{name}: cannot write to {probe['runs']} ({error.strerror}); fix its rights or its disk"
        if abs(late) > allowed:
            return f"{name}: its clock differs from that of {probe['runs']} by {late:.0f} s; set it, locks are judged by it"
        return None

    return check


def _attempt() -> Callable[..., tuple[str, str, str, Any]]:
    """Return the function that does a task on a node. Ray sends its text: hpa may be absent."""
    check = _check()

    def attempt(
        payload: bytes,
        task: str,
        probe: dict[str, str],
        versions: dict[str, str],
        folder: str,
        keras_backend: str,
        board: Any,
    ) -> tuple[str, str, str, Any]:
        import logging
        import os
        import pickle
        import platform

        import ray

        node, host = ray.get_runtime_context().get_node_id(), platform.node()
        if os.environ.get("HPA_CHECKED") != probe["token"]:
            if fault := check(probe, versions, folder, keras_backend):
                return "unfit", node, host, fault
            os.environ |= {"HPA_CHECKED": probe["token"], "KERAS_BACKEND": keras_backend}
        from hpa.errors import BadInput, Failure

        class Teller(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                board.tell.remote(task, host, record.getMessage())

        teller = Teller()
        logging.getLogger("hpa").addHandler(teller)
        board.tell.remote(task, host, "begins")
        try:
            work, arguments = pickle.loads(payload)
            return "done", node, host, work(*arguments)
        except (BadInput, Failure) as error:
            return "raised", node, host, pickle.dumps(error)
        finally:
            logging.getLogger("hpa").removeHandler(teller)

    return attempt


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _room(resources: Mapping[str, float], task: Task) -> int:
    """Return how many tasks like one a node has room for."""
    needs = {"CPU": task.cores, "GPU": task.gpus, "memory": task.memory}
    return int(min(resources.get(kind, 0) / need for kind, need in needs.items() if need))


def _amount(need: str, number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if need == "memory" else f"{number:g} {need if need == 'cores' else 'GPUs'}"


def _probe_file(folder: Path, token: str) -> Path:
    return folder / f".probe-{token}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

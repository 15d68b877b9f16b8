"""What can be checked of pipelines/cluster/ without Slurm and Kubernetes."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_cluster_kills import until

from hpa import cluster

SCRIPTS = Path(__file__).resolve().parents[2] / "pipelines" / "cluster"


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.name)
def test_the_syntax(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_ray_knows_the_options():
    shown = subprocess.run(
        [Path(sys.executable).parent / "ray", "start", "--help"], capture_output=True, text=True, check=True
    )
    given = {option for script in SCRIPTS.glob("*.sh") for option in ray_options(script.read_text())}
    assert {"--head", "--port", "--address"} < given
    assert [option for option in sorted(given) if option not in shown.stdout] == []


def ray_options(text):
    """The options of `ray start`, those in an array of options too."""
    lines = re.findall(r"ray start (.*)|^options=\((.*)\)", text.replace("\\\n", ""), re.MULTILINE)
    return re.findall(r"--[a-z-]+", " ".join(part for line in lines for part in line))


def test_slurm_starts_one_head_and_the_others(tmp_path):
    """With stand-ins for Slurm's and Ray's programs, which write down how they are called."""
    stand_in = '#!/bin/sh\necho "$(basename "$0") $*" >>"$CALLS"\n'
    answers = {
        "scontrol": "printf 'n1\\nn2\\nn3\\n'",
        "srun": '[ "$7" = hostname ] && echo 10.0.0.1',
        "sleep": "",
        "ray": "",
    }
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f"PATH={tmp_path}:$PATH\n")
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"{stand_in}{answer}\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "CALLS": str(tmp_path / "calls"), "SLURM_JOB_NODELIST": "n[1-3]"}
    environment |= {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "2", "SLURM_JOB_NUM_NODES": "3"}
    options = ["--folds", "5", "--gpus-per-task", "1"]
    subprocess.run(["bash", SCRIPTS / "slurm.sh", *options], cwd=tmp_path, env=environment, check=True)
    wanted = "ray start --head", "ray start --address", "python -m hpa.cluster"

    def found():  # what the script starts in the background may still be at its note
        calls = (tmp_path / "calls").read_text().splitlines()
        own = [[call for call in calls if call.startswith("srun") and each in call] for each in wanted]
        return own if all(own) else None

    [head], [others], [command] = until(found, 20)
    assert head.startswith("srun --nodes 1 --ntasks 1 --nodelist n1 ")
    assert "--node-ip-address 10.0.0.1 --port 20007" in head
    assert others.startswith("srun --nodes 2 --ntasks 2 --exclude n1 ")
    assert others.endswith("ray start --address 10.0.0.1:20007 --num-cpus 8 --num-gpus 2 --disable-usage-stats --block")
    assert command.endswith(f"python -m hpa.cluster run --address 10.0.0.1:20007 {shlex.join(options)}")


def test_the_ray_job_mounts_one_folder_everywhere_and_its_options_exist():
    job = yaml.safe_load((SCRIPTS / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "hpa.cluster"]
    options = cluster.build_parser().parse_args(words[3:])
    spec = job["spec"]["rayClusterSpec"]
    assert spec["rayVersion"].startswith("2.60")
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        [container] = group["template"]["spec"]["containers"]
        [mount] = container["volumeMounts"]
        [volume] = group["template"]["spec"]["volumes"]
        assert mount["name"] == volume["name"]
        assert {str(options.data.parent), str(options.runs.parent), container["workingDir"]} == {mount["mountPath"]}
    limits = groups[1]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert int(limits["cpu"]) >= options.cores_per_task
    assert float(limits["nvidia.com/gpu"]) >= options.gpus_per_task

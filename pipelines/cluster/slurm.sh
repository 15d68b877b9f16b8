#!/usr/bin/env bash
# A competition on nodes that Slurm gives: `sbatch --nodes 4 --gpus-per-node 4 --cpus-per-task 32 slurm.sh OPTIONS`, where
# OPTIONS are those of `python -m hpa.cluster run`, such as --folds 5 --gpus-per-task 1 --cores-per-task 8. Submit it from a
# folder that all nodes see. When the time is up, submit it again: it goes on. $VENV is the virtual environment of
# hpa and its extra `cluster`, .venv in that folder if not given.
#SBATCH --job-name=hpa
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --output=hpa-%j.log
set -euo pipefail
source "${VENV:-.venv}/bin/activate"
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes 1 --ntasks 1 --nodelist "$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))  # of its own: other jobs may share the network
options=(--num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" --disable-usage-stats --block)

srun --nodes 1 --ntasks 1 --nodelist "$head" --overlap \
    ray start --head --node-ip-address "$address" --port "$port" --include-dashboard false "${options[@]}" &
for _ in $(seq 60); do
    ray health-check --address "$address:$port" 2>/dev/null && break
    sleep 2
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --nodes $((SLURM_JOB_NUM_NODES - 1)) --ntasks $((SLURM_JOB_NUM_NODES - 1)) --exclude "$head" --overlap \
        ray start --address "$address:$port" "${options[@]}" &
    sleep 20  # nodes that come later are taken up when they come
fi
srun --nodes 1 --ntasks 1 --nodelist "$head" --overlap python -m hpa.cluster run --address "$address:$port" "$@"

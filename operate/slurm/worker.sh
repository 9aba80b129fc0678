#!/bin/bash
# A worker as a job of Slurm. `tunery slurm` submits it: worker.sh FILE_OF_VARIABLES NAME=VALUE...
# One task on each node: the worker there. Over several nodes they are a group, and the first one leads it.
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
set -o allexport
source "$1"
set +o allexport
export "${@:2}"

# srun hands SIGTERM on to the workers. Slurm then waits for KillWait, or for GraceTime, until it kills them.
# The worker of the first node ends by itself when it is idle; the others have no reason to stay.
exec srun --export=ALL --ntasks-per-node=1 --kill-on-bad-exit=1 --wait=10 bash -c '
  export TUNERY_NODES=$SLURM_NNODES TUNERY_NODE_RANK=$SLURM_NODEID
  export TUNERY_RENDEZVOUS=$SLURM_LAUNCH_NODE_IPADDR:$((20000 + SLURM_JOB_ID % 10000))
  exec tunery worker'

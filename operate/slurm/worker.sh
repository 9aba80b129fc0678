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

# Slurm sends SIGTERM to the workers, and waits for KillWait, or for GraceTime, until it kills them. The first worker of
# a group ends by itself when it is idle. The others then have no reason to stay, and get SIGTERM too.
exec srun --export=ALL --ntasks-per-node=1 --kill-on-bad-exit=1 --wait=90 bash -c '
  export TUNERY_NODES=$SLURM_NNODES TUNERY_NODE_RANK=$SLURM_NODEID
  export TUNERY_RENDEZVOUS=$SLURM_LAUNCH_NODE_IPADDR:$((20000 + SLURM_JOB_ID % 10000))
  if [ "$SLURM_NNODES" = 1 ]; then exec tunery worker; fi
  trap : TERM
  tunery worker
  status=$?
  if [ "$SLURM_NODEID" = 0 ]; then scancel --signal=TERM "$SLURM_JOB_ID.$SLURM_STEP_ID"; fi
  exit "$status"'

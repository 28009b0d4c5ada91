#!/bin/bash
#SBATCH --job-name=sonorant
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
# Several machines under Slurm: edit the lines above, then
#   sbatch scripts/slurm.sh pretrain wav2vec2_base data.manifest=speech.jsonl out=runs/w2v2
# The run's folder and the audio lie where all machines can read them. Slurm requeues the job after a lost
# machine; two minutes before its time is over, it requeues itself. Either way it goes on from the last checkpoint.
set -euo pipefail
processes=${PROCESSES:-${SLURM_GPUS_ON_NODE:?set PROCESSES, the number of processes on each machine}}
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((${SLURM_CPUS_PER_TASK:-$processes} + processes - 1) / processes))}

requeue() {
    scontrol requeue "$SLURM_JOB_ID"
}
trap requeue USR1

srun "${PYTHON:-python3}" -m torch.distributed.run --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$processes" \
    --rdzv-id "$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" --rdzv-backend c10d --rdzv-endpoint "${hosts[0]}:${PORT:-29500}" \
    --max-restarts "${RESTARTS:-3}" -m sonorant "$@" &
wait $!

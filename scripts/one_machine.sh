#!/bin/bash
# One process for each GPU of this machine; without GPUs PROCESSES of them on its cores, two unless told.
#   scripts/one_machine.sh pretrain wav2vec2_base data.manifest=speech.jsonl out=runs/w2v2
# RESTARTS (3): how often all are started again from the last checkpoint once one is lost.
set -euo pipefail
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l || true)
processes=${PROCESSES:-$((gpus > 0 ? gpus : 2))}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((($(nproc) + processes - 1) / processes))}
exec "${PYTHON:-python3}" -m torch.distributed.run --standalone --nproc-per-node "$processes" \
    --max-restarts "${RESTARTS:-3}" -m sonorant "$@"

#!/usr/bin/env bash
# models/mini trained on for seven minutes on one NVIDIA GPU: data, training, export, evaluation, a table last.
# `--tiny` does the same at toy size on the CPU in two minutes. Results: $OUT (default build/gpu). See docs/gpu.md.
#   tools/gpu/train.sh [--tiny] [--seconds 420] [--learning-rate 7e-4] [--seed 101]
set -euo pipefail
# shellcheck source=tools/gpu/common.sh
. "$(dirname "$0")/common.sh"
TIME=420
for ((i = 1; i <= $#; i++)); do
  case "${!i}" in
    --tiny) TINY=1 TIME=110 ;;
  esac
done
for ((i = 1; i < $#; i++)); do
  if [ "${!i}" = --seconds ]; then
    i=$((i + 1))
    TIME=${!i}
  fi
done
# One thread each: there is a process for every core, and threads would wait for one another.
export OMP_NUM_THREADS=1
if [ -n "$TINY" ]; then export ACCELERATE_USE_CPU=true CUDA_VISIBLE_DEVICES=""; fi
need_cuda
if [ -d "$KIT/photographs" ] && [ ! -e build/photographs ]; then
  mkdir -p build
  cp -r "$KIT/photographs" build/photographs
fi
# The clock inside decides the steps; this one is for what it did not foresee.
timeout -k 10 $((TIME + 25)) "$PYTHON" -m tools.gpu.train "$@" --seconds "$((TIME - SECONDS + STARTED))" --out "$OUT"

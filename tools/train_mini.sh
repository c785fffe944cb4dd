#!/usr/bin/env bash
# Make models/mini from nothing, step by step; every step goes on
# where it was cut off. `tools/train_mini.sh --quick` does the same in minutes at toy size, to see that it learns.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
WORK=${WORK:-build}
JOBS=${JOBS:-$(nproc)}
export OMP_NUM_THREADS=1
[ -n "$(command -v nvidia-smi || true)" ] && JOBS=1 || export ACCELERATE_USE_CPU=true

if [ "${1:-}" = --quick ]; then
  WORK=${WORK}/quick
  SMALL="--shards 2 --objects 32" LARGE="--shards 1 --objects 16" AE="--steps 60" DECODER="--steps 30"
  FIRST="--steps 120 --log-every 20 --save-every 40 --sheet-every 120"
  SECOND="--steps 20 --log-every 10 --save-every 20 --sheet-every 20"
else
  SMALL="--shards 52" LARGE="--shards 8 --objects 64" AE="--steps 6000" DECODER="--steps 2000" FIRST="" SECOND=""
fi

together() { # run a command once per core, each with its share of the work
  for part in $(seq 0 $((JOBS - 1))); do "$BIN/python" -m "$@" --part "$part/$JOBS" & done
  wait
}
spread() { "$BIN/torchrun" --nproc-per-node "$JOBS" -m "$@"; }

"$BIN/python" -m iclight.training.photographs ||
  echo "No panoramas and no raccoon: going on with the photographs of the installed packages." >&2
spread iclight.training.autoencoder --side 64 --batch 8 --rate 1.5e-3 --save-every 250 --out "$WORK/autoencoder" $AE
together iclight.training.render "$WORK/stage128" --side 128 $SMALL
together iclight.training.latents "$WORK/stage128" "$WORK/latents128" --vae "$WORK/autoencoder/final"
spread iclight.training.train --config mini --vae "$WORK/autoencoder/final" --data "$WORK/latents128" --out "$WORK/mini-128" $FIRST
together iclight.training.render "$WORK/stage256" --side 256 --seed 2 $LARGE
together iclight.training.latents "$WORK/stage256" "$WORK/latents256" --vae "$WORK/autoencoder/final"
spread iclight.training.train --config mini-256 --vae "$WORK/autoencoder/final" --data "$WORK/latents256" \
  --begin "$WORK/mini-128/trained" --out "$WORK/mini-256" $SECOND
spread iclight.training.autoencoder --decoder-only --begin "$WORK/autoencoder/final" --side 96 --batch 6 --rate 5e-4 \
  --out "$WORK/decoder" $DECODER
"$BIN/python" -m iclight.training.export "$WORK/mini-256/trained" "$WORK/mini" --vae "$WORK/decoder/final"
echo "The model is in $WORK/mini; measure it with: make evaluate ARGS=\"--model $WORK/mini\""

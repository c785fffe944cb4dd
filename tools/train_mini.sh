#!/usr/bin/env bash
# Make models/mini from nothing, step by step; every step goes on
# where it was cut off. `tools/train_mini.sh --quick` does the same in minutes at toy size, to see that it learns.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
WORK=${WORK:-build}
JOBS=${JOBS:-$(nproc)}
RANKS=$JOBS AHEAD="" LAST=""
export OMP_NUM_THREADS=1
GPUS=$(nvidia-smi --list-gpus 2>/dev/null | grep -c ^GPU || true)
if [ "$GPUS" -gt 0 ]; then
  RANKS=$GPUS
  AHEAD="--workers $((JOBS / RANKS > 8 ? 8 : JOBS / RANKS))" LAST="--batch 128 --learning-rate 7e-4 --ema-decay 0.998"
else
  export ACCELERATE_USE_CPU=true
fi

if [ "${1:-}" = --quick ]; then
  WORK=${WORK}/quick
  SCENES="--shards 2 --objects 32" THINGS="--objects 2" AE="--steps 60"
  FIRST="--steps 120 --log-every 20 --save-every 40 --sheet-every 120"
  SECOND="--steps 20 --log-every 10 --save-every 20 --sheet-every 20"
else
  SCENES="--shards 44" THINGS="--objects 640" AE="--steps 800" FIRST="" SECOND=""
fi

together() { # run a command once per core, each with its share of the work
  for part in $(seq 0 $((JOBS - 1))); do "$BIN/python" -m "$@" --part "$part/$JOBS" & done
  wait
}
spread() { # a process for each GPU, or for each core
  "$BIN/torchrun" --nproc-per-node "$RANKS" -m "$@"
}

"$BIN/python" -m training.scenes.photographs ||
  echo "No panoramas and no raccoon: going on with the photographs of the installed packages." >&2
RANKS=1 spread training.autoencoder --side 64 --batch 8 --learning-rate 2e-3 --log-every 100 --out "$WORK/autoencoder" $AE
VAE="$WORK/autoencoder/final"
together training.scenes.render "$WORK/stage128" --side 128 $SCENES
together training.data.latents "$WORK/stage128" "$WORK/latents64" --shrink 2 --vae "$VAE"
spread training.train --config mini-64 --vae "$VAE" --data "$WORK/latents64" --out "$WORK/mini-64" $AHEAD $FIRST
together training.data.latents "$WORK/stage128" "$WORK/latents128" --most 6 --vae "$VAE"
DATA=("$WORK/latents128")
if "$BIN/python" -c "import mitsuba" 2>/dev/null; then
  # shellcheck disable=SC2086 (options, to be split)
  "$BIN/python" -m training.scenes.traced.pathtraced "$WORK/traced-train" --size 128 --spp 20 --seed 5000 $THINGS
  together training.scenes.traced.shards "$WORK/traced-train" "$WORK/traced128" --rounds 8
  together training.data.latents "$WORK/traced128" "$WORK/latents128-traced" --vae "$VAE"
  DATA+=("$WORK/latents128-traced")
else
  echo "Mitsuba is not installed: going on without path-traced things (pip install -e \".[pathtraced]\")." >&2
fi
spread training.train --config mini-128 --vae "$VAE" --data "$WORK/latents128" \
  --init-from "$WORK/mini-64/trained" --out "$WORK/mini-128" $AHEAD $SECOND
# Then every workflow on its own, from there; words stay, for they are shared.
for workflow in fc fbc env; do
  spread training.train --config "mini-$workflow" --vae "$VAE" --data "${DATA[@]}" \
    --init-from "$WORK/mini-128/trained" --out "$WORK/mini-$workflow" $AHEAD $LAST $SECOND
done
"$BIN/python" -m training.export "$WORK/mini-env/trained" "$WORK/mini" --fc "$WORK/mini-fc/trained" \
  --fbc "$WORK/mini-fbc/trained" --vae "$VAE" --native-size 192 256
echo "The model is in $WORK/mini; measure it with: make evaluate ARGS=\"--model $WORK/mini\""

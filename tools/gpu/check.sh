#!/usr/bin/env bash
# The engine on one NVIDIA GPU, checked within eight minutes: tests, then the benchmark beside stock pipelines, then a
# table. `--tiny` does the same at toy size on the CPU. Results: $OUT (default build/gpu). See docs/gpu.md.
set -euo pipefail
# shellcheck source=tools/gpu/common.sh
. "$(dirname "$0")/common.sh"
WHOLE=${SECONDS_ALLOWED:-470} # all of it; what is left of it bounds every part

case "${1:-}" in
  "") DEVICE=cuda ;;
  --tiny) DEVICE=cpu TINY=1 ;;
  *) echo "usage: tools/gpu/check.sh [--tiny]" >&2 && exit 2 ;;
esac
need_cuda
PARTS=$OUT/parts.tsv
mkdir -p "$OUT/check"
rm -f "$PARTS" "$OUT"/check/*
if [ -n "$TINY" ]; then
  export ICLIGHT_GPU_TESTS_ON=cpu OMP_NUM_THREADS=1
  SIZE=(--size tiny --width 64 --height 64 --steps 2 --repeat 1)
else
  SIZE=(--size sd15 --width 512 --height 640 --steps 6 --repeat 2)
fi

part() { # NAME SECONDS COMMAND...: run it within so many seconds, note how it ended, go on whatever that was
  local name=$1 most=$2 left=$((WHOLE - 8 - SECONDS + STARTED)) rc=0 begun=$SECONDS
  shift 2
  if [ "$most" -gt "$left" ]; then most=$left; fi
  if [ "$most" -lt 10 ]; then
    printf '%s\tnot run\t0\n' "$name" >>"$PARTS"
    return
  fi
  say "$name (at most $most s)"
  # INT first: pytest then still writes down what it knows.
  timeout -s INT -k 5 "$most" "$@" >"$OUT/check/$name.log" 2>&1 || rc=$?
  printf '%s\t%s\t%s\n' "$name" "$rc" "$((SECONDS - begun))" >>"$PARTS"
  if [ "$rc" -ne 0 ]; then tail -n 40 "$OUT/check/$name.log" >&2; fi
}
tests() { # NAME SECONDS FILE
  part "$1" "$2" "$PYTHON" -m pytest -o addopts= --strict-markers -p no:cacheprovider -o junit_family=xunit1 -m gpu -q -rs --tb=short \
    "--junitxml=$OUT/check/$1.xml" "$3"
}
bench() { # NAME SECONDS OPTIONS...
  local name=$1 most=$2
  shift 2
  part "$name" "$most" "$PYTHON" -m benchmarks --device "$DEVICE" "${SIZE[@]}" --json "$OUT/check/$name.json" "$@"
}

tests engine 180 tests/test_engine_gpu.py
bench bench-fc 70 --workflow fc --dtype auto
bench bench-fbc 70 --workflow fbc --dtype auto
bench bench-float32 60 --workflow fc --dtype float32
tests training 60 tests/training/test_training_gpu.py
"$PYTHON" -m tools.gpu.report "$OUT/check" "$PARTS" | tee "$OUT/check.txt"

"""Speed and memory of the engine beside the library's stock pipelines, wired as the reference wires them.

    python -m benchmarks                          # SD1.5's size, random weights, a few minutes on two CPU cores
    python -m benchmarks --width 512 --height 640 --steps 20 --device cuda --dtype auto --stages whole
    python -m benchmarks --size tiny              # a look at the table in seconds

Both sides share one set of weights and take turns, so that a noisy machine disturbs both alike: trust the ratios, not
the seconds. Their outputs are compared, so that equal work is what is timed.
"""

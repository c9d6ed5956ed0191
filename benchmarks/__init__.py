"""Benchmarks: what measuring costs, side by side in one run with the plain forward, a naive hook and the peers.

    python -m benchmarks              the CPU: a table of targets and measured values (`make bench`)
    python -m benchmarks.cuda         the same on a CUDA device (`make bench-cuda`)
    python -m benchmarks.page         docs/performance.md from the latest results (`make bench-page`)
    python -m benchmarks.hook_overhead    one model of your own: plain forward against a probe

Run from the root of the repository.
"""

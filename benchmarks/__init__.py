"""Speeds of the library, each beside the limit of the machine, measured in one run.

``python -m benchmarks`` prints the table; ``--help`` names the choices.

A *limit* is the least work that gives the same bytes: a memory-mapped copy for
npy, one open GDAL handle that reads pixel-interleaved for tiled files, and so
on. Rows and limits are run in turn, so that a busy machine slows both, and what
counts is their ratio. Nothing here asserts a time.
"""

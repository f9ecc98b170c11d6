"""Benchmarks of the library, each compared with a lower limit that is measured in the same run.

``python -m benchmarks`` prints the table; ``--help`` lists the options.

A *limit* is the time of the minimal work that gives the same bytes: a memory-mapped
copy for npy, one open GDAL handle that reads pixel-interleaved for tiled files, and so
on. Benchmarks and limits run alternately, so that a busy machine slows down both, and
their ratio is meaningful. No test depends on a time.
"""

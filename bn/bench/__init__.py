"""``python -m bn bench``: how fast batch norm is here, beside its peers and beside the memory.

``command``
    The run: its sections one after another, a progress bar, a time limit, records, tables.
``sections``
    What is measured; one module each.
``timing``, ``load``, ``rounds``
    How: all contenders by turns in short rounds; a round that others disturbed is dropped.
``contenders``, ``textbook``, ``fusions``, ``networks``
    The functions and training steps that are timed.
``machine``, ``records``
    Where it was measured; the files under ``results/bench``.
``reaches``, ``report``, ``tables``
    What the figures were meant to reach, and how everything is printed.
"""

"""The parts of ``gpu_speed.py``: what one GPU, lent for a few minutes, can tell about this program.

``report.py`` runs sections within a time limit and collects tables. ``machine.py`` measures the card, and has the
clocks of all others. ``pairs.py`` makes the updates. ``today.py`` and ``translating.py`` measure the program as it is.
The other files measure what could be built, beside the program as it is: ``levers.py`` whole updates of training (rows
of several sentences in ``rows.py``, flat weights in ``flat.py``, CUDA graphs in ``graphs.py``), ``kernels.py`` single
kernels, ``search_levers.py`` translating (``bookkeeping.py``, ``static_step.py``).
"""

"""What a plan costs in time: told before by earlier records or a short probe, held against what it took afterwards.

``past.py`` reads what earlier cells took, ``tasks.py`` says what is alike, ``rule.py`` predicts and tells how far off
it is, ``knowledge.py`` puts these together with ``probe.py``, which measures a little where nothing is known;
``work.py`` says what of a plan is to be done, ``estimate.py`` adds it up, ``remember.py`` keeps it in the run folder,
and ``afterwards.py``, which needs no torch, holds it against the records.
"""

"""Chaos: random faults at random times over compressed trading days, judged by the delivery checker.

``make chaos`` (``python -m tests.support.chaos``) prints the seed first and one JSON object last. `schedule` makes the
plan from the seed alone, `drive` carries it out on real processes, `report` turns the history into numbers and into the
table of ``docs/reliability.md``.
"""

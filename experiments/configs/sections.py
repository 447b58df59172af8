"""Sections that most configurations have in common: what they do without, and how they run on one machine."""

FROM_SCRATCH = dict(run="", other_shapes="refuse")
ALL_WEIGHTS = dict(method="none", rank=0, alpha=0.0, match="", also="")
NATURAL = dict(only="", axes="", temperature=1.0, boosts="", replay="", replay_share=0.0, correct="none")
ONE_DEVICE = dict(data=1, fsdp=1, tensor=1, sequence=1)
NO_PROBES = dict(every_steps=0, records=0)
UNPRUNED = dict(heads=0, hidden=0)
ROLL_BACK = dict(patience=3, rollbacks=2)

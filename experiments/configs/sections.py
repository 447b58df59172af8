"""Sections that most configurations have in common: from scratch, all weights, every record equally often."""

FROM_SCRATCH = dict(run="", other_shapes="refuse")
ALL_WEIGHTS = dict(method="none", rank=0, alpha=0.0, match="", also="")
NATURAL = dict(only="", axes="", temperature=1.0, boosts="", replay="", replay_share=0.0, correct="none")

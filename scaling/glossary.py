"""The words of a scaling-law report, for readers who meet them for the first time."""

from scaling.analysis import Analysis
from scaling.report import Section, Table

ONE_TOKEN = {"motion": "One token is one move: one agent over one time step."}  # by the family of a model
COUNTS = {
  "non_embedding": "without embeddings",
  "total": "all of them",
  "active": "those that one token uses",
}

WORDS = (
  ("N", "parameters of a model, {counted}"),
  ("D", "tokens seen in training"),
  ("C", "training compute in floating-point operations (FLOPs), as the run table counts them"),
  ("loss", "how surprised the model is by held-out logs, in nats per token (1 nat = 1.44 bits); lower is better"),
  ("budget", "a group of runs of equal compute"),
  ("IsoFLOP profile", "loss over N at equal compute: small models see more data, large ones less"),
  ("interior minimum", "a best size with worse ones on both sides; otherwise the best may lie outside the sizes tried"),
  ("N*, D*, L*", "size, data and loss at which a compute budget is spent best"),
  ("a, b", "N* grows as C to the power a, D* as C to the power b; a = b = 0.5 means that both grow alike"),
  ("E", "irreducible loss: what no model of this kind could predict, with any compute"),
  ("A, alpha", "what a finite model adds to the loss: A / N^alpha"),
  ("B, beta", "what finite data add to the loss: B / D^beta"),
  ("drop", "best loss of the largest fitted budget less the loss of the larger run: what the additional compute buys"),
  ("roll-out error", "typical error of predicting each budget from smaller ones only; it chooses the estimator"),
  ("95% interval", "holds the true value in 95 of 100 repetitions, if the law has the right form"),
  ("bootstrap", "the fit repeated on resampled runs, to see how much it depends on chance"),
  ("profile likelihood", "how much worse the fit becomes as one coefficient is moved and the others adapt"),
  ("condition", "how strongly coefficients trade off: 1 not at all, above a million they are not identifiable"),
  ("drift", "change of a coefficient with the range of budgets that it is fitted to"),
  ("envelope", "Approach 1: the least loss over all training curves at each compute"),
)  # fmt: skip


def one_token(found: Analysis) -> str:
  """What a token is in this table, once; empty for tables that do not say."""
  families = {row.get("family", "") for row in found.fitted.rows}
  return " ".join(ONE_TOKEN[f] for f in sorted(families) if f in ONE_TOKEN)


def section(found: Analysis) -> Section:
  counted = COUNTS[found.fitted.convention]
  rows = [[word, meaning.format(counted=counted)] for word, meaning in WORDS]
  text = one_token(found)
  return Section("Words", (text,) if text else (), (Table(("word", "meaning"), rows, wrap=True),))

"""Whether a model tells what it was trained on: membership inference by the loss alone.

The attacker says "member" where the loss lies below a threshold. Over all thresholds that is the area under the ROC
curve, the probability that a member's loss is below a stranger's; at the best one it is the advantage, true less false
positives. S. Yeom et al., "Privacy Risk in Machine Learning", arXiv:1709.01604. Under (epsilon, delta)-differential
privacy of the members no attacker has an advantage above (e^epsilon - 1 + 2 delta) / (e^epsilon + 1): P. Kairouz et
al., arXiv:1311.0776.
"""

import numpy as np


def auc(member_N: np.ndarray, stranger_M: np.ndarray) -> float:
  """P(member's loss < stranger's) + P(equal) / 2; 1/2 is chance."""
  below = (member_N[:, None] < stranger_M[None]).mean()
  return float(below + (member_N[:, None] == stranger_M[None]).mean() / 2)


def advantage(member_N: np.ndarray, stranger_M: np.ndarray) -> float:
  """The greatest difference of true and false positive rate over all thresholds."""
  at = np.concatenate([member_N, stranger_M])
  true, false = ((values[:, None] <= at[None]).mean(0) for values in (member_N, stranger_M))
  return float(max(0.0, (true - false).max()))


def greatest_advantage(epsilon: float, delta: float) -> float:
  """What differential privacy leaves to any attacker."""
  return float(min(1.0, (np.expm1(epsilon) + 2 * delta) / (np.exp(epsilon) + 1)) if epsilon < 700 else 1.0)

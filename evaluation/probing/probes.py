"""What a frozen representation holds, by fits so small that they can only read it out.

Features x are standardised with the training clips' mean and deviation. The linear probe is ridge regression,

  W = argmin_W  1/N sum_n |W^T x_n + b - y_n|^2 + alpha |W|^2 = (X^T X / N + alpha I)^-1 X^T (Y - mean Y) / N,

in closed form, for quantities and, on one-hot targets, for classes; alpha is chosen on a quarter of the training
scenes. Linear probes: G. Alain and Y. Bengio, arXiv:1610.01644. kNN votes by cosine similarity: Z. Wu et al.,
arXiv:1805.01978. Few shots are told apart by the nearest class mean: J. Snell et al., arXiv:1703.05175.

Clips of one scene show the same thing: whatever is fitted on one scene is never scored on the same
(`require_apart`). Arrays: N clips, D features, K outputs or classes.
"""

import dataclasses

import numpy as np

from data.errors import BadInput

ALPHAS = 10.0 ** np.arange(-4.0, 3.0)
_HELD_OUT = 4  # every so many-th training scene chooses alpha


@dataclasses.dataclass(frozen=True)
class Scale:
  """Standardisation; a feature that does not vary becomes zero."""

  mean_D: np.ndarray
  deviation_D: np.ndarray

  def __call__(self, x_NxD: np.ndarray) -> np.ndarray:
    return (x_NxD - self.mean_D) / self.deviation_D


def standardiser(x_NxD: np.ndarray) -> Scale:
  x_NxD = np.asarray(x_NxD, np.float64)
  deviation = x_NxD.std(0)
  still = deviation <= 1e-9 * np.abs(x_NxD).max(initial=1.0)
  return Scale(x_NxD.mean(0), np.where(still, np.inf, deviation))


@dataclasses.dataclass(frozen=True)
class Linear:
  """A fitted probe: features [N, D] to outputs [N, K]."""

  scale: Scale
  weights_DxK: np.ndarray
  bias_K: np.ndarray
  alpha: float

  def __call__(self, x_NxD: np.ndarray) -> np.ndarray:
    return self.scale(x_NxD) @ self.weights_DxK + self.bias_K


def ridge(x_NxD: np.ndarray, y_NxK: np.ndarray, alphas: np.ndarray) -> list[Linear]:
  """One probe for each alpha, from one eigendecomposition."""
  scale = standardiser(x_NxD)
  z, bias = scale(x_NxD), y_NxK.mean(0)
  values, vectors = np.linalg.eigh(z.T @ z / len(z))
  turned = vectors.T @ (z.T @ (y_NxK - bias)) / len(z)
  solved = [vectors @ (turned / (np.maximum(values, 0.0) + alpha)[:, None]) for alpha in alphas]
  return [Linear(scale, weights, bias, float(alpha)) for weights, alpha in zip(solved, alphas, strict=True)]


def linear_probe(x_NxD: np.ndarray, y_NxK: np.ndarray, scene_N: np.ndarray) -> Linear:
  """The ridge probe whose alpha is best on scenes it was not fitted on, fitted again on all.

  Raises BadInput with fewer than two scenes: nothing would be left to choose by.
  """
  known, place_N = np.unique(scene_N, return_inverse=True)
  if len(known) < 2:
    raise BadInput(f"{len(known)} scene to fit on", "the probe's training clips", "give two at least")
  order = np.random.default_rng(0).permutation(len(known))
  held = np.isin(place_N, order[: max(1, len(known) // _HELD_OUT)])
  tried = ridge(x_NxD[~held], y_NxK[~held], ALPHAS)
  errors = [((probe(x_NxD[held]) - y_NxK[held]) ** 2).sum() for probe in tried]
  return ridge(x_NxD, y_NxK, ALPHAS[[int(np.argmin(errors))]])[0]


def one_hot(class_N: np.ndarray, classes: int) -> np.ndarray:
  """float64 [N, classes]."""
  return np.eye(classes)[class_N]


def nearest_neighbours(x_NxD, class_N, query_MxD, classes: int, k: int) -> np.ndarray:
  """int [M]: the class most common among the k training clips most similar by cosine, the nearer on a tie."""
  scale = standardiser(x_NxD)
  similar_MxN = unit(scale(query_MxD)) @ unit(scale(x_NxD)).T
  near_MxK = (-similar_MxN).argsort(-1, kind="stable")[:, :k]
  weight_MxK = 1.0 - 1e-6 * np.arange(near_MxK.shape[1])  # of equal counts, the one with nearer voters
  votes = one_hot(np.asarray(class_N)[near_MxK], classes) * weight_MxK[None, :, None]
  return votes.sum(1).argmax(-1)


def few_shot(
  x_NxD, class_N, query_MxD, query_class_M, shots: int, draws: int, seed: int
) -> np.ndarray | None:
  """float64 [draws]: accuracy of the nearest class mean of `shots` random training clips per class.

  Only classes with `shots` clips take part, here and among the queries; None with fewer than two of them.
  """
  found, counts = np.unique(class_N, return_counts=True)
  taking = found[counts >= shots]
  asked = np.isin(query_class_M, taking)
  if len(taking) < 2 or not asked.any():
    return None
  scale, rng = standardiser(x_NxD), np.random.default_rng(seed)
  z_NxD, z_MxD, truth_M = scale(x_NxD), scale(query_MxD)[asked], query_class_M[asked]
  accuracies = []
  for _ in range(draws):
    drawn = [rng.choice(np.flatnonzero(class_N == one), shots, replace=False) for one in taking]
    means_KxD = np.stack([z_NxD[rows].mean(0) for rows in drawn])
    distance_MxK = ((z_MxD[:, None] - means_KxD[None]) ** 2).sum(-1)
    accuracies.append((taking[distance_MxK.argmin(-1)] == truth_M).mean())
  return np.asarray(accuracies)


def unit(x_NxD: np.ndarray) -> np.ndarray:
  """Rows of length one; a row of zeros stays."""
  length = np.linalg.norm(x_NxD, axis=-1, keepdims=True)
  return x_NxD / np.where(length > 0, length, 1.0)


def require_apart(scene_N: np.ndarray, query_scene_M: np.ndarray) -> None:
  """Raises BadInput when a scene is both fitted on and scored on."""
  both = np.intersect1d(scene_N, query_scene_M)
  if len(both):
    what = f"{len(both)} scenes are in both, scene {both[0]} for one"
    raise BadInput(what, "the probe's training and test clips", "split by scene, see data.audit")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives import distillation

MASK = jnp.array([True, True, False])


def logits(seed: int, classes: int = 4) -> jax.Array:
  return jnp.asarray(np.random.default_rng(seed).normal(size=(3, classes)), jnp.float32)


def test_two_classes_in_closed_form():
  """p = sigmoid(a / T) against q = sigmoid(b / T): T^2 (p log p/q + (1-p) log (1-p)/(1-q))."""
  a, b, temperature = 1.5, -0.5, 2.0
  p, q = (1 / (1 + np.exp(-x / temperature)) for x in (a, b))
  expected = temperature**2 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
  found, count = distillation.predictions(
    jnp.array([[b, 0.0]]), jnp.array([[a, 0.0]]), jnp.ones(1, bool), temperature
  )
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert count == 1


def test_zero_for_the_teacher_itself_and_masked_places_count_nothing():
  same, count = distillation.predictions(logits(0), logits(0) + 3.0, MASK, 1.0)
  np.testing.assert_allclose(same, 0.0, atol=1e-6)
  assert count == 2
  other = logits(1).at[2].set(100.0 * logits(5)[2])
  np.testing.assert_array_equal(
    distillation.predictions(other, logits(0), MASK, 1.0)[0],
    distillation.predictions(logits(1), logits(0), MASK, 1.0)[0],
  )


def test_a_hot_teacher_is_matched_in_logits():
  """As T grows the loss tends to the squared distance of centred logits over 2 V (Hinton et al., equation 4)."""
  student, teacher = logits(1), logits(2)
  found, _ = distillation.predictions(student, teacher, jnp.ones(3, bool), 50.0)
  apart = np.asarray(student - student.mean(-1, keepdims=True)) - np.asarray(
    teacher - teacher.mean(-1, keepdims=True)
  )
  np.testing.assert_allclose(found, (apart**2).sum() / (2 * 4), rtol=2e-2)


def test_a_class_the_teacher_rules_out_is_finite():
  teacher = logits(2).at[:, 0].set(-jnp.inf)
  value, gradient = jax.value_and_grad(lambda s: distillation.predictions(s, teacher, MASK, 1.0)[0])(
    logits(1)
  )
  assert np.isfinite(value) and np.isfinite(gradient).all()


def test_no_gradient_reaches_the_teacher():
  for loss in (lambda t: distillation.predictions(logits(1), t, MASK, 2.0)[0],
               lambda t: distillation.features(logits(1), t, MASK)[0]):  # fmt: skip
    np.testing.assert_array_equal(jax.grad(loss)(logits(2)), np.zeros((3, 4)))


@pytest.mark.parametrize(("cosine", "expected"), [(1.0, 0.0), (0.0, 2.0), (-1.0, 4.0)])
def test_features_are_matched_by_direction(cosine, expected):
  student = jnp.array([[2.0, 0.0]])
  teacher = 5.0 * jnp.array([[cosine, np.sqrt(1 - cosine**2)]])
  found, count = distillation.features(student, teacher, jnp.ones(1, bool))
  np.testing.assert_allclose(found, expected, atol=1e-6)
  assert count == 1


def mixture(seed: int, modes: int = 2, points: int = 3):
  rng = np.random.default_rng(seed)
  mean, scale = rng.normal(size=(modes, points, 2)), rng.uniform(0.5, 1.5, (modes, points, 2))
  return tuple(jnp.asarray(x, jnp.float32) for x in (mean, scale, rng.normal(size=modes)))


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_trajectories_cost_the_cross_entropy_of_two_densities(kind):
  """Of one mode each, per coordinate, in closed form: Gaussian (s^2 + d^2) / 2 r^2 + log r sqrt(2 pi); Laplace, of
  deviation d between the means, (d + s exp(-d / s)) / r + log 2 r."""
  (teacher, s, one), (student, r, _) = mixture(1, modes=1), mixture(2, modes=1)
  d, s, r = np.abs(np.asarray(teacher - student)), np.asarray(s), np.asarray(r)
  if kind == "gaussian":
    expected = ((s**2 + d**2) / (2 * r**2) + np.log(r * np.sqrt(2 * np.pi))).sum()
  else:
    expected = ((d + s * np.exp(-d / s)) / r + np.log(2 * r)).sum()
  draw, rows = {"gaussian": jax.random.normal, "laplace": jax.random.laplace}[kind], 10_000
  many = lambda *parts: [jnp.broadcast_to(part, (rows, *part.shape)) for part in parts]  # noqa: E731
  found, count = distillation.trajectories(
    many(student, jnp.asarray(r), one), many(teacher, jnp.asarray(s), one), jnp.ones((rows, 3), bool),
    draw(jax.random.key(0), (rows, 1, 3, 2)), jnp.ones(rows), kind,
  )  # fmt: skip
  assert count == 3 * rows
  np.testing.assert_allclose(found / rows, expected, rtol=0.02)  # 5 standard errors


def test_a_student_of_the_teachers_mixture_has_no_slope_and_others_cost_more():
  teacher, rows = mixture(3), 4_000
  noise = jax.random.normal(jax.random.key(1), (rows, 2, 3, 2))

  @jax.jit
  def cost(student):
    many = [[jnp.broadcast_to(part, (rows, *part.shape)) for part in parts] for parts in (student, teacher)]
    total, _ = distillation.trajectories(*many, jnp.ones((rows, 3), bool), noise, jnp.ones(rows), "gaussian")
    return total / rows

  least, slope = jax.value_and_grad(cost)(teacher)
  for part in slope:
    np.testing.assert_allclose(part, 0.0, atol=0.1)  # 5 standard errors
  assert cost(mixture(4)) > least + 0.5


def test_unknown_points_and_weightless_trajectories_cost_nothing():
  student, teacher = ([part[None] for part in mixture(seed)] for seed in (5, 6))
  noise, mask = jnp.zeros((1, 2, 3, 2)), jnp.array([[True, True, False]])
  far = [teacher[0].at[..., 2, :].set(1e3), *teacher[1:]]
  one, count = distillation.trajectories(student, teacher, mask, noise, jnp.ones(1), "laplace")
  other, _ = distillation.trajectories(student, far, mask, noise, jnp.ones(1), "laplace")
  assert one == other and count == 2
  nothing = distillation.trajectories(student, teacher, mask, noise, jnp.zeros(1), "laplace")
  assert nothing == (0.0, 0.0)

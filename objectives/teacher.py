"""A teacher that follows its student: the exponential moving average of its parameters.

  teacher <- m teacher + (1 - m) student

After n steps teacher_n = m^n teacher_0 + (1 - m) sum_i m^(n-1-i) student_i. The momentum rises to 1 by a cosine,
so that the teacher comes to rest: J.-B. Grill et al., BYOL, arXiv:2006.07733.
"""

import jax
import jax.numpy as jnp


def momentum(first: float, step: jax.Array, steps: int) -> jax.Array:
  """m at a step, from `first` at step 0 to 1 at `steps`: 1 - (1 - first) (1 + cos(pi step / steps)) / 2."""
  share = jnp.minimum(jnp.asarray(step, jnp.float32) / steps, 1.0)
  return 1 - (1 - first) * (1 + jnp.cos(jnp.pi * share)) / 2


def follow(teacher, student, m: jax.Array):
  """The teacher one step on: two pytrees alike, in float32 whatever the student computes in."""
  return jax.tree.map(lambda t, s: m * t + (1 - m) * s.astype(t.dtype), teacher, student)

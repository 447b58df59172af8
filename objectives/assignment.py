"""The cheapest one-to-one assignment of rows to columns, exactly, under jit.

  min over injective c of sum_r cost[r, c(r)],   rows <= columns

by shortest augmenting paths with dual prices: each row in turn finds, as Dijkstra would, the cheapest way to a
free column along which earlier rows may move. O(rows * columns^2) work, of which the inner line is a vector.
R. Jonker, A. Volgenant, Computing 38, 1987; D. Crouse, IEEE TAES 52(4), 2016.
"""

import jax
import jax.numpy as jnp


def assign(cost_RxC: jax.Array) -> jax.Array:
  """The column of each row, int32 [R]; R <= C. vmap it over a batch; no gradient flows through it."""
  rows, columns = cost_RxC.shape
  if rows > columns:
    raise ValueError(f"{rows} rows cannot each have one of {columns} columns")
  cost = jax.lax.stop_gradient(cost_RxC).astype(jnp.float32)
  # Column `columns` is a stand-in that owns the row being placed: augmenting ends there.
  state = jnp.zeros(rows), jnp.zeros(columns + 1), jnp.full(columns + 1, -1, jnp.int32)
  _, _, owner = jax.lax.fori_loop(0, rows, lambda row, state: _place(cost, row, *state), state)
  return (
    jnp.zeros(rows, jnp.int32)
    .at[owner[:columns]]
    .set(jnp.arange(columns, dtype=jnp.int32), mode="drop", wrap_negative_indices=False)
  )


def _place(cost, row, price_R, price_C, owner):
  """Gives `row` a column; the duals stay feasible, cost[r, c] >= price_R[r] + price_C[c]."""
  columns = cost.shape[1]
  owner = owner.at[columns].set(row)

  def unfinished(search):
    return owner[search[0]] >= 0

  def extend(search):
    here, price_R, price_C, distance, came_from, done = search
    done = done.at[here].set(True)
    reach = cost[owner[here]] - price_R[owner[here]] - price_C[:columns]
    nearer = ~done[:columns] & (reach < distance)
    distance = jnp.where(nearer, reach, distance)
    came_from = jnp.where(nearer, here, came_from)
    open_distance = jnp.where(done[:columns], jnp.inf, distance)
    nearest = open_distance.argmin().astype(jnp.int32)
    step = open_distance[nearest]
    price_R = price_R.at[owner].add(jnp.where(done, step, 0), mode="drop", wrap_negative_indices=False)
    price_C = price_C - jnp.where(done, step, 0)
    return nearest, price_R, price_C, jnp.where(done[:columns], distance, distance - step), came_from, done

  search = (
    jnp.int32(columns), price_R, price_C,
    jnp.full(columns, jnp.inf), jnp.full(columns, columns, jnp.int32), jnp.zeros(columns + 1, bool),
  )  # fmt: skip
  end, price_R, price_C, _, came_from, _ = jax.lax.while_loop(unfinished, extend, search)

  def move(state):
    here, owner = state
    before = came_from[here]
    return before, owner.at[here].set(owner[before])

  _, owner = jax.lax.while_loop(lambda state: state[0] < columns, move, (end, owner))
  return price_R, price_C, owner

"""The same client and server over a network: Flower carries the letters of federated/exchange.py, and nothing else.

A node is a vehicle by the name that its public key was registered under (`flwr supernode register --name=vehicle-3`),
not by what it says of itself. SuperLink and SuperNodes authenticate, encrypt and deliver; who does not answer in time
is silent in that round.

D. J. Beutel et al., "Flower: A Friendly Federated Learning Research Framework", arXiv:2007.14390.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from data.errors import BadInput
from federated import exchange
from federated.exchange import Letter
from federated.rounds import Tree

_PREFIX = "vehicle-"


def client_app(load: Callable[[Mapping[str, Any]], Callable[[Letter, Letter], tuple[Letter, Letter]]]) -> Any:
  """A ClientApp. load: configuration of the node -> `answer` of exchange.make_client, over its own records."""
  from flwr.app import ConfigRecord, Message, RecordDict
  from flwr.clientapp import ClientApp

  app = ClientApp()

  @app.train()
  def train(message, context):
    answer = load(context.node_config)
    kept = dict(context.state["kept"]) if "kept" in context.state else {}
    reply, kept = answer(dict(message.content["letter"]), kept)
    context.state["kept"] = ConfigRecord(kept)
    return Message(RecordDict({"letter": ConfigRecord(reply)}), reply_to=message)

  return app


def vehicles_of(grid: Any) -> dict[int, int]:
  """{vehicle: node} of the nodes that are there now; BadInput for a node that was registered as no vehicle."""
  found: dict[int, int] = {}
  for node in grid.get_nodes():
    number = node.name.removeprefix(_PREFIX)
    if not node.name.startswith(_PREFIX) or not number.isdecimal():
      what = f"is registered as {node.name!r}"
      raise BadInput(what, f"node {node.node_id}", f"register it with --name={_PREFIX}<number>")
    if int(number) in found:
      raise BadInput("is registered twice", node.name, "unregister one of its nodes")
    found[int(number)] = node.node_id
  return found


def joined(grid: Any, vehicles: int, seconds: float) -> dict[int, int]:
  """{vehicle: node} once that many are there; BadInput if they are not in time."""
  until = time.monotonic() + seconds
  while len(found := vehicles_of(grid)) < vehicles:
    if time.monotonic() > until:
      what = f"{len(found)} of {vehicles} vehicles joined in {seconds:g} s"
      raise BadInput(what, "the fleet", "start the others, or ask for fewer")
    time.sleep(1.0)
  return found


def post(grid: Any, nodes: Mapping[int, int], letters: Mapping[int, Letter], seconds: float) -> dict:
  """{vehicle: reply} of those who answered in time and without an error."""
  from flwr.app import ConfigRecord, Message, RecordDict

  vehicle_of = {node: vehicle for vehicle, node in nodes.items()}
  sent = [
    Message(RecordDict({"letter": ConfigRecord(letter)}), nodes[vehicle], "train", ttl=seconds)
    for vehicle, letter in letters.items()
    if vehicle in nodes
  ]
  back = grid.send_and_receive(sent, timeout=seconds)
  return {
    vehicle_of[reply.metadata.src_node_id]: dict(reply.content["letter"])
    for reply in back
    if reply.has_content() and "letter" in reply.content
  }


def serve(
  grid: Any,
  server: Tree,
  take: Callable,
  vehicles: int,
  rounds: int,
  seconds: float,
  key: jax.Array,
  told: Callable[[int, Tree, dict], None],
) -> Tree:
  """The server after `rounds` rounds of all vehicles. take: exchange.make_receiver. told: (round, server, report).

  seconds: that vehicles have to join, and to answer in a round. Round r has the key fold_in(key, r).
  """
  joined(grid, vehicles, seconds)
  taken: dict[int, int] = {}
  drafted = list(range(vehicles))
  for number in range(rounds):
    own = jax.random.fold_in(key, number)
    letters = exchange.ask(server, drafted, number, own, taken)
    replies = post(grid, vehicles_of(grid), letters, seconds)
    server, report, good = take(server, drafted, replies, number, own)
    taken |= dict.fromkeys(good, number)
    told(number, server, report)
  return server

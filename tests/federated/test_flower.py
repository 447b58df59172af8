"""A fleet of processes over Flower, TLS and authenticated nodes on loopback, beside the simulation.

Skips where Flower is not installed: `make fleet` builds its environment and runs this.
"""

import datetime
import ipaddress
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("flwr")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from federated import wire
from federated.rounds import make_round
from tests.federated import flower_fleet
from tests.federated.flower_fleet import CLIENTS, KEY_SEED, ROUNDS, RULES, STUCK

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent
PATIENCE = float(os.environ.get("FLEET_SECONDS", "180"))  # for a process to start, and for a round

APP = """
[project]
name = "fleet"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "drivetrain"
[tool.flwr.app.components]
serverapp = "fleet_app:server"
clientapp = "fleet_app:client"
[tool.flwr.app.config]
out = "{out}"
seconds = {seconds}
rounds = {rounds}
"""
CODE = """
from flwr.serverapp import ServerApp
from federated import flower_app
from tests.federated import flower_fleet
client = flower_app.client_app(flower_fleet.load)
server = ServerApp()
server.main()(flower_fleet.main)
"""


def private(path, key):
  path.write_bytes(
    key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    if path.suffix == ""
    else key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
  )  # fmt: skip
  path.chmod(0o600)


def certify(path):
  """ca.pem, server.pem and server.key of an authority of its own, for loopback and an hour."""
  now = datetime.datetime.now(datetime.UTC)
  ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
  issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a fleet's authority")])
  subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
  ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())

  def made(name, public):
    return (
      x509.CertificateBuilder()
      .subject_name(name)
      .issuer_name(issuer)
      .public_key(public)
      .serial_number(x509.random_serial_number())
      .not_valid_before(now - datetime.timedelta(minutes=5))
      .not_valid_after(now + datetime.timedelta(hours=1))
    )

  usage = {
    name: False for name in ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
  }
  usage |= {"encipher_only": False, "decipher_only": False}
  authority = (
    made(issuer, ca_key.public_key())
    .add_extension(x509.BasicConstraints(True, 0), True)
    .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), True)
    .add_extension(ca_id, False)
    .sign(ca_key, hashes.SHA256())
  )
  names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
  own = (
    made(subject, key.public_key())
    .add_extension(x509.BasicConstraints(False, None), True)
    .add_extension(x509.SubjectAlternativeName(names), False)
    .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False)
    .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), False)
    .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    .sign(ca_key, hashes.SHA256())
  )
  (path / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
  (path / "server.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
  private(path / "server.key", key)


def node_key(path):
  key = ec.generate_private_key(ec.SECP384R1())
  private(path, key)
  path.with_suffix(".pub").write_bytes(
    key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
  )


def free_port():
  with socket.socket() as held:
    held.bind(("127.0.0.1", 0))
    return held.getsockname()[1]


def until(what, seconds=PATIENCE):
  end = time.monotonic() + seconds
  while not what():
    assert time.monotonic() < end, "took too long"
    time.sleep(0.5)


class Network:
  """SuperLink, SuperNodes and the command line of one fleet, below a directory."""

  def __init__(self, path):
    self.path, self.port, self.running = path, free_port(), {}
    certify(path)
    for name in ("flwr", "out", "app"):
      (path / name).mkdir()
    (path / "flwr" / "config.toml").write_text(
      f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{self.port}"\n'
      f'root-certificates = "{path}/ca.pem"\n'
    )
    self.environment = os.environ | {
      "FLWR_HOME": str(path / "flwr"),
      "FLWR_TELEMETRY_ENABLED": "0",
      "FLWR_DISABLE_UPDATE_CHECK": "1",
      "PYTHONPATH": str(ROOT),
      "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
      "JAX_PLATFORMS": "cpu",
    }
    # Without bytecode every process would compile Flower anew, and start later than its task waits for it (30 s).
    self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

  def start(self, name, *argv):
    log = (self.path / f"{name}.log").open("w")
    self.running[name] = subprocess.Popen(
      argv, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )

  def kill(self, name):
    os.killpg(self.running.pop(name).pid, signal.SIGKILL)

  def log(self, name):
    return (self.path / f"{name}.log").read_text()

  def flwr(self, *argv):
    done = subprocess.run(
      [BIN / "flwr", *argv], env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

  def superlink(self):
    files = {"cert": "server.pem", "key": "server.key", "ca-cert": "ca.pem"}
    tls = [f"--ssl-{name}file={self.path}/{file}" for name, file in files.items()]
    self.start(
      "superlink", BIN / "flower-superlink", *tls, "--enable-supernode-auth", f"--port={self.port}",
      "--disable-runtime-dependency-installation",
    )  # fmt: skip

    def listening():
      assert self.running["superlink"].poll() is None, self.log("superlink")
      with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", self.port)) == 0

    until(listening)

  def node(self, name, vehicle, *more):
    self.start(
      name, BIN / "flower-supernode", f"--superlink=127.0.0.1:{self.port}", f"--port={free_port()}",
      "--node-config", f'vehicle={vehicle} out="{self.path}/out"', *more,
    )  # fmt: skip

  def trusting(self, key):
    return f"--root-certificates={self.path}/ca.pem", f"--auth-supernode-private-key={self.path}/{key}"

  def submit(self, rounds):
    app = APP.format(out=self.path / "out", seconds=PATIENCE, rounds=rounds)
    (self.path / "app" / "pyproject.toml").write_text(app)
    (self.path / "app" / "fleet_app.py").write_text(CODE)
    self.flwr("run", str(self.path / "app"))


@pytest.fixture
def network(tmp_path):
  made = Network(tmp_path)
  try:
    yield made
  finally:
    for name in list(made.running):
      made.kill(name)
    for name in sorted(tmp_path.glob("*.log")):
      print(f"== {name.name}\n{name.read_text()[-4000:]}")


def simulated(rounds, without):
  """Servers after each round, of the simulation."""
  algorithm, whole = flower_fleet.algorithm(), flower_fleet.whole()
  server, servers = algorithm.server_init(flower_fleet.start()), []
  memory = jax.tree.map(lambda x: jnp.zeros((CLIENTS, *x.shape)), algorithm.memory_init(flower_fleet.start()))
  one = jax.jit(make_round(algorithm, 1, RULES.longest, RULES.heaviest, RULES.vehicles))
  for number in range(rounds):
    weight = np.array([k not in without(number) for k in range(CLIENTS)], np.float32)
    now = whole._replace(memory=memory, weight_C=jnp.asarray(weight))
    server, memory, _, _ = one(server, now, jax.random.fold_in(jax.random.key(KEY_SEED), number))
    servers.append(server)
  return servers


def test_a_fleet_of_processes_comes_to_what_the_simulation_does_and_a_killed_node_loses_no_round(network):
  for vehicle in range(CLIENTS):
    node_key(network.path / f"key{vehicle}")
  node_key(network.path / "stranger")
  network.superlink()
  for vehicle in range(CLIENTS):
    network.flwr(
      "supernode", "register", str(network.path / f"key{vehicle}.pub"), f"--name=vehicle-{vehicle}"
    )
    network.node(f"node{vehicle}", vehicle, *network.trusting(f"key{vehicle}"))
  # Two that are refused: a key that nobody registered, and no key at all.
  network.node("stranger", 0, *network.trusting("stranger"), "--max-retries=1")
  network.node("nobody", 0, f"--root-certificates={network.path}/ca.pem", "--max-retries=1")
  for name in ("stranger", "nobody"):
    until(lambda name=name: network.running[name].poll() is not None)
    assert network.running.pop(name).returncode != 0, network.log(name)

  network.submit(ROUNDS)
  out = network.path / "out"
  until((out / "stuck").exists, 2 * PATIENCE)
  network.kill(f"node{STUCK}")
  until((out / "done").exists, 3 * PATIENCE)

  counts = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
  assert [(c["took_part"], c["rejected"], c["silent"]) for c in counts] == [(3, 0, 0), (2, 0, 1), (2, 0, 1)]
  expected = simulated(ROUNDS, lambda number: (STUCK,) if number >= 1 else ())
  for number, server in enumerate(expected):
    got = wire.decode((out / f"server {number}").read_bytes(), server, "the server")
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(server), strict=True):
      np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)

"""Starts Python programs from a process that has imported what they need.

`Popen` is `subprocess.Popen`, but where it starts this Python with a module
(`-m`) or a script, the process is forked from a server that has imported jax
and item_jax already: a start takes 0.1 s instead of 4 s of the processor. The
process is a child of ours like any other: it has its pid, gets signals, ends
with its code. Programs of `-c`, which ask what is imported, start cold, and so
does what needs more than a folder, an environment and three streams.

python warm.py SOCKET
"""

import contextlib
import ctypes
import gc
import importlib
import inspect
import json
import os
import pkgutil
import random
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np

# Modules of item_jax that import more than they are worth to most programs.
_COLD = ("__main__", "beam")
# Read when jax is imported; with others of these a process starts cold.
_READ_AT_IMPORT = ("JAX_", "OMP_", "OPENBLAS_", "PYTHON")
_READ_LATER = ("JAX_COORDINATOR_PORT",)
_JAX_OPTIONS = {
  "JAX_ENABLE_COMPILATION_CACHE": (
    "jax_enable_compilation_cache",
    lambda text: text.lower() in ("1", "true", "yes"),
  ),
  "JAX_COMPILATION_CACHE_DIR": ("jax_compilation_cache_dir", str),
  "JAX_PLATFORMS": ("jax_platforms", str),
}
_PIPES = ["p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"]
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Popen(subprocess.Popen):
  """A process that starts warm where it can; see the module."""

  def _execute_child(self, *given, **named):
    call = inspect.signature(super()._execute_child).bind(*given, **named)
    call.apply_defaults()
    request = _request(call.arguments)
    if request is None:
      return super()._execute_child(*given, **named)
    wanted = [call.arguments[x] for x in ("p2cread", "c2pwrite", "errwrite")]
    own = [number if fd == -1 else fd for number, fd in enumerate(wanted)]
    self.pid = _server().start(request, own)
    self._child_created = True
    self._close_pipe_fds(*map(call.arguments.get, _PIPES))
    return None


def run(
  *args, input=None, timeout=None, check=False, capture_output=False, **options
):
  """`subprocess.run`, of a process that starts warm."""
  if input is not None:
    options["stdin"] = subprocess.PIPE
  if capture_output:
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
  with Popen(*args, **options) as process:
    try:
      stdout, stderr = process.communicate(input, timeout=timeout)
    except BaseException:
      process.kill()
      raise
  done = subprocess.CompletedProcess(
    process.args, process.returncode, stdout, stderr
  )
  if check:
    done.check_returncode()
  return done


def _request(call: dict) -> dict | None:
  """What the server is to start; None where the start is a cold one."""
  if call["shell"] or isinstance(call["args"], (str, bytes)):
    return None
  python, *args = map(os.fsdecode, call["args"])
  script = args and (args[0] == "-m" or not args[0].startswith("-"))
  odd = call["preexec_fn"] or call["pass_fds"] or call["executable"]
  if sys.platform != "linux" or python != sys.executable or not script or odd:
    return None
  env = os.environ if call["env"] is None else call["env"]
  env = {os.fsdecode(k): os.fsdecode(v) for k, v in env.items()}
  if _at_import(env) != _at_import(os.environ):
    return None
  return {
    "args": args,
    "cwd": os.path.abspath(os.fspath(call["cwd"] or ".")),
    "env": env,
    "session": call["start_new_session"],
  }


def _at_import(env) -> dict:
  return {
    name: value
    for name, value in env.items()
    if name.startswith(_READ_AT_IMPORT)
    and name not in (*_JAX_OPTIONS, *_READ_LATER)
  }


class _Server:
  """The process that forks, one for each process that tests."""

  def __init__(self):
    ours, theirs = socket.socketpair()
    with theirs:
      self._process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
      )
    self._socket = ours
    self._lock = threading.Lock()
    self._prctl = ctypes.CDLL(None).prctl

  def start(self, request: dict, fds: list[int]) -> int:
    """The process id of a new child of ours."""
    message = json.dumps(request).encode()
    with self._lock:
      self._prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
      try:
        header = len(message).to_bytes(4, "big")
        socket.send_fds(self._socket, [header], fds)
        self._socket.sendall(message)
        reply = _read(self._socket, 4)
      finally:
        self._prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    return int.from_bytes(reply, "big")


_servers: dict[int, _Server] = {}  # by process: a fork has none of its own


def _server() -> _Server:
  if os.getpid() not in _servers:
    _servers[os.getpid()] = _Server()
  return _servers[os.getpid()]


def _read(source: socket.socket, count: int) -> bytes:
  data = b""
  while len(data) < count:
    more = source.recv(count - len(data))
    if not more:
      raise EOFError("the other side has ended")
    data += more
  return data


# ---- In the server. ----


def _import_all() -> None:
  sys.path.insert(1, str(Path(__file__).parents[2]))
  sys.modules["torch"] = None  # which tensorboardX imports where it is there
  import item_jax

  for module in pkgutil.walk_packages(item_jax.__path__, "item_jax."):
    if not module.name.rpartition(".")[2].startswith(_COLD):
      with contextlib.suppress(ImportError):  # of an extra that is not here
        importlib.import_module(module.name)
  del sys.modules["torch"]


def _serve(connection: socket.socket) -> dict | None:
  """Forks for each request; returns that in the child, and None at the end."""
  while True:
    header, fds, _, _ = socket.recv_fds(connection, 4, 3)
    if not header:
      return None
    request = json.loads(_read(connection, int.from_bytes(header, "big")))
    # A child's child, as one without a parent becomes a child of who asked.
    pid, told = os.pipe()
    between = os.fork()
    if not between:
      between = os.getpid()
      child = os.fork()
      if child:
        os.write(told, child.to_bytes(4, "big"))
        os._exit(0)
      while os.getppid() == between:
        time.sleep(0.0005)
      os.close(pid)
      os.close(told)
      connection.close()
      return request | {"fds": fds}
    os.waitpid(between, 0)
    connection.sendall(os.read(pid, 4))
    for fd in (*fds, pid, told):
      os.close(fd)


def _keep_programs_of_all() -> None:
  """Makes every process of a run keep the programs that it has compiled.

  jax lets process 0 alone write to its cache, and on CPUs its key says which
  process asks: all others compile at every start. Read in jax 0.10.2.
  """
  from jax._src import compiler, distributed

  first = distributed.State()
  compiler.distributed = types.SimpleNamespace(global_state=first)


def _become(request: dict) -> None:
  """Makes this process what a new one with these words would be."""
  if request["session"]:
    os.setsid()
  for number, fd in enumerate(request["fds"]):
    os.dup2(fd, number)
  for fd in request["fds"]:
    os.close(fd)
  os.chdir(request["cwd"])
  before = dict(os.environ)
  os.environ.clear()
  os.environ.update(request["env"])
  import jax

  for name, (option, parse) in _JAX_OPTIONS.items():
    if name in os.environ and os.environ[name] != before.get(name):
      jax.config.update(option, parse(os.environ[name]))
  signal.signal(signal.SIGINT, signal.default_int_handler)
  for name in ("stdin", "stdout", "stderr"):
    old = getattr(sys, name)
    new = open(  # noqa: SIM115
      old.fileno(),
      old.mode,
      encoding=old.encoding,
      errors=old.errors,
      closefd=False,
    )
    setattr(sys, name, new)
    setattr(sys, f"__{name}__", new)
  random.seed()
  np.random.seed()


def main() -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # ends with who started it
  connection = socket.socket(fileno=int(sys.argv[1]))
  _import_all()
  _keep_programs_of_all()
  gc.collect()
  gc.freeze()  # a fork copies no page that only the collector would touch
  gc.set_threshold(200_000, 50, 50)  # or it looks at what jax traces, often
  request = _serve(connection)
  if request is None:
    return
  _become(request)
  kind, *rest = request["args"]
  if kind == "-m":
    sys.path[0] = request["cwd"]
    sys.argv = rest
    sys.modules.pop(f"{rest[0]}.__main__", None)
    if "." in rest[0]:
      sys.modules.pop(rest[0], None)
    runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
  else:
    sys.path[0] = str(Path(kind).resolve().parent)
    sys.argv = request["args"]
    runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
  main()

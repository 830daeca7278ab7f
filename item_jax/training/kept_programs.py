"""Keeps what a run has compiled, so that its next start traces nothing.

jax's persistent cache knows a program by its text, which has to be traced and
lowered first. Here it is also known by all that the text is made of: sources,
versions, the config, the tokenizer, the devices and jax's own options.
"""

import contextlib
import hashlib
import importlib
import json
import logging
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.sharding import Mesh

import item_jax
from item_jax.config import Config, flatten
from item_jax.data.tokenizer import Tokenizer
from item_jax.files import write_bytes
from item_jax.workers import count_cores

logger = logging.getLogger(__name__)

_LIMIT = 1 << 30  # bytes; beyond it the least recently used programs go
_PROGRAM, _NAME = ".program", ".name"  # endings: a program, which one is meant
_CHECKSUM = 32  # bytes of SHA-256 before the rest of a program
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "clu", "numpy")
_TRACED = ("jax", "flax", "optax", "clu")  # that models are written with
# Beginnings of what compilers and flax read from the environment.
_OPTIONS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "FLAX_")
_NOT_TRACED = ("data.path", "checkpoint.")  # options of no program
_HIT = "/jax/compilation_cache/cache_hits"  # jax's event, where it compiles


class KeptPrograms:
  """Compiled programs of one run in a folder of many runs' programs."""

  def __init__(
    self,
    folder: Path | None,
    config: Config,
    tokenizer: Tokenizer,
    mesh: Mesh,
    others: Any,
  ):
    """Takes what the programs are made of; the sources are read anew.

    Nothing is kept without a folder, where several processes run one program,
    of objectives and models of other packages, whose sources may be anywhere,
    and where sources were changed since this process began.

    Args:
      folder: its files are unpickled and run: one that only its owner writes.
      others: as JSON takes them.
    """
    names = (config.model.name, config.task, *config.objectives)
    if jax.process_count() > 1 or any(":" in name for name in names):
      folder = None
    if folder and folder.exists() and not _is_private(folder.stat()):
      logger.warning(f"{folder} can be written by others: no program is kept")
      folder = None
    sources = _hash_sources() if folder else None
    self._folder = folder if sources else None
    self._loading: dict[str, Future] = {}
    if sources is None:
      return
    fields = {
      name: value
      for name, value in flatten(config).items()
      if not name.startswith(_NOT_TRACED)
    }
    devices = mesh.devices.flat
    self._compiler = _hash(
      *(sys.version, {name: metadata.version(name) for name in _LIBRARIES}),
      {k: v for k, v in os.environ.items() if k.startswith(_OPTIONS)},
      count_cores(),
      {name: repr(value) for name, value in jax.config.values.items()},
      *(devices[0].client.platform_version, dict(mesh.shape)),
      [(repr(device), device.device_kind) for device in devices],
    )
    self._run = _hash(
      *(self._compiler, sources, fields, tokenizer.fingerprint, others)
    )

  def begin(self, names: Iterable[str], pool: ThreadPoolExecutor) -> None:
    """Begins to load what is kept under these names, in a pool's threads."""
    for name in names if self._folder else ():
      if self._name(name).is_file():
        self._loading[name] = pool.submit(_load, self._name(name))

  def has(self, name: str) -> bool:
    """Whether `begin` has found one under this name."""
    return name in self._loading

  def compile(
    self,
    name: str,
    lower: Callable[[], jax.stages.Lowered],
    pool: ThreadPoolExecutor,
  ) -> Future:
    """Compiles a program in a pool's thread, or takes what `begin` loads."""
    loading = self._loading.get(name)
    if loading is None:
      return pool.submit(self._compile, name, lower())
    return pool.submit(lambda: loading.result() or self._compile(name, lower()))

  def _compile(self, name: str, lowered: jax.stages.Lowered):
    if self._folder is None:
      return lowered.compile()
    text = _hash(
      *(self._compiler, lowered.as_text()),
      *(repr(lowered.in_tree), repr(lowered.out_tree)),
    )
    path = self._folder / (text + _PROGRAM)
    program = _load(path)
    if program is not None:  # other sources, the same program
      _write(self._name(name), text.encode())
      return program
    hits = _hits.found = []
    program = lowered.compile()
    # On a CPU a program from jax's cache is written without some of its
    # functions, and one that has run may not be written any more
    # (findings/jax_program_written_twice.sh).
    content = None if hits else _to_bytes(program)
    if content:
      threading.Thread(
        target=_save,
        args=(path, content, self._name(name)),
        name="keep-program",
      ).start()
    return program

  def _name(self, name: str) -> Path:
    assert self._folder is not None
    return self._folder / f"{self._run}-{name}{_NAME}"


def _named(name: Path) -> Path:
  """The program that a name is of; OSError where the name is gone."""
  letters = filter(str.isalnum, name.read_text(errors="replace"))
  return name.with_name("".join(letters) + _PROGRAM)


_hits = threading.local()  # .found: jax's events of this thread


def _note_hit(event: str, **_) -> None:
  if event == _HIT and hasattr(_hits, "found"):
    _hits.found.append(event)


jax.monitoring.register_event_listener(_note_hit)


def _load(path: Path) -> jax.stages.Compiled | None:
  """Loads a program or what a name is of; None where that cannot be loaded."""
  try:
    path = _named(path) if path.suffix == _NAME else path
    with path.open("rb") as file:
      if not _is_private(os.fstat(file.fileno())):
        return None
      content = file.read()
    os.utime(path)  # for _forget_old
  except OSError:
    return None
  checksum, content = content[:_CHECKSUM], content[_CHECKSUM:]
  if hashlib.sha256(content).digest() != checksum:
    logger.warning(f"{path} was altered: its program is compiled anew")
    return None
  try:
    return serialize_executable.deserialize_and_load(*pickle.loads(content))
  except Exception as error:  # each compiler has its own
    logger.warning(f"{path} cannot be loaded, compiled anew: {error!r}")
    return None


def _is_private(stat: os.stat_result) -> bool:
  """Whether nobody else may write it: what is read is run as this user."""
  return stat.st_uid == os.getuid() and not stat.st_mode & 0o022


def _to_bytes(program: jax.stages.Compiled) -> bytes | None:
  """Returns what _load reads; None of a program that cannot be written."""
  try:
    content = pickle.dumps(serialize_executable.serialize(program))
  except Exception as error:  # each compiler has its own
    logger.debug(f"a program is not kept: {error!r}")
    return None
  return hashlib.sha256(content).digest() + content


def _save(path: Path, content: bytes, name: Path) -> None:
  """Writes a program and its name; without them it is compiled next time."""
  _write(path, content)
  _write(name, path.stem.encode())
  _forget_old(path.parent)


def _write(path: Path, content: bytes) -> None:
  try:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_bytes(path, content)
    path.chmod(0o600)
  except OSError as error:
    logger.debug(f"{path} is not kept: {error}")


def _hash(*values: Any) -> str:
  text = json.dumps(values, sort_keys=True, default=repr)
  return hashlib.sha256(text.encode()).hexdigest()[:32]


def _hash_sources() -> str | None:
  """Hashes the modules that are traced: ours, and those of libraries by size
  and time, which are many.

  None where one was changed since this process began: it may run the old one.
  """
  found, newest = [], 0.0
  for package in (item_jax, *map(importlib.import_module, _TRACED)):
    folder = Path(package.__path__[0])
    for path in sorted(folder.rglob("*.py")):
      stat = path.stat()
      newest = max(newest, stat.st_ctime)
      if package is item_jax:
        content: Any = path.read_text("utf-8")
      else:
        content = stat.st_size, stat.st_mtime_ns
      found.append((package.__name__, str(path.relative_to(folder)), content))
  return _hash(found) if newest < item_jax.IMPORTED else None


def _forget_old(folder: Path) -> None:
  """Deletes the least recently used programs beyond _LIMIT bytes.

  Also what a kill left of one that was being written, and names of what is
  gone. Other processes may do the same meanwhile.
  """
  found = []
  for path in folder.glob(f"*{_PROGRAM}*"):
    with contextlib.suppress(FileNotFoundError):
      stat = path.stat()
      found.append((stat.st_mtime, stat.st_size, path))
  left = _LIMIT
  for _, size, path in sorted(found, reverse=True):
    left -= size
    if left < 0:
      path.unlink(missing_ok=True)
  for name in folder.glob(f"*{_NAME}"):
    with contextlib.suppress(FileNotFoundError):
      if not os.path.exists(_named(name)):  # whatever the name holds
        name.unlink()

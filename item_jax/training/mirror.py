"""Keeps the workdir of a run on an object store.

It is made on this machine, and copied to the store whenever a checkpoint is
complete. Orbax could write to gs:// by a client of its own, but to no other
store, and nobody could lock, append or rename there. So a checkpoint counts as
saved when all of it is on the store, its manifest last, and metrics.jsonl is
copied as a whole.

In place of a lock the store holds the name of the run that was started last: a
run that finds another name than its own stops. So a machine that was taken away
can be replaced at once, and one that was cut off does no harm when it returns.
"""

import json
import logging
import threading
import uuid

import jax

from item_jax import remote
from item_jax.errors import UserError
from item_jax.files import MANIFEST, files_below, write_bytes
from item_jax.object_store import copies, uploads
from item_jax.object_store.copies import UPLOADING
from item_jax.remote import Address, StoreError

logger = logging.getLogger(__name__)

_OWNER = "owner"  # holds the name of the run that was started last
_STEPS = "checkpoints"
_BOARD = "tensorboard"
# In this order: run.json says that there is a run.
_HEAD = ("tokenizer.json", "run.json", "metrics.jsonl")


class TakenOverError(StoreError):
  """Another run was started on the same workdir, and has it now."""


class Mirror:
  """A workdir on a store, and the folder of this machine that it is made in.

  folder: on this machine; always the same for one address.
  """

  def __init__(self, address: Address):
    if jax.process_count() > 1:
      raise UserError(
        f"{address} is on an object store, which only a run of one process can"
        f" write to, and there are {jax.process_count()}: many need a folder"
        " that all of them see"
      )
    self.address = Address(address)
    self.folder = copies.place_of("runs", self.address)
    self._name = b""
    self._sent: dict[str, tuple] = {}
    self._sending = threading.Lock()

  def begin(self) -> None:
    """Makes the folder here equal to the store; writes nothing there.

    What is here stays if nobody else wrote to the store since: it is the same,
    or newer. The caller holds the folder's lock.

    Raises:
      UserError: the store holds something else there.
    """
    found = remote.list_files(self.address)
    if found and not {"run.json", _OWNER} & found.keys():
      raise UserError(f"{self.address} is not empty and holds no run")
    file = self.folder / _OWNER
    self._name = file.read_bytes() if file.is_file() else b""
    if not self._name or self._name != remote.read(self.address / _OWNER):
      self._name = b""
      file.unlink(missing_ok=True)  # incomplete from here on
      uploads.clear(self.folder)
      self._fetch(found)

  def acquire(self) -> None:
    """Takes the workdir from the run that had it, once this one can begin.

    Raises:
      StoreError: the store cannot be written to.
    """
    if not self._name:
      self._name = uuid.uuid4().hex.encode()
      remote.write(self.address / _OWNER, self._name)
      # Another run may have saved meanwhile.
      self._fetch(remote.list_files(self.address))
      write_bytes(self.folder / _OWNER, self._name)
    logger.info(f"{self.address} is written in {self.folder} first")
    self.send()

  def _fetch(self, found: dict[str, int]) -> None:
    """Copies here the complete checkpoints and the log that the store has."""
    whole = _whole_steps(found)
    wanted = {
      name: size
      for name, size in found.items()
      if (name in _HEAD or _step_of(name) in whole)
      and not name.endswith(UPLOADING)
    }
    if wanted:
      copies.fetch(self.address, self.folder, wanted)

  def send(self) -> None:
    """Copies to the store what it lacks; deletes steps that are not kept.

    Raises:
      TakenOverError: another run was started there.
      StoreError: the store cannot be written to.
    """
    with self._sending:
      if remote.read(self.address / _OWNER) != self._name:
        raise TakenOverError(
          f"{self.address}: another run was started there and has it now"
        )
      found = remote.list_files(self.address)
      kept = _whole_steps(files_below(self.folder, _STEPS))
      # The log too: a step that is there has its rows, wherever it goes on.
      for name in _HEAD:
        self._send_file(name)
      for step in sorted(kept):
        self._send_step(step, found)
      for name in files_below(self.folder, _BOARD):
        self._send_file(name)
      self._delete([n for n in found if _step_of(n) not in {None, *kept}])

  def end(self) -> None:
    """Copies the last rows of the log; only warns of an error.

    The checkpoints are there already.
    """
    try:
      self.send()
    except StoreError as error:
      logger.warning(f"the last rows are in {self.folder}: {error}")

  def _send_file(self, name: str) -> None:
    file = self.folder / name
    if not file.is_file():
      return
    known = file.stat()
    seen = (known.st_size, known.st_mtime_ns)
    if self._sent.get(name) != seen:
      # Its bytes of one moment: the log grows meanwhile.
      remote.write(self.address / name, file.read_bytes())
      self._sent[name] = seen

  def _send_step(self, step: int, found: dict[str, int]) -> None:
    place = f"{_STEPS}/{step}"
    manifest = (self.folder / place / MANIFEST).read_bytes()
    if f"{place}/{MANIFEST}" in found:
      there = remote.read(self.address / place / MANIFEST)
      if there == manifest:
        return
      if _same_files(there, manifest):  # it was ranked since
        remote.write(self.address / place / MANIFEST, manifest)
        return
    old = [n.removeprefix(f"{place}/") for n in found if _step_of(n) == step]
    copies.send(
      self.folder / place, self.address / place, last=MANIFEST, old=old
    )

  def _delete(self, names: list[str]) -> None:
    manifests = [name for name in names if name.endswith(f"/{MANIFEST}")]
    # First: a step that is deleted in part must not have one.
    for some in (manifests, set(names) - {*manifests}):
      remote.each(lambda name: remote.delete(self.address / name), some)


def _same_files(one: bytes | None, other: bytes) -> bool:
  """Whether two manifests list the same files."""
  try:
    return json.loads(one or b"{}")["files"] == json.loads(other)["files"]
  except (ValueError, KeyError, TypeError):  # the store's may be corrupt
    return False


def _step_of(name: str) -> int | None:
  """The step that a file of a checkpoint belongs to; None for others."""
  first, _, rest = name.partition("/")
  step = rest.partition("/")[0]
  return int(step) if first == _STEPS and step.isdecimal() else None


def _whole_steps(names) -> set[int]:
  """The steps that have a manifest."""
  return {
    step
    for name in names
    if (step := _step_of(name)) is not None
    and name == f"{_STEPS}/{step}/{MANIFEST}"
  }

"""Says of each flag what it does with an address on an object store: it is
copied here, written here and uploaded, or refused before any work.

`type=` of a flag is one of the kinds below, and `with_copies` does the rest.
"""

import argparse
import contextlib
import fnmatch
import shutil
from collections.abc import Callable
from pathlib import Path

from item_jax import copies, remote
from item_jax.copies import UPLOADING
from item_jax.errors import UserError
from item_jax.files import alone_in
from item_jax.remote import Address, StoreError


class Given(Address):
  """An address that was given to a flag, and the flag's kind."""

  kind: "_Kind"


class _Kind:
  """What a flag's path is for; called with what was given, it says where it
  is: Path where it is local."""

  def __call__(self, text: str) -> Path | Given:
    place = remote.locate(text)
    return self._given(place) if isinstance(place, Address) else place

  def _given(self, address: Address) -> Given:
    given = Given(address)
    given.kind = self
    return given

  def check(self, given: Given, args: argparse.Namespace) -> None:
    """Refuses what cannot work, before anything is copied."""
    remote.check_store(given)

  def enter(self, given: Given, args, stack: contextlib.ExitStack):
    """The path that the command works with instead."""
    raise NotImplementedError

  def finish(self, given: Given, path, code: int) -> None:
    """After the command has ended, with its exit code."""


class Local(_Kind):
  """A path that must be of this machine; `why` tells what to do instead."""

  def __init__(self, why: str, *, text: bool = False):
    self._why = why
    self._text = text  # the command wants what was given, letter for letter

  def __call__(self, text: str):
    place = super().__call__(text)
    return place if isinstance(place, Given) or not self._text else text

  def check(self, given, args) -> None:
    raise UserError(f"{given} is on an object store: {self._why}")


class Copy(_Kind):
  """A file or folder that is read: a copy of it, for as long as it takes."""

  def __init__(self, *, finished: bool = True, wanted=lambda name: True):
    self._finished = finished
    self._wanted = wanted

  def enter(self, given, args, stack):
    copy = copies.copied(given, finished=self._finished, wanted=self._wanted)
    return stack.enter_context(copy)


class Catalogue(Copy):
  """A table; by default its photos lie beside it, on the store."""

  def check(self, given, args) -> None:
    super().check(given, args)
    if args.images is None:
      args.images = IMAGES._given(given.parent)
      IMAGES.check(args.images, args)


class Data(_Kind):
  """A data set: a copy that stays in the cache."""

  def enter(self, given, args, stack):
    return copies.data_copy(given)


class Run(_Kind):
  """A run's workdir that is read: its settings and one checkpoint."""

  def enter(self, given, args, stack):
    return stack.enter_context(copies.copied_run(given, step=args.step))


class Images(_Kind):
  """A folder of photos, which are read one by one where they lie."""

  def check(self, given, args) -> None:
    remote.check_in_place(given)

  def enter(self, given, args, stack):
    return given


class Workdir(_Kind):
  """A run's workdir that is written; `training.mirror` copies it both ways."""

  def check(self, given, args) -> None:
    _check_writable(given, args)

  def enter(self, given, args, stack):
    return given


class Out(_Kind):
  """A file or a folder that is written: made here, uploaded when complete.

  Args:
    marker: the file of a folder that is written last; "" for a single file.
    ours: patterns of all names that the command writes in a folder.
    goes_on: whether the command goes on with what it left.
  """

  def __init__(self, marker: str = "", ours=(), *, goes_on: bool = False):
    self._marker = marker
    self._ours = (*ours, marker, UPLOADING)
    self._goes_on = goes_on

  def check(self, given, args) -> None:
    _check_writable(given, args)
    found = remote.list_files(given) if self._marker else {}
    if not found:
      return
    odd = [
      n for n in found if not any(fnmatch.fnmatch(n, p) for p in self._ours)
    ]
    if odd or not {self._marker, UPLOADING} & found.keys():
      raise FileExistsError(
        f"{given} holds what this command did not write"
        f" ({(odd or sorted(found))[0]}): name another place"
      )
    if UPLOADING not in found and not args.overwrite and not self._goes_on:
      raise FileExistsError(
        f"{given} is already there; --overwrite replaces it"
      )

  def enter(self, given, args, stack):
    made = copies.place_of("unfinished", given)
    what = f"command that writes to {given}"
    stack.enter_context(alone_in(made.parent, what=what))
    found = remote.list_files(given) if self._goes_on else {}
    there = self._marker in found and UPLOADING not in found
    if not self._goes_on or (there and not args.overwrite):
      _clear(made.parent)
    if there and not args.overwrite:  # the command compares it, and says so
      copies.fetch(given, made, found)
    return made

  def finish(self, given, path, code) -> None:
    try:
      done = self._send(given, path)
    except OSError as error:
      raise StoreError(
        f"{error}; what was made is in {path.parent}, until the same command is"
        " given again"
      ) from error
    if done:
      _clear(path.parent)
    elif path.exists():
      print(f"{given}: nothing is uploaded before it is complete: {path}")

  def _send(self, given, path) -> bool:
    """Uploads what is complete; whether nothing is left to be done."""
    for other in path.parent.iterdir():  # as data.rejected.csv beside data
      if other.is_file() and other.name != "lock" and other != path:
        remote.upload(
          other, Address(given + other.name.removeprefix(path.name))
        )
        print(f"{other} is {given}{other.name.removeprefix(path.name)}")
    if not self._marker:
      if path.is_file():
        remote.upload(path, given)
      return True
    if not (path / self._marker).is_file():
      return not path.exists()
    marker = (path / self._marker).read_bytes()
    if remote.read(given / self._marker) != marker:
      old = remote.list_files(given)
      copies.send(path, given, last=self._marker, old=old)
      print(f"{given}: uploaded, {self._marker} last")
    return True


class Exports(_Kind):
  """NAME=FOLDER, an export that is read."""

  def __call__(self, text: str):
    _, equals, folder = text.partition("=")
    place = remote.locate(folder)
    if not equals or not isinstance(place, Address):
      return text
    return self._given(Address(text))

  def _split(self, given):
    name, _, folder = given.partition("=")
    return name, remote.locate(folder)

  def check(self, given, args) -> None:
    remote.check_store(self._split(given)[1])

  def enter(self, given, args, stack):
    name, address = self._split(given)
    return f"{name}={stack.enter_context(copies.copied(address))}"


COPY = Copy()
ANY_STATE = Copy(finished=False)
CATALOGUE = Catalogue()
# A run's workdir may be given: its checkpoints are not wanted.
TOKENIZER = Copy(wanted=lambda name: "/" not in name)
DATA = Data()
RUN = Run()
IMAGES = Images()
WORKDIR = Workdir()
FILE_OUT = Out()
DATA_OUT = Out("manifest.json", ("catalogue-*", "*.json", "rejected.csv"))
SHOP_OUT = Out("products.csv", ("variants.csv", "images/*.jpg"))
FUSION_OUT = Out("meta.json", ("embeddings.npy", "items.csv"))
EXPORT_OUT = Out("meta.json", ("embeddings.npy", "items.csv"), goes_on=True)
EXPORTS = Exports()
CONFIG = Local("a config is a Python file of this machine", text=True)


def with_copies(
  args: argparse.Namespace, work: Callable[[], int | None]
) -> int | None:
  """Calls `work` with local paths in place of the addresses in `args`.

  Raises:
    UserError, FileExistsError: before any work, where an address cannot be
      used so.
    StoreError: a store does not answer, or does not take the result; later.
  """
  given = {
    name: [one for one in _listed(value) if isinstance(one, Given)]
    for name, value in vars(args).items()
  }
  for ones in given.values():
    for one in ones:
      try:
        one.kind.check(one, args)
      except StoreError as error:  # nothing is begun
        raise UserError(str(error)) from error
  made = []
  with contextlib.ExitStack() as stack:
    for name in [name for name, ones in given.items() if ones]:
      value, paths = getattr(args, name), []
      for one in _listed(value):
        if isinstance(one, Given):
          path = one.kind.enter(one, args, stack)
          made.append((one, path))
          one = path
        paths.append(one)
      setattr(args, name, paths if isinstance(value, list) else paths[0])
    code = work()
    for one, path in made:
      one.kind.finish(one, path, code or 0)
  return code


def _listed(value) -> list:
  return value if isinstance(value, list) else [value]


def _check_writable(given: Given, args) -> None:
  """Refuses, before the work, what could not be written after it."""
  remote.check_store(given)
  if given.startswith("memory:"):
    raise UserError(f"{given} would be gone with this process: name a store")
  if given.is_bucket():
    raise UserError(f"{given} is a whole store: name a folder or file in it")
  if getattr(args, "distributed", False) or getattr(args, "coordinator", None):
    raise UserError(
      f"{given} is on an object store, which one process alone can write to:"
      " many need a folder that all of them see; copy it afterwards"
    )
  probe = Address(f"{given}.item-jax-probe")
  remote.write(probe, b"whether this can be written\n")
  remote.delete(probe)


def _clear(folder: Path) -> None:
  for path in folder.iterdir():
    if path.is_dir():
      shutil.rmtree(path)
    elif path.name != "lock":
      path.unlink()

"""Handles addresses on object stores in the flags of all commands.

An input is copied to this machine, an output is written locally and uploaded;
where an address cannot be used, it is refused before any work. The `type=` of a
flag is one of the kinds below, and `with_copies` does the rest.
"""

import argparse
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

from item_jax import remote
from item_jax.errors import WRONG_PATHS, UserError
from item_jax.files import METRICS_FILE
from item_jax.object_store import copies, uploads
from item_jax.object_store.uploads import Layout
from item_jax.remote import Address, StoreError


class FlagAddress(Address):
  """An address that a flag got, with the flag's kind."""

  kind: "_Kind"


def _locate(text: str) -> Path | Address:
  # A shell's variable that is not set would be the folder one is in.
  if not text:
    raise argparse.ArgumentTypeError("it is empty: expected a path")
  return remote.locate(text)


class _Kind:
  """The purpose of a flag's path.

  Called with the flag's text, it returns a Path, or the address with its kind.
  """

  def __call__(self, text: str) -> Path | FlagAddress | str:
    place = _locate(text)
    return self.mark(place) if isinstance(place, Address) else place

  def mark(self, address: Address) -> FlagAddress:
    """Returns the address with this kind."""
    marked = FlagAddress(address)
    marked.kind = self
    return marked

  def check(self, address: FlagAddress, args: argparse.Namespace) -> None:
    """Refuses an address that cannot work, before anything is copied."""
    remote.check_store(address)

  def enter(
    self, address: FlagAddress, args, stack: contextlib.ExitStack
  ) -> Path | FlagAddress | str:
    """Returns what the command gets: a path on this machine, as a rule."""
    return address

  def before(self, address: str) -> str:
    """Returns what precedes the address in the flag."""
    return ""

  def finish(self, address: FlagAddress, path, args) -> None:
    """Runs after the command has ended without an error."""


class Local(_Kind):
  """A path that must be local; `why` says what to do instead."""

  def __init__(self, why: str, *, text: bool = False):
    self._why = why
    self._text = text  # whether the command gets the text itself

  def __call__(self, text: str):
    place = super().__call__(text)
    return place if isinstance(place, FlagAddress) or not self._text else text

  def check(self, address, args) -> None:
    raise UserError(f"{address} is on an object store: {self._why}")


class Copy(_Kind):
  """A file or folder that is read: from a temporary copy."""

  def __init__(self, *, finished: bool = True, wanted=lambda name: True):
    self._finished = finished
    self._wanted = wanted

  def enter(self, address, args, stack):
    copy = copies.copied(address, finished=self._finished, wanted=self._wanted)
    return stack.enter_context(copy)


class AnyState(Copy):
  """A folder that is checked, finished or not; `args.shown` is its name."""

  def enter(self, address, args, stack):
    args.shown = address
    return super().enter(address, args, stack)


class Catalogue(Copy):
  """A table; by default its images are beside it, on the store."""

  def check(self, address, args) -> None:
    super().check(address, args)
    beside = IMAGES.mark(address.parent)
    if args.images is None:
      args.images = args.beside = beside
      IMAGES.check(args.images, args)
    elif getattr(args, "beside", beside) != beside:
      raise UserError(
        f"the catalogue's files lie in several folders, one of them"
        f" {address.parent}: --images says where the paths of images start"
      )


class Data(_Kind):
  """A data set: from a copy that stays in the cache."""

  def enter(self, address, args, stack):
    return copies.data_copy(address)


class Run(_Kind):
  """A run's workdir that is read: its settings and one checkpoint."""

  def enter(self, address, args, stack):
    from item_jax.training.fetched import copied_run, step_of  # imports jax

    return stack.enter_context(copied_run(address, step=step_of(args)))


class Images(_Kind):
  """A folder of images, which are read one by one in place."""

  def check(self, address, args) -> None:
    remote.check_in_place(address)


class Workdir(_Kind):
  """A run's workdir that is written; `training.mirror` copies it both ways."""

  def check(self, address, args) -> None:
    _check_single_process(address, args)
    uploads.check_writable(address)


class Out(Workdir):
  """A file or folder that is written: locally, and uploaded when complete."""

  def __init__(self, layout: Layout):
    self._layout = layout

  def check(self, address, args) -> None:
    super().check(address, args)
    again = self._layout.resumes or _overwrites(args)
    uploads.check_room(address, self._layout, overwrite=again)

  def enter(self, address, args, stack):
    return uploads.acquire(
      address, self._layout, stack, overwrite=_overwrites(args)
    )

  def finish(self, address, path, args) -> None:
    uploads.finish(address, self._layout, path, overwrite=_overwrites(args))


def _overwrites(args) -> bool:
  return getattr(args, "overwrite", False)


def _check_single_process(address: FlagAddress, args) -> None:
  if getattr(args, "distributed", False) or getattr(args, "coordinator", None):
    raise UserError(
      f"{address} is on an object store, which only one process can write to:"
      " several need a folder that all of them see; copy it afterwards"
    )


class ExportOut(Out):
  def check(self, address, args) -> None:
    """Refuses several exports, which are folders of this machine."""
    if "," in args.split + args.modality or args.split == "all":
      raise UserError(
        f"{address} is on an object store, which takes one split and modality"
        f" at a time; asked are {args.split} and {args.modality}"
      )
    super().check(address, args)


class Exports(_Kind):
  """What is scored, FOLDER, FILE.npy:ITEMS.csv or a word; or NAME=that."""

  def __init__(self, *, named: bool = True):
    self._named = named

  def __call__(self, text: str):
    places = self._places(text)
    if any(isinstance(place, Address) for place in places):
      return self.mark(Address(text))
    # Not Path's spelling: ./tfidf is a folder.
    return self._join(text, places) if "file:/" in text else text

  def before(self, address) -> str:
    name, equals, _ = address.partition("=")
    return name + equals if self._named and equals else ""

  def _join(self, text: str, places) -> str:
    return self.before(text) + ":".join(map(str, places))

  def _places(self, text: str) -> list[Path | Address]:
    """The folder, or both files."""
    before = self.before(text)
    if self._named and not before:
      return []
    file, colon, table = text.removeprefix(before).partition(_NPY)
    found = (file + ".npy", table) if colon else (file,)
    return [_locate(x) for x in found]

  def check(self, address, args) -> None:
    for place in self._places(address):
      if isinstance(place, Address):
        remote.check_store(place)

  def enter(self, address, args, stack):
    copied = [
      stack.enter_context(copies.copied(place))
      if isinstance(place, Address)
      else place
      for place in self._places(address)
    ]
    return self._join(address, copied)


_NPY = ".npy:"  # between the two files of FILE.npy:ITEMS.csv
COPY = Copy()
ANY_STATE = AnyState(finished=False)
CATALOGUE = Catalogue()
# A run's workdir may be address: its checkpoints are not wanted.
TOKENIZER = Copy(wanted=lambda name: "/" not in name)
METRICS = Copy(finished=False, wanted=METRICS_FILE.__eq__)  # nor here
DATA = Data()
RUN = Run()
IMAGES = Images()
WORKDIR = Workdir()
FILE_OUT = Out(Layout())
EXPORTED = ("embeddings.npy", "items.csv")
_SPACED = (*EXPORTED, "transform.npz", "atlas.parquet")
EXPORT_OUT = ExportOut(Layout("meta.json", _SPACED, resumes=True))
EXPORTS = Exports()
SOURCE = Exports(named=False)
SOURCES = "an export, FILE.npy:ITEMS.csv, tfidf or thumbnail (with --data)"
CONFIG = Local("a config is a Python file of this machine", text=True)


def with_copies(
  args: argparse.Namespace, work: Callable[[], int | None]
) -> int | None:
  """Calls `work` with local paths in place of the addresses in `args`.

  Raises:
    UserError: an address cannot be used; before any work.
    StoreError: a store failed; later.
  """
  addresses = {
    name: [one for one in listed(value) if isinstance(one, FlagAddress)]
    for name, value in vars(args).items()
  }
  for one in itertools.chain.from_iterable(addresses.values()):
    try:
      one.kind.check(one, args)
    except StoreError as error:  # nothing is begun
      raise UserError(str(error)) from error
  made, given = [], [name for name, ones in addresses.items() if ones]
  with contextlib.ExitStack() as stack:
    for name in given:
      value, paths = getattr(args, name), []
      for one in listed(value):
        if isinstance(one, FlagAddress):
          path = one.kind.enter(one, args, stack)
          made.append((one, path))
          one = path
        paths.append(one)
      setattr(args, name, paths if isinstance(value, list) else paths[0])
    try:
      code = work()
    except (UserError, *WRONG_PATHS) as error:
      message = _with_addresses(str(error), made)
      if message == str(error):
        raise
      raise UserError(message) from error
    for one, path in made:
      one.kind.finish(one, path, args)
  return code


def _with_addresses(text: str, made) -> str:
  """Puts the flags' addresses in place of their copies in a message."""
  for one, path in made:
    before = one.kind.before(one)
    copy, address = (str(x).removeprefix(before) for x in (path, one))
    text = text.replace(copy, address)
  return text


def listed(value) -> list:
  """Returns the values of a flag, which may be given once or several times."""
  return value if isinstance(value, list) else [value]

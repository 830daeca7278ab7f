"""Says of each flag what it does with an address on an object store: it is
copied here, written here and uploaded, or refused before any work.

`type=` of a flag is one of the kinds below, and `with_copies` does the rest.
"""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path

from item_jax import remote
from item_jax.errors import WRONG_PATHS, UserError
from item_jax.object_store import copies, uploads
from item_jax.object_store.uploads import Layout
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

  def before(self, given: Given) -> str:
    """What stands before the address."""
    return ""

  def finish(self, given: Given, path, args) -> None:
    """After the command has ended, without an error."""


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


class AnyState(Copy):
  """What is looked at, whole or not; `args.shown` is what it is called."""

  def enter(self, given, args, stack):
    args.shown = given
    return super().enter(given, args, stack)


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
    from item_jax.training.fetched import copied_run  # scoring needs no jax

    return stack.enter_context(copied_run(given, step=args.step))


class Images(_Kind):
  """A folder of photos, which are read one by one where they lie."""

  def check(self, given, args) -> None:
    remote.check_in_place(given)

  def enter(self, given, args, stack):
    return given


class Workdir(_Kind):
  """A run's workdir that is written; `training.mirror` copies it both ways."""

  def check(self, given, args) -> None:
    _check_alone(given, args)
    uploads.check_writable(given)

  def enter(self, given, args, stack):
    return given


class Out(_Kind):
  """A file or a folder that is written: made here, uploaded when complete."""

  def __init__(self, layout: Layout):
    self._layout = layout

  def check(self, given, args) -> None:
    _check_alone(given, args)
    uploads.check_writable(given)
    again = self._layout.goes_on or _overwrites(args)
    uploads.check_room(given, self._layout, overwrite=again)

  def enter(self, given, args, stack):
    return uploads.claim(
      given, self._layout, stack, overwrite=_overwrites(args)
    )

  def finish(self, given, path, args) -> None:
    uploads.finish(given, self._layout, path, overwrite=_overwrites(args))


def _overwrites(args) -> bool:
  return getattr(args, "overwrite", False)


def _check_alone(given: Given, args) -> None:
  if getattr(args, "distributed", False) or getattr(args, "coordinator", None):
    raise UserError(
      f"{given} is on an object store, which one process alone can write to:"
      " many need a folder that all of them see; copy it afterwards"
    )


class Exports(_Kind):
  """NAME=FOLDER, an export that is read."""

  def __call__(self, text: str):
    _, equals, folder = text.partition("=")
    place = remote.locate(folder)
    if not equals or not isinstance(place, Address):
      return text
    return self._given(Address(text))

  def before(self, given) -> str:
    return given.partition("=")[0] + "="

  def _address(self, given) -> Address:
    return remote.locate(given.removeprefix(self.before(given)))

  def check(self, given, args) -> None:
    remote.check_store(self._address(given))

  def enter(self, given, args, stack):
    copy = stack.enter_context(copies.copied(self._address(given)))
    return f"{self.before(given)}{copy}"


COPY = Copy()
ANY_STATE = AnyState(finished=False)
CATALOGUE = Catalogue()
# A run's workdir may be given: its checkpoints are not wanted.
TOKENIZER = Copy(wanted=lambda name: "/" not in name)
DATA = Data()
RUN = Run()
IMAGES = Images()
WORKDIR = Workdir()
FILE_OUT = Out(Layout())
DATA_OUT = Out(
  Layout(
    "manifest.json",
    (
      *("catalogue-*.array_record-*", "catalogue.json", "tokenizer.json"),
      *("rejected.csv", "dataset_info.json", "features.json"),
    ),
  )
)
SHOP_OUT = Out(
  Layout(
    "products.csv",
    ("variants.csv", "images/*.jpg"),
    sign=b"\n000000-0,P000000,images/000000-0.jpg,",
  )
)
_EXPORTED = ("embeddings.npy", "items.csv")
FUSION_OUT = Out(Layout("meta.json", _EXPORTED, sign=b'"share":'))
EXPORT_OUT = Out(Layout("meta.json", _EXPORTED, goes_on=True))
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
    try:
      code = work()
    except (UserError, *WRONG_PATHS) as error:
      said = _called(str(error), made)
      if said == str(error):
        raise
      raise UserError(said) from error
    for one, path in made:
      one.kind.finish(one, path, args)
  return code


def _called(text: str, made) -> str:
  """A message with the addresses that were given in place of the copies."""
  for one, path in made:
    before = one.kind.before(one)
    here, there = (str(x).removeprefix(before) for x in (path, one))
    text = text.replace(here, there)
  return text


def _listed(value) -> list:
  return value if isinstance(value, list) else [value]

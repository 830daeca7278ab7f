"""Makes here what is to lie on an object store, and uploads it when it is
complete; what is there already stays unless it may be replaced."""

import contextlib
import fnmatch
import logging
import shutil
from pathlib import Path
from typing import NamedTuple

from item_jax import remote
from item_jax.errors import UserError
from item_jax.files import exclusive_lock
from item_jax.object_store import copies
from item_jax.object_store.copies import UPLOADING
from item_jax.remote import Address, StoreError

logger = logging.getLogger(__name__)


class Layout(NamedTuple):
  """What a command writes: a file, or a folder with a marker."""

  marker: str = ""  # the file of a folder that is written last; "": a file
  names: tuple[str, ...] = ()  # patterns of the folder's others
  sign: bytes = b""  # what the marker holds where this command wrote it
  goes_on: bool = False  # whether the command goes on with what it left


def check_writable(address: Address) -> None:
  """Finds out, before the work, whether it can be written to after it.

  Raises:
    UserError: the address is not of anything in a store, or of none.
    StoreError: the store does not take it.
  """
  remote.check_store(address)
  if address.startswith("memory:"):
    raise UserError(f"{address} would be gone with this process: name a store")
  if address.is_bucket():
    raise UserError(f"{address} is a whole store: name a folder or file in it")
  probe = Address(f"{address}.item-jax-probe")
  remote.write(probe, b"whether this can be written\n")
  remote.delete(probe)


def check_room(
  address: Address, layout: Layout, *, overwrite: bool
) -> dict[str, int]:
  """Gives {name: bytes} of what is there and may be replaced.

  Raises:
    FileExistsError: there is what must stay.
  """
  if not layout.marker:
    return {}
  found = remote.list_files(address)
  odd = [name for name in found if not _is_of(layout, name)]
  marked, cut_off = layout.marker in found, UPLOADING in found
  if marked and layout.sign not in (
    remote.read(address / layout.marker) or b""
  ):
    odd.append(layout.marker)
  if found and not marked and not cut_off:
    odd += sorted(found)
  if odd:
    raise FileExistsError(
      f"{address} holds what this command did not write ({odd[0]}): name"
      " another place"
    )
  if marked and not cut_off and not overwrite:
    raise FileExistsError(
      f"{address} is already there; --overwrite replaces it"
    )
  return found


def _is_of(layout: Layout, name: str) -> bool:
  return any(
    fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
    for pattern in (*layout.names, layout.marker, UPLOADING)
  )


def claim(
  address: Address,
  layout: Layout,
  stack: contextlib.ExitStack,
  *,
  overwrite: bool,
) -> Path:
  """The place of this machine where it is made, always the same and for one
  command at a time, until `stack` is closed."""
  made = copies.place_of("unfinished", address)
  what = f"command that writes to {address}"
  stack.enter_context(exclusive_lock(made.parent, what=what))
  found = remote.list_files(address) if layout.goes_on else {}
  there = layout.marker in found and UPLOADING not in found
  if not layout.goes_on or (there and not overwrite):
    _clear(made.parent)
  if there and not overwrite:  # the command compares it, and says so
    copies.fetch(address, made, found)
  return made


def finish(
  address: Address, layout: Layout, made: Path, *, overwrite: bool
) -> None:
  """Uploads what is complete, and what lies beside it.

  Raises:
    StoreError: the store does not take it; what was made stays here.
  """
  try:
    _upload_others(address, made)
    complete = _upload(address, layout, made, overwrite)
  except OSError as error:
    raise StoreError(
      f"{error}; what was made is in {made.parent}, until the same command is"
      " given again"
    ) from error
  if complete:
    _clear(made.parent)
  else:
    logger.info(f"{address}: nothing is uploaded before it is complete: {made}")


def _upload_others(address: Address, made: Path) -> None:
  """As data.rejected.csv, beside data."""
  for other in made.parent.iterdir():
    if other.is_file() and other != made and other.name != "lock":
      place = Address(address + other.name.removeprefix(made.name))
      remote.upload(other, place)
      logger.info(f"{other} is {place}")


def _upload(address, layout: Layout, made: Path, overwrite: bool) -> bool:
  """Whether nothing is left that is not complete."""
  if not layout.marker:
    if made.is_file():
      remote.upload(made, address)
    return True
  marker = made / layout.marker
  if not marker.is_file():
    return not made.exists()
  if remote.read(address / layout.marker) != marker.read_bytes():
    # Once more: somebody else may have been quicker.
    old = check_room(address, layout, overwrite=overwrite)
    copies.send(made, address, last=layout.marker, old=old)
    logger.info(f"{address}: uploaded, {layout.marker} last")
  return True


def _clear(folder: Path) -> None:
  for path in folder.iterdir():
    if path.is_dir():
      shutil.rmtree(path)
    elif path.name != "lock":
      path.unlink()

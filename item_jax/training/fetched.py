"""Copies from an object store the files that using a run's weights needs."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from item_jax import remote
from item_jax.files import MANIFEST, CorruptError, read_checksummed
from item_jax.object_store.copies import (
  copied,
  everything,
  list_finished,
  temporary,
)
from item_jax.remote import Address
from item_jax.training.checkpoint_dir import Steps


def step_of(args: Any) -> int | None:
  """The checkpoint that a command's flags ask for; None for the default.

  Args:
    args: `step`; maybe `like` or `export`, an export whose checkpoint is taken.
  """
  export = getattr(args, "like", None) or getattr(args, "export", None)
  if args.step is None and export:
    # What is no export is refused by who opens it.
    with (
      contextlib.suppress(FileNotFoundError, CorruptError),
      copied(export, wanted="meta.json".__eq__) as folder,
    ):
      return read_checksummed(folder / "meta.json").get("step")
  return args.step


@contextlib.contextmanager
def copied_run(
  path: str | os.PathLike, *, step: int | None = None
) -> Iterator[Path]:
  """A context with a copy of what is needed to use the weights of a run.

  Args:
    path: a run's workdir; also a file or a flat folder of weights.
    step: of the checkpoint; None for the one that is used by default.
  """
  address = remote.locate(path, "workdir")
  wanted = everything
  if isinstance(address, Address) and not remote.is_file(address):
    wanted = _of_step(address, step)
  with copied(address, wanted=wanted) as copy:
    yield copy


def _of_step(address: Address, step: int | None) -> Callable[[str], bool]:
  """Returns whether a file of a run is needed for the weights of a step."""
  manifests = [name for name in list_finished(address) if _is_manifest(name)]
  if step is None and manifests:
    record = json.loads(remote.read(address / "run.json") or b"{}")
    best = record.get("config", {}).get("checkpoint.best", "")
    with temporary() as home:
      for name in manifests:
        remote.download(address / name, home / name)
      step = Steps(home, keep=1, best=best).default_step()
  return lambda name: (
    "/" not in name
    or _is_manifest(name)
    or name.startswith(f"checkpoints/{step}/")
  )


def _is_manifest(name: str) -> bool:
  """Whether a file of a run is a checkpoint's manifest."""
  first, _, rest = name.partition("/")
  return first == "checkpoints" and rest.partition("/")[2] == MANIFEST

"""Runs `item-jax doctor`: checks for what would spoil a run, a line each."""

import contextlib
from pathlib import Path

from item_jax.cli import places
from item_jax.cli.flags import add_config
from item_jax.distributed import cluster

EXIT_BAD = 1


def add(command) -> None:
  sub = command(
    "doctor", "what would spoil a run here: a line each, 1 where something is"
  )
  add_config(sub)
  sub.add_argument("--data", type=places.DATA, help="the run's; else data.path")
  sub.add_argument(
    "--workdir",
    type=places.Local(
      "doctor looks at a disk; of such a run it is that of $ITEM_JAX_CACHE"
    ),
    default=Path("."),
    help="where the run will write",
  )
  cluster.add_flags(sub)


def run(args, rest) -> int:
  from item_jax import config_flags
  from item_jax.training.init_from import follow_start

  config = None
  if args.config or rest:
    config = follow_start(config_flags.parse(args.config, rest))
  cluster.join(args)
  import jax

  from item_jax.diagnostics import doctor
  from item_jax.distributed.watchdog import Watchdog

  bad, where, watched = False, "", contextlib.nullcontext()
  if jax.process_count() > 1:
    where = f"process {jax.process_index()} "
    watched = Watchdog(args.stall_seconds)
  with watched:
    for finding in _examine(args, config):
      bad |= finding.level == doctor.BAD
      line = f"{where}{finding.level:5}{finding.what}: {finding.text}"
      print(line, flush=True)
  return EXIT_BAD if bad else 0


def _examine(args, config):
  """Yields findings, first those that all others depend on."""
  import jax

  from item_jax.diagnostics import doctor, doctor_input, doctor_room
  from item_jax.diagnostics.plan import VOCAB_SIZE

  data = args.data or (config and config.data.path)
  yield doctor.versions()
  try:
    jax.local_devices()
  except RuntimeError as error:
    yield doctor.Finding(doctor.BAD, "devices", cluster.first_line(error))
    return
  yield doctor.devices()
  yield doctor.kernel()
  if config:
    found = doctor_room.options(config)
    yield found
    # Nothing can be computed for what could not work.
    config = config if found.level == doctor.OK else None
  yield from doctor.attention(config.model.attention if config else "auto")
  yield doctor_room.open_files()
  yield doctor.clocks()
  size = config.model.image_size if config else 224
  yield doctor_input.decode_rate(size)
  vocab_size = VOCAB_SIZE
  if data:
    words = config.data.tokenizer if config else ""
    store, tokenizer, found = doctor_input.open_data(data, words)
    yield found
    if store is not None and tokenizer is not None:
      vocab_size = tokenizer.size
      yield doctor_input.decode_rate_of(store, size)
  needed = doctor_room.needs(config, vocab_size) if config else (None, None)
  yield doctor_room.disk(args.workdir, needed[0])
  yield doctor_room.shared_memory(needed[1])
  yield doctor_room.checkpoint(args.workdir)

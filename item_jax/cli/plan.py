"""Runs `item-jax plan`: computes memory, time and input rate of a run."""

import math

from item_jax.cli import places
from item_jax.cli.flags import add_config, check_outputs
from item_jax.files import write_json

# Images a second of a worker on a core of its own, from the store to a batch:
# `item-jax bench input` printed 2,871 with two of them on two cores of an AMD
# EPYC.
DECODE_RATE = 1_400.0


def add(command) -> None:
  sub = command(
    "plan", "what a run will need: no data is read, no device is used"
  )
  add_config(sub, required=True)
  sub.add_argument(
    "--chips",
    type=int,
    metavar="N",
    help="GPUs or TPU chips; of these --compile counts less memory",
  )
  sub.add_argument("--memory", type=float, metavar="GB", help="of a chip")
  sub.add_argument(
    "--peak", type=float, metavar="TFLOPS", help="of a chip, in model.dtype"
  )
  sub.add_argument(
    "--mfu",
    type=float,
    default=0.4,
    help="reached of the peak, a fraction",
  )
  sub.add_argument(
    "--bandwidth",
    type=float,
    metavar="GB/S",
    help="of a chip's memory; without it the update takes no time",
  )
  sub.add_argument(
    "--link",
    type=float,
    metavar="GB/S",
    help="that a chip sends; without it gradients take no time",
  )
  sub.add_argument(
    "--words",
    type=int,
    help="tokens of the vocabulary; data.path's, else 30522",
  )
  sub.add_argument(
    "--decode_rate",
    type=float,
    help=f"images a second on a core, as `bench input` measures; default:"
    f" {DECODE_RATE:g}",
  )
  sub.add_argument(
    "--table",
    action="store_true",
    help="this run and 10 and 100 times its samples on known machines",
  )
  sub.add_argument(
    "--compile",
    metavar="TARGET",
    help="also compile the step for chips that are not here: h100, h100x8,"
    " v5e:1, v5e:16x16, v5p:2x2x1, v6e:2x4",
  )
  sub.add_argument(
    "--hlo",
    type=places.Local("take a folder here for the program, and copy it"),
    metavar="DIR",
    help="where --compile keeps the program's text",
  )
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the plan")


def run(args, rest) -> None:
  import jax

  # It computes sizes, never an array: no GPU is taken from anybody.
  jax.config.update("jax_platforms", "cpu")
  from item_jax import config_flags
  from item_jax.diagnostics import aot, aot_page, plan_page, targets
  from item_jax.diagnostics import plan as plan_lib
  from item_jax.training.init_from import follow_start

  check_outputs(args, args.json)
  _check_flags(args)
  config = follow_start(config_flags.parse(args.config, rest))
  vocab_size = _vocab_size(config) if args.words is None else args.words
  if args.table:
    print(plan_page.table(config, vocab_size=vocab_size, mfu=args.mfu))
    return
  target = None
  if args.compile:
    target = targets.find_target(args.compile)
    machine = plan_page.machine_of(target.chips, target.kind, mfu=args.mfu)
  else:
    machine = plan_lib.Machine(
      args.chips, args.memory * plan_page.GB, args.peak * 1e12, args.mfu
    )
    rates = {"bandwidth": args.bandwidth, "link": args.link}
    machine = machine._replace(
      **{k: v * plan_page.GB for k, v in rates.items() if v is not None}
    )
  rate = DECODE_RATE if args.decode_rate is None else args.decode_rate
  made = plan_lib.plan(config, machine, vocab_size=vocab_size)
  compiled = None
  if target:
    print(aot.COST, flush=True)
    compiled = aot.compile_for(
      config, target, vocab_size=vocab_size, folder=args.hlo
    )
    # Like beside like: the arithmetic of the kernel that was compiled.
    config.model.attention = compiled.attention
    made = plan_lib.plan(config, machine, vocab_size=vocab_size)
  print(plan_page.describe(made, vocab_size=vocab_size, decode_rate=rate))
  if compiled:
    print(aot_page.describe(made, compiled, target=args.compile))
  if args.json:
    found = plan_page.as_json(made, vocab_size=vocab_size, decode_rate=rate)
    if compiled:
      found["compiled"] = aot_page.as_json(compiled)
    write_json(args.json, found)


def _check_flags(args) -> None:
  from item_jax.errors import UserError

  machine = ("chips", "memory", "peak")
  rates = ("bandwidth", "link")
  for alone, others in (
    ("table", (*machine, *rates, "compile", "json", "decode_rate")),
    ("compile", (*machine, *rates)),
  ):
    for name in others:
      if getattr(args, alone) and getattr(args, name) is not None:
        raise UserError(f"--{alone} is of machines of its own: not --{name}")
  if args.hlo is not None and not args.compile:
    raise UserError("--hlo keeps what --compile compiles: --compile is needed")
  for name in (*machine, *rates):  # as they are given: GB and TFLOPS
    if (value := getattr(args, name)) is not None and not 0 < value < math.inf:
      raise UserError(f"--{name}={value:g}: must be above 0, and finite")
  if not (args.table or args.compile) and None in (
    getattr(args, name) for name in machine
  ):
    raise UserError(
      "--chips, --memory and --peak are needed, or --compile or --table"
    )


def _vocab_size(config) -> int:
  from item_jax.data.tokenizer import load_tokenizer

  if config.data.tokenizer:
    return load_tokenizer(config.data.tokenizer).size
  if not config.data.path:
    from item_jax.diagnostics.plan import VOCAB_SIZE

    return VOCAB_SIZE
  from item_jax.object_store.copies import copied
  from item_jax.remote import locate

  with copied(locate(config.data.path) / "tokenizer.json") as file:
    return load_tokenizer(file).size

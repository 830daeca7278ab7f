"""Runs `item-jax bench`: measures the step, the input or the search."""

from item_jax.cli import places
from item_jax.cli.flags import add_config, check_outputs
from item_jax.errors import UserError
from item_jax.files import write_json

# What each of them takes, with its default.
_TAKES = {
  "step": {"config": None, "seconds": 20.0, "profile": None},
  "input": {"config": None, "seconds": 20.0},
  "search": {"items": 100_000, "dim": 768, "queries": 2_000},
}


def add(command) -> None:
  sub = command("bench", "measure the step, the input or the search")
  sub.add_argument("what", choices=tuple(_TAKES), help="what is measured")
  add_config(sub, "of step and input: the run's")
  sub.add_argument(
    "--seconds", type=float, help="of step and input: how long; default: 20"
  )
  sub.add_argument(
    "--profile",
    type=places.Local("take a folder here for the trace, and copy it"),
    help="of step: folder for a trace of one",
  )
  sub.add_argument(
    "--items", type=int, help="of search: rows searched; default: 100,000"
  )
  sub.add_argument("--dim", type=int, help="of search: width; default: 768")
  sub.add_argument(
    "--queries", type=int, help="of search: how many; default: 2,000"
  )
  sub.add_argument("--json", type=places.FILE_OUT, help="file for the results")


def run(args, rest) -> None:
  options = _options(args, rest)
  check_outputs(args, args.json)
  if args.what == "search":
    from item_jax.diagnostics.search_bench import bench_search

    result = bench_search(**options)
  else:
    from item_jax import config_flags
    from item_jax.diagnostics import bench

    config = config_flags.parse(options.pop("config"), rest)
    measure = bench.bench_step if args.what == "step" else bench.bench_input
    result = measure(config, **options)
  print(result)
  if args.json:
    write_json(args.json, result.to_dict())


def _options(args, rest) -> dict:
  """The options of what is measured; an option of another is an error."""
  takes = _TAKES[args.what]
  names = {name for options in _TAKES.values() for name in options}
  present = {name for name in names if getattr(args, name) is not None}
  odd = [f"--{name}" for name in sorted(present - takes.keys())]
  if "config" not in takes:
    odd += rest
  if odd:
    raise UserError(f"bench {args.what} does not take {' '.join(odd)}")
  return takes | {name: getattr(args, name) for name in present}

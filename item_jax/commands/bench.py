"""`item-jax bench`: a config in, rates out."""

from pathlib import Path


def add(command) -> None:
  sub = command("bench", "measure the step, the input or the search")
  sub.add_argument("what", choices=("step", "input", "search"))
  sub.add_argument("--config", metavar="FILE[:VARIANT]")
  sub.add_argument("--seconds", type=float, default=20.0)
  sub.add_argument(
    "--profile", type=Path, help="folder for a trace of one step"
  )
  sub.add_argument("--items", type=int, default=100_000)
  sub.add_argument("--dim", type=int, default=768)
  sub.add_argument("--queries", type=int, default=2_000)
  sub.add_argument("--json", type=Path)


def run(args, rest) -> None:
  if args.what == "search":
    from item_jax.evaluation.bench import bench_search

    bench_search(
      items=args.items,
      dim=args.dim,
      queries=args.queries,
      json_path=args.json,
    )
    return
  from item_jax import config_flags
  from item_jax.training import bench

  config = config_flags.parse(args.config, rest)
  given = {"seconds": args.seconds, "json_path": args.json}
  if args.what == "step":
    bench.bench_step(config, profile=args.profile, **given)
  else:
    bench.bench_input(config, **given)

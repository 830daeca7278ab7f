"""`item-jax package` makes a folder of a model that runs without item-jax."""

from item_jax.cli import places
from item_jax.cli.flags import add_checkpoint, add_overwrite, call
from item_jax.object_store.uploads import Layout

# As `inference.package.FILES` has them; importing that takes seconds.
LAYOUT = Layout(
  "README.md",
  (
    *("embedder.stablehlo", "weights.npz", "tokenizer.json"),
    *("preprocessing.json", "embed.py"),
  ),
  sign=b"\n- item-jax\n",  # of the card's tags
)


def add(command) -> None:
  sub = command("package", "a model as a folder that embeds without item-jax")
  sub.add_argument("workdir", type=places.RUN, help="the run's")
  sub.add_argument(
    "--out",
    type=places.Out(LAYOUT),
    required=True,
    help="the folder to write; named as the model",
  )
  add_checkpoint(sub)
  add_overwrite(sub, "replace another package")


def run(args, rest) -> None:
  from item_jax.inference.package import package

  for path in sorted(call(package, args, args.workdir).iterdir()):
    print(f"{path}: {path.stat().st_size:,} bytes")

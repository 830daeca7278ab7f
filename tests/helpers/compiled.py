"""Compiles training steps in a process of its own: a data set and a line of
config and options each in, what XLA says of the program out, a line of JSON
each.
"""

import json
import sys


def main(data: str) -> None:
  import jax

  from item_jax import config_flags
  from item_jax.training.setup import set_up

  for line in sys.stdin:
    name, *options = line.split()
    options = [f"--config.{option}" for option in options]
    config = config_flags.parse(name, [*options, f"--config.data.path={data}"])
    made = set_up(config, None)
    found = {
      "line": line.strip(),
      "arguments": made.step.memory_analysis().argument_size_in_bytes,
      "flops": made.step.cost_analysis()["flops"],
      "words": made.tokenizer.size,
      "classes": len(made.categories),
      "devices": jax.device_count(),
    }
    print("\n" + json.dumps(found), flush=True)


if __name__ == "__main__":
  main(sys.argv[1])

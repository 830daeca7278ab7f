"""Formats a Plan as text, table or JSON, and finds changes that make it fit."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from item_jax.config import Config
from item_jax.diagnostics.plan import USABLE, Machine, Plan, changed, plan
from item_jax.diagnostics.targets import KINDS, Kind
from item_jax.errors import UserError

GB = 1e9
_DAY = 86_400
_HOST = 8  # chips that one process drives at most, on the usual machines


class Change(NamedTuple):
  """Options that make a run smaller."""

  options: dict[str, Any]
  plan: Plan  # with them
  slowdown: float  # factor on the products


def machine_of(chips: int, kind: Kind, **options) -> Machine:
  """Chips of a kind; options as fields of `Machine`."""
  return Machine(
    *(chips, kind.memory, kind.peak),
    bandwidth=kind.bandwidth,
    link=kind.link,
    tpu=kind.axes > 0,
    **options,
  )


# (name, machine, model.dtype), from the makers' datasheets.
MACHINES = (
  # A V100's matrix units have no bfloat16: XLA would compute in float32.
  ("8 V100", machine_of(8, Kind(32 * GB, 15.7e12, 900e9, 150e9)), "float32"),
  ("8 H100", machine_of(8, KINDS["h100"]), "bfloat16"),
  ("TPU v5e-256", machine_of(256, KINDS["v5e"]), "bfloat16"),
)
_ATTENTION = {"model.attention": "xla"}  # what all three have
# times the samples, batch size, steps
SCALES = ((1, 512, 100_000), (10, 4_096, 125_000), (100, 16_384, 312_500))

_PARTS = {
  "parameters": "parameters",
  "opt_state": "optimizer state",
  "batch": "batch",
  "accumulated": "in a pass: gradients summed so far",
  "activations": "in a pass: activations",
  "gathered": "in a pass: parameters gathered",
  "cast": "in a pass: parameters in model.dtype",
  "gradients": "in the update: gradients",
}


def changes(made: Plan, *, vocab_size: int) -> list[Change]:
  """Finds changes after which a run fits, the cheapest first.

  Of each kind the smallest that is enough; several kinds together where no
  single one is; empty where only more chips or a smaller batch would help.
  """
  for group in (_single, _several):
    found = []
    for kind in group(made.config, made.machine.chips):
      # The largest first: where it is not enough, none is.
      if not kind or _with(made, kind[-1], vocab_size) is None:
        continue
      tried = ((o, _with(made, o, vocab_size)) for o in kind)
      options, other = next((o, plan) for o, plan in tried if plan is not None)
      found.append(Change(options, other, other.recompute / made.recompute))
    if found:
      return sorted(found, key=lambda change: change.slowdown)
  return []


def _with(made: Plan, options: dict, vocab_size: int) -> Plan | None:
  """Returns the plan with other options, or None where it does not fit."""
  try:
    other = plan(
      changed(made.config, options), made.machine, vocab_size=vocab_size
    )
  except UserError:
    return None  # such as accumulation of a loss over the whole batch
  return other if other.fits else None


def _single(config: Config, chips: int) -> Iterator[list[dict]]:
  """Yields options of one kind each, from small to large."""
  yield _doubled(config, "optim.accumulate", config.batch_size // chips)
  yield _doubled(config, "mesh.fsdp", chips)
  if not config.model.remat:
    yield [{"model.remat": True}]


def _several(config: Config, chips: int) -> Iterator[list[dict]]:
  """Yields several kinds together."""
  fsdp = (_doubled(config, "mesh.fsdp", chips) or [{}])[-1]
  parts = _doubled(config, "optim.accumulate", config.batch_size // chips)
  remat = {"model.remat": True}
  yield [fsdp | part for part in parts]
  yield [remat | part for part in [{}, *parts]]
  yield [fsdp | remat | part for part in [{}, *parts]]


def _doubled(config: Config, name: str, most: int) -> list[dict]:
  group, leaf = name.split(".")
  value = 2 * getattr(getattr(config, group), leaf)
  found = []
  while value <= most:
    found.append({name: value})
    value *= 2
  return found


def describe(made: Plan, *, vocab_size: int, decode_rate: float) -> str:
  """Formats a plan as text, with changes where it does not fit."""
  if not decode_rate > 0:
    raise UserError(f"decode_rate={decode_rate}: must be above 0")
  c, m = made.config, made.machine
  flops = made.flops_per_sample * made.recompute
  again = ", remat's forward pass among them" if made.recompute > 1 else ""
  rate = made.samples_per_second
  lines = [
    f"task {c.task}, model {c.model.name} of {made.parameters:,} parameters,"
    f" {vocab_size:,} tokens",
    f"{m.chips} chips of {m.memory / GB:g} GB and {m.peak / 1e12:g} TFLOP/s, of"
    f" which {m.mfu:.0%} are reached",
    f"work      {flops / 1e9:,.3f} GFLOPs a sample{again}; {c.steps:,} steps of"
    f" {c.batch_size:,}: {made.samples * flops:.3g} FLOPs",
    f"time      {rate:,.0f} samples/s: {made.seconds / _DAY:.3g} days",
    f"input     {rate:,.0f} images/s:"
    f" {math.ceil(rate / decode_rate):,} cores, at {decode_rate:,.0f} each",
    f"data.workers: at least {_workers(made, decode_rate)}",
    f"a checkpoint  {made.checkpoint / GB:.3f} GB",
    "memory of a chip, GB",
  ]
  sizes = made.memory._asdict()
  lines += [
    f"  {text:44} {sizes[name] / GB:9.3f}"
    for name, text in _PARTS.items()
    if sizes[name]
  ]
  lines += [
    f"  {'at once, at most':44} {made.memory.total / GB:9.3f}",
    f"it {'fits' if made.fits else 'does not fit'}:"
    f" {USABLE:.0%} of {m.memory / GB:g} GB are counted on",
  ]
  if not made.fits:
    lines += _advice(changes(made, vocab_size=vocab_size))
  return "\n".join(lines)


def _workers(made: Plan, decode_rate: float) -> str:
  rate, chips = made.samples_per_second / decode_rate, made.machine.chips
  host = min(chips, _HOST)
  text = f"{math.ceil(rate / chips):,} a process"
  if host > 1:
    text += f" of one chip, {math.ceil(rate * host / chips):,} of {host}"
  return text


def _advice(found: list[Change]) -> list[str]:
  if not found:
    return ["no option is enough: more chips, or a smaller batch_size"]
  lines = ["it would with one of"]
  for change in found:
    cost = f", {change.slowdown:.2f} x the work" if change.slowdown > 1 else ""
    lines.append(
      f"  {spell(change.options)}: {change.plan.memory.total / GB:.3f} GB{cost}"
    )
  return lines


def spell(options: dict[str, Any]) -> str:
  """Spells options as flags of the command line."""
  return " ".join(f"--config.{k}={v}" for k, v in options.items())


def table(config: Config, *, vocab_size: int, mfu: float) -> str:
  """Formats a run, and 10 and 100 times its samples, on three machines.

  Returns:
    A table in Markdown.
  """
  lines = [
    "| machine | samples | steps x batch | GB a chip | with | samples/s |"
    " days |",
    "|---|---|---|---|---|---|---|",
  ]
  made = None
  for name, machine, dtype in MACHINES:
    for times, batch, steps in SCALES:
      run = changed(config, {"model.dtype": dtype} | _ATTENTION)
      run.batch_size, run.steps = batch, steps
      made = plan(run, machine._replace(mfu=mfu), vocab_size=vocab_size)
      options = {}
      if not made.fits:
        found = changes(made, vocab_size=vocab_size)
        if not found:
          lines.append(f"| {name} | x {times} | does not fit | | | | |")
          continue
        options, made = found[0].options, found[0].plan
      how = ", ".join(f"{k}={v}" for k, v in options.items()) or "as it is"
      lines.append(
        f"| {name} | {made.samples / 1e6:,.1f} M | {steps:,} x {batch:,}"
        f" | {made.memory.total / GB:.1f} of {machine.memory / GB:.0f}"
        f" | {how} | {made.samples_per_second:,.0f}"
        f" | {made.seconds / _DAY:.3g} |"
      )
  assert made is not None  # there are machines
  return "\n".join([*lines, "", _arithmetic(made, mfu)])


def _arithmetic(made: Plan, mfu: float) -> str:
  peaks = "; ".join(
    f"{name}: {machine.chips} x {machine.peak / 1e12:g} TFLOP/s ({dtype}),"
    f" {machine.bandwidth / GB:,.0f} GB/s of memory, {machine.link / GB:g} sent"
    for name, machine, dtype in MACHINES
  )
  return (
    f"seconds of a step = batch x {made.flops_per_sample / 1e9:.1f} GFLOPs /"
    f" (chips x peak x {mfu:g} MFU) + 8 x parameters of a chip / bandwidth + 2"
    f" x gradients / link\n{peaks}\n"
    f"model.attention={_ATTENTION['model.attention']} on all of them; what is"
    " not named here is the config's"
  )


def as_json(made: Plan, *, vocab_size: int, decode_rate: float) -> dict:
  """Returns the numbers of a plan as values of JSON."""
  m = made.machine
  memory = made.memory._asdict() | {"total": made.memory.total}
  memory["moments"] = memory.pop("opt_state")  # as version 0.1 called it
  return {
    # JSON has no infinity: what is not known is left out.
    "machine": {k: v for k, v in m._asdict().items() if v < math.inf},
    "words": vocab_size,
    "parameters": made.parameters,
    "flops_per_sample": made.flops_per_sample,
    "flops_done_per_sample": made.flops_per_sample * made.recompute,
    "samples": made.samples,
    "samples_per_second": made.samples_per_second,
    "days": made.seconds / _DAY,
    "images_per_second": made.samples_per_second,
    "decode_cores": math.ceil(made.samples_per_second / decode_rate),
    "memory_bytes": memory,
    "fits": made.fits,
    "changes": []
    if made.fits
    else [
      {"options": c.options, "bytes": c.plan.memory.total, "slow": c.slowdown}
      for c in changes(made, vocab_size=vocab_size)
    ],
  }

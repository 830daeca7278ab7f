"""Formats what a compiler says of a step, beside the arithmetic of a Plan."""

from typing import Any

from item_jax.diagnostics.aot import Compiled
from item_jax.diagnostics.plan import Plan

GB, MB = 1e9, 1e6


def describe(made: Plan, found: Compiled, *, target: str) -> str:
  """Formats both as text."""
  m, batch = made.memory, made.config.batch_size
  state = m.parameters + m.opt_state + m.batch
  versions = ", ".join(f"{k} {v}" for k, v in found.versions.items())
  loops = made.config.optim.accumulate > 1
  lines = [
    f"compiled for {target} ({versions}) in {found.seconds:,.0f} s,"
    f" {found.cpu_seconds:,.0f} of the processor",
    f"{'memory of a chip, GB':44} {'compiler':>10} {'arithmetic':>11}",
  ]
  for text, compiled, planned in (
    ("state and batch", found.arguments, state),
    ("beside them, at most", found.temporary, m.total - state),
    ("at once, at most", found.memory, m.total),
  ):
    lines.append(f"  {text:42} {compiled / GB:10.3f} {planned / GB:11.3f}")
  planned = made.flops_per_sample * made.recompute
  if found.flops is None or found.traffic is None:
    lines.append("FLOPs and memory traffic: this compiler does not say")
  else:
    work = found.flops * made.machine.chips / batch
    lines += [
      f"{'GFLOPs a sample':44} {work / GB:10.3f} {planned / GB:11.3f}"
      + (", a loop's body counted once by the compiler" * loops),
      f"memory traffic of a step: {found.traffic / GB:,.3f} GB a chip, if no"
      " operation finds its data in a cache",
    ]
  lines += [
    f"attention: {found.attention}"
    + (f", {found.fused} fused calls" if found.fused else ""),
    "sent between chips in a step:" + (" nothing" * (not found.collectives)),
  ]
  for one in found.collectives:
    how = "beside other work" if one.asynchronous else "nothing runs meanwhile"
    lines.append(
      f"  {one.messages:4} {one.kind} of {one.dtype}, {one.bytes / MB:,.3f} MB,"
      f" {how}"
    )
  return "\n".join(lines)


def as_json(found: Compiled) -> dict[str, Any]:
  """Returns the compiler's numbers as values of JSON."""
  sent = [one._asdict() for one in found.collectives]
  return found._asdict() | {"collectives": sent}

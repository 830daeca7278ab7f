"""Writes the notes below a comparison's tables."""

from collections.abc import Mapping, Sequence

from item_jax.comparison.plan import EVALUATIONS, TOLERANCE
from item_jax.comparison.request import Job

# What the measures are.
_MEASURES = {
  "gap": "gap: recall@10 of the title alone less that of the photo alone.",
  "category/accuracy": "category, macro-F1: logistic regression on the frozen"
  " vectors of both sides, its regularisation chosen on validation; the same"
  " for every row.",
  "own/accuracy": "own category: what a system with a category head says"
  " itself, at the checkpoint that search on validation chose.",
}


def footnotes(
  job: Job, rows: Sequence[Mapping], failures: Mapping[str, str]
) -> list[str]:
  """Writes what a reader must know, in the order of a reader's questions.

  Args:
    rows: as `item_jax.comparison.summary.make_rows` returns them.
    failures: {"SYSTEM, seed N": reason}.
  """
  measured = {name for row in rows for name in row["cells"]}
  notes = [
    _queries(rows),
    "What sees one side alone has the same under that side as under recall@10"
    " and MAP@10.",
    *(note for name, note in _MEASURES.items() if name in measured),
    *_categories(rows),
    _budget(job, rows),
    _rates(job),
    *_differences(rows, job.available.base),
    *(
      f"{row.name} has the same config as {row.parts[0]} at this size: one"
      " training, two rows."
      for row in job.rows
      if row.kind == "same"
    ),
  ]
  for row in rows:
    weights = [f"{c['share']:g}" for c in row["counts"] if "share" in c]
    if weights:
      chosen = ", ".join(weights)
      notes.append(f"{row['system']}: the photo's share is {chosen}.")
  notes += _joined(rows)
  notes += _frozen(job)
  unknown = [r["system"] for r in rows if r["seeds"] and not r["validation"]]
  if unknown:
    notes.append(
      "Not among those to choose from, having no MAP@10 on validation:"
      f" {', '.join(unknown)}."
    )
  missing = [row["system"] for row in rows if row["missing"]]
  if missing:
    notes.append(f"Not finished yet: {', '.join(missing)}.")
  for name, reason in failures.items():
    first, *rest = reason.splitlines()
    last = [line.strip() for line in rest[-1:]]  # of a log the most telling
    notes.append(" ".join([f"Failed: {name}: {first}", *last]).strip())
  return notes


def _joined(rows: Sequence[Mapping]) -> list[str]:
  notes = []
  for row in rows:
    chosen = [
      ", ".join(
        f"{part} {weight:g} ({made})"
        for part, weight, made in zip(
          row["system"].split("+"), c["weights"], c["transforms"], strict=True
        )
      )
      for c in row["counts"]
      if "weights" in c
    ]
    if chosen:
      notes.append(f"{row['system']}: {'; '.join(dict.fromkeys(chosen))}.")
  if notes:
    notes.insert(
      0,
      "Rows with a + that were not trained together: the weight of each part in"
      " the cosine, and whether its vectors are centred or whitened (by their"
      " statistics in training), by MAP@10 on validation.",
    )
  return notes


def _frozen(job: Job) -> list[str]:
  notes = []
  names = [row.name for row in job.rows if row.kind == "frozen"]
  if names:
    notes.append(
      f"{', '.join(names)}: weights of another project as they are, with their"
      " own sizes, pixels and tokens; of the options of all systems they take"
      " those of data."
    )
  notes += [
    f"Left out, without {flags}: {', '.join(held)}."
    for flags, held in job.left_out.items()
  ]
  return notes


def _queries(rows: Sequence[Mapping]) -> str:
  for row in rows:
    counts = next(iter(row["counts"]), {})
    if "queries" in counts:
      return (
        f"{counts['queries']:,} queries, each searched among"
        f" {counts['index']:,} listings less itself; {counts['left_out']:,}"
        " left out, having no other listing of their product;"
        f" {counts['share_over_k']:.1%} have more than 10."
      )
  return "No product has two listings, or nothing is finished: no search."


def _categories(rows: Sequence[Mapping]) -> list[str]:
  notes = []
  support, without, unsure = None, {}, []
  for row in rows:
    for name in ("category", "own"):
      for counts in (one[name] for one in row["counts"] if name in one):
        if "none" in counts:
          without.setdefault(counts["none"], {})[row["system"]] = None
        else:
          support = support or counts
    found = [one.get("category", {}) for one in row["counts"]]
    if not all(one.get("converged", True) for one in found):
      unsure.append(row["system"])
  if support:
    notes.append(
      f"Categories: {support['rows']:,} listings scored,"
      f" {support['without_category']:,} without a category and"
      f" {support['unknown_category']:,} of one that training lacks left out;"
      f" {support['classes']:,} classes in training,"
      f" {support['classes_with_support']:,} of them scored."
    )
  if unsure:
    notes.append(
      "The regression did not converge, so that category and macro-F1 are"
      f" floors: {', '.join(unsure)}."
    )
  for reason, systems in without.items():
    notes.append(f"No category of {', '.join(systems)}: {reason}.")
  return notes


def _budget(job: Job, rows: Sequence[Mapping]) -> str:
  budget = job.budget
  text = f"Budget of a full run: {budget.text}."
  if job.request.jobs > 1:
    text += (
      f" {job.request.jobs} systems trained side by side, each on its share of"
      " the machine."
    )
  if budget.unit == "seconds":
    by = "the tuning runs' speed" if len(job.rates) > 1 else "a step by itself"
    text += (
      f" It became steps by {by}; compilation, evaluations and exports come on"
      " top."
    )
    ratios = {
      row["system"]: row["seconds"]["mean"] / budget.amount
      for row in rows
      if row["system"] in job.configs and row["seconds"]
    }
    off = [
      f"{name} {ratio:.2f}"
      for name, ratio in ratios.items()
      if abs(ratio - 1) > TOLERANCE
    ]
    if off:
      text += (
        " Seconds divided by the budget, where a tenth off or more:"
        f" {', '.join(off)}."
      )
  text += (
    " seconds: training by its own log, input included. FLOPs: of the full"
    " run, forward and backward, tuning left out. parameters: of what makes"
    " the vectors."
  )
  best = dict.fromkeys(c.checkpoint.best for c in job.configs.values())
  if best:
    text += (
      f" Scored is the checkpoint, of {EVALUATIONS}, that is best by"
      f" {' or '.join(best)} on validation, the last one where that could not"
      " be measured."
    )
  if ahead := [n for n, c in job.configs.items() if c.keeps_start]:
    text += (
      " What it starts from, before any step, is one more to take for"
      f" {', '.join(ahead)}."
    )
  return text


def _rates(job: Job) -> str:
  tried = ", ".join(f"{rate:g}" for rate in job.rates)
  if len(job.rates) == 1:
    return f"Learning rate: {tried} times the config's, not tuned."
  chosen, edge, flat, more = [], [], [], []
  for name, config in job.configs.items():
    facts = job.facts(name)
    if "factor" not in facts:
      continue
    lr = config.optim.lr * facts["factor"]
    chosen.append(f"{name} {lr:.2g} (x{facts['factor']:g})")
    rates = [float(rate) for rate in facts["tuned"]]
    wider = [f"{rate:g}" for rate in rates if rate not in job.rates]
    if wider:
      more.append(f"{name} {', '.join(wider)}")
    if facts["factor"] in (min(rates), max(rates)):
      edge.append(name)
    if not facts["rose"]:
      flat.append(name)
  text = (
    f"Learning rate: of {tried} times the config's the one that ended with the"
    " best validation MAP@10 of both sides, in runs of"
    f" {job.request.tune_share:g} of the steps at seed 0, rates left out that"
    " are below every one that ended a tenth above its first evaluation:"
    f" {', '.join(chosen) or 'none chosen yet'}."
  )
  if more:
    text += (
      " Where the best was at an end of the grid, others were tried beyond it:"
      f" {'; '.join(more)}."
    )
  if edge:
    text += f" Still at the edge: {', '.join(edge)}."
  if flat:
    text += (
      " No rate ended a tenth above its first evaluation, so the choice says"
      f" little: {', '.join(flat)}."
    )
  return text


def _differences(rows: Sequence[Mapping], base: str) -> list[str]:
  notes = []
  if any(len(row["seeds"]) > 1 for row in rows):
    seeds = max(len(row["seeds"]) + row["missing"] for row in rows)
    notes.append(
      f"±: sample standard deviation over {seeds} seeds, fewer where a row"
      " says so."
    )
  if any(row["against"] for row in rows):
    notes.append(
      "Differences and their intervals: paired bootstrap over products (1,000"
      " resamples), each query's value averaged over seeds first; macro-F1 is"
      " counted anew in each resample. p is two-sided, never below .002, and"
      " not corrected for the number of rows; in bold: below .05."
    )
  elif not any(row["seeds"] for row in rows if row["system"] == base):
    notes.append(
      f"No differences: they are to {base}, which has no scores here."
    )
  return notes

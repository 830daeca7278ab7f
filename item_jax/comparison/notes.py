"""A job and its rows in, what a reader of the table must know out."""

from collections.abc import Mapping, Sequence

from item_jax.comparison import files, plan, runs
from item_jax.comparison.request import Job
from item_jax.comparison.score import Result
from item_jax.comparison.systems import System


def row_facts(job: Job, row: System, results: Mapping[int, Result]) -> dict:
  """Costs of a row: the sum over the systems it is made of."""
  trained = row.parts if row.kind in ("same", "fused") else ()
  if row.kind == "trained":
    trained = (row.name,)
  facts = {
    "kind": row.kind,
    "seeds": job.request.seeds if row.seeded else 1,
  }
  if row.kind == "untrained":
    facts["parameters"] = job.facts(row.parts[0])["parameters"]
    facts["train_flops"] = 0.0
  if not trained:
    return facts
  each = [job.facts(name) for name in trained]
  facts["parameters"] = sum(one["parameters"] for one in each)
  if all("steps" in one for one in each):
    facts["train_flops"] = sum(
      job.facts(name)["steps"]
      * job.configs[name].batch_size
      * job.facts(name)["flops_per_sample"]
      for name in trained
    )
    facts["seconds"] = {
      seed: sum(_seconds(job, name, seed) for name in trained)
      for seed in results
    }
  return facts


def _seconds(job: Job, name: str, seed: int) -> float:
  folder = runs.run_folder(job.out, runs.full_run(job, name, seed))
  return files.read_json(folder / runs.RESULT_FILE)["seconds"]


def footnotes(
  job: Job, rows: Sequence[dict], failures: Mapping[str, str]
) -> list[str]:
  """Sentences in the order of a reader's questions."""
  said = [_queries(rows)]
  said.append(
    "What sees one side alone has the same under that side as under recall@10"
    " and MAP@10."
  )
  said += [*_gap(rows), *_category(rows), _budget(job, rows)]
  said.append(_rates(job))
  said += _spread(rows, job.known.base)
  for row in job.rows:
    if row.kind == "same":
      said.append(
        f"{row.name} has the same config as {row.parts[0]} at this size: one"
        " training, two rows."
      )
  said += _shares(rows)
  missing = [row["system"] for row in rows if row["missing"]]
  if missing:
    said.append(f"Not finished yet: {', '.join(missing)}.")
  for name, why in failures.items():
    first, *rest = why.splitlines()
    last = [line.strip() for line in rest[-1:]]  # of a log it tells most
    said.append(" ".join([f"Failed: {name}: {first}", *last]).strip())
  return said


def _queries(rows: Sequence[dict]) -> str:
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


def _gap(rows: Sequence[dict]) -> list[str]:
  if not any("gap" in row["cells"] for row in rows):
    return []
  return ["gap: recall@10 of the title alone less that of the photo alone."]


def _category(rows: Sequence[dict]) -> list[str]:
  said = []
  if any("category/accuracy" in row["cells"] for row in rows):
    said.append(
      "category, macro-F1: logistic regression on the frozen vectors of both"
      " sides, its regularisation chosen on validation; the same for every"
      " row."
    )
  if any("own/accuracy" in row["cells"] for row in rows):
    said.append(
      "own category: what a system with a category head says itself, at the"
      " checkpoint that search on validation chose."
    )
  support, lacking = None, {}
  for row in rows:
    for name in ("category", "own"):
      for counts in (one[name] for one in row["counts"] if name in one):
        if "none" in counts:
          lacking.setdefault(counts["none"], {})[row["system"]] = None
        else:
          support = support or counts
  if support:
    said.append(
      f"Categories: {support['rows']:,} listings scored,"
      f" {support['without_category']:,} without a category and"
      f" {support['unknown_category']:,} of one that training lacks left out;"
      f" {support['classes']:,} classes in training,"
      f" {support['classes_with_support']:,} of them scored."
    )
  short = [
    row["system"]
    for row in rows
    if not all(
      one.get("category", {}).get("converged", True) for one in row["counts"]
    )
  ]
  if short:
    said.append(
      "The regression did not converge, so that category and macro-F1 are"
      f" floors: {', '.join(short)}."
    )
  for why, systems in lacking.items():
    said.append(f"No category of {', '.join(systems)}: {why}.")
  return said


def _budget(job: Job, rows: Sequence[dict]) -> str:
  best = dict.fromkeys(c.checkpoint.best for c in job.configs.values())
  text = f"Budget of a full run: {job.budget.text}."
  if job.request.jobs > 1:
    text += (
      f" {job.request.jobs} systems trained side by side, each on its share of"
      " the machine."
    )
  if job.budget.unit == "seconds":
    by = "the tuning runs' speed" if len(job.rates) > 1 else "a step by itself"
    text += (
      f" It became steps by {by}; compilation, evaluations and exports come on"
      " top."
    )
    apart = [
      f"{row['system']} {row['seconds']['mean'] / job.budget.amount:.2f}"
      for row in rows
      if row["system"] in job.configs and row["seconds"]
      if abs(row["seconds"]["mean"] / job.budget.amount - 1) > plan.NEAR
    ]
    if apart:
      text += (
        " Seconds divided by the budget, where a tenth off or more:"
        f" {', '.join(apart)}."
      )
  text += (
    " seconds: training by its own log, input included. FLOPs: of the full"
    " run, forward and backward, tuning left out. parameters: of what makes"
    " the vectors."
  )
  if best:
    text += (
      f" Scored is the checkpoint, of {plan.EVALUATIONS}, that is best by"
      f" {' or '.join(best)} on validation, the last one where that could not"
      " be measured."
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
      " little:"
      f" {', '.join(flat)}."
    )
  return text


def _spread(rows: Sequence[dict], base: str) -> list[str]:
  said = []
  if any(len(row["seeds"]) > 1 for row in rows):
    seeds = max(len(row["seeds"]) + row["missing"] for row in rows)
    said.append(
      f"±: sample standard deviation over {seeds} seeds, fewer where a row"
      " says so."
    )
  if any(row["against"] for row in rows):
    said.append(
      "Differences and their intervals: paired bootstrap over products (1,000"
      " resamples), each query's value averaged over seeds first; macro-F1 is"
      " counted anew in each resample. p is two-sided, never below .002, and"
      " not corrected for the number of rows; in bold: below .05."
    )
  elif base not in {row["system"] for row in rows}:
    said.append(f"No differences: they are to {base}, which is no row here.")
  return said


def _shares(rows: Sequence[dict]) -> list[str]:
  said = []
  for row in rows:
    shares = [c["share"] for c in row["counts"] if "share" in c]
    if shares:
      chosen = ", ".join(f"{share:g}" for share in shares)
      said.append(f"{row['system']}: the photo's share is {chosen}.")
  return said

"""What starts runs elsewhere: the same command everywhere, again on 75 only."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import shell
import yaml

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
LOOP = Path(__file__).parent / "helpers" / "progress_loop.py"
# A command that notes its words and ends with the next of the codes in $CODES.
SCRIPTED = """#!/usr/bin/env bash
exec 9> "$CALLS.lock"
flock 9
printf '%s\\n' "$*" >> "$CALLS"
code="$(head -n 1 "$CODES")"
sed -i 1d "$CODES"
exec 9>&-
if [ "$code" = wait ]; then
  trap 'kill $!; exit 75' TERM
  sleep 30 &
  echo >> "$CALLS.waiting"
  wait
fi
exit "$code"
"""


@pytest.fixture
def tools(tmp_path) -> dict:
  """An environment whose commands are noted in `calls`."""
  folder = tmp_path / "bin"
  folder.mkdir()
  env = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}")
  env |= {
    "CALLS": str(tmp_path / "calls"),
    "CODES": str(tmp_path / "codes"),
    "SLURM_JOB_ID": "77",
    "SLURM_CPUS_PER_TASK": "5",
  }
  write(folder / "scontrol", '#!/bin/sh\necho "scontrol $*" >> "$CALLS"\n')
  write(folder / "srun", SCRIPTED)
  write(folder / "item-jax", SCRIPTED)
  # Runs the command as two hosts, as ssh does: by their shells.
  write(
    folder / "gcloud",
    '#!/usr/bin/env bash\nprintf "%s\\n" "${@:1:$#-1}" >> "$CALLS.gcloud"\n'
    'for host in 0 1; do bash -c "${!##--command=}" || exit 1; done\n',
  )
  return env


def write(path: Path, text: str) -> None:
  path.write_text(text)
  path.chmod(0o755)


def codes(env: dict, *values) -> None:
  Path(env["CODES"]).write_text("".join(f"{v}\n" for v in values))


def calls(env: dict) -> list[str]:
  path = Path(env["CALLS"])
  return path.read_text().splitlines() if path.exists() else []


def waiting(env: dict) -> int:
  """How many of these commands would hear a SIGTERM."""
  path = Path(env["CALLS"] + ".waiting")
  return len(path.read_text()) if path.exists() else 0


def launch(name: str, *words, env: dict):
  return subprocess.run(
    ["bash", LAUNCH / name, *map(str, words)],
    env=env,
    capture_output=True,
    text=True,
    timeout=60,
  )


def wait_for(happened, seconds: float = 30) -> None:
  deadline = time.monotonic() + seconds
  while not happened():
    assert time.monotonic() < deadline
    time.sleep(0.05)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_shellcheck_finds_nothing(path):
  # Where the interpreter is, if its environment is not on PATH.
  here = str(Path(sys.executable).parent)
  tool = shutil.which("shellcheck", path=f"{here}:{os.environ['PATH']}")
  done = subprocess.run(
    [tool, "--external-sources", path], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout


def test_where_to_run_says_nothing_of_what():
  names = ("slurm.sbatch", "tpu_pod.sh", "kubernetes.yaml", "processes.sh")
  for name in names:
    options = re.findall(r"--(config\.\w[\w.]*)", (LAUNCH / name).read_text())
    # Where the data lie, and how many of a host's cores read them.
    assert set(options) <= {"config.data.path", "config.data.workers"}, name


@pytest.mark.parametrize(
  ("answers", "extra"),
  [
    (["580.65.06, 9.0", "580.65.06, 8.9"], "cuda13"),
    (["590.10, 12.0"], "cuda13"),
    (["580.65.06, 7.5"], "cuda13"),
    (["580.65.06, 7.0"], "cuda12"),  # V100
    (["580.65.06, 9.0", "580.65.06, 7.0"], "cuda12"),
    (["575.57.08, 9.0"], "cuda12"),
    (['Field "compute_cap" is not a valid field to query.'], "cuda12"),
    ([], "cuda12"),
  ],
)
def test_the_extra_is_of_the_driver_and_the_gpus(tmp_path, answers, extra):
  lines = "".join(f"echo '{answer}'\n" for answer in answers)
  write(
    tmp_path / "nvidia-smi",
    f'#!/bin/sh\n[ "$1" = -L ] && exit 0\n{lines}exit {not answers:d}\n',
  )
  done = subprocess.run(
    [
      *("bash", "-euo", "pipefail", "-c", 'source "$1"; accelerator'),
      *("-", LAUNCH / "install.sh"),
    ],
    env=dict(os.environ, PATH=f"{tmp_path}:{os.environ['PATH']}"),
    capture_output=True,
    text=True,
  )
  assert done.stdout == f"{extra}\n", done.stderr
  assert f'"{extra}": ["jax[{extra}]' in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize(
  ("ends", "code", "again"), [(0, 0, False), (75, 75, True), (4, 4, False)]
)
def test_slurm_puts_back_what_says_start_me_again(tools, ends, code, again):
  codes(tools, ends)
  done = launch("slurm.sbatch", "item-jax", "train", "--a=b c", env=tools)
  assert done.returncode == code, done.stderr
  step, *rest = calls(tools)
  # A step has the cores of a task only where it is told.
  options = "--kill-on-bad-exit=0 --cpus-per-task=5"
  assert step == f"{options} item-jax train --a=b c --distributed"
  assert rest == ["scontrol requeue 77"] * again


def test_slurm_lets_a_cancelled_run_save_and_go(tools):
  codes(tools, "wait")
  job = subprocess.Popen(
    ["bash", LAUNCH / "slurm.sbatch", "item-jax", "train"], env=tools
  )
  wait_for(lambda: waiting(tools) == 1)
  job.send_signal(signal.SIGTERM)
  assert job.wait(30) == 75
  assert len(calls(tools)) == 1


def test_slurm_refuses_gpus_that_no_task_would_use(tools):
  env = tools | {"SLURM_GPUS_ON_NODE": "8", "SLURM_NTASKS_PER_NODE": "1"}
  done = launch("slurm.sbatch", "item-jax", "train", env=env)
  assert done.returncode == 2
  assert "1 tasks and 8 GPUs" in done.stderr
  assert not calls(env)


def test_slurm_signals_the_tasks_in_time():
  text = (LAUNCH / "slurm.sbatch").read_text()
  (seconds,) = re.findall(r"^#SBATCH --signal=TERM@(\d+)$", text, re.M)
  assert int(seconds) > 30
  assert re.search(r"^#SBATCH --cpus-per-task=\d+$", text, re.M)
  # Nothing that sbatch reads comes after what it takes for the script.
  body = text.index("set -euo pipefail")
  assert "#SBATCH" not in text[body:]


def test_tpu_hosts_start_again_by_themselves(tools):
  codes(tools, 75, 0, 0)
  words = ["pod", "--zone=z", "--", "item-jax", "train", "--a=b  'c"]
  done = launch("tpu_pod.sh", *words, env=tools)
  assert done.returncode == 0, done.stderr
  assert calls(tools) == ["train --a=b  'c --distributed"] * 3
  given = Path(tools["CALLS"] + ".gcloud").read_text().split("\n")[:-1]
  before = ["compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=z"]
  assert given == [*before, "--worker=all", "--batch-size=all"]


def test_tpu_hosts_end_with_what_is_no_75(tools):
  codes(tools, 4)
  done = launch("tpu_pod.sh", "pod", "--", "item-jax", "train", env=tools)
  assert done.returncode == 1
  assert len(calls(tools)) == 1
  assert launch("tpu_pod.sh", "pod", "item-jax", env=tools).returncode == 2


def test_processes_start_again_together_on_75_only(tools):
  codes(tools, 75, 75, 0, 0)
  done = launch("processes.sh", 2, "item-jax", "train", env=tools)
  assert done.returncode == 0, done.stderr
  found = calls(tools)
  assert len(found) == 4
  ports = set()
  for first, second in (sorted(found[:2]), sorted(found[2:])):
    port = re.search(r"--coordinator=127.0.0.1:(\d+)", first).group(1)
    ports.add(port)
    shared = f"train --coordinator=127.0.0.1:{port} --num_processes=2"
    assert [first, second] == [f"{shared} --process_id={i}" for i in range(2)]
  codes(tools, 4, "wait")
  done = launch("processes.sh", 2, "item-jax", "train", env=tools)
  assert done.returncode == 4  # and the one that waited was ended
  assert launch("processes.sh", 0, "item-jax", env=tools).returncode == 2


def test_processes_pass_a_sigterm_on_and_stop(tools):
  codes(tools, "wait", "wait")
  job = subprocess.Popen(
    ["bash", LAUNCH / "processes.sh", "2", "item-jax", "train"], env=tools
  )
  wait_for(lambda: waiting(tools) == 2)
  job.send_signal(signal.SIGTERM)
  assert job.wait(30) == 75
  assert len(calls(tools)) == 2


def test_processes_are_one_run():
  """The real thing: they meet, and wait for each other at every step."""
  done = subprocess.run(
    [
      *("bash", LAUNCH / "processes.sh", "2", sys.executable, LOOP),
      *("--stall_seconds=30", "--steps=20"),
    ],
    env=shell.environment(),
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr
  # Not whole lines: unbuffered, Python writes a line and its end apart.
  assert done.stdout.count("running") == 2


# A Python that writes what the parts of gpu_check.sh leave, and fails in those
# whose words hold $FAILS.
FAKE_PYTHON = f"""#!/usr/bin/env bash
case "$*" in
  -c*) echo "$DEVICE"; exit ;;
  *"gpu_check.py table"*) exec {sys.executable} "$@" ;;
esac
printf '%s\\n' "$*" >> "$CALLS"
[[ -z "$FAILS" || "$*" != *"$FAILS"* ]] || exit 3
found='{{"samples_per_second": 12.5, "mfu": null, "peak_memory_bytes": 2e9,
  "largest_costs": [["dot", 0.5]], "memory_bytes": {{"total": 3e9}}}}'
for word; do
  case "$word" in
    --json=*) echo "$found" > "${{word#*=}}" ;;
    --workdir=*) mkdir -p "${{word#*=}}/checkpoints/8" ;;
  esac
done
"""


def check_gpu(tools, tmp_path, *words, device="cpu", fails=""):
  """What gpu_check.sh ends with, prints and finds."""
  python = tmp_path / "python"
  write(python, FAKE_PYTHON)
  env = tools | {"DEVICE": device, "FAILS": fails}
  out = tmp_path / "out"
  done = launch(
    "gpu_check.sh", "--python", python, "--out", out, *words, env=env
  )
  path = out / "gpu_check.json"
  return done, json.loads(path.read_text()) if path.exists() else None


def test_gpu_check_measures_each_kernel(tools, tmp_path):
  done, found = check_gpu(tools, tmp_path, device="gpu")
  assert done.returncode == 0, done.stderr
  steps = {f"{x}_{y}" for x in ("base", "align") for y in ("cudnn", "xla")}
  plans = {"plan_base", "plan_align"}
  assert found.keys() == steps | plans | {"catalogue", "resume", "export"}
  assert found["base_cudnn"]["samples_per_second"] == 12.5
  assert found["plan_base"]["planned_bytes"] == 3e9
  assert found["resume"]["bitwise"]
  for name in steps:
    assert re.search(rf"^{name} .* 12.5 samples/s", done.stdout, re.MULTILINE)
  made = calls(tools)
  benches = [x for x in made if x.startswith("-m item_jax bench step")]
  assert [x.split("attention=")[1].split()[0] for x in benches] == [
    *("cudnn", "xla") * 2
  ]
  # The same run twice, in two folders.
  trains = [x for x in made if x.startswith("-m item_jax train")]
  first, again = (x.partition(" --workdir=") for x in trains)
  assert first[0] == again[0]
  assert first[2] != again[2]


def test_gpu_check_names_what_failed_and_goes_on(tools, tmp_path):
  done, found = check_gpu(tools, tmp_path, "--cpu", fails="item_base.py")
  assert done.returncode == 1
  codes = {name: part["code"] for name, part in found.items()}
  failed = {"base_xla", "plan_base", "resume"}
  assert codes == {name: 3 if name in failed else 0 for name in codes}
  assert "align_xla" in codes
  assert "failed (3): base_xla.log" in done.stdout


def test_gpu_check_wants_a_gpu_and_a_new_folder(tools, tmp_path):
  done, _ = check_gpu(tools, tmp_path)
  assert done.returncode == 2
  assert "no GPU here: jax finds cpu" in done.stderr
  (tmp_path / "out").mkdir()
  done, _ = check_gpu(tools, tmp_path, "--cpu")
  assert done.returncode == 2
  assert "is there already" in done.stderr


def test_gpu_check_takes_less_than_eight_minutes():
  text = (LAUNCH / "gpu_check.sh").read_text()
  (whole,) = re.findall(r"^SECONDS=0 whole=(\d+)$", text, re.MULTILINE)
  (wait,) = re.findall(r"--kill-after=(\d+)", text)
  assert int(whole) + int(wait) + 10 <= 480
  # What runs one after the other fits in; the plans run beside it.
  limits = re.findall(r"^ *part (\S+) (\d+) ", text, re.MULTILINE)
  seconds = {name.strip('"'): int(limit) for name, limit in limits}
  steps = 4 * seconds.pop("${name}_$kernel")
  seconds.pop("plan_$name")
  assert sum(seconds.values()) + steps <= int(whole)


@pytest.mark.slow
def test_gpu_check_goes_its_way_on_a_cpu(tmp_path):
  out = tmp_path / "out"
  words = ["--cpu", "--python", sys.executable, "--out", out]
  done = subprocess.run(
    ["bash", LAUNCH / "gpu_check.sh", *words],
    env=shell.environment(),
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  found = json.loads((out / "gpu_check.json").read_text())
  assert found["base_xla"]["samples_per_second"] > 0
  assert found["align_xla"]["largest_costs"]
  assert found["export"]["rows_per_second"] > 0
  assert "['4']" in (out / "resume.log").read_text()


@pytest.mark.slow
def test_processes_train_stop_and_go_on(tiny_data, tmp_path):
  """A trainer asked to stop is started again; the launcher asked, stops."""
  workdir = tmp_path / "run"
  words = ["bash", LAUNCH / "processes.sh", "2", sys.executable]
  words += ["-m", "item_jax", *shell.train_words(tiny_data, workdir)]
  words += ["--config.steps=200", "--config.eval_every=200"]
  env = shell.environment()

  def logged() -> int:
    path = workdir / "metrics.jsonl"
    return path.read_text().count('"train"') if path.exists() else 0

  def start():
    return subprocess.Popen(
      words,
      env=env,
      stdout=subprocess.PIPE,
      text=True,
      stderr=subprocess.STDOUT,
    )

  job = start()
  wait_for(lambda: logged() > 3, 200)
  family = shell.children(job.pid).items()
  trainer = next(pid for pid, command in family if "process_id=1" in command)
  os.kill(trainer, signal.SIGTERM)
  begun = logged()
  wait_for(lambda: logged() > begun + 10, 200)
  job.send_signal(signal.SIGTERM)
  output, _ = job.communicate(timeout=120)
  assert job.returncode == 75, output
  assert output.count("starting again") == 1
  assert "resumed at step" in output
  job = start()
  output, _ = job.communicate(timeout=300)
  assert job.returncode == 0, output
  steps = re.findall(r'"step": (\d+)', (workdir / "metrics.jsonl").read_text())
  assert len(steps) == len(set(steps)) + 1  # an evaluation at the last


# What matters here of JobSet v1alpha2, batch/v1 and core/v1, by their
# reference: a field that does not exist is a mistake.
def fields(required: str, **properties) -> dict:
  return {
    "type": "object",
    "additionalProperties": False,
    "required": required.split(),
    "properties": properties,
  }


def list_of(item: dict) -> dict:
  return {"type": "array", "items": item, "minItems": 1}


TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
CONTAINER = fields(
  "name image",
  name=NAME,
  image=TEXT,
  workingDir=TEXT,
  command=list_of(TEXT),
  args=list_of(TEXT),
  env=list_of(
    fields(
      "name",
      name=TEXT,
      value=TEXT,
      valueFrom=fields("", fieldRef=fields("fieldPath", fieldPath=TEXT)),
    )
  ),
  ports=list_of(fields("containerPort", containerPort=NUMBER)),
  resources=fields("", limits={"type": "object"}, requests={"type": "object"}),
  volumeMounts=list_of(fields("name mountPath", name=NAME, mountPath=TEXT)),
)
POD = fields(
  "containers restartPolicy",
  containers=list_of(CONTAINER),
  restartPolicy={"const": "Never"},  # a podFailurePolicy demands it
  terminationGracePeriodSeconds=NUMBER,
  volumes=list_of(
    fields(
      "name",
      name=NAME,
      persistentVolumeClaim=fields("claimName", claimName=NAME),
      emptyDir=fields("", medium={"enum": ["", "Memory"]}),
    )
  ),
)
JOB = fields(
  "template",
  completionMode={"enum": ["Indexed", "NonIndexed"]},
  completions=NUMBER,
  parallelism=NUMBER,
  backoffLimit=NUMBER,
  podFailurePolicy=fields(
    "rules",
    rules=list_of(
      fields(
        "action",
        action={"enum": ["FailJob", "FailIndex", "Ignore", "Count"]},
        onExitCodes=fields(
          "operator values",
          containerName=NAME,
          operator={"enum": ["In", "NotIn"]},
          values=list_of(NUMBER),
        ),
      )
    ),
  ),
  template=fields("spec", spec=POD),
)
RULE = fields(
  "name action",
  name={
    "type": "string",
    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
  },
  action={
    "enum": [
      "FailJobSet",
      "RestartJobSet",
      "RestartJobSetAndIgnoreMaxRestarts",
    ]
  },
  onJobFailureReasons=list_of(TEXT),
)
JOBSET = fields(
  "apiVersion kind metadata spec",
  apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
  kind={"const": "JobSet"},
  metadata=fields("name", name=NAME),
  spec=fields(
    "replicatedJobs",
    failurePolicy=fields("", maxRestarts=NUMBER, rules=list_of(RULE)),
    replicatedJobs=list_of(
      fields(
        "name template",
        name=NAME,
        replicas=NUMBER,
        template=fields("spec", spec=JOB),
      )
    ),
  ),
)


def test_kubernetes_is_a_jobset_that_starts_again_on_75_only():
  whole = yaml.safe_load((LAUNCH / "kubernetes.yaml").read_text())
  jsonschema.validate(whole, JOBSET)
  (replicated,) = whole["spec"]["replicatedJobs"]
  job = replicated["template"]["spec"]
  pod = job["template"]["spec"]
  (container,) = pod["containers"]
  (failure,) = job["podFailurePolicy"]["rules"]
  assert failure == {
    "action": "FailJob",
    "onExitCodes": {
      "containerName": container["name"],
      "operator": "In",
      "values": [75],
    },
  }
  # The job fails of 75 by that policy, of any other code by its limit.
  assert job["backoffLimit"] == 0
  again, last = whole["spec"]["failurePolicy"]["rules"]
  assert again["action"] == "RestartJobSetAndIgnoreMaxRestarts"
  assert again["onJobFailureReasons"] == ["PodFailurePolicy"]
  assert last["action"] == "FailJobSet"
  assert "onJobFailureReasons" not in last
  assert pod["terminationGracePeriodSeconds"] > 30


def test_kubernetes_pods_know_how_many_and_which_they_are():
  whole = yaml.safe_load((LAUNCH / "kubernetes.yaml").read_text())
  (replicated,) = whole["spec"]["replicatedJobs"]
  job = replicated["template"]["spec"]
  pod = job["template"]["spec"]
  (container,) = pod["containers"]
  count, index = container["env"]
  assert replicated["replicas"] == 1
  assert job["completionMode"] == "Indexed"
  assert job["completions"] == job["parallelism"] == int(count["value"])
  assert index["valueFrom"]["fieldRef"]["fieldPath"] == (
    "metadata.annotations['batch.kubernetes.io/job-completion-index']"
  )
  name = whole["metadata"]["name"]
  host = f"{name}-{replicated['name']}-0-0.{name}"
  (port,) = container["ports"]
  assert container["args"][-3:] == [
    f"--coordinator={host}:{port['containerPort']}",
    f"--num_processes=$({count['name']})",
    f"--process_id=$({index['name']})",
  ]
  given = dict(word.split("=", 1) for word in container["args"][1:])
  assert (ROOT / given["--config"]).is_file()  # of a clone in the workingDir
  assert container["workingDir"].startswith("/")
  (disk,) = (m for m in container["volumeMounts"] if m["name"] == "shared")
  for option in ("--config.data.path", "--workdir"):
    assert given[option].startswith(disk["mountPath"] + "/"), option
  mounted = {mount["name"] for mount in container["volumeMounts"]}
  assert mounted == {volume["name"] for volume in pod["volumes"]}

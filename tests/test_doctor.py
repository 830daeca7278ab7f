"""Each thing that would spoil a run is found, by a machine that has it."""

import resource
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import shell
import tiny_run

from item_jax import config_flags
from item_jax.__main__ import main
from item_jax.data.records import BadRecord
from item_jax.data.tokenizer import load_tokenizer, train_wordpiece
from item_jax.diagnostics import doctor, doctor_input, doctor_room

LINES = {
  "versions",
  "devices",
  "kernel",
  "config",
  "attention xla",
  "attention cudnn",
  "attention pallas",
  "open files",
  "clocks",
  "decoding",
  "data",
  "decoding its images",
  "disk",
  "shared memory",
  "checkpoint",
}


def test_a_healthy_machine_passes_and_is_left_as_it_was(
  tiny_data, tmp_path, capsys
):
  words = [
    "doctor",
    f"--config={shell.CONFIG}:plain",
    f"--data={tiny_data}",
    f"--workdir={tmp_path / 'not' / 'there'}",
  ]
  code = main(words)
  lines = capsys.readouterr().out.splitlines()
  assert code == 0, lines
  found = {line[5:].split(":")[0]: line[:5].strip() for line in lines}
  assert set(found) == LINES
  assert "BAD" not in found.values()
  assert found["kernel"] == found["checkpoint"] == "ok"
  assert list(tmp_path.iterdir()) == []


def test_what_is_bad_ends_non_zero(tmp_path, capsys):
  (tmp_path / "data").mkdir()
  # A file system that nobody may write to.
  words = ["doctor", f"--data={tmp_path / 'data'}", "--workdir=/sys/kernel"]
  words += [f"--config={shell.CONFIG}:plain", "--config.model.heads=5"]
  assert main(words) == 1
  out = capsys.readouterr().out
  assert "BAD  config: model.heads=5 does not divide model.width=32" in out
  assert "BAD  data: " in out
  assert "BAD  checkpoint: /sys/kernel" in out


def test_a_version_outside_its_bounds(tmp_path, monkeypatch):
  assert doctor.versions().level == doctor.OK
  info = tmp_path / "flax-0.1.dist-info"
  info.mkdir()
  (info / "METADATA").write_text(
    "Metadata-Version: 2.1\nName: flax\nVersion: 0.1\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  found = doctor.versions()
  assert found.level == doctor.BAD
  assert "flax 0.1, item-jax needs flax" in found.text
  assert "jaxlib" not in found.text


@pytest.mark.parametrize("kind", ["NVIDIA GPU", "TPU"])
def test_an_accelerator_that_is_not_used(tmp_path, monkeypatch, kind):
  pci = tmp_path / "sys" / "bus" / "pci" / "devices"
  for number, device in enumerate(("0x0042", "0x0063")):  # a network card first
    (pci / str(number)).mkdir(parents=True)
    (pci / str(number) / "vendor").write_text("0x1ae0\n")
    (pci / str(number) / "device").write_text(f"{device}\n")
    if kind != "TPU":
      (pci / str(number) / "vendor").write_text("0x8086\n")
  (tmp_path / "dev").mkdir()
  (tmp_path / "dev" / "nvidiactl").touch()
  if kind != "TPU":
    (tmp_path / "dev" / "nvidia0").touch()
  assert doctor.accelerators(tmp_path) == {kind: 1}
  assert doctor.devices(tmp_path).level == doctor.WARN  # the CPU was asked for
  monkeypatch.delenv("JAX_PLATFORMS")
  found = doctor.devices(tmp_path)
  assert found.level == doctor.BAD
  assert f"1 {kind} not used" in found.text
  shutil.rmtree(tmp_path / "dev")
  shutil.rmtree(pci)
  assert doctor.devices(tmp_path).level == doctor.OK


def test_a_disk_that_takes_no_more(tmp_path):
  """A limit on the size of a file stands for it: real writes that fail."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  # The megabyte may come as four files, a device each, where writes overlap.
  resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, hard))
  try:
    found = doctor_room.checkpoint(tmp_path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert found.level == doctor.BAD
  assert list(tmp_path.iterdir()) == []
  assert doctor_room.checkpoint(tmp_path).level == doctor.OK


def test_less_room_than_the_checkpoints_need(tmp_path):
  config = tiny_run.get_config("plain")
  config.data.workers = 2
  small = doctor_room.needs(config, 300)
  assert doctor_room.disk(tmp_path, small[0]).level == doctor.OK
  # Two workers, four batches held and one in the making, 16 rows of 16 pixels.
  assert 2 * 5 * 16 * 16 * 16 * 3 < small[1] < 2 * 5 * 16 * 16 * 16 * 3 * 1.2
  config.model.width = config.model.mlp = 2**20  # 50 TB of parameters
  large = doctor_room.needs(config, 300)
  found = doctor_room.disk(tmp_path / "not" / "there", large[0])
  assert found.level == doctor.BAD
  assert str(tmp_path) in found.text
  assert doctor_room.shared_memory(2**60, tmp_path).level == doctor.BAD
  assert doctor_room.shared_memory(0, tmp_path).level == doctor.OK


@pytest.mark.parametrize(
  ("limit", "level"), [(100, doctor.BAD), (512, doctor.WARN), (1024, doctor.OK)]
)
def test_a_limit_on_open_files(limit, level):
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
  try:
    assert doctor_room.open_files().level == level
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
  ("apart", "level"),
  [(0.5, doctor.OK), (1.5, doctor.WARN), (59, doctor.WARN), (61, doctor.BAD)],
)
def test_clocks_that_are_apart(apart, level):
  found = doctor.skew([1e9, 1e9 + apart, 1e9 + apart / 2])
  assert found.level == level
  assert f"{apart:.2f} s between processes 0 and 1" in found.text


def test_the_clocks_and_the_memory_of_two_processes():
  """The second one's clock is 90 s late; they share one host's memory."""
  config = f"{shell.CONFIG}:plain"
  code = (
    "import sys, time, jax; from item_jax.diagnostics import doctor;"
    " me = int(sys.argv[2]); jax.distributed.initialize(sys.argv[1], 2, me);"
    " print(doctor.clocks(lambda: time.time() - 90 * me));"
    " from item_jax import config_flags;"
    " from item_jax.diagnostics import doctor_room;"
    " config = config_flags.parse(sys.argv[3],"
    " ['--config.data.workers=2']);"
    " print('memory', doctor_room.needs(config, 300)[1])"
  )
  alone = config_flags.parse(config, ["--config.data.workers=2"])
  whole = doctor_room.needs(alone, 300)[1]  # each has half of the batch
  address = f"localhost:{shell.free_port()}"
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", code, address, str(number), config],
      env=shell.environment(),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(2)
  ]
  for process in processes:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "level='BAD'" in out
    apart = float(out.split("text='")[1].split(" s ")[0])
    assert 80 < apart < 100
    assert "between processes 1 and 0" in out
    assert f"memory {whole}\n" in out


@pytest.mark.slow
def test_two_processes_examine_together(tiny_data, tmp_path):
  words = ["doctor", f"--data={tiny_data}", f"--workdir={tmp_path}"]
  processes = shell.start_together(*words)
  outputs = shell.outputs(processes, seconds=280)
  assert [p.returncode for p in processes] == [0, 0], "\n".join(outputs)
  for number, output in enumerate(outputs):
    assert f"process {number} ok   checkpoint: saved" in output
    assert "s between processes" in output
  assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_folder_that_one_process_does_not_see(tmp_path):
  """Each of two machines has a disk of its own under the same name."""
  own = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
  mount = f"mount -t tmpfs tmpfs {tmp_path}"
  if shutil.which("unshare") is None:
    pytest.skip("no unshare: nothing can be mounted without root")
  if subprocess.run([*own, mount], capture_output=True).returncode:
    pytest.skip("this machine lets nobody mount")
  words = [sys.executable, "-m", "item_jax", "doctor", f"--workdir={tmp_path}"]
  words += [f"--coordinator=localhost:{shell.free_port()}"]
  words += ["--num_processes=2"]
  alone = [*own, f'{mount} && exec "$@"', "sh"]
  processes = [
    subprocess.Popen(
      [*before, *words, f"--process_id={number}"],
      env=shell.environment(),
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for number, before in enumerate(([], alone))
  ]
  outputs = shell.outputs(processes, seconds=280)
  assert [p.returncode for p in processes] == [1, 1], "\n".join(outputs)
  assert "process 1 does not see it" in outputs[0]
  assert "what process 0 makes is not seen here" in outputs[1]
  assert list(tmp_path.iterdir()) == []


def test_the_tokens_are_those_that_the_run_reads(tiny_data, tmp_path, capsys):
  path = tmp_path / "tokenizer.json"
  train_wordpiece(["red mug", "blue mug"], vocab_size=20).save(str(path))
  words = ["doctor", f"--data={tiny_data}", f"--workdir={tmp_path}"]
  words += [f"--config={shell.CONFIG}:plain"]
  words += [f"--config.data.tokenizer={path}"]
  size = load_tokenizer(path).size
  assert size != load_tokenizer(tiny_data / "tokenizer.json").size
  main(words)
  assert f", {size} tokens" in capsys.readouterr().out


def test_images_that_take_long_are_a_warning(tiny_data):
  store, words, found = doctor_input.open_data(Path(tiny_data))
  assert found.level == doctor.OK
  assert f"{words.size} tokens" in found.text
  for measure in (
    doctor_input.decode_rate,
    lambda size: doctor_input.decode_rate_of(store, size),
  ):
    quick, slow = measure(32), measure(4_096)  # 50 MB an image
    rates = [
      float(finding.text.split(" ")[0].replace(",", ""))
      for finding in (quick, slow)
    ]
    assert slow.level == doctor.WARN
    assert "images/s a core at 4096 pixels" in slow.text
    assert rates[0] > 3 * rates[1]
    # The text is rounded.
    assert rates[0] == 300 or (quick.level == doctor.OK) == (rates[0] > 300)


def test_a_record_that_cannot_be_read_is_a_warning():
  """A run would bear it, and what else there is to examine is examined."""

  class Bad:
    def __len__(self):
      return 3

    def __getitem__(self, row):
      raise BadRecord(f"record {row} cannot be read")

  store = types.SimpleNamespace(sizes={"train": 3}, source=lambda split: Bad())
  found = doctor_input.decode_rate_of(store)
  assert (found.level, found.text) == (doctor.WARN, "record 0 cannot be read")


def test_an_option_of_no_config_is_refused():
  assert main(["doctor", "--config.steps=3"]) == 2

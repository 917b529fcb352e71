"""The launcher: what it asks for, what it leaves behind, and what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import Unavailable
from tools.launch import debian, environment, pip, processes, start

ROOT = Path(__file__).resolve().parent.parent.parent

FAILING_APT = """\
#!/bin/sh
echo "E: Could not open lock file"
exit 100
"""
# Knows its packages only after an update, as a fresh machine's apt; then installs what was asked.
FRESH_APT = """\
#!/bin/sh
echo "apt-get $*" >> {said}
case "$*" in
    *update*) : > {updated} ;;
    *install*)
        if [ ! -e {updated} ]; then echo "E: Unable to locate package nbdkit"; exit 100; fi
        for program in {programs}; do printf '#!/bin/sh\\n' > $program; chmod +x $program; done
        : > {plugin} ;;
esac
"""
# A start of its own, whose pip is a shell command.
CHILD = """\
import sys
from pathlib import Path
from tools.launch import environment, pip, start
pip._pip = lambda *_: ["/bin/sh", "-c", sys.argv[2]]
def build():
    environment.ensure_environment(Path(sys.argv[1]), "building")
    sys.exit(0)
sys.exit(start.status_of(build))
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MDJOURNAL_CACHE", str(folder))
    return folder


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    path.write_text("example==1.0 --hash=sha256:00\n")
    return path


def put_program(folder: Path, name: str, text: str = "#!/bin/sh\n") -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def become(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "venv").iterdir())


# Debian packages


def test_without_root_the_command_to_run_is_said(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_program(programs, "apt-get")
    put_program(programs, "nbdkit")
    become(monkeypatch, 1000)
    with pytest.raises(Unavailable) as raised:
        debian.require_packages("test", root=tmp_path)
    assert str(raised.value).splitlines() == [
        "test needs Debian packages that are not installed; run:",
        (
            "  sudo apt-get install --yes --no-install-recommends"
            " qemu-system-x86 nbdkit-plugin-python shellcheck python3-libnbd"
        ),
    ]


def test_missing_packages_end_the_start_before_anything_is_made(
    programs: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_program(programs, "apt-get")
    become(monkeypatch, 1000)
    assert start.start(ROOT, ["crash", "--seed", "1"]) == 2
    assert "sudo apt-get install" in capsys.readouterr().err
    assert not cache.exists()


def test_without_apt_the_programs_are_named(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"crash needs qemu-system-x86_64, nbdkit, .*\.so; "):
        debian.require_packages("crash", root=tmp_path)


def test_a_machine_that_has_everything_is_asked_for_nothing(programs: Path, tmp_path: Path) -> None:
    for name in ("qemu-system-x86_64", "nbdkit"):
        put_program(programs, name)
    plugins = tmp_path / "usr/lib/x86_64-linux-gnu/nbdkit/plugins"
    plugins.mkdir(parents=True)
    (plugins / "nbdkit-python-plugin.so").touch()
    debian.require_packages("crash", root=tmp_path)


@pytest.mark.parametrize("subcommand", ["dump", "check", "replay", "trace", "kernels", "history"])
def test_what_needs_no_guest_needs_no_package(subcommand: str, programs: Path) -> None:
    assert debian.missing_packages(subcommand) == []


def test_root_gets_what_is_missing_after_one_update(
    programs: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plugin = tmp_path / "usr/lib/nbdkit/plugins/nbdkit-python-plugin.so"
    plugin.parent.mkdir(parents=True)
    apt = FRESH_APT.format(
        said=tmp_path / "said",
        updated=tmp_path / "updated",
        programs=f"{programs / 'qemu-system-x86_64'} {programs / 'nbdkit'}",
        plugin=plugin,
    ).replace("chmod", "/bin/chmod")
    put_program(programs, "apt-get", apt)
    become(monkeypatch, 0)
    debian.require_packages("crash", root=tmp_path)
    install = (
        "apt-get install --yes --no-install-recommends --option DPkg::Lock::Timeout=600"
        " qemu-system-x86 nbdkit nbdkit-plugin-python"
    )
    assert (tmp_path / "said").read_text().splitlines() == [install, "apt-get update", install]
    assert capsys.readouterr().err.splitlines() == [
        "mdjournal: installing Debian package qemu-system-x86 ...",
        "mdjournal: installing Debian package nbdkit ...",
        "mdjournal: installing Debian package nbdkit-plugin-python ...",
    ]


def test_a_failing_apt_is_quoted_and_its_log_named(
    programs: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_program(programs, "apt-get", FAILING_APT)
    become(monkeypatch, 0)
    with pytest.raises(Unavailable) as raised:
        debian.require_packages("crash", root=tmp_path)
    assert str(raised.value).splitlines() == [
        "installing Debian packages failed: E: Could not open lock file",
        f"  log: {cache / 'logs/apt.log'}",
    ]


@pytest.mark.parametrize(
    ("arguments", "subcommand"),
    [
        pytest.param(["crash", "--seed", "1"], "crash", id="with-options"),
        pytest.param(["crash", "--help"], None, id="help"),
        pytest.param(["--version"], None, id="version"),
        pytest.param([], None, id="nothing"),
        pytest.param(["test", "--", "--help"], "test", id="help-is-for-pytest"),
    ],
)
def test_only_a_subcommand_that_acts_needs_packages(
    arguments: list[str], subcommand: str | None
) -> None:
    assert start.needed_by(arguments) == subcommand


# The Python environment


def fake_pip(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(pip, "_pip", lambda *_: ["/bin/sh", "-c", command])


def test_an_environment_is_built_once(
    cache: Path,
    lock_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_pip(monkeypatch, f"echo x >> {tmp_path / 'ran'}")
    first = environment.ensure_environment(lock_file, "building")
    assert environment.ensure_environment(lock_file, "building") == first
    assert (tmp_path / "ran").read_text() == "x\n"
    assert capsys.readouterr().err == "mdjournal: building\n"
    assert left_in(cache) == sorted([first.name, "lock"])
    assert subprocess.run([environment.python_of(first), "-c", ""], check=False).returncode == 0


def test_another_lock_file_means_another_environment(cache: Path, lock_file: Path) -> None:
    before = environment.environment_of(lock_file)
    lock_file.write_text(lock_file.read_text().replace("1.0", "1.1"))
    assert environment.environment_of(lock_file) != before
    assert re.fullmatch("[0-9a-f]{12}", before.name)
    assert before.parent == cache / "venv"


def test_a_failing_pip_is_quoted_and_leaves_nothing(
    cache: Path, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(monkeypatch, "echo noise; echo 'ERROR: the hashes do not match'; exit 1")
    with pytest.raises(Unavailable) as raised:
        environment.ensure_environment(lock_file, "building")
    assert str(raised.value) == "installing some.lock failed: ERROR: the hashes do not match"
    assert left_in(cache) == ["lock"]


def test_what_a_killed_start_left_is_removed(
    cache: Path, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "venv/building-abc/lib").mkdir(parents=True)
    environment.environment_of(lock_file).mkdir()  # without its mark: not complete
    fake_pip(monkeypatch, "true")
    made = environment.ensure_environment(lock_file, "building")
    assert left_in(cache) == sorted([made.name, "lock"])
    assert (made / "complete").exists()


def test_only_environments_unused_for_a_month_are_removed(
    cache: Path, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, age_days in (("old", 31), ("recent", 29)):
        marker = cache / "venv" / name / "complete"
        marker.parent.mkdir(parents=True)
        marker.touch()
        used = marker.stat().st_mtime - age_days * 86400
        os.utime(marker, (used, used))
    fake_pip(monkeypatch, "true")
    made = environment.ensure_environment(lock_file, "building")
    assert left_in(cache) == sorted([made.name, "lock", "recent"])


def test_a_full_disk_is_said_before_pip_fills_it(
    cache: Path, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_NEEDED_MB", 10**12)
    with pytest.raises(Unavailable, match=r"MB free, a Python environment needs 1000000000000"):
        environment.ensure_environment(lock_file, "building")
    assert left_in(cache) == ["lock"]


def test_misleading_pip_variables_are_kept_from_pip(
    cache: Path, lock_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    fake_pip(monkeypatch, f"env > {tmp_path / 'variables'}")
    environment.ensure_environment(lock_file, "building")
    assert "/elsewhere" not in (tmp_path / "variables").read_text()


def obey_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # nohup, a shell's "&"
        signal.signal(number, signal.SIG_DFL)


def spawn(lock_file: Path, command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(lock_file), command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=obey_signals,
    )


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name
)
def test_an_interrupted_start_leaves_nothing(
    number: signal.Signals, cache: Path, lock_file: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = spawn(lock_file, f"echo $$ > {fifo}; exec sleep 60")
    sleeping = int(fifo.read_text())  # once it can be read, the build is in the middle
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    assert (child.returncode, said) == (130, "mdjournal: building\n")
    assert left_in(cache) == ["lock"]
    with pytest.raises(ProcessLookupError):
        os.kill(sleeping, 0)


def test_an_interruption_while_a_child_is_being_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def interrupted(child: subprocess.Popen[bytes], *arguments: object) -> None:
        real(child, *arguments)
        started.append(child)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess.Popen, "_execute_child", interrupted)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        processes.run(["sleep", "60"], log=tmp_path / "log")
    assert started[0].poll() == -signal.SIGTERM


def test_two_first_starts_build_one_environment(
    cache: Path, lock_file: Path, tmp_path: Path
) -> None:
    fifo, ran = tmp_path / "fifo", tmp_path / "ran"
    os.mkfifo(fifo)
    first = spawn(lock_file, f"echo x >> {ran}; read line < {fifo}")
    assert first.stderr is not None
    assert first.stderr.readline() == "mdjournal: building\n"
    second = spawn(lock_file, f"echo x >> {ran}")
    assert second.stderr is not None
    assert second.stderr.readline().startswith("mdjournal: waiting for another start: ")
    fifo.write_text("go\n")
    assert [first.wait(timeout=30), second.wait(timeout=30)] == [0, 0]
    first.stderr.close()
    second.stderr.close()
    assert ran.read_text() == "x\n"


def test_an_unusable_cache_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MDJOURNAL_CACHE", str(tmp_path / "file"))
    assert start.start(ROOT, ["--version"]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(rf"mdjournal: {tmp_path}/file/\S+: Not a directory\n", said)

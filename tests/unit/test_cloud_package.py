"""Lambda packages: the same bytes for the same input, and a name that changes with any input."""

import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fleet_sim.cloud import package
from fleet_sim.cloud.package import PackageError, Runtime

RUNTIME = Runtime("3.12", "x86_64", "manylinux2014_x86_64")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A pip that installs one small package; answers the commands it was given."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        target = Path(command[command.index("--target") + 1])
        (target / "bin").mkdir()
        (target / "bin" / "tool").write_text("#!/somewhere/python")
        (target / "dep" / "__pycache__").mkdir(parents=True)
        (target / "dep" / "__init__.py").write_text("x = 1")
        (target / "dep" / "__pycache__" / "x.pyc").write_bytes(b"y")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def names(built: package.Package) -> list[str]:
    with zipfile.ZipFile(built.file) as archive:
        return archive.namelist()


def test_a_package_holds_function_contract_and_dependencies(
    pip: list[list[str]], tmp_path: Path
) -> None:
    held = names(package.build("telemetry_processor", RUNTIME, tmp_path))
    assert "telemetry_processor/handler.py" in held
    assert "fleet_sim/contract/telemetry.py" in held
    assert "dep/__init__.py" in held
    ours = [name for name in held if name.startswith("fleet_sim/")]
    assert {n for n in ours if not n.startswith("fleet_sim/contract/")} == {"fleet_sim/__init__.py"}
    assert not [n for n in held if "__pycache__" in n or n.startswith(("bin/", "api/"))]
    assert held == sorted(held)


def test_the_same_input_makes_the_same_bytes(pip: list[list[str]], tmp_path: Path) -> None:
    first = package.build("api", RUNTIME, tmp_path / "a")
    second = package.build("api", RUNTIME, tmp_path / "b")
    assert first.file.read_bytes() == second.file.read_bytes()
    assert first.sha256 == second.sha256
    with zipfile.ZipFile(first.file) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert len(pip) == 2


def test_what_is_cached_is_not_installed_again(pip: list[list[str]], tmp_path: Path) -> None:
    first = package.build("api", RUNTIME, tmp_path)
    assert package.build("api", RUNTIME, tmp_path) == first
    package.build("telemetry_processor", RUNTIME, tmp_path)  # shares the dependencies
    assert len(pip) == 1


def test_another_runtime_is_another_package(pip: list[list[str]], tmp_path: Path) -> None:
    built = {
        package.build("api", runtime, tmp_path).file
        for runtime in (
            RUNTIME,
            Runtime("3.13", "x86_64", "manylinux2014_x86_64"),
            Runtime("3.12", "arm64", "manylinux2014_aarch64"),
            Runtime("3.12", "x86_64", None),
        )
    }
    assert len(built) == len(pip) == 4


def test_a_changed_source_is_another_package(
    pip: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "lambdas"
    (sources / "api").mkdir(parents=True)
    (sources / "api" / "handler.py").write_text("one")
    (sources / "requirements.txt").write_text("dep==1")
    monkeypatch.setattr(package, "data_dir", lambda _: sources)
    first = package.build("api", RUNTIME, tmp_path / "cache")
    (sources / "api" / "handler.py").write_text("two")
    assert package.build("api", RUNTIME, tmp_path / "cache").sha256 != first.sha256
    assert len(pip) == 1


def test_wheels_are_asked_for_by_platform_only_for_aws(
    pip: list[list[str]], tmp_path: Path
) -> None:
    package.build("api", package.aws_runtime("arm64"), tmp_path)
    package.build("api", package.local_runtime(), tmp_path)
    aws, local = pip
    assert aws[aws.index("--platform") + 1] == "manylinux2014_aarch64"
    assert aws[aws.index("--python-version") + 1] == "3.12"
    assert "--only-binary=:all:" in aws
    assert "--platform" not in local


def test_a_failed_install_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failed = SimpleNamespace(returncode=1, stderr="noise\nERROR: No matching distribution: h3\n\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(PackageError, match=r"python3\.12 .*No matching distribution: h3"):
        package.build("api", RUNTIME, tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    assert list((tmp_path / "dependencies").iterdir()) == []


def test_an_unknown_function_is_named() -> None:
    with pytest.raises(PackageError, match="'no_such'"):
        package.build("no_such", RUNTIME)


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_SIM_CACHE", "/somewhere")
    assert package.cache_dir() == Path("/somewhere")
    monkeypatch.delenv("FLEET_SIM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert package.cache_dir() == Path("/cache/fleet-sim")

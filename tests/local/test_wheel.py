"""A wheel built from the tree works outside it: templates, Lambda sources and scenarios travel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the wheel alone was installed into."""
    built = tmp_path_factory.mktemp("dist")
    site = tmp_path_factory.mktemp("site")
    quiet = {"check": True, "capture_output": True}
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built)]
    subprocess.run([*build, str(ROOT)], **quiet)  # type: ignore[call-overload]
    [wheel] = built.glob("*.whl")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--target",
        str(site),
    ]
    subprocess.run([*pip, str(wheel)], **quiet)  # type: ignore[call-overload]
    return site


def outside(site: Path, cwd: Path, *arguments: str) -> str:
    """Run the installed package from a folder that is not the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(site), "FLEET_SIM_CACHE": str(cwd / "cache")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_that_runs_is_the_installed_one(installed: Path, tmp_path: Path) -> None:
    where = outside(installed, tmp_path, "-c", "import fleet_sim; print(fleet_sim.__file__)")
    assert Path(where.strip()).is_relative_to(installed)


def test_templates_lambdas_and_scenarios_are_inside(installed: Path, tmp_path: Path) -> None:
    script = (
        "from fleet_sim.resources import data_dir\n"
        "for name in ('infra', 'lambdas', 'scenarios', 'loadtests'):\n"
        "    print(*sorted(p.relative_to(data_dir(name)) for p in data_dir(name).rglob('*.*')\n"
        "                  if p.is_file()))\n"
    )
    listed = outside(installed, tmp_path, "-c", script)
    assert "pipeline.yaml" in listed
    assert "drivers.py" in listed
    assert "telemetry_processor/handler.py" in listed
    assert "requirements.txt" in listed
    assert "parking_surge.yaml" in listed
    assert "__pycache__" not in listed


def test_init_writes_a_starter_that_validates(installed: Path, tmp_path: Path) -> None:
    outside(installed, tmp_path, "-m", "fleet_sim", "init", "mine.yaml")
    answer = outside(installed, tmp_path, "-m", "fleet_sim", "validate", "mine.yaml")
    assert answer.startswith("mine.yaml: ok")


def test_its_load_tests_are_found_by_locust(installed: Path, tmp_path: Path) -> None:
    [metadata] = installed.glob("fleet_sim-*.dist-info/METADATA")
    needed = [line for line in metadata.read_text().splitlines() if "locust" in line.lower()]
    assert any(line.startswith("Requires-Dist: locust") for line in needed)
    assert all("extra ==" in line for line in needed if line.startswith("Requires-Dist"))
    assert "Provides-Extra: load" in metadata.read_text().splitlines()
    where = "from fleet_sim.resources import data_dir; print(data_dir('loadtests'))"
    folder = outside(installed, tmp_path, "-c", where).strip()
    assert Path(folder).is_relative_to(installed)
    listed = outside(installed, tmp_path, "-B", "-m", "locust", "-f", folder, "--list")
    assert set(listed.split()) >= {"Driver", "Dashboard", "Probe", "Operator", "MqttVehicle"}

"""A package is complete: it imports with nothing but itself and what Lambda's runtime brings."""

import subprocess
import sys
import zipfile
from pathlib import Path

import boto3
import pytest

from fleet_sim.cloud import package

# Lambda's Python runtimes come with boto3 and what it needs (AWS Lambda Developer Guide, "Python").
RUNTIME_BRINGS = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")


@pytest.mark.parametrize("function", package.FUNCTIONS)
def test_a_package_imports_in_a_clean_interpreter(function: str, tmp_path: Path) -> None:
    built = package.build(function, package.local_runtime())
    code, runtime = tmp_path / "code", tmp_path / "runtime"
    with zipfile.ZipFile(built.file) as archive:
        archive.extractall(code)
    # The site-packages folder as a whole would bring what the package lacks.
    runtime.mkdir()
    site = Path(boto3.__file__).parent.parent
    for name in RUNTIME_BRINGS:
        found = site / name
        (runtime / found.name).symlink_to(found if found.exists() else found.with_suffix(".py"))
    if (site / "six.py").exists():
        (runtime / "six").unlink()
        (runtime / "six.py").symlink_to(site / "six.py")
    program = (
        f"import sys; sys.path[:0] = [{str(code)!r}, {str(runtime)!r}]\n"
        f"sys.path = [p for p in sys.path if 'site-packages' not in p]\n"
        f"import {function}.handler as h\n"
        "assert callable(h.handler)\n"
        "import fleet_sim, msgspec, h3\n"
        f"assert all(m.__file__.startswith({str(code)!r}) for m in (h, fleet_sim, msgspec, h3))\n"
        "assert not any(m.startswith('fleet_sim.') and not m.startswith('fleet_sim.contract')\n"
        "               for m in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"AWS_DEFAULT_REGION": "us-east-1"},
    )
    assert done.returncode == 0, done.stderr


def test_a_package_that_lacks_a_dependency_would_be_noticed(tmp_path: Path) -> None:
    """The test above with msgspec taken out: it must fail, or it proves nothing."""
    built = package.build("api", package.local_runtime())
    with zipfile.ZipFile(built.file) as archive:
        for name in archive.namelist():
            if not name.startswith("msgspec"):
                archive.extract(name, tmp_path)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import fleet_sim.contract"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert "No module named 'msgspec'" in done.stderr

"""Lambda packages: one zip a function, the same bytes for the same input.

A package holds the function's own files (and another's that it uses), `fleet_sim/contract` and the
exact closure in `lambdas/requirements.txt`. Compiled wheels (msgspec, h3) must match the runtime
that loads them: the running interpreter for the local AWS, a manylinux wheel for AWS.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import fleet_sim
from fleet_sim.resources import data_dir

FUNCTIONS = ("telemetry_processor", "api", "fleet_health", "update_manager", "trends")
_WITH = {"trends": ("telemetry_processor",)}
"""Functions whose package holds another one's modules too: the archive is replayed through what the
stream went through."""
Architecture = Literal["x86_64", "arm64"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Zip's own zero: a timestamp would make every build another package."""


class PackageError(RuntimeError):
    """A package could not be built; the message is one line for a user."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What will load a package."""

    python: str
    """`3.12`"""
    architecture: Architecture
    wheels: str | None
    """pip's platform tag; None takes wheels for the running interpreter and machine."""

    @property
    def lambda_name(self) -> str:
        return f"python{self.python}"


@dataclasses.dataclass(frozen=True)
class Package:
    function: str
    file: Path
    sha256: str
    """Of the zip: its name in the artefact bucket."""


def local_runtime() -> Runtime:
    """The running interpreter: what the local AWS runs functions with."""
    arm = platform.machine().lower() in ("arm64", "aarch64")
    return Runtime(
        f"{sys.version_info.major}.{sys.version_info.minor}", "arm64" if arm else "x86_64", None
    )


def aws_runtime(architecture: Architecture = "x86_64", python: str = "3.12") -> Runtime:
    """AWS Lambda on Amazon Linux 2023 (glibc 2.34): any manylinux2014 wheel loads."""
    tag = {"x86_64": "manylinux2014_x86_64", "arm64": "manylinux2014_aarch64"}[architecture]
    return Runtime(python, architecture, tag)


def cache_dir() -> Path:
    """`$FLEET_SIM_CACHE`, or `fleet-sim` under `$XDG_CACHE_HOME` (`~/.cache`)."""
    if own := os.environ.get("FLEET_SIM_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fleet-sim"


def build(function: str, runtime: Runtime, cache: Path | None = None) -> Package:
    """Build the package of `lambdas/<function>`, or take it from the cache.

    The first build for a runtime installs wheels with pip; after that there is no network. Raises
    `PackageError` when the function is unknown or pip fails.
    """
    cache = cache or cache_dir()
    source = data_dir("lambdas") / function
    if not (source / "handler.py").is_file():
        raise PackageError(f"function: {function!r} has no handler.py in {source.parent}")
    requirements = data_dir("lambdas") / "requirements.txt"
    others = [source.parent / name for name in _WITH.get(function, ())]
    ours = list(_own_files(source, *others))
    digest = _digest(ours, requirements, runtime)
    file = cache / "packages" / f"{function}-{digest[:32]}.zip"
    if not file.is_file():
        dependencies = _dependencies(requirements, runtime, cache)
        entries = [*ours, *_tree(dependencies, "")]
        _write_zip(file, entries)
    return Package(function, file, hashlib.sha256(file.read_bytes()).hexdigest())


def _own_files(*sources: Path) -> Iterator[tuple[str, Path]]:
    package = Path(fleet_sim.__file__).parent
    for source in sources:
        yield from _tree(source, f"{source.name}/")
    yield "fleet_sim/__init__.py", package / "__init__.py"
    yield from _tree(package / "contract", "fleet_sim/contract/")


def _tree(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Files below `folder` and their names in the zip, sorted; no caches."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
            yield prefix + file.relative_to(folder).as_posix(), file


def _digest(files: Iterable[tuple[str, Path]], requirements: Path, runtime: Runtime) -> str:
    digest = hashlib.sha256(_dependency_key(requirements, runtime).encode())
    for name, file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def _dependency_key(requirements: Path, runtime: Runtime) -> str:
    # The local platform is part of the key: a cache on a shared home may serve several machines.
    wheels = runtime.wheels or f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    text = f"{requirements.read_text()}\0{runtime.python}\0{wheels}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _dependencies(requirements: Path, runtime: Runtime, cache: Path) -> Path:
    """Folder with the closure installed for this runtime."""
    folder = cache / "dependencies" / _dependency_key(requirements, runtime)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Into a folder beside it first: an interrupted install must not look like a finished one.
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
    try:
        _pip_install(requirements, runtime, building)
        shutil.rmtree(building / "bin", ignore_errors=True)
        try:
            building.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster, with the same files
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _pip_install(requirements: Path, runtime: Runtime, into: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
        *("--no-deps", "--no-compile", "--only-binary=:all:", "--target", str(into)),
    ]
    if runtime.wheels is not None:
        command += ["--platform", runtime.wheels, "--python-version", runtime.python]
        command += ["--implementation", "cp"]
    command += ["-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise PackageError(
            f"Lambda dependencies for {runtime.lambda_name} on {runtime.wheels or 'this machine'} "
            f"could not be installed: {lines[-1] if lines else f'pip exited {done.returncode}'}"
        )


def _write_zip(file: Path, entries: Iterable[tuple[str, Path]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for entry, source in sorted(entries):
                info = zipfile.ZipInfo(entry, _EPOCH)
                info.external_attr = 0o644 << 16  # Lambda needs them readable by every user
                info.create_system = 3
                archive.writestr(info, source.read_bytes(), zipfile.ZIP_DEFLATED, 6)
        os.replace(name, file)
    finally:
        Path(name).unlink(missing_ok=True)

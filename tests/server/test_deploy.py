"""The files in deploy/: each is given to the program that it is for, or its steps are done in a fresh folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")


def run(*command: object, **environment: str) -> str:
    result = subprocess.run(
        [str(part) for part in command], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.mark.slow
def test_what_the_dockerfile_copies_is_enough_to_build_the_package(tmp_path: Path) -> None:
    for sources in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *names, target = shlex.split(sources)
        for name in names:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tmp_path / (name if target.endswith("/") else target))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "built", tmp_path]
    run(*build)
    (wheel,) = (tmp_path / "built").glob("superscale-*.whl")
    assert wheel.stat().st_size > 1_000_000  # the bundled models are in it


def test_the_commands_of_the_image_are_those_that_there_are() -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (\[.+\])$", DOCKERFILE, re.MULTILINE)
    program, command, *options = re.findall(r'"([^"]+)"', entry)
    assert (program, command) == ("superscale", "serve")
    help_text = run(sys.executable, "-m", "superscale", "serve", "--help")
    assert all(option in help_text for option in options if option.startswith("--"))
    (check,) = re.findall(r'CMD \["python", "-c", "(.+)"\]', DOCKERFILE)
    compile(check, "HEALTHCHECK", "exec")
    assert "/healthz" in check


def test_caddy_takes_the_caddyfile() -> None:
    if (caddy := shutil.which("caddy")) is None:
        pytest.skip("caddy is not installed")
    assert "Valid configuration" in run(caddy, "validate", "--config", DEPLOY / "Caddyfile", SITE="pictures.example.org")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if (systemd := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd is not installed")
    unit = (DEPLOY / "superscale.service").read_text()
    # The program is not installed where the unit expects it.
    (tmp_path / "superscale.service").write_text(
        re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", unit, flags=re.MULTILINE)
    )
    assert run(systemd, "verify", tmp_path / "superscale.service") == ""

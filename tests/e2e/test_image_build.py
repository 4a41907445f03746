"""The Dockerfile's build stage, run without a container engine: the same copies, the same commands, in a temporary folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build_steps() -> list[tuple[str, str]]:
    """(instruction, arguments) of the first stage, with continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    steps = [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]
    stages = [number for number, (instruction, _) in enumerate(steps) if instruction == "FROM"]
    return steps[stages[0] + 1 : stages[1]]


def copy(sources: list[str], target: Path) -> None:
    """What COPY does: a folder's content goes into the target, files go into the target folder."""
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy2(ROOT / source, target)


@pytest.mark.timeout(300)
def test_the_image_s_build_runs_and_its_processes_need_only_what_it_holds(tmp_path: Path) -> None:
    app, venv = tmp_path / "app", tmp_path / "venv"
    app.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "COATCHECK"))}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    for instruction, arguments in build_steps():
        if instruction == "COPY":
            *sources, target = arguments.split()
            copy(sources, app / target)
        elif instruction == "RUN":
            command = arguments.replace("/opt/venv", str(venv)).replace("/app", str(app))
            subprocess.run(["sh", "-ec", command], cwd=app, env=environment, check=True)
        else:
            assert instruction == "WORKDIR", instruction

    python = venv / "bin" / "python"
    modules = "api.server, cli.main, core.settings, migrations, workers.app, workers.beat, flower"
    subprocess.run([python, "-c", f"import {modules}"], cwd=tmp_path, env=environment, check=True)
    subprocess.run([venv / "bin" / "coatcheck", "--help"], cwd=tmp_path, env=environment, check=True)

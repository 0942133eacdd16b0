"""The project's own promises: what the README says to type, what CI runs, what the wheel carries."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import archlang
import archlang.ops.base as ops
from archlang.report.codes import CODES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def setup_command(number: int) -> str:
    script = [sys.executable, str(ROOT / "scripts" / "readme_command.py"), str(number)]
    return subprocess.run(script, capture_output=True, text=True, check=True).stdout.strip()


def test_readme_has_exactly_two_setup_commands() -> None:
    section = README.partition("\n## Set-up\n")[2].partition("\n## ")[0]
    assert section.count("```sh\n") == 2
    for number in (1, 2):
        command = setup_command(number)
        assert command.startswith("python3.11 -m venv .venv && ")
        assert "\n" not in command
    assert "archc compile specs/resnet.arch -e resnet50" in setup_command(1)
    assert setup_command(2).endswith("-m pytest -n 2")


def test_ci_runs_the_second() -> None:
    assert "readme_command.py 2" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_no_machine_paths_and_no_hosts() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = [ROOT / name for name in listed.stdout.splitlines()]
    if listed.returncode or not files:
        pytest.skip("not a git checkout")
    wanted = re.compile("/" + r"(work|opt|root|home)/\w|pypi\." + r"org|python" + r"hosted|download\.pytorch\." + "org")
    for path in files:
        if path.is_file():
            found = wanted.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found and found[0]}"


def test_the_compiler_names_no_architecture() -> None:
    """Published networks are library text: none of them is known to the compiler (`gdn` is an op as well)."""
    names = "|".join(path.stem for path in (ROOT / "specs").glob("*.arch") if path.stem not in ops.registry())
    wanted = re.compile(rf"\b({names})\d*\b", re.IGNORECASE)
    for path in (ROOT / "archlang").rglob("*.py"):
        found = wanted.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROOT)}: {found and found[0]}"


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == archlang.__version__
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_torch_is_optional() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not any("torch" in need for need in project["dependencies"])
    assert any("torch" in need for need in project["optional-dependencies"]["torch"])


def test_codes_are_sorted_and_well_formed() -> None:
    lines = re.findall(r'"(ARC\d{4})":', (ROOT / "archlang" / "report" / "codes.py").read_text(encoding="utf-8"))
    assert lines == sorted(set(lines))
    assert all(title and not title.endswith(".") for title in CODES.values())


def test_every_code_in_use_is_registered() -> None:
    for path in (ROOT / "archlang").rglob("*.py"):
        for code in re.findall(r'"(ARC\d{4})"', path.read_text(encoding="utf-8")):
            assert code in CODES, f"{path.relative_to(ROOT)} uses {code}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_has_grammars_library_and_specs(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert "archlang/py.typed" in names
    for folder, target in (("grammars", "grammars"), ("specs", "zoo"), ("archlang/std", "std")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in {".arch", ".lark"}:
                assert f"archlang/{target}/{path.relative_to(ROOT / folder)}" in names
    for path in (ROOT / "archlang" / "codegen" / "templates").rglob("*.j2"):
        assert str(path.relative_to(ROOT)) in names
    for code in CODES:
        assert f"archlang/docs/errors/{code}.md" in names


@pytest.mark.parametrize("statements", ["import archlang", "import archlang.importer", "import archlang.cli.check"])
def test_importing_needs_no_torch(statements: str) -> None:
    program = (
        f"{statements}\nimport sys, json; print(json.dumps([m for m in sys.modules if m.split('.')[0] == 'torch']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []

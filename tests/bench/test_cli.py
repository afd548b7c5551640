"""The command line as a user meets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from normzoo_bench import cli

MY_NORM = '''
import normzoo
from normzoo.norms import NoNorm

@normzoo.register("my_norm", paper="none", year=2026, pools=set())
class MyNorm(NoNorm):
    """Scales and shifts, and nothing else."""
'''


@pytest.fixture
def run_cli(monkeypatch, capsys):
    """Run the command line in this process; give exit code, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["normzoo", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    monkeypatch.setenv("COLUMNS", "160")
    return run


def test_list_names_everything_that_can_be_named(run_cli):
    code, out, _ = run_cli("list")
    assert code == 0
    for word in ("batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "batch_renorm", "quick", "digits", "mlp"):
        assert word in out


def test_list_as_json_is_json_with_the_cards(run_cli):
    _, out, _ = run_cli("list", "normalizers", "--json")
    cards = {card["name"]: card for card in json.loads(out)["normalizers"]}
    assert cards["batch_renorm"]["paper"] == "arXiv:1702.03275"
    assert cards["group_norm"]["pools"] == ["group", "space"]


@pytest.mark.parametrize(("name", "word"), [("group_norm", "groups=None"), ("quick", "[1, 5, 20]|1, 5, 20")])
def test_show_knows_normalizers_and_suites(run_cli, name, word):
    code, out, _ = run_cli("show", name)
    assert code == 0
    assert re.search(word, out)


def test_a_normalizer_in_a_file_outside_is_listed_shown_checked_and_planned(run_cli, tmp_path):
    file = tmp_path / "my_norm.py"
    file.write_text(MY_NORM, encoding="utf-8")
    assert "my_norm" in run_cli("list", "--load", file)[1]
    assert "Scales and shifts" in run_cli("show", "my_norm", "--load", file)[1]
    plan = run_cli("plan", "quick", "--seeds", 1, "--load", file, "--cells")[1]
    assert "normalizer=my_norm" in plan


def test_plan_says_when_the_seeds_cannot_decide_the_claims(run_cli):
    """6 claims are 12 one-sided hypotheses: 2ⁿ ≥ 12 / 0.05 from n = 8."""
    assert "7 seeds cannot decide any of 6 claims; 8 can" in run_cli("plan", "quick", "--seeds", 7)[1]
    assert "cannot decide" not in run_cli("plan", "quick", "--seeds", 8)[1]


@pytest.mark.slow
def test_a_normalizer_in_a_file_outside_is_checked_run_and_reported(tmp_path):
    file = tmp_path / "my_norm.py"
    file.write_text(MY_NORM, encoding="utf-8")
    base = [sys.executable, "-m", "normzoo_bench.cli"]
    check = subprocess.run([*base, "check", str(file)], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
    words = ["run", "quick", "--seeds", "1", "--load", str(file), "--out", str(tmp_path / "run")]
    words += ["--normalizers", "batch_norm,my_norm", "--set", "epochs=1"]
    done = subprocess.run([*base, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "my_norm" in done.stdout
    assert "my_norm" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_lying_normalizer_is_found_by_check(run_cli, tmp_path):
    file = tmp_path / "liar.py"
    text = MY_NORM.replace("my_norm", "liar").replace("(NoNorm):", "(NoNorm):\n    forward = None\n")
    lie = """
    def forward(self, x):
        return super().forward(x - x.mean(0, keepdim=True))
"""
    file.write_text(text.replace("    forward = None\n", "") + lie, encoding="utf-8")
    code, out, _ = run_cli("check", file)
    assert code == 1
    assert "FAULT" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "quik"], "did you mean 'quick'"),
        (["plan", "quick", "--normalizers", "bach_norm"], "did you mean 'batch_norm'"),
        (["plan", "quick", "--set", "epochs"], "--set takes KEY=VALUE"),
        (["plan", "quick", "--load", "nowhere.py"], "there is no file"),
        (["plan", "quick", "--set", "ranks=1", "--set", "ranks=5"], "--set ranks= stands twice"),
        (["plan", "quick", "--set", "device=cpu", "--device", "cpu"], "keep one"),
        (["run", "quick", "--timeout", "soon"], "--timeout takes a time such as 90s"),
        (["run", "quick", "--retry", "crash"], "did you mean 'crashed'"),
        (["run", "quick", "--jobs", "0"], "jobs must be at least 1"),
        (["status", "nowhere"], "is no run folder"),
        (["report", "nowhere"], "is no run folder"),
        (["show", "grup_norm"], "did you mean 'group_norm'"),
        (["check", "grup_norm"], "did you mean 'group_norm'"),
        (["new", "My Norm"], "My Norm"),
        (["new", "batch_norm"], "batch_norm"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(run_cli, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) <= 2
    assert not list(tmp_path.rglob("*.json"))


def test_a_suite_file_that_does_not_parse_is_named_with_its_line(run_cli, tmp_path):
    file = tmp_path / "broken.toml"
    file.write_text('name = "broken"\nquestion = = 1\n', encoding="utf-8")
    code, _, err = run_cli("plan", file)
    assert code == 2
    assert "broken.toml" in err
    assert "line 2" in err


@pytest.mark.parametrize("words", [["--frobnicate"], ["rum", "quick"], ["run"], ["list", "norms"]])
def test_words_that_the_command_line_does_not_know_exit_with_2(words):
    assert CliRunner().invoke(cli.app, words).exit_code == 2


@pytest.mark.slow
def test_new_writes_a_normalizer_that_check_accepts(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_cli("new", "fresh_norm")
    assert code == 0
    assert (tmp_path / "fresh_norm.py").exists()
    assert "normzoo check fresh_norm.py" in out
    assert run_cli("check", "fresh_norm.py")[0] == 0


def test_env_names_versions_and_hardware(run_cli):
    found = json.loads(run_cli("env", "--json")[1])
    assert found["torch"]
    assert found["cpu"]


def test_into_a_pipe_every_cell_is_one_whole_line(run_cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long = "batch_renorm(average=cumulative, d_max=5, momentum=0.01, r_max=3, warmup_steps=123)"
    _, out, _ = run_cli("plan", "quick", "--seeds", 1, "--normalizers", long, "--cells")
    lines = [line for line in out.splitlines() if "dataset=digits" in line]
    assert len(lines) == 4
    for line in lines:
        assert re.match(r"[0-9a-f]{16}  accuracy +to do", line)
        assert f"normalizer={long} dataset=digits model=mlp epochs=6 batch_size=40" in line
    assert "…" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tune", "learning_rate"], "--tune takes KEY=VALUE, or off alone, got 'learning_rate'"),
        (["--tune", "off", "--tune", "learning_rate=1,2"], "--tune takes KEY=VALUE, or off alone, got 'off'"),
        (["--tune", "learning_rate=1,2", "--tune", "learning_rate=1,3"], "--tune learning_rate= stands twice"),
        (["--tune", "learning_rate=0.1"], "tries one value, and a choice needs two or more; --set learning_rate=0.1"),
        (["--tune", "learning_rate=1,2", "--set", "learning_rate=1"], "by --set learning_rate= and by --tune"),
        (["--tune", "epochs=1,2"], "[select] cannot try epochs"),
        (["--tune", "normalizer=none,group_norm"], "[select] cannot change normalizer"),
    ],
)
def test_a_tuning_that_cannot_be_is_one_message(run_cli, words, message):
    code, _, err = run_cli("plan", "quick", *words)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert message in err


def test_the_command_line_switches_tuning_off_and_the_plan_says_what_that_means(run_cli):
    words = ["plan", "group_count", "--set", "dataset=digits", "--set", "model=small_convnet", "--seeds", 1]
    words += ["--normalizers", "group_norm,group_norm(groups=1),layer_norm"]
    assert (
        "tuning: learning_rate of 0.1, 0.3, each with 1 seed" in run_cli(*words, "--tune", "learning_rate=0.1,0.3")[1]
    )
    out = run_cli(*words, "--tune", "off")[1]
    assert "learning_rate is not tuned: every normalizer trains with 0.1; 3 claims on levels are not asked: more" in out

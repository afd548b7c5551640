"""Whatever a suite or a command line asks, planning gives a plan or a message, and nothing is tried for minutes."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from mutations import DATES, ODD, WRONG, few, spoiled_data, spoiled_texts, told, toml

from normzoo_bench import commands, data
from normzoo_bench.errors import UsageError
from normzoo_bench.running.store import Store
from normzoo_suites import read_run, suite_names
from normzoo_suites.settings import MEASURES

TRAININGS = """
name = "trainings"
question = "What?"
protocol = 1
[select]
grid = { learning_rate = [0.1, 0.2], weight_decay = [0.0, 0.001] }
seeds = 2
fixed = { epochs = 1 }
[[grids]]
measure = "accuracy"
fixed = { dataset = "digits", model = "mlp", epochs = 2, batch_size = 40, train_samples = 400, split = "iid" }
axes = { normalizer = ["batch_norm", "group_norm(groups=8)", "none"], ranks = [1, 2, 4], seed = 2 }
[[claims]]
id = "small_parts_hurt"
says = "Small parts hurt."
source = "made up"
metric = "test_accuracy"
plus = [{ normalizer = "batch_norm", ranks = 1 }]
minus = [{ normalizer = "batch_norm", ranks = 4 }]
is = "higher"
margin = 0.01
[[figures]]
kind = "line"
x = "local_batch"
y = "test_accuracy"
where = { ranks = [1, 4] }
"""
STEPS = """
name = "steps"
question = "What?"
protocol = 1
[[grids]]
measure = "throughput"
fixed = { batch_size = 4, direction = "forward" }
axes = { normalizer = ["batch_norm", "none"], shape = ["8x4x4", "8"], repeat = 2 }
[[grids]]
measure = "memory"
fixed = { normalizer = "group_norm", model = "resnet20", batch_size = 2, image_size = 32 }
[[grids]]
measure = "model_throughput"
fixed = { normalizer = "batch_norm", model = "small_convnet", batch_size = 2, image_size = 32 }
axes = { phase = ["training", "folded"] }
[[grids]]
measure = "sync_cost"
fixed = { normalizer = "sync_batch_norm", model = "mlp", batch_size = 4, image_size = 8, ranks = 2 }
"""
KEYS = sorted({key for settings in MEASURES.values() for key in settings.model_fields} | {"", "x", "learning_rates"})
KEYS.remove("image_size")  # a model is tried on images of the size that is asked for, however large
RIGHT = ["iid", "digits", "mlp", "batch_norm", "shards(k=2)", "1,2", "0:3", "steps", "1/2", "off"]
WORDS = [*map(str, WRONG), *ODD, *RIGHT]
SHIPPED = [(resources.files("normzoo_suites") / f"{name}.toml").read_text(encoding="utf-8") for name in suite_names()]


@pytest.fixture(scope="module", autouse=True)
def no_hub(tmp_path_factory, module_patch):
    """Have no data but digits, and blanks that look like CIFAR-10: what else is named would be asked of the hub."""
    real = data.load
    train, test = (
        data.Images(torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(count, 3, 32, 32), torch.arange(count) % 10)
        for count in (50_000, 10_000)
    )
    blank = data.DataSet(train, test, 10, "blank")

    def load(name, where):
        if name == "cifar10":
            return blank
        if name != "digits":
            raise UsageError(f"cannot load {name}")
        return real(name, where)

    module_patch.setattr(data, "load", load)
    module_patch.chdir(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated") / "mine.toml"


@pytest.mark.parametrize("text", [TRAININGS, STEPS], ids=["trainings", "steps"])
def test_what_is_spoiled_here_was_a_plan_before(text, file):
    file.write_text(text, encoding="utf-8")
    assert commands.plan(file).suite.grids


def hold(file, **asked):
    """Plan a file; what is planned is written into a run folder, and read from it as it was."""
    made, complaint = told(lambda: commands.plan(file, **asked))
    if made is None:
        assert 1 <= len(complaint.splitlines()) <= 2
        assert len(complaint) < 2000
        return
    assert all(cell.skip is None or cell.same_as is None for cell in made.cells)
    assert made.cells or made.waiting
    if made.request.cell is None:
        Store(file.parent).describe(made, "a b")
        run = read_run(file.parent)
        assert (run.suite, run.cells, run.trials, run.waiting) == (made.suite, made.cells, made.trials, made.waiting)


def spelt(table):
    return "\n".join(f"{key} = {toml(value)}" for key, value in table.items())


def spoiled_tables(texts):
    return spoiled_data([tomllib.loads(text) for text in texts], [*WRONG, *DATES]).map(spelt)


def hold_text(file, text):
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    hold(file)


@few(150)
@given(text=spoiled_tables([TRAININGS, STEPS]))
def test_a_spoiled_suite_is_planned_or_told(text, file):
    hold_text(file, text)


@pytest.mark.slow
@few(1000)
@given(text=st.one_of(spoiled_tables(SHIPPED), spoiled_tables(SHIPPED), spoiled_texts(SHIPPED)))
def test_a_thousand_spoiled_suites_are_planned_or_told(text, file):
    hold_text(file, text)


words = st.sampled_from(WORDS) | st.text(max_size=8) | st.lists(st.sampled_from(WORDS), max_size=3).map(",".join)
pairs = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), words, max_size=2)


OPTIONS = {
    "settings": pairs,
    "normalizers": st.sampled_from(["batch_norm", "group_norm(groups=2),none"]) | words,
    "seeds": st.integers(1, 3) | st.integers(),
    "repeats": st.integers(1, 3) | st.integers(),
    "device": st.sampled_from(["cpu", "auto"]) | words,
    "cell": words,
    "tune": st.just({"weight_decay": "0,0.1"}) | pairs | words,
    "shard": st.sampled_from(["1/1", "2/3"]) | words,
}
some = st.lists(st.sampled_from(sorted(OPTIONS)), min_size=1, max_size=2, unique=True)


@few(150)
@given(asked=some.flatmap(lambda names: st.fixed_dictionaries({name: OPTIONS[name] for name in names})))
@pytest.mark.parametrize("text", [TRAININGS, STEPS], ids=["trainings", "steps"])
def test_spoiled_words_are_planned_or_told(text, asked, file):
    named = asked.get("settings", {}).get("dataset", "")
    assume(not any("/" in piece or piece.strip() in (".", "..", "~") for piece in named.split(",")))  # folders
    file.write_text(text, encoding="utf-8")
    hold(file, **asked)


@pytest.mark.parametrize("cell", ["\x00", "a" * 5000, "../..", "", "g"])
def test_what_cannot_be_a_cells_id_is_looked_up_nowhere(cell, file):
    file.write_text(TRAININGS, encoding="utf-8")
    with pytest.raises(UsageError, match="id that starts with"):
        commands.plan(file, cell=cell)

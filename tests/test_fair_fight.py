"""The fair fight: budgets are equal, tasks answer what they ask, and a stopped study goes on where it was."""

import json
import math

import numpy as np
import pytest

import lstm_numba as ln
from benchmarks.fair_fight import __main__ as command_line
from benchmarks.fair_fight.study import FIGURES, Effort, Store, missing, read
from lstm_numba.teaching import fair_fight
from lstm_numba.teaching.fair_fight import MODELS, TASKS, Budget, Model, Stepper, budget_for, run_once, width_for
from lstm_numba.teaching.fair_fight.training import pick
from lstm_numba.teaching.letters import PARTS


def draw(name, B=4, part="train", place=0, seed=0):
    task = TASKS[name]
    return task, task.draw(np.random.default_rng(seed), B, part, task.lengths[place])


# -- models --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_to_the_budget_of_parameters(name):
    for task in TASKS.values():
        width = width_for(MODELS[name], task.parameters, task.inputs, task.outputs)
        count = MODELS[name].parameters(task.inputs, width, task.outputs)
        assert abs(count - task.parameters) < 0.05 * task.parameters, (task.title, count)


@pytest.mark.parametrize("name", MODELS)
def test_no_model_sees_the_future_and_every_model_learns_from_the_past(name):
    rng = np.random.default_rng(1)
    model = MODELS[name].build(3, MODELS[name].widths[min(7, len(MODELS[name].widths) - 1)], 2, 0)
    x = rng.normal(size=(6, 2, 3)).astype(np.float32)
    y = model(x)
    dy = np.zeros_like(y)
    dy[3] = 1
    dx = model.backward(dy)
    assert not dx[4:].any()
    assert np.abs(dx[:4]).max(axis=(1, 2)).min() > 0


@pytest.mark.parametrize("name", MODELS)
def test_step_by_step_is_the_same_function(name):
    model = MODELS[name].build(3, MODELS[name].widths[min(7, len(MODELS[name].widths) - 1)], 2, 0).eval()
    x = np.random.default_rng(2).normal(size=(6, 1, 3)).astype(np.float32)
    stepper = Stepper(model)
    steps = np.stack([stepper.step(x_t).copy() for x_t in x])
    np.testing.assert_allclose(steps, model(x), atol=1e-5)
    assert stepper.nbytes > 0


def test_flops_of_an_lstm_by_hand():
    I, H, K, T = 3, 8, 2, 5
    by_hand = T * 2 * (4 * H * (I + H) + K * H)
    assert MODELS["LSTM"].forward_flops(I, H, K, T) == by_hand
    assert MODELS["LSTM"].training_flops(I, H, K, T) == 3 * by_hand


def test_one_entry_registers_a_model():
    assert "dense" not in MODELS
    build = lambda inputs, width, outputs, seed: ln.Sequential(  # noqa: E731
        ln.Dense(inputs, width, seed=seed), ln.Dense(width, outputs, seed=seed + 1)
    )
    fair_fight.register("dense", Model("no memory", build))
    try:
        with pytest.raises(ValueError, match="'dense' is taken"):
            fair_fight.register("dense", Model("again", build))
        task, budget = TASKS["parity"], budget_for("updates", TASKS["parity"], scale=0.02)
        result = run_once(MODELS["dense"], task, budget, lr=0.01, clip=1.0, seed=0, part="validation")
        assert result["score"] > 0.4  # without memory nobody knows the parity
    finally:
        del MODELS["dense"]


# -- tasks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("part", PARTS)
def test_shapes_and_loss_of_an_untrained_answer(name, part):
    task, batch = draw(name, part=part, place=-1)
    T, B, inputs = batch.x.shape
    assert (B, inputs, batch.mask.shape) == (4, task.inputs, (T, B))
    assert batch.mask.any()
    answers = np.zeros((T, B, task.outputs), np.float32)
    value, gradient = task.loss(answers, batch.y, batch.mask)
    assert math.isfinite(value)
    assert gradient.shape == answers.shape
    assert not gradient[~batch.mask].any()


def perfect(name, batch, outputs):
    """Answers that are all right, made from the targets."""
    y = (
        batch.y
        if batch.y.shape[:2] == batch.mask.shape
        else np.broadcast_to(batch.y, (len(batch.mask), *batch.y.shape))
    )
    if y.dtype.kind == "f":
        return y * 2 - 1 if name == "count" else y
    return 50 * np.eye(outputs, dtype=np.float32)[y]


@pytest.mark.parametrize("name", TASKS)
def test_the_right_answer_scores_zero(name):
    task, batch = draw(name, B=16)
    assert task.errors(perfect(name, batch, task.outputs).astype(np.float32), batch) < 1e-6


@pytest.mark.parametrize("name", [name for name in TASKS if name not in ("count", "traffic")])
def test_chance_is_what_ignoring_the_input_scores(name):
    task, batch = draw(name, B=2000, part="test")
    if name == "adding":
        answers = np.ones((*batch.mask.shape, 1), np.float32)
    elif name == "characters":
        count = np.bincount(TASKS[name].draw(np.random.default_rng(3), 4000, "train", 40).y.ravel(), minlength=33) + 1
        answers = np.broadcast_to(np.log(count / count.sum()), (*batch.mask.shape, 33)).astype(np.float32)
    else:
        # The class that a constant answer names must be one that occurs.
        answers = np.zeros((*batch.mask.shape, task.outputs), np.float32)
        answers[..., 8 if name == "recall" else 1] = 1
    assert task.errors(answers, batch) == pytest.approx(task.chance, abs=0.04)


def test_longer_strings_are_longer_than_those_of_the_training():
    lengths = [TASKS["count"].draw(np.random.default_rng(5), 100, "test", n).lengths for n in (10, 20, 40)]
    assert lengths[0].max() <= 21 < lengths[1].min()
    assert lengths[1].max() <= 41 < lengths[2].min()


@pytest.mark.parametrize("name", ["adding", "count", "sources", "parity"])
def test_picked_sequences_keep_their_targets(name):
    task, batch = draw(name, B=40)
    chosen = np.array([3, 3, 17])
    part = pick(batch, chosen)
    answers = np.random.default_rng(6).normal(size=(*batch.mask.shape, task.outputs)).astype(np.float32)
    each = [task.loss(answers[:, [b]], pick(batch, np.array([b])).y, batch.mask[:, [b]])[0] for b in chosen]
    counts = part.mask.sum(axis=0)
    together = task.loss(np.ascontiguousarray(answers[:, chosen]), part.y, part.mask)[0]
    assert together == pytest.approx(np.average(each, weights=counts), rel=1e-5)


# -- budgets and runs ----------------------------------------------------------------------------------------------


def test_operations_buy_updates_in_inverse_proportion():
    task = TASKS["copy"]
    spent = {}
    for name in ("RNN", "LSTM"):
        budget = budget_for("flops", task, scale=0.02)
        result = run_once(MODELS[name], task, budget, lr=0.01, clip=1.0, seed=0, part="validation")
        each = result["flops"] / result["updates"]
        spent[name] = result["flops"]
        assert budget.amount <= result["flops"] < budget.amount + each
    assert spent["RNN"] == pytest.approx(spent["LSTM"], rel=0.15)


def test_seconds_end():
    task = TASKS["parity"]
    result = run_once(MODELS["RNN"], task, Budget("seconds", 0.05), lr=0.01, clip=1.0, seed=0, part="validation")
    assert result["updates"] >= 1
    assert 0.05 <= result["seconds"] < 2


@pytest.mark.parametrize(("kind", "amount", "word"), [("steps", 1, "kind"), ("updates", 0, "amount")])
def test_a_budget_checks_its_arguments(kind, amount, word):
    with pytest.raises(ValueError, match=word):
        Budget(kind, amount)


def test_a_run_repeats_itself_and_learns():
    def run(updates):
        budget = Budget("updates", updates)
        return run_once(MODELS["GRU"], TASKS["parity"], budget, lr=0.02, clip=1.0, seed=0, part="test")

    first, again = run(60), run(60)
    del first["seconds"], again["seconds"]
    assert first == again
    assert set(first["by_length"]) == {"16", "64", "256"}
    assert first["score"] == first["by_length"]["16"]
    assert first["curve"][-1] < first["curve"][0]


def test_a_run_that_diverges_scores_as_chance():
    budget = Budget("updates", 50)
    result = run_once(MODELS["RNN"], TASKS["adding"], budget, lr=1e30, clip=1e30, seed=0, part="validation")
    assert result["diverged"]
    assert result["score"] == TASKS["adding"].chance
    assert result["updates"] < 50


def test_best_of_agrees_with_drawing():
    rng = np.random.default_rng(7)
    scores = rng.random(6)
    expected = fair_fight.best_of(scores)
    drawn = np.array([[rng.permutation(scores)[:k].min() for k in range(1, 7)] for _ in range(4000)]).mean(axis=0)
    np.testing.assert_allclose(expected, drawn, atol=0.02)
    assert expected[-1] == scores.min()


# -- the study -----------------------------------------------------------------------------------------------------

TINY = ["--models", "RNN", "GRU", "--tasks", "parity", "--trials", "2", "--seeds", "3", "--scale", "0.005"]


def test_study_goes_on_where_it_was_stopped(tmp_path, capsys):
    out = tmp_path / "fight.jsonl"
    command_line.main(["run", "parameters", "--out", str(out), *TINY, "--minutes", "0"])
    assert "out of time" in capsys.readouterr().out
    assert not out.exists()
    command_line.main(["run", "parameters", "--out", str(out), *TINY])
    first, sources = read(out)
    assert len(first) == 2 * 2 + 2 * 3
    assert len(sources) == 1
    assert {"commit", "versions"} <= set(sources[0])
    assert sources[0]["command"] == f"python -m benchmarks.fair_fight run parameters --out {out} {' '.join(TINY)}"
    command_line.main(["study", "--out", str(out), *TINY])
    printed = capsys.readouterr().out
    both, sources = read(out)
    assert both[: len(first)] == first
    assert len(sources) == 2
    effort = Effort(("RNN", "GRU"), ("parity",), 2, 3, 0.005)
    store = Store(out)
    assert all(missing(store, effort, figure) == 0 for figure in FIGURES)
    assert all(f"{figure}:" in printed for figure in FIGURES)
    assert "missing" not in printed
    assert missing(store, Effort(("RNN", "GRU"), ("parity",), 3, 3, 0.005), "tuning") == 2
    assert missing(store, Effort(("RNN", "GRU"), ("parity",), 2, 3, 0.01), "parameters") == len(first)


def test_results_answer_what_the_page_asks(tmp_path):
    out = tmp_path / "fight.jsonl"
    effort = Effort(("RNN",), ("parity",), 2, 3, 0.005)
    store = Store(out)
    for name in ("length", "samples"):
        FIGURES[name].run(store, effort)
    runs, _ = read(out)
    trials = [run for run in runs if run["phase"] == "search"]
    best = min(trials, key=lambda run: (run["score"], run["curve"][-1]))
    assert fair_fight.best_setting(runs, "parity", "RNN", "updates") == {"lr": best["lr"], "clip": best["clip"]}
    assert fair_fight.best_setting(runs, "parity", "RNN", "updates", trials=1)["lr"] == trials[0]["lr"]
    assert fair_fight.final_scores(runs, "parity", "RNN", "updates").shape == (3,)
    assert list(fair_fight.lengths_of(runs, "parity", "RNN")) == [16, 64, 256]
    assert {size: scores.shape for size, scores in fair_fight.samples_of(runs, "parity", "RNN").items()} == {
        32: (3,),
        128: (3,),
        512: (3,),
    }
    with pytest.raises(ValueError, match="expected trials of 'GRU'"):
        fair_fight.best_setting(runs, "parity", "GRU", "updates")


def test_list_names_everything(capsys):
    command_line.main(["list"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in [*FIGURES, *MODELS, *TASKS])


def test_lines_are_json(tmp_path):
    out = tmp_path / "fight.jsonl"
    store = Store(out)
    store.add({"phase": "x", "task": "t", "model": "m", "scale": 1.0}, lambda: {"score": 0.123456789})
    assert json.loads(out.read_text().splitlines()[1])["score"] == 0.12346

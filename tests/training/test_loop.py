"""The training loop on a model whose answer is known."""

import builtins
import subprocess
import sys

import numpy as np
import pytest
import torch

from lstm_numba.training import (
    SGD,
    Adam,
    CosineSchedule,
    ExponentialSchedule,
    ReduceOnPlateau,
    TrainingDiverged,
    evaluate_loss,
    fit,
    load_checkpoint,
    mse_loss,
)

from .models import Line

TRUE_WEIGHT = np.array([[1.0], [-2.0], [0.5]])


def line_data(samples=50, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, 3))
    return x, x @ TRUE_WEIGHT + 3 + noise * rng.normal(size=(samples, 1))


def run(model=None, *, lr=0.05, optimiser=Adam, data=None, **settings):
    model = model or Line()
    x, y = data or line_data()
    settings = {"loss": mse_loss, "epochs": 5, "batch_size": 8, "progress": False} | settings
    return model, fit(model, x, y, optimiser=optimiser(model, lr=lr), **settings)


def test_it_finds_the_line():
    model, history = run(data=line_data(noise=0), lr=0.1, epochs=150, schedule=CosineSchedule(150))
    np.testing.assert_allclose(model.parameters["weight"], TRUE_WEIGHT, atol=1e-3)
    np.testing.assert_allclose(model.parameters["bias"], 3, atol=1e-3)
    assert history.train_loss[-1] < 1e-5 < history.train_loss[0]
    assert history.epochs == len(history.seconds) == len(history.grad_norm) == 150
    assert model.mode == "eval"


def test_it_equals_the_same_loop_written_with_torch():
    x, y = line_data()
    model, history = run(shuffle=False, epochs=3, clip_norm=0.5, schedule=ExponentialSchedule(0.5))
    start = Line()
    weight, bias = (torch.from_numpy(start.parameters[n].copy()).requires_grad_() for n in ("weight", "bias"))
    oracle = torch.optim.Adam([weight, bias], lr=0.05)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(oracle, 0.5)
    losses, norms = [], []
    for _ in range(3):
        total = 0.0
        norms.append([])
        for first in range(0, 50, 8):
            xb, yb = torch.from_numpy(x[first : first + 8]), torch.from_numpy(y[first : first + 8])
            oracle.zero_grad()
            loss = torch.nn.functional.mse_loss(xb @ weight + bias, yb)
            loss.backward()
            norms[-1].append(torch.nn.utils.clip_grad_norm_([weight, bias], 0.5).item())
            oracle.step()
            total += loss.item() * len(xb)
        losses.append(total / 50)
        scheduler.step()
    np.testing.assert_allclose(model.parameters["weight"], weight.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(history.train_loss, losses, rtol=1e-10)
    np.testing.assert_allclose(history.grad_norm, [np.mean(n) for n in norms], rtol=1e-10)
    np.testing.assert_allclose(history.grad_norm_max, [np.max(n) for n in norms], rtol=1e-10)
    np.testing.assert_allclose(history.learning_rate, [0.05, 0.025, 0.0125])


def test_every_sample_is_used_once_in_an_epoch_in_a_seeded_order():
    class Recorder(Line):
        def __call__(self, x):
            if self.mode == "train":
                self.seen.append(x[:, 0].copy())
            return super().__call__(x)

    x = np.arange(20.0)[:, None]
    orders = []
    for seed in (1, 1, 2):
        model = Recorder(features=1)
        model.seen = []
        run(model, data=(x, x), epochs=2, batch_size=6, seed=seed, lr=1e-3)
        assert [len(batch) for batch in model.seen] == [6, 6, 6, 2] * 2
        epochs = np.concatenate(model.seen).reshape(2, 20)
        np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(20), (2, 1)))
        assert not np.array_equal(epochs[0], epochs[1])
        orders.append(epochs)
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_early_stopping_gives_back_the_best_weights():
    validation = line_data(seed=1)
    model, history = run(lr=0.5, optimiser=SGD, epochs=200, validation=validation, patience=3)
    assert history.stopped_early
    assert history.epochs == history.best_epoch + 1 + 3 < 200
    assert history.validation_loss[history.best_epoch] == min(history.validation_loss)
    assert evaluate_loss(model, *validation, loss=mse_loss, batch_size=8) == min(history.validation_loss)
    kept, _ = run(lr=0.5, optimiser=SGD, epochs=history.epochs, validation=validation)
    assert evaluate_loss(kept, *validation, loss=mse_loss, batch_size=8) > min(history.validation_loss)


def test_min_delta_ignores_small_improvements():
    _, history = run(epochs=50, validation=line_data(seed=1), patience=2, min_delta=1e9)
    assert history.best_epoch == 0
    assert history.epochs == 3


def test_validation_data_are_never_trained_on():
    alone, _ = run()
    watched, history = run(validation=line_data(seed=1))
    np.testing.assert_array_equal(alone.parameters["weight"], watched.parameters["weight"])
    assert len(history.validation_loss) == 5


def test_the_mean_loss_weighs_the_short_last_batch_correctly():
    model, (x, y) = Line(), line_data()
    whole, _ = mse_loss(model(x), y)
    assert evaluate_loss(model, x, y, loss=mse_loss, batch_size=7) == pytest.approx(whole, rel=1e-12)


def test_schedule_per_batch():
    rates = []

    class Watching(Adam):
        def step(self):
            rates.append(self.lr)
            super().step()

    run(optimiser=Watching, epochs=2, batch_size=25, schedule=ExponentialSchedule(0.5), schedule_unit="batch")
    np.testing.assert_allclose(rates, [0.05, 0.025, 0.0125, 0.00625])


def test_reduce_on_plateau_watches_the_validation_loss():
    schedule = ReduceOnPlateau(gamma=0.1, patience=0)
    _, history = run(lr=1e-12, epochs=4, validation=line_data(seed=1), schedule=schedule)
    np.testing.assert_allclose(history.learning_rate, [1e-12, 1e-12, 1e-13, 1e-14])


@pytest.mark.parametrize("optimiser", [Adam, lambda m, lr: SGD(m, lr=lr, momentum=0.9, nesterov=True)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resuming_is_bit_identical(tmp_path, optimiser, dtype):
    def settings():
        return {
            "lr": 0.05,
            "optimiser": optimiser,
            "data": tuple(a.astype(dtype) for a in line_data()),
            "validation": tuple(a.astype(dtype) for a in line_data(seed=1)),
            "patience": 10,
            "clip_norm": 1.0,
            "schedule": ReduceOnPlateau(0.5, patience=0, threshold=0.99),
        }

    straight, expected = run(Line(dtype=dtype), epochs=7, **settings())
    path = tmp_path / "run.npz"
    run(Line(dtype=dtype), epochs=3, checkpoint=path, **settings())
    resumed, history = run(
        Line(dtype=dtype, seed=99), epochs=7, resume=path, checkpoint=path, seed=5, **(settings() | {"lr": 77.0})
    )
    for name in straight.parameters:
        np.testing.assert_array_equal(resumed.parameters[name], straight.parameters[name])
    for name in ("train_loss", "validation_loss", "learning_rate", "grad_norm", "grad_norm_max", "best_epoch"):
        assert getattr(history, name) == getattr(expected, name), name
    assert len(set(expected.learning_rate)) > 1, "the schedule's state must matter for this test"
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    again, finished = run(Line(dtype=dtype), epochs=7, resume=path, **settings())
    assert finished.epochs == 7
    np.testing.assert_array_equal(again.parameters["weight"], straight.parameters["weight"])


def test_resuming_a_run_that_ran_out_of_patience_trains_no_further(tmp_path):
    path = tmp_path / "run.npz"
    settings = {"lr": 0.5, "optimiser": SGD, "epochs": 200, "validation": line_data(seed=1), "patience": 3}
    model, first = run(checkpoint=path, **settings)
    resumed, second = run(resume=path, **settings)
    assert second.stopped_early
    assert second.train_loss == first.train_loss
    np.testing.assert_array_equal(model.parameters["weight"], resumed.parameters["weight"])


def test_resume_refuses_another_run(tmp_path):
    path = tmp_path / "run.npz"
    run(checkpoint=path, epochs=1)
    with pytest.raises(ValueError, match=r"resume: .*batch_size=8, got 16"):
        run(resume=path, batch_size=16)
    with pytest.raises(ValueError, match=r"resume: .*samples=50, got 10"):
        run(resume=path, data=line_data(10))
    with pytest.raises(ValueError, match=r"resume: .*parameters differ .*\['bias', 'weight'\]"):
        run(Line(dtype="float32"), resume=path, data=tuple(a.astype("f4") for a in line_data()))
    with pytest.raises(ValueError, match="expected one of SGD"):
        run(resume=path, optimiser=SGD)
    with pytest.raises(FileNotFoundError):
        run(resume=tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", weight=np.ones(3))
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"checkpoint: expected a file name that ends in .npz, got 'run.zip'"):
        run(checkpoint=tmp_path / "run.zip")
    with pytest.raises(ValueError, match="does not exist"):
        run(checkpoint=tmp_path / "folder" / "run.npz")


def test_divergence_is_named():
    model = Line()
    with pytest.raises(TrainingDiverged, match=r"the training loss is (inf|nan) at epoch \d+, batch \d") as caught:
        run(model, optimiser=SGD, lr=1e20, epochs=30)
    assert caught.value.learning_rate == 1e20
    assert isinstance(caught.value.epoch, int)

    class Exploding(Line):
        def backward(self, dy):
            super().backward(dy)
            self.grads["bias"][...] = np.inf

    model = Exploding()
    before = model.parameters["weight"].copy()
    with pytest.raises(TrainingDiverged, match="the gradient norm is inf at epoch 0, batch 0"):
        run(model)
    np.testing.assert_array_equal(model.parameters["weight"], before)

    class Blind(Line):
        def __call__(self, x):
            y = super().__call__(x)
            return y if self.mode == "train" else y * np.nan

    with pytest.raises(TrainingDiverged, match=r"the validation loss is nan at epoch 0 \(counted") as caught:
        run(Blind(), validation=line_data(seed=1))
    assert caught.value.batch is None


X, Y = line_data()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"data": (X, Y[:-1])}, ValueError, "y: expected as many samples as x, 50, got 49"),
        ({"data": (X[:0], Y[:0])}, ValueError, r"x: expected at least one sample .*\(0, 3\)"),
        ({"data": (X.tolist(), Y)}, TypeError, "x: expected a NumPy array, got list"),
        ({"data": (X.astype(object), Y)}, TypeError, "x: .*object"),
        (
            {"data": (np.where(np.arange(150).reshape(50, 3) == 13, np.nan, X), Y)},
            ValueError,
            r"x: .*1 NaN .* first at \(4, 1\)",
        ),
        ({"data": (X, np.full_like(Y, np.inf))}, ValueError, r"y: .*50 NaN or infinite"),
        ({"data": (X, Y[:, 0])}, ValueError, r"target: expected the prediction's shape \(8, 1\), got \(8,\)"),
        ({"data": (X, Y.astype("f4"))}, TypeError, "target: .*float32"),
        ({"epochs": 0}, ValueError, "epochs: expected an integer >= 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size: expected an integer, got float"),
        ({"patience": 3}, ValueError, "patience: expected validation data"),
        ({"validation": X}, TypeError, "validation: expected a pair"),
        ({"validation": (X, Y[:3])}, ValueError, r"validation\[1\]: expected as many samples"),
        ({"clip_norm": 0}, ValueError, "clip_norm"),
        ({"schedule": 0.9}, TypeError, "schedule: expected a Schedule, got float"),
        ({"schedule_unit": "step"}, ValueError, "schedule_unit"),
        ({"loss": "mse"}, TypeError, "loss: expected a callable, got str"),
        ({"optimiser": lambda m, lr: None}, TypeError, "optimiser: expected an Optimiser"),
        ({"optimiser": lambda m, lr: Adam(Line(), lr)}, ValueError, "optimiser: .*another model"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_input(settings, error, message):
    with pytest.raises(error, match=message):
        run(**settings)


def test_a_model_without_backward_is_refused():
    class Half:
        parameters = {"w": np.ones(1)}  # noqa: RUF012
        grads = {"w": np.ones(1)}  # noqa: RUF012

    with pytest.raises(TypeError, match="Half has no __call__, backward, zero_grad, train, eval"):
        run(Half())


def test_the_bar_counts_epochs(capsys):
    run(progress=True)
    assert "5/5" in capsys.readouterr().err
    run(progress=False)
    assert capsys.readouterr().err == ""


def test_training_works_without_tqdm(monkeypatch, capsys):
    real_import = builtins.__import__

    def no_tqdm(name, *args, **kwargs):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_tqdm)
    _, history = run(progress=True)
    assert history.epochs == 5
    assert capsys.readouterr().err == ""


def test_import_brings_numpy_and_nothing_heavier():
    code = (
        "import sys, lstm_numba.training; "
        "print(sorted({'torch', 'tqdm', 'pandas', 'sktime', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

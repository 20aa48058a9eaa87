"""Checkpoints: everything a training run needs to go on exactly where it stopped, in one ``.npz`` file.

The file holds plain arrays and one JSON string, never pickled objects, so opening a stranger's file runs no
code.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1


@dataclass
class Checkpoint:
    """The state of a run at the end of an epoch.

    Attributes
    ----------
    parameters : dict of str to ndarray
        The model's parameters after the epoch.
    best_parameters : dict of str to ndarray
        The parameters of the epoch with the lowest validation loss; empty without early stopping.
    optimiser : dict
        :meth:`Optimiser.state_dict`.
    schedule : dict
        :meth:`Schedule.state_dict`.
    generator : dict
        State of the bit generator that shuffles the data.
    history : dict of str to list
        The fields of :class:`History`.
    run : dict
        What must not change when the run goes on: batch size, number of samples, base learning rate, ...
    """

    parameters: dict[str, np.ndarray]
    best_parameters: dict[str, np.ndarray]
    optimiser: dict[str, Any]
    schedule: dict[str, Any]
    generator: dict[str, Any]
    history: dict[str, Any]
    run: dict[str, Any]


def save_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, replacing an older one only when the new one is complete.

    Parameters
    ----------
    path : str or path
        A file name ending in ``.npz``.
    checkpoint : Checkpoint
        What to write.

    Raises
    ------
    ValueError
        If the name does not end in ``.npz`` (NumPy would append it unasked).
    """
    path = checked_path("path", path)
    arrays: dict[str, np.ndarray] = {}
    for prefix, group in (("parameter", checkpoint.parameters), ("best", checkpoint.best_parameters)):
        arrays |= {f"{prefix}/{name}": array for name, array in group.items()}
    arrays |= {f"optimiser/{k}": v for k, v in checkpoint.optimiser.items() if isinstance(v, np.ndarray)}
    plain = {
        "format": FORMAT,
        "optimiser": {k: v for k, v in checkpoint.optimiser.items() if not isinstance(v, np.ndarray)},
        "schedule": checkpoint.schedule,
        "generator": checkpoint.generator,
        "history": checkpoint.history,
        "run": checkpoint.run,
    }
    # Python writes floats in the shortest form that reads back to the same bits.
    arrays["json"] = np.array(json.dumps(plain))
    # A run killed while writing must not leave half a file under the real name.
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(unfinished, path)


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read a file written by :func:`save_checkpoint`.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    Checkpoint

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a checkpoint of this format.
    """
    with np.load(Path(path), allow_pickle=False) as file:
        if not hasattr(file, "files") or "json" not in file.files:
            raise ValueError(f"path: {path} is not a checkpoint of lstm_numba")
        plain = json.loads(str(file["json"]))
        arrays = {key: file[key] for key in file.files if key != "json"}
    if plain.get("format") != FORMAT:
        raise ValueError(f"path: expected checkpoint format {FORMAT}, {path} has {plain.get('format')!r}")

    def group(prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix + "/"): a for k, a in arrays.items() if k.startswith(prefix + "/")}

    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in plain["optimiser"].items()}
    return Checkpoint(
        parameters=group("parameter"),
        best_parameters=group("best"),
        optimiser=settings | group("optimiser"),
        schedule=plain["schedule"],
        generator=plain["generator"],
        history=plain["history"],
        run=plain["run"],
    )


def checked_path(name: str, path: str | os.PathLike) -> Path:
    """Return `path` as a Path that ends in .npz and whose folder exists."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{name}: expected a file name that ends in .npz, got {path.name!r}")
    if not path.parent.is_dir():
        raise ValueError(f"{name}: the folder {str(path.parent)!r} does not exist")
    return path

"""``stored``: results of long runs that a page draws, from the repository it lies in or from GitHub."""

from pathlib import Path
from urllib.request import urlopen

__all__ = ["stored"]

_RESULTS = "benchmarks/results"
_GITHUB = f"https://raw.githubusercontent.com/lstm-numba/lstm_numba/main/{_RESULTS}"


def stored(name: str, folder: Path | str | None = None) -> str:
    """Return the text of a stored result.

    Parameters
    ----------
    name : str
        Of the file, such as ``"streaming.json"``.
    folder : Path or str, optional
        Where it lies. By default the repository around the working directory; if there is none, as in Colab, the
        file is read from GitHub.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        If there is a repository without that file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "a.json").write_text("[1, 2]")
    ...     stored("a.json", folder)
    '[1, 2]'
    """
    if folder is None:
        here = Path.cwd()
        folder = next((place / _RESULTS for place in (here, *here.parents) if (place / _RESULTS).is_dir()), None)
    if folder is not None:
        return (Path(folder) / name).read_text(encoding="utf-8")
    with urlopen(f"{_GITHUB}/{name}") as answer:
        return str(answer.read().decode())

"""Real data that come inside installed packages: nothing is downloaded, nothing is copied into this project.

Each function returns a :class:`Dataset`: the data as they are, missing values kept, with their source and licence.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Dataset:
    """Data and where they come from.

    Attributes
    ----------
    name : str
        Short name.
    data : pandas.DataFrame
        One row for each time step, on a regular time index; missing values are NaN.
    missing : pandas.Series of bool
        True where the target column is missing.
    target : str
        The column one would forecast.
    description : str
        What was measured, and what is odd about the data.
    source : str
        Address of the original publication.
    licence : str
        Licence of the data (not of the package that carries them).
    citation : str
        How to cite the data.
    """

    name: str
    data: "pd.DataFrame"
    missing: "pd.Series"
    target: str
    description: str
    source: str
    licence: str
    citation: str

    def __repr__(self) -> str:
        first, last = self.data.index[0], self.data.index[-1]
        return (
            f"Dataset({self.name!r}: {len(self.data)} rows from {first} to {last}, "
            f"target {self.target!r} with {int(self.missing.sum())} missing, licence: {self.licence})"
        )


def traffic_hourly() -> Dataset:
    """Hourly traffic on an American motorway with the weather of the hour, October 2016 to September 2018.

    The westbound lanes of Interstate 94 at a counting station between Minneapolis and Saint Paul. Two seasons, day
    and week, lie on top of each other; public holidays break both. The file is read from the installed ``autots``
    package by its path, because importing that package takes seconds and is not needed.

    Returns
    -------
    Dataset
        ``data`` has 17,520 hourly rows and the columns ``traffic_volume`` (vehicles per hour), ``temp`` (kelvin),
        ``rain_1h`` and ``snow_1h`` (millimetres), ``clouds_all`` (per cent) and ``weather_main`` (text). In 104
        hours everything is missing.

    Raises
    ------
    ImportError
        If pandas or autots is not installed: ``pip install "lstm_numba[forecast]"`` brings both.

    Notes
    -----
    The weather is the one observed in the hour itself. A forecast that uses it for a future hour assumes a perfect
    weather forecast. The column ``snow_1h`` is 0 in every hour of these two years.

    Examples
    --------
    >>> from lstm_numba.datasets import traffic_hourly
    >>> traffic = traffic_hourly()
    >>> traffic.data.shape
    (17520, 6)
    >>> int(traffic.missing.sum())
    104
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(_advice("traffic_hourly", "pandas")) from error
    path = _package_folder("autots", "traffic_hourly") / "datasets" / "data" / "traffic_hourly.zip"
    if not path.is_file():
        raise ImportError(
            f"traffic_hourly: the installed autots holds no {path.name}; {_advice('traffic_hourly', 'autots')}"
        )
    columns = ["traffic_volume", "temp", "rain_1h", "snow_1h", "clouds_all", "weather_main"]
    data = pd.read_csv(path, index_col="datetime", parse_dates=True)[columns]
    hours = pd.date_range(data.index[0], data.index[-1], freq="h", name=data.index.name)
    if not data.index.equals(hours):
        raise ValueError(f"traffic_hourly: expected one row for each hour, {path.name} has another time index")
    data.index = hours  # the same stamps, now with their frequency
    return Dataset(
        name="traffic_hourly",
        data=data,
        missing=data["traffic_volume"].isna().rename("missing"),
        target="traffic_volume",
        description=(
            "Vehicles per hour on Interstate 94 westbound (Minnesota, USA), counted by the Minnesota Department of "
            "Transportation, with the observed weather. Stamps are local hours. An excerpt (October 2016 to "
            "September 2018) brought to a regular hourly grid by the autots package; hours without a record are "
            "missing in all columns. snow_1h is 0 throughout."
        ),
        source="https://doi.org/10.24432/C5X60B",
        licence="CC BY 4.0",
        citation=(
            "Hogue, J. (2019). Metro Interstate Traffic Volume [Dataset]. UCI Machine Learning Repository. "
            "https://doi.org/10.24432/C5X60B"
        ),
    )


def _package_folder(package: str, function: str) -> Path:
    """Folder of an installed package, found without importing it (a top-level name needs no import)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(_advice(function, package))
    return Path(spec.submodule_search_locations[0])


def _advice(function: str, package: str) -> str:
    return f'{function} needs the package {package}: pip install "lstm_numba[forecast]"'

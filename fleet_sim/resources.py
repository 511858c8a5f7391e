"""Where the files that travel with the code are: templates, Lambda sources, example scenarios.

In a checkout they stand beside the package; in an installed wheel they lie in `fleet_sim/_data`.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """Folder of one kind of data: `infra`, `lambdas`, `scenarios` or `loadtests`.

    `FileNotFoundError` when it is in neither place (a broken installation).
    """
    for folder in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is neither in {_PACKAGE / '_data'} nor in {_PACKAGE.parent}")

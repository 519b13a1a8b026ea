"""The tests with other versions: `pip install "nox[uv]"`, then `nox` or `nox -s oldest -- tests/ops`."""

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["oldest", "newest"]
PYTHON = "3.11"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@nox.session(python=PYTHON)
def oldest(session: nox.Session) -> None:
    """The lowest version of every dependency that pyproject.toml allows."""
    session.run_install("uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[dev]")
    _tests(session)


@nox.session(python=PYTHON)
def newest(session: nox.Session) -> None:
    """The newest version of every dependency."""
    session.run_install("uv", "pip", "install", "--upgrade", "-e", ".[dev]")
    _tests(session)


def _tests(session: nox.Session) -> None:
    session.run("python", "-m", "pytest", "-n", "2", *session.posargs, env=ONE_THREAD)

"""What the tests of whole runs share."""

import shutil
from pathlib import Path

import pytest
from places import CALIB


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of each class of digits."""
    folder = tmp_path_factory.mktemp("few")
    for source in CALIB.iterdir():
        (folder / source.name).mkdir()
        for image in sorted(source.iterdir())[:8]:
            shutil.copyfile(image, folder / source.name / image.name)
    return folder

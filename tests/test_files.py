"""Files are whole or not there."""

import errno

import pytest

from quadfire.files import whole_file

pytestmark = pytest.mark.fast


def test_a_file_becomes_what_was_written(tmp_path):
    path = tmp_path / "new" / "net.npy"
    with whole_file(path) as part:
        assert part.suffix == ".npy" and part.parent == path.parent
        part.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"),
                                   ValueError("no such network"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "net.npy"
    path.write_text("before")
    with pytest.raises(type(error)) as raised, whole_file(path) as part:
        part.write_text("hal")
        raise error
    assert path.read_text() == "before" and [*tmp_path.iterdir()] == [path]
    if isinstance(error, OSError):
        assert str(path) in str(raised.value) and raised.value.errno == errno.ENOSPC


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: name a file"), whole_file(tmp_path):
        pass

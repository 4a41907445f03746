import os
import stat
from pathlib import Path

import pytest

from cli.stack.folders import (
    FolderRefused,
    fits_sockets,
    private_folder,
    remove_socket_folder,
    socket_folder,
    write_private,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_made_private_and_its_parents_are_left_alone(folder: Path) -> None:
    parent = folder / "parent"
    parent.mkdir(mode=0o755)
    private_folder(parent / "data")
    assert mode(parent / "data") == 0o700
    assert mode(parent) == 0o755


def test_an_open_folder_of_ours_is_closed(folder: Path) -> None:
    (folder / "data").mkdir(mode=0o755)
    private_folder(folder / "data")
    assert mode(folder / "data") == 0o700


def test_a_file_in_the_place_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "data").write_text("")
    with pytest.raises(FolderRefused, match="not a folder"):
        private_folder(folder / "data")


def test_a_folder_of_another_user_is_refused(folder: Path, as_root: None) -> None:
    (folder / "data").mkdir()
    os.chown(folder / "data", 65534, 65534)
    with pytest.raises(FolderRefused, match="another user"):
        private_folder(folder / "data")


def test_sockets_live_inside_a_short_data_directory(folder: Path) -> None:
    assert socket_folder(folder) == folder / "run"


def test_sockets_of_a_long_data_directory_live_in_the_runtime_folder(
    long_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    private_folder(long_folder)
    found = socket_folder(long_folder)
    assert found.parent == folder and mode(found) == 0o700 and fits_sockets(found)
    assert socket_folder(long_folder) == found
    remove_socket_folder(long_folder)
    assert not found.exists()


def test_a_runtime_folder_that_others_can_enter_is_not_used(
    long_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    private_folder(long_folder)
    found = socket_folder(long_folder)
    assert found.parent != folder and mode(found) == 0o700
    remove_socket_folder(long_folder)


def test_a_noted_folder_that_somebody_opened_or_replaced_is_not_used_again(long_folder: Path, folder: Path) -> None:
    private_folder(long_folder)
    first = socket_folder(long_folder)
    first.chmod(0o777)
    second = socket_folder(long_folder)
    assert second != first
    second.rmdir()
    second.symlink_to(folder)
    third = socket_folder(long_folder)
    assert third not in (first, second)
    second.unlink()
    first.rmdir()
    remove_socket_folder(long_folder)


def test_private_files_are_never_readable_by_others(folder: Path) -> None:
    path = folder / "secret"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two" and mode(path) == 0o600
    assert [found.name for found in folder.iterdir()] == ["secret"]

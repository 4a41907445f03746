from pathlib import Path

from cli.stack.state import Pids, Secrets, StackFile, forget_stack_file, read_stack_file, renew_webhook_secret


def stack_file(pids: Pids) -> StackFile:
    urls = {f"{name}_url": name for name in ("api", "flower", "metrics", "database", "redis", "broker")}
    return StackFile(api_key="cc_1", webhook_secret="whsec_first", pids=pids, **urls)


def test_a_renewed_secret_is_kept_and_shown(folder: Path) -> None:
    stack_file(Pids()).save(folder)
    renew_webhook_secret(folder, "whsec_second")
    assert Secrets.load(folder).webhook_secret == "whsec_second"
    assert (read_stack_file(folder) or {})["webhook_secret"] == "whsec_second"


def test_a_renewed_secret_survives_that_a_process_is_replaced(folder: Path) -> None:
    stack_file(Pids(worker=[1])).save(folder)
    renew_webhook_secret(folder, "whsec_second")
    stack_file(Pids(worker=[2])).save(folder)
    shown = read_stack_file(folder) or {}
    assert (shown["webhook_secret"], shown["pids"]["worker"]) == ("whsec_second", [2])


def test_a_stopped_stack_is_not_shown_again_by_a_renewed_secret(folder: Path) -> None:
    stack_file(Pids()).save(folder)
    forget_stack_file(folder)
    renew_webhook_secret(folder, "whsec_second")
    assert read_stack_file(folder) is None
    assert Secrets.load(folder).webhook_secret == "whsec_second"

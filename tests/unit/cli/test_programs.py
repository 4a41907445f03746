import configparser
import sys
from pathlib import Path

from cli.stack.programs import Program, python, supervisord_config
from cli.stack.server import ServerCommand


def parsed(*programs: Program) -> configparser.ConfigParser:
    """Read the configuration with the rules of supervisord: comments after a space and semicolon."""
    parser = configparser.ConfigParser(inline_comment_prefixes=(";", "#"), strict=False, interpolation=None)
    parser.read_string(supervisord_config(programs, Path("/run/x"), 1024))
    return parser


def test_several_processes_of_a_program_have_logs_of_their_own() -> None:
    section = parsed(Program("worker", python("-m", "workers"), 1, processes=2))["program:worker"]
    assert section["numprocs"] == "2"
    assert section["process_name"] == "worker-%(process_num)d"
    assert section["stdout_logfile"] == "logs/worker-%(process_num)d.log"


def test_a_percent_sign_and_a_space_in_a_path_reach_the_program() -> None:
    command = ServerCommand(("/opt/my tools/50%/redis-server",), Path())
    section = parsed(Program("redis", command, 1))["program:redis"]
    assert section["command"].endswith("'/opt/my tools/50%%/redis-server'")


def test_a_program_dies_with_its_supervisor_by_its_own_stop_signal() -> None:
    section = parsed(Program("postgres", ServerCommand(("/bin/postgres",), Path(), "shown:1"), 1, stop_signal="INT"))
    words = section["program:postgres"]["command"].split()
    assert words[0] == sys.executable
    assert words[-4:] == ["shown:1", "SIGINT", "0", "/bin/postgres"]
    assert section["program:postgres"]["stopsignal"] == "INT"


def test_there_is_no_port_to_the_supervisor() -> None:
    assert "inet_http_server" not in parsed(Program("api", python("-m", "api"), 1))

"""The demo from its first line to its exit status."""

import signal
from pathlib import Path
from types import FrameType
from typing import Never

from cli.demo.api import Api, DemoFailed
from cli.demo.caches import caches
from cli.demo.crowds import embed, kill
from cli.demo.models import books, fail_over, merge, route
from cli.demo.receiver import Receiver
from cli.demo.scenery import Scenery
from cli.demo.scenes import document, register, stream, webhooks
from cli.demo.show import Show, Stopwatch
from cli.demo.stage import Stage, throw_away_stack
from cli.errors import CliError
from cli.stack.folders import FolderRefused
from cli.stack.ports import PortTaken
from cli.stack.server import ServerFailed

TEXTS = Path(__file__).parents[2] / "examples" / "texts"

GO_ON = """\
How to go on:
  make up                                    start a stack that keeps its data; Ctrl-C stops it
  .venv/bin/coatcheck jobs submit --model local/summarize --text - --wait < examples/texts/fluss.md
  .venv/bin/python examples/submit_and_wait.py examples/texts/heat-pumps.md
  edit catalog.toml                          your own models: OpenAI, Anthropic, Gemini, vLLM, llama.cpp, Ollama
  README.md, docs/                           the API, the life of a job, running it for real"""


def run_demo() -> None:
    """Tell the story. Raises CliError, naming the step, when something is not as promised."""
    if not TEXTS.is_dir():
        raise CliError(f"the demo reads the texts in {TEXTS}: run it from a checkout of the repository")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    show, whole = Show(), Stopwatch()
    show.title("Coatcheck demo: everything on this machine, in a temporary folder, removed at the end")
    try:
        with throw_away_stack(show) as stage:
            _play(show, stage)
    except KeyboardInterrupt:
        show.line("\nstopped; the stack and its data are gone")
        raise SystemExit(130) from None
    except DemoFailed as failure:
        raise CliError(f"the demo failed in {show.current}: {failure}") from None
    except (ServerFailed, FolderRefused, PortTaken) as failure:
        raise CliError(f"the demo failed while {show.current}: {failure}") from None
    except Exception as failure:
        raise CliError(f"the demo failed in {show.current}: {type(failure).__name__}: {failure}") from failure
    show.line(f"\nAll of it worked, in {whole.seconds:.0f} s; the stack and its data are gone.\n\n{GO_ON}")


def _play(show: Show, stage: Stage) -> None:
    api, simulator = Api(stage.api_url, stage.api_key), Api(stage.simulator_url)
    try:
        with Receiver() as receiver:
            scenery = Scenery(show, stage, api, simulator, receiver, TEXTS)
            secret = register(scenery)
            document(scenery)
            stream(scenery)
            webhooks(scenery, secret)
            embed(scenery)
            merge(scenery)
            route(scenery)
            caches(scenery)
            fail_over(scenery)
            kill(scenery)
            books(scenery)
    except DemoFailed:
        for log in stage.logs():
            show.line(log)
        raise
    finally:
        api.close()
        simulator.close()


def _leave(_number: int, _frame: FrameType | None) -> Never:
    raise KeyboardInterrupt

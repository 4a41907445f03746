"""Running something against the database and telling its failures in one sentence."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from cli.errors import CliError

Result = TypeVar("Result")


@contextmanager
def telling_failures() -> Iterator[None]:
    """Turn what databases raise into a CliError of one sentence."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        hint = getattr(cause.__cause__ or cause, "hint", None)
        advice = f" ({hint})" if hint else ""
        raise CliError(f"the database refused: {str(cause).splitlines()[0]}{advice}") from None
    except (OSError, TimeoutError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else (str(error) or "no answer in time")
        )
        raise CliError(f"the database can't be reached ({reason}); `coatcheck doctor` looks closer") from None
    except ValueError as error:
        raise CliError(str(error)) from None


def on_database(work: Coroutine[Any, Any, Result]) -> Result:
    """Run the coroutine to its end. Raises CliError when the database can't be reached or refuses."""
    with telling_failures():
        return asyncio.run(work)

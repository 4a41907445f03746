"""`python -m api`: serve the API, in one process or in several on one port."""

from uvicorn.supervisors import Multiprocess

from api import server
from core.settings import ApiSettings, Settings
from core.telemetry.logs import configure_logs


def main() -> None:
    """Serve until told to stop."""
    settings = ApiSettings()  # type: ignore[call-arg]
    configure_logs(Settings(), "api")  # type: ignore[call-arg]
    config = server.config(
        "api.app:create_app", factory=True, grace_s=settings.shutdown_grace_s, workers=settings.workers
    )
    listener = server.bind(settings.host, settings.port)
    api = server.ApiServer(config)
    if settings.workers == 1:
        api.run([listener])
    else:
        Multiprocess(config, target=api.run, sockets=[listener]).run()


if __name__ == "__main__":
    main()

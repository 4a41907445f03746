"""`python -m api`: serve the API, in one process or in several on one port."""

import uvicorn
from uvicorn.supervisors import Multiprocess

from api import server
from core.settings import ApiSettings, Settings
from core.telemetry.logs import configure_logs


def main() -> None:
    """Serve until told to stop."""
    settings = ApiSettings()
    configure_logs(Settings(), "api")
    config = server.config(
        "api.server:make_app", factory=True, grace_s=settings.shutdown_grace_s, workers=settings.workers
    )
    listener = server.bind(settings.host, settings.port)
    if settings.workers == 1:
        uvicorn.Server(config).run([listener])
    else:
        Multiprocess(config, [listener]).run()


if __name__ == "__main__":
    main()

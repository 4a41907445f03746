"""`python -m tests.snapshots.renew`: write the snapshots anew, after a change that is meant."""

import json
from pathlib import Path

from api.app import create_app
from api.openapi import document
from core.settings import ApiSettings, Settings, WebhookSettings

FOLDER = Path(__file__).parent


def main() -> None:
    app = create_app(Settings(), ApiSettings(), WebhookSettings())
    text = json.dumps(document(app), indent=1, ensure_ascii=False)
    (FOLDER / "openapi.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

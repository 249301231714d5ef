"""moto as a program of its own: `python -m tests.services.moto_server ADDRESS PORT IMAGE LABEL`.

It listens on the engine's bridge, where both the tests and containers reach it under the same
address: one name in every presigned URL. DOCKER_HOST says where containers run.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Serve until the process is ended."""
    address, port, image, label = sys.argv[1:5]
    os.environ.update(MOTO_PORT=port, AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing")
    # moto reads its settings when it is imported.
    from moto import settings
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    from tests.services import moto_batch
    from tests.services.moto_lambda import Sandboxes

    settings.moto_server_host = lambda: f"http://{address}"  # type: ignore[assignment]
    key, _, value = label.partition("=")
    labels = {key: value}
    Sandboxes(image, f"http://{address}:{port}", labels).install()
    moto_batch.install(labels)
    app = DomainDispatcherApplication(create_backend_app)
    make_server(address, int(port), app, threaded=True).serve_forever()


if __name__ == "__main__":
    main()

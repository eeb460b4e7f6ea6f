"""Show the built book in a browser: `make serve`. It also opens without this, from the disk."""

import argparse
import contextlib
import functools
import http.server
import sys
import webbrowser
from pathlib import Path


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve files without a line for each, and never from the browser's memory."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def end_headers(self) -> None:
        """Let the browser ask again: the book may have been built anew."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


def serve(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server of ``folder`` on this machine alone; any free port if ``port`` is taken or 0."""
    handler = functools.partial(Quiet, directory=str(folder))
    with contextlib.suppress(OSError):
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    server = serve(options.folder, options.port)
    address = f"http://127.0.0.1:{server.server_port}/"
    sys.stdout.write(f"The book: {address} (Ctrl-C ends)\n")
    sys.stdout.flush()
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(address)  # False where there is no browser
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()

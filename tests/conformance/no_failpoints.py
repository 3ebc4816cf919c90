#!/usr/bin/env python3
"""Stands before an etcd that has no failpoints compiled in, under the name `etcd`.

Upstream's robustness harness starts its explorations only where the address in GOFAIL_HTTP answers
with a list of failpoints. This program answers with an empty list, truthfully, and becomes
`server/etcd` beside it. What must hold: the server has the id of the process that was started, since
signals go there; the answering child holds nothing of the server's open, and ends with it.
"""

import ctypes
import errno
import http.server
import os
import pathlib
import signal
import socket
import sys
import time

# The child of a server that was just killed may still hold the address.
PATIENCE_SECONDS = 10
PR_SET_PDEATHSIG = 1


class EmptyList(http.server.BaseHTTPRequestHandler):
    """No failpoint is there, and none can be set."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def listen(address):
    """The socket that answers; bound before the server starts, so that nobody finds it shut."""
    host, _, port = address.rpartition(":")
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, int(port)))
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise


def answer(listener, server):
    """The child: ends when the server does, of whatever that dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    at = listener.getsockname()
    answering = http.server.ThreadingHTTPServer(at, EmptyList, bind_and_activate=False)
    answering.socket.close()
    answering.socket = listener
    answering.serve_forever()


def main():
    address = os.environ.get("GOFAIL_HTTP")
    if address:
        server = os.getpid()
        listener = listen(address)
        if os.fork() == 0:
            try:
                answer(listener, server)
            finally:
                os._exit(1)
    # Its path as it was called: /proc would name the interpreter.
    real = pathlib.Path(sys.argv[0]).absolute().parent / "server" / "etcd"
    os.execv(real, [str(real), *sys.argv[1:]])


if __name__ == "__main__":
    main()

"""What talks through captured connections: run as a program, in a namespace of its own.

proxy UID GID MODE PORT...     says where each connection was going; MODE: redirect, tproxy
server WORD PORT...            says WORD
http LOG WORD PORT             answers WORD to HTTP, and logs a line a request
ask UID GID ADDRESS PORT       prints what it is told, or why not
"""

from __future__ import annotations

import http.server
import os
import selectors
import socket
import struct
import sys

IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
SO_ORIGINAL_DST = 80


def listen(ports: list[str], transparent: bool) -> list[socket.socket]:
    sockets = []
    for port in ports:
        for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            sock = socket.socket(family, socket.SOCK_STREAM)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if transparent and family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
            elif transparent:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
            sock.bind((host, int(port)))
            sock.listen()
            sockets.append(sock)
    return sockets


def become(uid: str, gid: str) -> None:
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))


def destination(client: socket.socket, tproxy: bool) -> str:
    if tproxy:
        host, port = client.getsockname()[:2]
    elif client.family == socket.AF_INET:
        data = client.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
        port, raw = struct.unpack_from("!2xH4s", data)
        host = socket.inet_ntop(socket.AF_INET, raw)
    else:
        data = client.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        port, raw = struct.unpack_from("!2xH4x16s", data)
        host = socket.inet_ntop(socket.AF_INET6, raw)
    return f"{host} {port}"


def serve(sockets: list[socket.socket], say) -> None:  # type: ignore[no-untyped-def]
    selector = selectors.DefaultSelector()
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in selector.select():
            client, _ = key.fileobj.accept()  # type: ignore[union-attr]
            with client:
                client.sendall(say(client).encode())


def serve_http(log: str, word: str, port: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with open(log, "a") as file:
                file.write(f"GET {self.path} {self.headers['host'].split(':')[0]}\n")
            self.send_response(200)
            self.send_header("content-length", str(len(word)))
            self.end_headers()
            self.wfile.write(word.encode())

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6  # and IPv4

    server = Server(("::", int(port)), Handler)
    print("listening", flush=True)
    server.serve_forever()


def main(role: str, *words: str) -> None:
    if role == "proxy":
        uid, gid, mode, *ports = words
        sockets = listen(ports, mode == "tproxy")
        become(uid, gid)
        serve(sockets, lambda client: f"proxy {destination(client, mode == 'tproxy')}")
    elif role == "server":
        word, *ports = words
        serve(listen(ports, False), lambda client: word)
    elif role == "http":
        serve_http(*words)
    else:
        uid, gid, address, port = words
        become(uid, gid)
        try:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.settimeout(5)
                host, _, link = address.partition("%")
                more = (0, socket.if_nametoindex(link)) if link else ()
                sock.connect((host, int(port), *more))
                print(sock.makefile("rb").read().decode())
        except OSError as error:
            print(f"error {error}")


main(*sys.argv[1:])

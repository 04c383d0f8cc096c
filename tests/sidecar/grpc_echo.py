"""A gRPC service of bytes, and its client: ``serve ADDRESS`` or ``call ADDRESS``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


class Echo(grpc.GenericRpcHandler):
    """What comes, goes back."""

    def service(self, call):
        if call.method == "/test.Echo/Unary":
            return grpc.unary_unary_rpc_method_handler(lambda data, context: data)
        return grpc.stream_stream_rpc_method_handler(lambda stream, context: stream)


def serve(address: str) -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Echo(),))
    assert server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


def call(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        size = len(channel.unary_unary("/test.Echo/Unary")(bytes(1_000_000), timeout=30))
        pieces = iter([b"%d" % number for number in range(100)])
        answers = channel.stream_stream("/test.Echo/Stream")(pieces, timeout=30)
        print(f"unary {size}, stream {len(list(answers))}")


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](sys.argv[2])

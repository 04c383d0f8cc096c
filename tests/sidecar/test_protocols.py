"""Real clients and servers of what is no HTTP/1, on two hosts, with the sidecar between them: each
works as if it were not there.
"""

from __future__ import annotations

import pwd
import sys
from pathlib import Path

import pytest
from e2e.procs import wait_until

from .conftest import World
from .network import program, run
from .proxy import Sidecar
from .services import Site, certificate

NOBODY = 65534


@pytest.fixture
def place(world: World, request: pytest.FixtureRequest) -> Path:
    """A directory that every user may write to."""
    place = world.directory / request.node.name.partition("[")[0]
    place.mkdir(exist_ok=True)
    place.chmod(0o777)
    return place


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_redis(world, sidecar: Sidecar, place, version):
    address = world.site.addresses()[version]
    server = world.site.start(
        "redis-server",
        "--bind",
        address,
        "--protected-mode",
        "no",
        "--save",
        "",
        "--dir",
        str(place),
    )
    wait_until(lambda: world.site.is_open(6379, address), "Redis listening")

    def cli(*command: str) -> str:
        return world.app.run("redis-cli", "-h", address, *command, uid=NOBODY).strip()

    assert cli("SET", "key", "value") == "OK"
    assert cli("GET", "key") == "value"
    assert cli("--no-raw", "PING") == "PONG"
    benchmark = ("-h", address, "-n", "2000", "-c", "20", "-P", "8", "-q", "-t", "set,get")
    assert "requests per second" in world.app.run("redis-benchmark", *benchmark, uid=NOBODY)
    server.stop()
    assert sidecar.relay(address, 6379)["tunnel"] == "opaque"


def test_mariadb(world, sidecar: Sidecar, place):
    """The server speaks first, and waits for nobody."""
    program("mariadbd")
    data = place / "data"
    run(
        program("mariadb-install-db"), f"--datadir={data}", "--user=root", "--skip-test-db",
        "--auth-root-authentication-method=normal", "--no-defaults",
    )  # fmt: skip
    server = world.site.start(
        "mariadbd", "--no-defaults", f"--datadir={data}", "--user=root", "--port=3306",
        f"--socket={place}/sock", f"--pid-file={place}/pid", "--skip-name-resolve",
        "--innodb-buffer-pool-size=8M", f"--bind-address={world.site.address}",
    )  # fmt: skip
    wait_until((place / "sock").exists, "MariaDB listening", timeout=60)
    client = ("mariadb", "--no-defaults", "-N")
    grant = "CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO app@'%'"
    world.site.run(*client, f"--socket={place}/sock", "-u", "root", "-e", grant)
    before = sidecar.tunnels().get("server_first", 0)
    query = "SELECT REPEAT('x', 100000), 6 * 7"
    remote = ("-h", world.site.address, "-u", "app", "-psecret", "--protocol=tcp")
    found = world.app.run(*client, *remote, "-e", query, uid=NOBODY)
    assert found == "x" * 100_000 + "\t42\n"
    server.stop(60)
    assert sidecar.tunnels()["server_first"] == before + 1


def test_postgresql(world, sidecar: Sidecar, place):
    """The client asks whether it may speak TLS; the server answers with one byte."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    program("psql")
    if not binaries:
        pytest.skip("postgresql is not installed; tools/bootstrap.sh test installs it on Debian")
    uid = pwd.getpwnam("postgres").pw_uid
    data = place / "data"
    run(
        *world.site.argv(
            f"{binaries[-1]}/initdb", "-D", str(data), "-A", "trust", "-N", "-U", "app", uid=uid
        )
    )
    with (data / "pg_hba.conf").open("a") as file:
        file.write("host all all 0.0.0.0/0 trust\n")
    server = world.site.start(
        f"{binaries[-1]}/postgres", "-D", str(data), "-h", world.site.address, "-k", str(place),
        "-c", "fsync=off", uid=uid,
    )  # fmt: skip
    wait_until(lambda: world.site.is_open(5432, world.site.address), "PostgreSQL listening")
    url = f"postgres://app@{world.site.address}/postgres"
    query = "SELECT repeat('x', 100000), 6 * 7"
    found = world.app.run("psql", "-X", "-At", "-c", query, url, uid=NOBODY)
    assert found == "x" * 100_000 + "|42\n"
    server.stop()
    assert sidecar.relay(world.site.address, 5432)["tunnel"] == "opaque"


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_tls(world, sidecar: Sidecar, place, version):
    """A real handshake: the client checks the certificate of the destination itself."""
    chain, key = certificate(place, "tls.test")
    site = Site(world.site, 8443 + version, "tls", (chain, key))
    address = world.site.addresses()[version]
    where = f"[{address}]" if version else address
    to = f"tls.test:{8443 + version}"
    found = world.app.run(
        "curl", "-sS", "--cacert", str(chain), "--connect-to", f"{to}:{where}:{8443 + version}",
        f"https://{to}/a", uid=NOBODY,
    )  # fmt: skip
    site.close()
    assert '"site": "tls"' in found
    line = sidecar.relay(address, 8443 + version)
    assert (line["tunnel"], line["requested_server_name"]) == ("tls", "tls.test")


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_http2_with_prior_knowledge(world, sidecar: Sidecar, place, version):
    (place / "index.html").write_text("two\n")
    address = world.site.addresses()[version]
    port = str(8082 + version)
    server = world.site.start("nghttpd", "--no-tls", "-a", address, "-d", str(place), port)
    wait_until(lambda: world.site.is_open(int(port), address), "nghttpd listening")
    where = f"[{address}]" if version else address
    url = f"http://{where}:{port}/index.html"
    assert world.app.run("curl", "-sS", "--http2-prior-knowledge", url, uid=NOBODY) == "two\n"
    text = world.app.run("h2load", "-n", "1000", "-c", "4", "-m", "10", url, uid=NOBODY)
    assert "1000 succeeded, 0 failed" in text
    server.stop()
    assert sidecar.relay(address, 8082 + version)["tunnel"] == "http2"


def test_grpc(world, sidecar: Sidecar):
    """Unary calls and streams both ways, with Google's own client and server."""
    pytest.importorskip("grpc")
    here = Path(__file__).with_name("grpc_echo.py")
    server = world.site.start(sys.executable, str(here), "serve", f"{world.site.address}:50051")
    wait_until(lambda: world.site.is_open(50051, world.site.address), "gRPC listening")
    found = world.app.run(sys.executable, str(here), "call", f"{world.site.address}:50051")
    assert found == "unary 1000000, stream 100\n"
    server.stop()
    assert sidecar.relay(world.site.address, 50051)["tunnel"] == "http2"

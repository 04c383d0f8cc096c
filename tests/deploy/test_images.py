"""docker/: linted here; built by tools/images.sh (``make images``), and then run as they are.

The whole task in one: the init image captures, the proxy's image routes and copies, as the user
1337 without capabilities, in network namespaces in the place of containers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from fastmirror import __version__
from fastmirror.rules.load import decode_rules

from .namespaces import THERE, Namespace, two_hosts

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
IMAGES = os.environ.get("FASTMIRROR_IMAGES", "")  # where tools/images.sh keeps them
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_lint(path: Path) -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_is_copied_is_there_and_not_ignored() -> None:
    copied = []
    for line in (DOCKER / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied += line.split()[1:-1]
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    ]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / path).exists() for path in copied)


def test_compose_names_our_images_and_valid_rules() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    assert services["proxy"]["image"] == f"fastmirror:{__version__}"
    assert services["capture"]["image"] == f"fastmirror-init:{__version__}"
    [mount] = services["proxy"]["volumes"]
    source, target, _ = mount.split(":")
    rules = DOCKER / source / "rules.yaml"
    table = decode_rules(rules.read_bytes(), "rules.yaml")
    hosts = {each.address.split(":")[0] for each in table.services[0].endpoints}
    assert hosts <= set(services)
    image = (DOCKER / "Dockerfile").read_text()
    assert f"FASTMIRROR_RULES={target}/rules.yaml" in image
    for service in services.values():
        for other in service.get("depends_on", {}):
            assert other in services


Run = Callable[..., subprocess.Popen[str]]
BUILDAH = ["buildah", "--root", f"{IMAGES}/storage", "--runroot", f"{IMAGES}/run"]
BUILDAH += ["--storage-driver", "vfs"]
# What buildah gives to root unasked.
DEFAULT = "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW "
DEFAULT += "SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"


@pytest.mark.skipif(not IMAGES, reason="no images here: make images builds them and runs this")
class TestBuilt:
    @pytest.fixture
    def hosts(self) -> Iterator[tuple[Namespace, Namespace]]:
        with two_hosts() as hosts:
            yield hosts

    @pytest.fixture
    def run(self, hosts: tuple[Namespace, Namespace], tmp_path: Path) -> Iterator[Run]:
        """Starts a command in an image, in the application's namespace, as in a pod."""
        containers: dict[str, str] = {}
        started: list[subprocess.Popen[str]] = []
        rules = tmp_path / "rules"
        rules.mkdir(mode=0o755)
        for parent in (tmp_path, *tmp_path.parents[:2]):
            parent.chmod(0o755)  # the user 1337 reads there

        def start(image: str, *command: str, user: str, capability: str = "") -> object:
            if image not in containers:
                name = f"localhost/{image}:{__version__}"
                containers[image] = output(*BUILDAH, "from", "--pull-never", name)
            words = [*BUILDAH, "run", "--isolation", "chroot"]
            # One by one: buildah 1.28 drops ALL after it has added.
            words += [f"--cap-drop=CAP_{name}" for name in DEFAULT.split()]
            words += [f"--cap-add=CAP_{capability}"] if capability else []
            words += ["--user", user, "-v", f"{rules}:/etc/fastmirror:ro"]
            process = subprocess.Popen(
                hosts[0].command(*words, containers[image], "--", *command),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            started.append(process)
            return process

        yield start  # type: ignore[misc]
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()
        for container in containers.values():
            output(*BUILDAH, "rm", container)

    def test_the_image(self) -> None:
        text = output(*BUILDAH, "inspect", "--type", "image", f"localhost/fastmirror:{__version__}")
        config = json.loads(text)["Docker"]["config"]
        assert config["User"] == "1337:1337"
        assert config["Entrypoint"] == ["fastmirror"]
        assert config["Healthcheck"]["Test"] == ["CMD", "fastmirror", "healthcheck"]
        assert not any(name.startswith("PIP_") for name in config["Env"])

    def test_the_mirroring_task(
        self, hosts: tuple[Namespace, Namespace], run: Run, tmp_path: Path
    ) -> None:
        here, there = hosts
        for version, port in (("v1", "8001"), ("v2", "8002")):
            there.peer("http", str(tmp_path / f"{version}.log"), version, port)
        document = yaml.safe_load((DOCKER / "rules" / "rules.yaml").read_text())
        for endpoint, port in zip(
            document["services"][0]["endpoints"], ("8001", "8002"), strict=True
        ):
            endpoint["address"] = f"{THERE[0]}:{port}"
        (tmp_path / "rules" / "rules.yaml").write_text(yaml.safe_dump(document))

        step = run("fastmirror-init", "fastmirror", "iptables", "apply", user="0:0",
                   capability="NET_ADMIN")  # fmt: skip
        assert (step.communicate(timeout=60)[0], step.returncode) == ("", 0)
        proxy = run("fastmirror", "fastmirror", "run", user="1337:1337")
        until = time.monotonic() + 60
        while True:
            check = run("fastmirror", "fastmirror", "healthcheck", user="1337:1337")
            if check.communicate(timeout=60)[0] == "ready\n":
                break
            assert proxy.poll() is None, proxy.communicate()[0]
            assert time.monotonic() < until
        assert check.returncode == 0
        [status] = [
            text
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if b"/fastmirror\0run" in path.read_bytes()
            and b"buildah" not in path.read_bytes()
            and re.search(
                r"^Uid:\t1337", text := (path.parent / "status").read_text(), re.MULTILINE
            )
        ]
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)

        answer = here.run(
            "curl", "-sS", "--resolve", f"httpbin:8000:{THERE[0]}", "http://httpbin:8000/x"
        )
        assert answer.stdout == "v1", answer.stderr
        copies = tmp_path / "v2.log"
        while not copies.exists() or not copies.read_text():
            assert time.monotonic() < until + 60
            time.sleep(0.05)
        assert copies.read_text() == "GET /x httpbin-shadow\n"

        ended = run("fastmirror", "fastmirror", "drain", user="1337:1337")
        assert ended.wait(60) == 0
        assert proxy.wait(60) == 0

    def test_a_read_only_root(self, hosts: tuple[Namespace, Namespace], tmp_path: Path) -> None:
        """Nothing can be written, not even a temporary file, and no capability can be had again."""
        here = hosts[0]
        container = output(*BUILDAH, "from", "--pull-never", f"localhost/fastmirror:{__version__}")
        root = Path(output(*BUILDAH, "mount", container))
        (root / "etc" / "fastmirror").mkdir(exist_ok=True)
        (root / "etc" / "fastmirror" / "rules.yaml").write_text(
            "version: 1\nroutes: [{name: all, direct_response: {status: 204}}]\n"
        )
        words = ["setpriv", "--reuid=1337", "--regid=1337", "--clear-groups", "--no-new-privs"]
        words += ["--bounding-set=-all", "--inh-caps=-all", "/opt/fastmirror/bin/fastmirror"]
        words += ["--listen", ":15001", "--rules", "/etc/fastmirror/rules.yaml", "--workers", "2"]
        script = tmp_path / "confined.sh"
        script.write_text(
            "set -e\nroot=$1; shift\n"
            'mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"\n'
            'mount -t proc proc "$root/proc"; mount --bind /dev "$root/dev"\n'
            'if touch "$root/tmp/x" 2>/dev/null; then echo "it can be written to"; exit 1; fi\n'
            'exec chroot "$root" "$@"\n'
        )
        command = ["unshare", "--mount", "sh", str(script), str(root), *words]
        proxy = subprocess.Popen(
            here.command(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            until = time.monotonic() + 60
            while here.run("curl", "-s", "http://127.0.0.1:15000/readyz").stdout != "ready\n":
                assert proxy.poll() is None and time.monotonic() < until
                time.sleep(0.1)
            status = here.run(
                "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:15001/"
            )
            assert status.stdout == "204"
            here.run("curl", "-s", "-X", "POST", "http://127.0.0.1:15000/drain")
            assert proxy.wait(60) == 0
        finally:
            proxy.kill()
            said, _ = proxy.communicate()
            output(*BUILDAH, "umount", container)
            output(*BUILDAH, "rm", container)
        assert "Traceback" not in said and "ERROR" not in said


def output(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

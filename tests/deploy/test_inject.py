"""``fastmirror inject``: manifests in, manifests out, judged by Kubernetes' own schemas."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fastmirror import __version__
from fastmirror.cli import main
from fastmirror.sidecar.inject import InjectError, inject
from fastmirror.sidecar.pod import Sidecar

POD = """\
    metadata:
      labels: {app: a}
    spec:
      securityContext: {runAsNonRoot: true}
      initContainers:
        - {name: migrate, image: app}
      containers:
        - {name: app, image: app, ports: [{containerPort: 8080}]}
      volumes:
        - {name: data, emptyDir: {}}
"""
SELECTOR = "  selector: {matchLabels: {app: a}}\n"
JOB_POD = POD.replace("    spec:\n", "    spec:\n      restartPolicy: Never\n")


def workload(kind: str, pod: str = POD) -> str:
    head = f"kind: {kind}\nmetadata: {{name: a}}\n"
    if kind == "Pod":
        return f"apiVersion: v1\n{head}" + pod[pod.index("    spec:") :].replace("\n    ", "\n")[4:]
    if kind == "Job":
        return f"apiVersion: batch/v1\n{head}spec:\n  template:\n{JOB_POD}"
    if kind == "CronJob":
        inner = "".join(f"    {line}\n" for line in JOB_POD.splitlines())
        return (
            f'apiVersion: batch/v1\n{head}spec:\n  schedule: "@daily"\n'
            f"  jobTemplate:\n    spec:\n      template:\n{inner}"
        )
    more = "  serviceName: a\n" if kind == "StatefulSet" else ""
    return f"apiVersion: apps/v1\n{head}spec:\n{SELECTOR}{more}  template:\n{pod}"


KINDS = ["Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"]


def pod_of(document: dict[str, Any]) -> dict[str, Any]:
    if document["kind"] == "Pod":
        return document
    spec = document["spec"]
    return (spec["jobTemplate"]["spec"] if document["kind"] == "CronJob" else spec)["template"]


def injected(tmp_path: Path, text: str, *options: str) -> str:
    source, out = tmp_path / "in.yaml", tmp_path / "out.yaml"
    source.write_text(text)
    assert main(["inject", str(source), "-o", str(out), *options]) == 0
    return out.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(tmp_path: Path, kind: str) -> None:
    text = workload(kind)
    kubernetes_validate.validate(yaml.safe_load(text), "1.32", strict=True)
    out = injected(tmp_path, text)
    document = yaml.safe_load(out)
    kubernetes_validate.validate(document, "1.32", strict=True)
    spec, before = pod_of(document)["spec"], pod_of(yaml.safe_load(text))["spec"]
    names = [each["name"] for each in spec["initContainers"]]
    assert names == ["fastmirror-init", "fastmirror", "migrate"]
    assert spec["initContainers"][1]["restartPolicy"] == "Always"
    assert "restartPolicy" not in spec["initContainers"][0]
    assert [each["name"] for each in spec["volumes"]] == ["data", "fastmirror-rules"]
    assert spec["containers"] == before["containers"]
    # Once more changes nothing, and other options replace.
    assert injected(tmp_path, out) == out
    other = injected(tmp_path, out, "--image", "elsewhere/proxy:1", "--rules-configmap", "mine")
    assert yaml.safe_load(injected(tmp_path, other)) == document


def test_who_may_do_what(tmp_path: Path) -> None:
    step, proxy = pod_of(yaml.safe_load(injected(tmp_path, workload("Deployment"))))["spec"][
        "initContainers"
    ][:2]
    assert step["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert proxy["securityContext"] == {
        "runAsUser": 1337,
        "runAsGroup": 1337,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert {"startupProbe", "readinessProbe", "livenessProbe", "resources"} <= set(proxy)
    [mount] = proxy["volumeMounts"]
    assert "subPath" not in mount


def test_options_arrive(tmp_path: Path) -> None:
    options = "--uid 2000 --port 16001 --admin :16000 --exclude-outbound-ports 22,3306 "
    options += "--exclude-outbound-networks 10.0.0.0/8 --inbound-ports * --exclude-inbound-ports 9"
    step, proxy = pod_of(
        yaml.safe_load(injected(tmp_path, workload("Deployment"), *options.split()))
    )["spec"]["initContainers"][:2]
    assert step["args"] == [
        "apply",
        "--port=16001",
        "--uid=2000",
        "--gid=2000",
        "--exclude-outbound-ports=22,3306",
        "--exclude-outbound-networks=10.0.0.0/8",
        "--inbound-ports=*",
        "--exclude-inbound-ports=9,16000",
    ]
    # What the step is told, the command takes.
    done = subprocess.run(
        [sys.executable, "-m", "fastmirror", "iptables", "print", *step["args"][1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    env = {each["name"]: each["value"] for each in proxy["env"]}
    assert env["FASTMIRROR_LISTEN"] == ":16001 :15006"
    assert env["FASTMIRROR_ADMIN"] == ":16000"
    assert proxy["securityContext"]["runAsUser"] == 2000


def test_all_else_is_passed_on_to_the_letter() -> None:
    first = "# of the service\nkind: Service\napiVersion: v1\nmetadata: {name: a} # 'quoted'\n"
    last = "---\n# nothing\n---\nkind: ConfigMap\napiVersion: v1\ndata:\n  a: |\n    - - -\n\n"
    text = f"{first}--- # the next\n{workload('Deployment')}{last}"
    count, out = inject(text, "stdin", Sidecar("i", "j", "c"))
    assert count == 1
    assert out.startswith(first)
    assert out.endswith(last)


def test_stdin_and_stdout() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastmirror", "inject", "-"],
        input=workload("Pod"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == inject(
            workload("Pod"),
            "stdin",
            Sidecar(
                f"fastmirror:{__version__}", f"fastmirror-init:{__version__}", "fastmirror-rules"
            ),
        )[1]
    )


def test_nothing_with_pods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "kind: Service\napiVersion: v1\n"
    assert injected(tmp_path, text) == text
    assert "warning: " in capsys.readouterr().err


def test_a_list(tmp_path: Path) -> None:
    items = "".join(
        "- " + workload(kind).replace("\n", "\n  ").rstrip() + "\n" for kind in ("Pod", "Job")
    )
    out = injected(tmp_path, f"kind: List\napiVersion: v1\nitems:\n{items}")
    for document in yaml.safe_load(out)["items"]:
        kubernetes_validate.validate(document, "1.32", strict=True)
        assert len(pod_of(document)["spec"]["initContainers"]) == 3


def test_a_list_in_a_list(tmp_path: Path) -> None:
    inner = "kind: List\napiVersion: v1\nitems:\n- " + workload("Pod").replace("\n", "\n  ")
    out = injected(tmp_path, "kind: List\napiVersion: v1\nitems:\n- " + inner.replace("\n", "\n  "))
    pod = yaml.safe_load(out)["items"][0]["items"][0]
    assert len(pod["spec"]["initContainers"]) == 3


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_directives_belong_to_the_document_behind_them(tmp_path: Path, newline: str) -> None:
    text = f"%YAML 1.1\n# of it\n\n---\n{workload('Pod')}...\n%YAML 1.1\n---\n{workload('Job')}"
    out = injected(tmp_path, text.replace("\n", newline))
    assert [each["kind"] for each in yaml.safe_load_all(out)] == ["Pod", "Job"]
    assert out.count("name: fastmirror-init") == 2


@pytest.mark.parametrize("other", ["a: &a {b: 1}\nc: {<<: *a}\n", "1: a\n", "a: 1\na: 2\n"])
def test_what_we_do_not_read_is_passed_on_where_it_holds_no_pods(
    tmp_path: Path, other: str
) -> None:
    out = injected(tmp_path, f"{other}---\n{workload('Pod')}---\n{other}")
    assert out.startswith(f"{other}---\n")
    assert out.endswith(f"---\n{other}")
    assert out.count("name: fastmirror-init") == 1


DEPLOYMENT = workload("Deployment")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            DEPLOYMENT.replace("      containers:", "      hostNetwork: true\n      containers:"),
            "in.yaml:13: Deployment a: spec.template.spec.hostNetwork: the rules would capture",
        ),
        (
            DEPLOYMENT.replace("{name: app,", "{name: istio-proxy,"),
            "in.yaml:14: Deployment a: spec.template.spec.containers[0].name: Istio's sidecar "
            "captures the same connections to the same ports (15001, 15006)",
        ),
        (
            DEPLOYMENT.replace("{name: migrate,", "{name: istio-init,"),
            "in.yaml:12: Deployment a: spec.template.spec.initContainers[0].name: Istio's sidecar",
        ),
        (
            DEPLOYMENT.replace("{app: a}\n    spec", '{sidecar.istio.io/inject: "true"}\n    spec'),
            "in.yaml:8: Deployment a: spec.template.metadata.labels.sidecar.istio.io/inject: Istio",
        ),
        (
            DEPLOYMENT.replace("8080", "15001"),
            "in.yaml:14: Deployment a: spec.template.spec.containers[0].ports[0].containerPort: "
            "port 15001 is the proxy's (see --port and --admin)",
        ),
        (
            DEPLOYMENT.replace("runAsNonRoot: true", "runAsUser: 1337"),
            "in.yaml:14: Deployment a: spec.template.spec.containers[0].name: it runs as the user",
        ),
        (
            DEPLOYMENT.replace("{name: app,", "{name: fastmirror,"),
            "containers[0].name: the name fastmirror is the sidecar's",
        ),
        (
            "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: b}\n",
            "in.yaml:1: Deployment b: spec.template.spec: expected a pod's spec",
        ),
        (
            DEPLOYMENT.replace("runAsNonRoot: true", "runAsGroup: 1337"),
            "in.yaml:14: Deployment a: spec.template.spec.containers[0].name: it runs as the group",
        ),
        (
            DEPLOYMENT.replace(
                "      containers:",
                "      nodeSelector: {kubernetes.io/os: windows}\n      containers:",
            ),
            "in.yaml:13: Deployment a: spec.template.spec.nodeSelector.kubernetes.io/os: there is",
        ),
        (
            DEPLOYMENT.replace("{name: data, ", "{name: fastmirror-rules, "),
            "in.yaml:16: Deployment a: spec.template.spec.volumes[0].name: the name fastmirror-",
        ),
        (DEPLOYMENT.replace("runAsNonRoot: true", "<<: 1"), "in.yaml:10: merge keys"),
        (DEPLOYMENT.replace("- {name: app, ", "- {"), "containers[0]: expected a mapping with a"),
        ("a: [", "in.yaml:2: "),
    ],
)
def test_what_would_break_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    source, out = tmp_path / "in.yaml", tmp_path / "out.yaml"
    source.write_text(text)
    assert main(["inject", str(source), "-o", str(out)]) == 1
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_every_problem_is_named_with_the_files_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = DEPLOYMENT.replace("8080", "15000")
    source = tmp_path / "in.yaml"
    source.write_text(f"{DEPLOYMENT}---\n{bad}---\n{bad}")
    assert main(["inject", str(source)]) == 1
    lines = [line.split(": ")[0].split(":")[1] for line in capsys.readouterr().err.splitlines()]
    height = DEPLOYMENT.count("\n") + 1
    assert lines == [str(14 + height), str(14 + 2 * height)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--uid", "0"), "--uid: expected the proxy's own user, not root"),
        (("--admin", "off"), "--admin: expected HOST:PORT"),
        (("--admin", ":15001"), "--port: expected another port than the admin listener's"),
        (("--exclude-outbound-ports", "ssh"), "--exclude-outbound-ports: expected a number"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert main(["inject", str(tmp_path / "none"), *options]) == 2
    assert said in capsys.readouterr().err


leaf = st.one_of(st.none(), st.booleans(), st.integers(1336, 1338), st.sampled_from(["app", ""]))
value = leaf | st.lists(leaf, max_size=2) | st.dictionaries(st.just("name"), leaf)
labels = st.dictionaries(st.sampled_from(["sidecar.istio.io/inject", "a"]), value)
metadata = st.fixed_dictionaries({}, optional={"labels": labels | value, "annotations": value})
container = st.fixed_dictionaries(
    {"name": st.just("app")},
    optional={
        "ports": st.lists(st.fixed_dictionaries({"containerPort": value}) | value) | value,
        "securityContext": st.fixed_dictionaries({"runAsUser": value}) | value,
    },
)
containers = st.lists(container, min_size=1, max_size=2)
odd = st.lists(container | value, max_size=2) | value
pod_spec = st.fixed_dictionaries(
    {"containers": containers | odd},
    optional={
        "initContainers": containers | odd,
        "volumes": odd,
        "os": value,
        "hostNetwork": value,
        "securityContext": st.fixed_dictionaries({"runAsUser": value}) | value,
    },
)
template = st.fixed_dictionaries(
    {"spec": pod_spec | value}, optional={"metadata": metadata | value}
)


@given(template | value, st.sampled_from(["Deployment", "CronJob", "List"]), st.data())
def test_no_manifest_is_a_traceback(template: Any, kind: str, data: st.DataObject) -> None:
    document: dict[str, Any] = {"kind": kind, "apiVersion": "apps/v1"}
    if kind == "CronJob":
        document |= {"apiVersion": "batch/v1", "spec": {"jobTemplate": {"spec": {}}}}
        document["spec"]["jobTemplate"]["spec"]["template"] = template
    else:
        document["spec"] = {"template": template}
    if kind == "List":
        item = document | {"kind": "Deployment"}
        items = data.draw(st.just([item, item]) | value)
        document = {"kind": "List", "apiVersion": "v1", "items": items}
    sidecar = Sidecar("i", "j", "c")
    with suppress(InjectError):
        _, out = inject(yaml.safe_dump(document), "in", sidecar)
        assert inject(out, "in", sidecar)[1] == out

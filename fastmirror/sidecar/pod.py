"""What a pod gets: the init step, the proxy as a native sidecar (KEP-753), and the rules' volume.

Invariants: what we add goes by our names, so that adding it once more replaces it; nothing else of
the pod is changed; deploy/kustomize/components/sidecar says the same (a test compares).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastmirror.options import ADMIN
from fastmirror.rules.address import Address

LABEL = "fastmirror/sidecar"
PROXY, INIT, VOLUME = "fastmirror", "fastmirror-init", "fastmirror-rules"
RULES = "/etc/fastmirror"


@dataclass(frozen=True)
class Sidecar:
    """``capture``: arguments of ``fastmirror iptables apply``; ``inbound_port``: where inbound
    connections are captured.
    """

    image: str
    init_image: str
    configmap: str
    uid: int = 1337
    port: int = 15001
    admin: Address = ADMIN
    inbound_port: int | None = None
    capture: list[str] = field(default_factory=list)


def add_sidecar(template: dict[str, Any], sidecar: Sidecar) -> None:
    """Put the sidecar into a pod or a template of pods, in the place of an earlier one."""
    metadata, spec = template.get("metadata") or {}, template["spec"]
    metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: "true"}
    template["metadata"] = metadata
    ours = [init_container(sidecar), proxy_container(sidecar)]
    others = [
        each for each in spec.get("initContainers") or [] if each["name"] not in (INIT, PROXY)
    ]
    # First: what other init containers ask for goes through the proxy too.
    spec["initContainers"] = ours + others
    volumes = [each for each in spec.get("volumes") or [] if each["name"] != VOLUME]
    spec["volumes"] = [*volumes, {"name": VOLUME, "configMap": {"name": sidecar.configmap}}]


def init_container(sidecar: Sidecar) -> dict[str, Any]:
    """Root with NET_ADMIN and nothing else; it ends before anything else starts."""
    uid, gid = f"--uid={sidecar.uid}", f"--gid={sidecar.uid}"
    return {
        "name": INIT,
        "image": sidecar.init_image,
        "args": ["apply", f"--port={sidecar.port}", uid, gid, *sidecar.capture],
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"memory": "128Mi"},
        },
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def proxy_container(sidecar: Sidecar) -> dict[str, Any]:
    """A sidecar that starts before the application and is stopped after it.

    The kubelet runs its preStop hook when the pod's end begins, while the application still works:
    it serves on, and only asks clients from elsewhere to go. SIGTERM comes after the application
    has ended, and drains.
    """
    listen = f":{sidecar.port}"
    if sidecar.inbound_port is not None:
        listen += f" :{sidecar.inbound_port}"
    return {
        "name": PROXY,
        "image": sidecar.image,
        "restartPolicy": "Always",
        "env": [
            {"name": "FASTMIRROR_LISTEN", "value": listen},
            {"name": "FASTMIRROR_RULES", "value": f"{RULES}/rules.yaml"},
            {"name": "FASTMIRROR_ADMIN", "value": str(sidecar.admin)},
            {"name": "FASTMIRROR_DRAIN_TIME", "value": "20"},
        ],
        "startupProbe": _probe("healthcheck", periodSeconds=1, failureThreshold=60),
        "readinessProbe": _probe("healthcheck", periodSeconds=10, failureThreshold=3),
        # Alive, not ready: a proxy that drains is to be left alone.
        "livenessProbe": _probe("healthcheck", "--alive", periodSeconds=20, failureThreshold=3),
        "lifecycle": {
            "preStop": {"exec": {"command": ["fastmirror", "drain", "--graceful"]}},
        },
        "resources": {
            "requests": {"cpu": "100m", "memory": "96Mi"},
            "limits": {"memory": "256Mi"},
        },
        "securityContext": {
            "runAsUser": sidecar.uid,
            "runAsGroup": sidecar.uid,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # The directory, not one file (subPath): only so does a changed ConfigMap arrive.
        "volumeMounts": [{"name": VOLUME, "mountPath": RULES, "readOnly": True}],
    }


def _probe(*words: str, **times: int) -> dict[str, Any]:
    """By the command itself: the admin listener is on loopback, where no kubelet reaches it."""
    return {"exec": {"command": ["fastmirror", *words]}, "timeoutSeconds": 5, **times}

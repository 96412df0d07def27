"""What an API server would refuse: by a schema, and by the restricted Pod Security Standard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.deploy.files import Json


def refused(node: Json, value: Any, path: str = "") -> list[str]:
    """What strict validation against this schema would refuse: the paths of unknown fields and of wrong types."""
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in node and type(value) is not types[node["type"]]:
        return [f"{path}: not {node['type']}"]
    if isinstance(value, list):
        return [line for item in value for line in refused(node["items"], item, f"{path}[]")]
    if not isinstance(value, dict) or "additionalProperties" in node or node == {"type": "object"}:
        return []
    found = [f"{path}.{name}: missing" for name in node.get("required", ()) if name not in value]
    for name, child in value.items():
        if name in node.get("properties", {}):
            found += refused(node["properties"][name], child, f"{path}.{name}")
        elif not node.get("x-kubernetes-preserve-unknown-fields"):
            found.append(f"{path}.{name}: unknown")
    return found


def restricted_violations(spec: Json) -> list[str]:
    """Where a pod spec breaks the restricted Pod Security Standard, as far as it concerns the fields used here.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    pod = spec.get("securityContext", {})
    found = []
    if pod.get("runAsNonRoot") is not True or pod.get("runAsUser") == 0:
        found.append("runs as root")
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("no seccomp profile")
    found += [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume {volume['name']}" for volume in spec.get("volumes", ()) if "hostPath" in volume]
    for container in spec["containers"]:
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False:
            found.append(f"{container['name']} allows privilege escalation")
        if context.get("capabilities") != {"drop": ["ALL"]}:
            found.append(f"{container['name']} keeps capabilities")
    return found

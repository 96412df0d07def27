"""What users can get wrong in a Cluster that is stored all the same, and what they are told: tested and documented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from integration.bad_input import ANOTHER, BOX, META, POD, S_BOX, S_POD, SERVICE, WORKERS, Wrong

if TYPE_CHECKING:
    from integration.kube import Manifest

TOLD = (
    Wrong("a field of the pod misspelt", (*POD, "tolerance"), [], 'unknown field "spec.tolerance"'),
    Wrong(
        "a field of the scheduler's pod misspelt", (*S_POD, "nodeSelectors"), {}, 'unknown field "spec.nodeSelectors"'
    ),
    Wrong("a field of a container misspelt", (*BOX, "imagePullPolicies"), "Never", 'containers[0].imagePullPolicies"'),
    Wrong("a field of its resources misspelt", (*BOX, "resources"), {"limit": {}}, 'containers[0].resources.limit"'),
    Wrong("a field of the Service misspelt", SERVICE, {"portz": []}, ".spec.portz: field not declared in schema"),
    Wrong(
        "an unknown kind of volume",
        (*POD, "volumes"),
        [{"name": "a", "nfss": {}}],
        'unknown field "spec.volumes[0].nfss"',
    ),
    Wrong("an unknown policy for restarts", (*POD, "restartPolicy"), "Sometimes", 'Unsupported value: "Sometimes"'),
    Wrong("a scheduler that isn't restarted", (*S_POD, "restartPolicy"), "Never", 'supported values: "Always"'),
    Wrong("an unknown policy for pulls", (*BOX, "imagePullPolicy"), "Maybe", 'Unsupported value: "Maybe"'),
    Wrong(
        "more requested than allowed",
        (*BOX, "resources"),
        {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
        "must be less than or equal to cpu limit of 1",
    ),
    Wrong("a negative amount", (*BOX, "resources"), {"limits": {"cpu": "-1"}}, "must be greater than or equal to 0"),
    Wrong("an unknown resource", (*BOX, "resources"), {"limits": {"gpus": "1"}}, "must be a standard resource"),
    Wrong("a mount of no volume", (*BOX, "volumeMounts"), [{"name": "a", "mountPath": "/a"}], 'Not found: "a"'),
    Wrong(
        "two volumes of one name",
        (*POD, "volumes"),
        [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}],
        'Duplicate value: "a"',
    ),
    Wrong("a volume's name in capitals", (*POD, "volumes"), [{"name": "A", "emptyDir": {}}], 'Invalid value: "A"'),
    Wrong("a variable's name with =", (*BOX, "env"), [{"name": "A=B", "value": "c"}], 'Invalid value: "A=B"'),
    Wrong(
        "a variable with two values",
        (*BOX, "env"),
        [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "may not be specified when `value` is not empty",
    ),
    Wrong(
        "a variable from an unknown field",
        (*BOX, "env"),
        [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nome"}}}],
        "metadata.nome",
    ),
    Wrong("a deadline of 0 seconds", (*POD, "activeDeadlineSeconds"), 0, "must be between 1 and"),
    Wrong("a label's key with a blank", (*META, "labels"), {"a b": "c"}, 'Invalid value: "a b"'),
    Wrong("a label's value with a blank", (*META, "labels"), {"a": "b c"}, 'Invalid value: "b c"'),
    Wrong("an annotation's key with a blank", (*META, "annotations"), {"a b": "c"}, 'Invalid value: "a b"'),
    Wrong("a node selector's key with a blank", (*POD, "nodeSelector"), {"a b": "c"}, 'Invalid value: "a b"'),
    Wrong("an unknown effect of a toleration", (*POD, "tolerations"), [{"key": "a", "effect": "No"}], '"No"'),
    Wrong(
        "an unknown comparison in an affinity",
        (*POD, "affinity"),
        {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Near"}]}]
                }
            }
        },
        "Near",
    ),
    Wrong("a port's name of 16 letters", (*BOX, "ports"), [{"containerPort": 1, "name": "p" * 16}], "no more than 15"),
    Wrong(
        "two ports of one name",
        (*BOX, "ports"),
        [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}],
        'Duplicate value: "a"',
    ),
    Wrong(
        "a probe of two kinds",
        (*BOX, "livenessProbe"),
        {"tcpSocket": {"port": 1}, "exec": {"command": ["a"]}},
        "may not specify more than 1 handler type",
    ),
    Wrong("an unknown policy for names", (*POD, "dnsPolicy"), "Mine", 'Unsupported value: "Mine"'),
    Wrong("a host's name in capitals", (*POD, "hostname"), "Dask", 'Invalid value: "Dask"'),
    Wrong("a container to debug", (*POD, "ephemeralContainers"), [ANOTHER], "cannot be set on create"),
    Wrong("an init container without an image", (*POD, "initContainers"), [{"name": "a"}], "image: Required value"),
    Wrong("a number as the priority", (*POD, "priority"), 5, "must not be provided in pod spec"),
    Wrong("no such service account", (*POD, "serviceAccountName"), "nobody", 'serviceaccount "nobody" not found'),
    Wrong("no such priority class", (*POD, "priorityClassName"), "gold", "no PriorityClass with name gold was found"),
    Wrong(
        "no such priority class for the scheduler", (*S_POD, "priorityClassName"), "gold", "with name gold was found"
    ),
    Wrong("no such runtime class", (*POD, "runtimeClassName"), "fast", 'RuntimeClass "fast" not found'),
    Wrong(
        "the host's network where that is forbidden", (*POD, "hostNetwork"), True, 'violates PodSecurity "restricted'
    ),
    Wrong("root where that is forbidden", (*POD, "securityContext", "runAsUser"), 0, "runAsUser=0"),
    Wrong("privileges where they are forbidden", (*BOX, "securityContext"), {"privileged": True}, "privileged"),
    Wrong(
        "the host's files where that is forbidden",
        (*POD, "volumes"),
        [{"name": "a", "hostPath": {"path": "/"}}],
        'restricted volume types (volume "a" uses restricted volume type "hostPath")',
    ),
    Wrong("another address for the Service", SERVICE, {"clusterIP": "10.9.9.9"}, "may not change once set"),
    Wrong("an unknown affinity of sessions", SERVICE, {"sessionAffinity": "Nope"}, 'Unsupported value: "Nope"'),
    Wrong("a Service's port in capitals", SERVICE, {"ports": [{"name": "A", "port": 1}]}, 'Invalid value: "A"'),
)
"""Stored, and found by asking the API server whether it would take what the templates give."""

UNABLE = (
    Wrong("an image that isn't there", (*BOX, "image"), "localhost/none:1", "failed to pull and unpack image"),
    Wrong("an image's name with blanks", (*BOX, "image"), "my image", "couldn't parse image name"),
    Wrong("a command that isn't there", (*BOX, "command"), ["dask-wroker"], "can't start its command"),
    Wrong("a command that fails", (*BOX, "command"), ["dask", "wroker"], "ends with status 2 again and again"),
    Wrong("a command that ends at once", (*BOX, "command"), ["true"], "its worker ended as soon as it began"),
    Wrong("no Dask on the image's PATH", (*BOX, "env"), [{"name": "PATH", "value": "/a"}], "can't start its command"),
    Wrong("no such ConfigMap", (*BOX, "envFrom"), [{"configMapRef": {"name": "none"}}], 'configmap "none" not found'),
    Wrong(
        "no such Secret for a variable",
        (*BOX, "env"),
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "a"}}}],
        'secret "none" not found',
    ),
    Wrong(
        "no such claim for a volume",
        (*POD, "volumes"),
        [{"name": "a", "persistentVolumeClaim": {"claimName": "none"}}],
        'persistentvolumeclaim "none" not found',
    ),
    Wrong("no such node", (*POD, "nodeSelector"), {"gpu": "a100"}, "didn't match Pod's node affinity/selector"),
    Wrong(
        "more memory than any node has", (*BOX, "resources"), {"requests": {"memory": "99Ti"}}, "Insufficient memory"
    ),
    Wrong(
        "an unknown storage class",
        (*POD, "volumes"),
        [
            {
                "name": "a",
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "storageClassName": "none",
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "1Gi"}},
                        }
                    }
                },
            }
        ],
        "pod has unbound immediate PersistentVolumeClaims",
    ),
)
"""Workers' pods that are made and can't work, while one worker more is wanted."""

UNABLE_NEW = (
    Wrong("a scheduler's image that isn't there", (*S_BOX, "image"), "localhost/none:1", "failed to pull and unpack"),
    Wrong("a scheduler's command that isn't there", (*S_BOX, "command"), ["dask-sheduler"], "can't start its command"),
    Wrong("an option that the scheduler hasn't", (*S_BOX, "args"), ["dask", "scheduler", "--prot"], "again and again"),
    Wrong(
        "a scheduler on another port", (*S_BOX, "args"), ["dask", "scheduler", "--port=9999"], "nothing listens where"
    ),
    Wrong("no node for the scheduler", (*S_POD, "nodeSelector"), {"gpu": "a100"}, "node affinity/selector"),
    Wrong(
        "a worker on another port", (*BOX, "env"), [{"name": "DASK_WORKER_PORT", "value": "9100"}], "nothing listens"
    ),
    Wrong("an unknown scheduler of pods", (*POD, "schedulerName"), "mine", "does the scheduler mine run?"),
    Wrong(
        "no such Secret for a volume",
        (*POD, "volumes"),
        [{"name": "a", "secret": {"secretName": "none"}}],
        "its containers aren't made yet",
        also=(((*BOX, "volumeMounts"), [{"name": "a", "mountPath": "/a"}]),),
    ),
)
"""The same of new Clusters, where it takes a minute until it is told, or a change would have to wait."""


@dataclass(frozen=True)
class Limit:
    """A mistake that is one because of what holds in the namespace.

    Attributes:
        setting: what is there then, an object.
        wrong: the mistake.
        told: the condition that says so.
    """

    setting: Manifest
    wrong: Wrong
    told: str


def _quota(**hard: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {name.replace("_", "."): amount for name, amount in hard.items()}},
    }


LIMITS = (
    Limit(
        _quota(pods="1"),
        Wrong("more pods than the quota allows", (*WORKERS, "replicas"), 3, "exceeded quota: few"),
        "WorkersReady",
    ),
    Limit(
        _quota(limits_cpu="4"),
        Wrong("no limit where a quota demands one", (*WORKERS, "replicas"), 3, "must specify limits.cpu for: worker"),
        "TemplateValid",
    ),
    Limit(
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "small"},
            "spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]},
        },
        Wrong(
            "more than a LimitRange allows", (*BOX, "resources"), {"limits": {"memory": "2Gi"}}, "maximum memory usage"
        ),
        "TemplateValid",
    ),
)
"""What policies of the namespace are against."""

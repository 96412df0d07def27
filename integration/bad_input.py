"""What users can get wrong in a Cluster, and what they are to be told: one table, tested and documented."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integration.kube import Manifest

Path = tuple[str | int, ...]

GONE = object()
"""Instead of a value: the field is left out."""


@dataclass(frozen=True)
class Wrong:
    """One mistake.

    Attributes:
        title: it, in words.
        path: the field below the Cluster that is set.
        value: what it is set to.
        says: what the message has at least.
        also: what else has to be set for it to be one.
    """

    title: str
    path: Path
    value: Any
    says: str
    also: tuple[tuple[Path, Any], ...] = ()

    def within(self, cluster: Manifest) -> Manifest:
        """A copy of a Cluster with the mistake."""
        changed = copy.deepcopy(cluster)
        for path, value in ((self.path, self.value), *self.also):
            place: Any = changed
            for key, following in itertools.pairwise(path):
                if isinstance(key, str):
                    place.setdefault(key, [{}] if isinstance(following, int) else {})
                place = place[key]
            if value is GONE:
                del place[path[-1]]
            else:
                place[path[-1]] = value
        return changed


SPEC = ("spec",)
SCHEDULER, WORKERS = (*SPEC, "scheduler"), (*SPEC, "workers")
RETIREMENT, AUTOSCALE = (*WORKERS, "retirement"), (*WORKERS, "autoscale")
ROLLOUT, IDLE = (*WORKERS, "updateStrategy", "rollingUpdate"), (*SPEC, "idle")
SERVICE = (*SCHEDULER, "service")
META, S_META = (*WORKERS, "template", "metadata"), (*SCHEDULER, "template", "metadata")
POD, S_POD = (*WORKERS, "template", "spec"), (*SCHEDULER, "template", "spec")
BOX, S_BOX = (*POD, "containers", 0), (*S_POD, "containers", 0)

ANOTHER = {"name": "beside", "image": "other:1"}
HUGE = 3_000_000_000

REFUSED = (
    Wrong("a section misspelt", (*SPEC, "worker"), {}, 'unknown field "spec.worker"'),
    Wrong("the count misspelt", (*WORKERS, "replica"), 1, 'unknown field "spec.workers.replica"'),
    Wrong("the template misspelt", (*WORKERS, "templates"), {}, 'unknown field "spec.workers.templates"'),
    Wrong("the labels misspelt", (*META, "label"), {}, 'unknown field "spec.workers.template.metadata.label"'),
    Wrong("no spec", SPEC, GONE, "spec: Required value"),
    Wrong("the spec as a list", SPEC, [], "must be of type object"),
    Wrong("another version of the resource", ("apiVersion",), "dask.charmtx.com/v1", 'no matches for kind "Cluster"'),
    Wrong("another kind", ("kind",), "DaskCluster", 'no matches for kind "DaskCluster"'),
    Wrong("no image anywhere", (*SPEC, "image"), GONE, "no image for the scheduler: set spec.image"),
    Wrong("an empty image", (*SPEC, "image"), "", "should be at least 1 chars long"),
    Wrong("a list of images", (*SPEC, "image"), ["a"], "must be of type string"),
    Wrong("the count as a word", (*WORKERS, "replicas"), "two", "must be of type integer"),
    Wrong("a negative count", (*WORKERS, "replicas"), -1, "should be greater than or equal to 0"),
    Wrong("a fraction of a worker", (*WORKERS, "replicas"), 1.5, "must be of type integer"),
    Wrong("a million workers", (*WORKERS, "replicas"), 1_000_000, "should be less than or equal to 10000"),
    Wrong("a count beyond 32 bits", (*WORKERS, "replicas"), HUGE, "should be less than or equal to 10000"),
    Wrong("a negative time to drain", (*RETIREMENT, "drainSeconds"), -1, "greater than or equal to 0"),
    Wrong("a time to drain with a unit", (*RETIREMENT, "drainSeconds"), "1m", "must be of type integer"),
    Wrong(
        "a time to drain beyond 32 bits",
        (*RETIREMENT, "drainSeconds"),
        HUGE,
        "should be less than or equal to 2147483647",
    ),
    Wrong("no time for a retirement", (*RETIREMENT, "timeoutSeconds"), 0, "greater than or equal to 1"),
    Wrong(
        "an unknown way to end a retirement", (*RETIREMENT, "onTimeout"), "Kill", 'supported values: "Keep", "Delete"'
    ),
    Wrong(
        "an unknown way to restart the scheduler",
        (*SCHEDULER, "updateStrategy"),
        {"type": "RollingUpdate"},
        'supported values: "WhenIdle", "Recreate", "OnDelete"',
    ),
    Wrong(
        "a label of the operator's for the Service",
        (*SCHEDULER, "serviceMetadata"),
        {"labels": {"dask.charmtx.com/role": "mine"}},
        "labels that begin with dask.charmtx.com/ are the operator's",
    ),
    Wrong("an end of retirements without a deadline", (*RETIREMENT, "onTimeout"), "Delete", "needs timeoutSeconds"),
    Wrong("a hundred thousand workers by demand", AUTOSCALE, {"maxReplicas": 100_000}, "equal to 10000"),
    Wrong(
        "more workers by demand at least than at most",
        AUTOSCALE,
        {"minReplicas": 5, "maxReplicas": 2},
        "minReplicas must not be more than maxReplicas",
    ),
    Wrong("no worker by demand at most", AUTOSCALE, {"maxReplicas": 0}, "should be greater than or equal to 1"),
    Wrong("workers by demand without a maximum", AUTOSCALE, {"minReplicas": 1}, "maxReplicas: Required value"),
    Wrong(
        "a day's window for fewer workers",
        AUTOSCALE,
        {"maxReplicas": 2, "scaleDown": {"stabilizationWindowSeconds": 86_400}},
        "should be less than or equal to 3600",
    ),
    Wrong("idleness for thousands of years", IDLE, {"afterSeconds": 10**12}, "less than or equal to 2147483647"),
    Wrong("idleness at once", IDLE, {"afterSeconds": 0}, "should be greater than or equal to 1"),
    Wrong(
        "an unknown end of idleness",
        IDLE,
        {"afterSeconds": 60, "action": "Suspend"},
        'supported values: "ScaleToZero", "Delete"',
    ),
    Wrong("yes for a suspension", (*SPEC, "suspend"), "yes", "must be of type boolean"),
    Wrong(
        "an unknown way to replace workers",
        (*WORKERS, "updateStrategy"),
        {"type": "Recreate"},
        'supported values: "RollingUpdate", "OnDelete"',
    ),
    Wrong("a negative surge", ROLLOUT, {"maxSurge": -1}, "must be a whole number from 0 or a share"),
    Wrong("half a percent of surge", ROLLOUT, {"maxSurge": "0.5%"}, "must be a whole number from 0 or a share"),
    Wrong("a word for how many may be missing", ROLLOUT, {"maxUnavailable": "few"}, "must be a whole number from 0"),
    Wrong(
        "a rollout that could replace nothing",
        ROLLOUT,
        {"maxSurge": 0, "maxUnavailable": "0%"},
        "must not both be 0",
    ),
    Wrong("a name that makes others too long", ("metadata", "name"), "d" * 46, "may have 45 characters at most"),
    Wrong("a name that begins with a digit", ("metadata", "name"), "4dask", "must begin with a letter"),
    Wrong("a name in capitals", ("metadata", "name"), "Dask", "lowercase RFC 1123 subdomain"),
    Wrong("a name with a dot", ("metadata", "name"), "dask.a", "must begin with a letter"),
    Wrong("the template as a list", (*WORKERS, "template"), [], "must be of type object"),
    Wrong(
        "the containers as an object",
        (*POD, "containers"),
        {"worker": {}},
        'unknown field "spec.workers.template.spec.containers.worker"',
    ),
    Wrong("a container without a name", (*POD, "containers"), [{"image": "a"}], "name: Required value"),
    Wrong("two containers of one name", (*POD, "containers"), [ANOTHER, ANOTHER], "Duplicate value"),
    Wrong("a container's name of 64 letters", (*BOX, "name"), "w" * 64, "Too long: may not be more than 63"),
    Wrong("the scheduler's container called worker", (*S_BOX, "name"), "worker", "is named scheduler, not worker"),
    Wrong("the worker's container called scheduler", (*BOX, "name"), "scheduler", "is named worker, not scheduler"),
    Wrong("the command as one text", (*BOX, "command"), "dask worker", "must be of type array"),
    Wrong("a number among the arguments", (*BOX, "args"), ["--nthreads", 4], "must be of type string"),
    Wrong("a number as a variable's value", (*BOX, "env"), [{"name": "A", "value": 5}], "must be of type string"),
    Wrong("a variable without a name", (*BOX, "env"), [{"value": "5"}], "env[0].name: Required value"),
    Wrong("memory in GB", (*BOX, "resources"), {"limits": {"memory": "4GB"}}, "limits.memory"),
    Wrong("a word for an amount", (*BOX, "resources"), {"limits": {"cpu": "two"}}, "limits.cpu"),
    Wrong("port 70000", (*BOX, "ports"), [{"containerPort": 70000}], "should be less than or equal to 65535"),
    Wrong("a port by a word", (*BOX, "ports"), [{"containerPort": "http"}], "must be of type integer"),
    Wrong("a port without a number", (*BOX, "ports"), [{"name": "http"}], "containerPort: Required value"),
    Wrong("an unknown protocol", (*BOX, "ports"), [{"containerPort": 1, "protocol": "HTTP"}], "supported values"),
    Wrong(
        "a worker's port taken by the container beside it",
        (*POD, "containers"),
        [{**ANOTHER, "ports": [{"containerPort": 9000}]}],
        "listens on 9000 and 9001",
    ),
    Wrong(
        "a scheduler's port taken by the container beside it",
        (*S_POD, "containers"),
        [{**ANOTHER, "ports": [{"containerPort": 8787}]}],
        "listens on 8786 and 8787",
    ),
    Wrong("a grace period as a word", (*POD, "terminationGracePeriodSeconds"), "soon", "must be of type integer"),
    Wrong(
        "tolerations as an object",
        (*POD, "tolerations"),
        {"key": "gpu"},
        'unknown field "spec.workers.template.spec.tolerations.key"',
    ),
    Wrong("true without quotes in a node selector", (*POD, "nodeSelector"), {"gpu": True}, "must be of type string"),
    Wrong("yes for a truth value", (*POD, "hostNetwork"), "yes", "must be of type boolean"),
    Wrong("a volume without a name", (*POD, "volumes"), [{"emptyDir": {}}], "volumes[0].name: Required value"),
    Wrong("a mount without a path", (*BOX, "volumeMounts"), [{"name": "a"}], "mountPath: Required value"),
    Wrong(
        "a probe without a port", (*BOX, "livenessProbe"), {"httpGet": {"path": "/"}}, "httpGet.port: Required value"
    ),
    Wrong("a number as an annotation", (*META, "annotations"), {"a": 1}, "must be of type string"),
    Wrong("a label's value of 64 letters", (*META, "labels"), {"a": "b" * 64}, "may not be more than 63"),
    Wrong("a label of the operator's", (*META, "labels"), {"dask.charmtx.com/role": "scheduler"}, "are the operator's"),
    Wrong("another Cluster's label", (*S_META, "labels"), {"dask.charmtx.com/cluster": "b"}, "are the operator's"),
    Wrong("an unknown type of Service", SERVICE, {"type": "Public"}, 'supported values: "ClusterIP"'),
    Wrong("a Service without pods", SERVICE, {"type": "ExternalName"}, 'supported values: "ClusterIP"'),
    Wrong("a number as the type of the Service", SERVICE, {"type": 5}, "must be of type string"),
    Wrong(
        "another Cluster's pods for the Service", SERVICE, {"selector": {"dask.charmtx.com/cluster": "b"}}, "operator's"
    ),
    Wrong("another port for the scheduler", SERVICE, {"ports": [{"name": "tcp-comm", "port": 80}]}, "tcp-comm is 8786"),
    Wrong(
        "a port of the Service twice",
        SERVICE,
        {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]},
        "two ports",
    ),
    Wrong("a Service's port without a number", SERVICE, {"ports": [{"name": "a"}]}, "port: Required value"),
)
"""Refused before it is stored."""

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

"""What the local node consists of: commands that set it up, and its components with their settings. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from integration.cluster.credentials import ADMIN, User

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NODE = "node"
ADDRESS = "10.99.0.1"
API = f"https://{ADDRESS}:6443"
DOMAIN = "cluster.local"
CONTAINERD = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "localhost/pause:1"
SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    f"kubernetes.default.svc.{DOMAIN}",
)
SERVER_ADDRESSES = (ADDRESS, "127.0.0.1", "10.96.0.1")
USERS = {
    "admin": ADMIN,
    "controller-manager": User("system:kube-controller-manager"),
    "scheduler": User("system:kube-scheduler"),
    "kubelet": User(f"system:node:{NODE}", ("system:nodes",)),
    "proxy": User("system:kube-proxy"),
    "dns": User("system:dns"),
}

# Nothing that is mounted reaches the machine; what the kubelet mounts has to reach the containers.
_MOUNTS = (("mount", "--make-rprivate", "/"), ("mount", "--make-rshared", "/"))
_OWN_FOLDERS = ("/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet")
_SERVICES = "10.96.0.0/16"
_PODS = "10.244.0.0/16"
_INSIDE = "10.0.0.0/8"  # holds the node, the Services and the pods
_UNREACHABLE = "icmp-net-unreachable"
_ETCD = "127.0.0.1:2379"


@dataclass(frozen=True)
class Programs:
    """Where the programs are: two folders of our making, and single ones that the machine may have had."""

    kubernetes: Path
    etcd: Path
    containerd: Path
    runc: Path
    network_plugins: Path


@dataclass(frozen=True)
class Component:
    """A program to keep running; started once somebody listens at `needs` (see the supervisor)."""

    name: str
    argv: tuple[str, ...]
    needs: str
    log: str
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NodePlan:
    """Commands to run once inside fresh namespaces, components to keep running, files to write before."""

    setup: tuple[tuple[str, ...], ...]
    components: tuple[Component, ...]
    files: dict[str, str]

    def as_json(self) -> str:
        """What the supervisor reads."""
        return json.dumps({"setup": self.setup, "components": [asdict(one) for one in self.components]}, indent=2)


def plan(*, state: Path, programs: Programs, views: Iterable[tuple[str, ...]]) -> NodePlan:
    """Plan the node whose state is kept in a folder; `views` are commands that replace mounts of the machine's."""
    return NodePlan(
        setup=(*_MOUNTS, *views, *_setup()),
        components=_components(state, programs),
        files={
            "resolv.conf": f"nameserver {ADDRESS}\nsearch svc.{DOMAIN} {DOMAIN}\noptions ndots:5 timeout:2\n",
            "config/containerd.toml": _containerd(state, programs),
            "config/cni/pods.conflist": json.dumps(_network(state), indent=2),
            "config/kubelet.json": json.dumps(_kubelet(state), indent=2),
            "config/proxy.json": json.dumps(_proxy(state), indent=2),
            "config/Corefile": _corefile(state),
            "config/dns-role.json": json.dumps(_dns_role(), indent=2),
        },
    )


def _setup() -> tuple[tuple[str, ...], ...]:
    """Mounts and network of the node; nothing of it is seen outside its namespaces.

    Some folders have fixed names in one component or another, so each node has
    its own there. The default route leads back into the namespace, and what
    would take it is refused at once instead of after a time-out.
    """
    return (
        ("mkdir", "-p", *_OWN_FOLDERS),
        *(("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder) for folder in _OWN_FOLDERS),
        ("mkdir", "-m", "700", "/run/etcd"),
        ("hostname", NODE),
        ("ip", "link", "set", "lo", "up"),
        ("ip", "link", "add", "node0", "type", "veth", "peer", "name", "node1"),
        ("ip", "address", "add", f"{ADDRESS}/24", "dev", "node0"),
        ("ip", "link", "set", "node0", "up"),
        ("ip", "link", "set", "node1", "up"),
        ("ip", "route", "add", "default", "dev", "node0"),
        *(
            ("iptables", "-A", chain, "-o", "node0", "!", "-d", _INSIDE, "-j", "REJECT", "--reject-with", _UNREACHABLE)
            for chain in ("OUTPUT", "FORWARD")
        ),
        ("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"),
    )


def _components(state: Path, programs: Programs) -> tuple[Component, ...]:
    kubernetes, users = programs.kubernetes, state / "users"
    api = f"https:{ADDRESS}:6443:{state}/pki/ca.crt"

    def component(name: str, program: Path, *arguments: str, needs: str = "", path: str = "") -> Component:
        env = {"PATH": f"{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"} if path else {}
        return Component(name, (str(program), *arguments), needs, str(state / "logs" / f"{name}.log"), env)

    return (
        component(
            "etcd",
            programs.etcd,
            "--data-dir=/run/etcd",  # in memory: quick, and the cluster is not to survive the node
            f"--listen-client-urls=http://{_ETCD}",
            f"--advertise-client-urls=http://{_ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ),
        component(
            "containerd",
            programs.containerd,
            f"--config={state}/config/containerd.toml",
            path=f"{programs.containerd.parent}:{programs.runc.parent}",
        ),
        component("apiserver", kubernetes / "kube-apiserver", *_apiserver(state), needs=f"tcp:{_ETCD}"),
        component("controller-manager", kubernetes / "kube-controller-manager", *_controller_manager(state), needs=api),
        component(
            "scheduler",
            kubernetes / "kube-scheduler",
            f"--kubeconfig={users}/scheduler",
            f"--authentication-kubeconfig={users}/scheduler",
            f"--authorization-kubeconfig={users}/scheduler",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            *_unhurried(),
            needs=api,
        ),
        component(
            "kubelet",
            kubernetes / "kubelet",
            f"--config={state}/config/kubelet.json",
            f"--kubeconfig={users}/kubelet",
            f"--root-dir={state}/kubelet",
            f"--cert-dir={state}/kubelet/certificates",
            f"--hostname-override={NODE}",
            f"--node-ip={ADDRESS}",
            needs=f"unix:{CONTAINERD}",
            path=str(programs.runc.parent),
        ),
        component("proxy", kubernetes / "kube-proxy", f"--config={state}/config/proxy.json", needs=api),
        component("dns", kubernetes / "coredns", f"-conf={state}/config/Corefile", needs=api),
    )


def _unhurried() -> tuple[str, ...]:
    """Limits that a hundred pods at once do not reach."""
    return ("--kube-api-qps=500", "--kube-api-burst=1000")


def _apiserver(state: Path) -> tuple[str, ...]:
    pki = state / "pki"
    return (
        f"--etcd-servers=http://{_ETCD}",
        f"--bind-address={ADDRESS}",
        f"--advertise-address={ADDRESS}",
        "--secure-port=6443",
        f"--tls-cert-file={pki}/server.crt",
        f"--tls-private-key-file={pki}/server.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--token-auth-file={state}/users/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={_SERVICES}",
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt",
        f"--kubelet-client-key={pki}/kubelet-client.key",
        # The second asks etcd for what Debian's 3.4 can't tell, and would wait for it in vain time and again.
        "--feature-gates=HPAScaleToZero=true,SizeBasedListCostEstimate=false",
        "--max-requests-inflight=2000",
        "--max-mutating-requests-inflight=1000",
        # For aggregated APIs, such as custom metrics.
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
        "--enable-aggregator-routing=true",
    )


def _controller_manager(state: Path) -> tuple[str, ...]:
    me = state / "users" / "controller-manager"
    return (
        f"--kubeconfig={me}",
        f"--authentication-kubeconfig={me}",
        f"--authorization-kubeconfig={me}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={state}/pki/service-accounts.key",
        f"--root-ca-file={state}/pki/ca.crt",
        "--feature-gates=HPAScaleToZero=true",
        "--horizontal-pod-autoscaler-sync-period=2s",
        f"--flex-volume-plugin-dir={state}/kubelet/plugins",
        *_unhurried(),
    )


def _containerd(state: Path, programs: Programs) -> str:
    return f"""\
version = 2
root = "{state}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = "{CONTAINERD}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{programs.network_plugins}"
conf_dir = "{state}/config/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{programs.runc}"
SystemdCgroup = false
"""


def _network(state: Path) -> dict[str, object]:
    """A routed veth pair for each pod: no bridge, so Services between pods of one node need no bridge filter."""
    addresses = {
        "type": "host-local",
        "dataDir": str(state / "addresses"),
        "ranges": [[{"subnet": _PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": False},
        ],
    }


def _kubelet(state: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{state}/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        "podLogsDir": f"{state}/pods",
        "volumePluginDir": f"{state}/kubelet/plugins",
        "clusterDNS": [ADDRESS],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        # What a container with fewer rights than a whole machine does not allow.
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        # Pods start and stop fast, a hundred at once too.
        "maxPods": 250,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 500,
        "kubeAPIBurst": 1000,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
        # A developer's disk is often nearly full; images are never to be collected, since none could be pulled again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    }


def _proxy(state: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{state}/users/proxy"},
        "mode": "iptables",
        "clusterCIDR": _PODS,
        "hostnameOverride": NODE,
        "bindAddress": ADDRESS,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "iptables": {"minSyncPeriod": "0s", "syncPeriod": "30s"},
        # Limits of the whole machine, not of the namespace: left alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _corefile(state: Path) -> str:
    """Names of the cluster are answered; every other name does not exist, which is said at once."""
    return f"""\
{DOMAIN} in-addr.arpa {{
    bind {ADDRESS}
    errors
    ready {ADDRESS}:8181
    kubernetes {{
        kubeconfig {state}/users/dns
        pods insecure
        ttl 1
    }}
}}

. {{
    bind {ADDRESS}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def _dns_role() -> dict[str, object]:
    role = "system:dns"
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    api = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": role}}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USERS["dns"].name}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {**api, "kind": "ClusterRole", "rules": rules},
            {**api, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]},
        ],
    }

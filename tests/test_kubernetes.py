"""The manifests are valid, say what the code does, and give nothing away; the guide's commands fit them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sidecar import __version__
from sidecar.server.routes import _OPEN
from sidecar.settings import Settings, load
from sidecar.settings.model import DECLARED
from tests.locks import ROOT

FOLDER = ROOT / "config" / "kubernetes"
GUIDE = (ROOT / "config" / "guides" / "kubernetes.md").read_text("utf-8")
FILES = sorted(FOLDER.glob("*.yaml"))
#: The oldest that the files say they need, and the newest whose schemas are at hand.
RELEASES = ("1.30", "1.37")
DUMMIES = {"store": "postgresql://u:p@h/d", "upstream-key": "sk-1", "webui-secret": "s"}

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def documents(file) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text("utf-8")))


def of_kind(file, kind: str) -> list[dict[str, Any]]:
    return [each for each in documents(file) if each["kind"] == kind]


def pod(file) -> dict[str, Any]:
    (deployment,) = of_kind(file, "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def containers(file) -> Iterator[dict[str, Any]]:
    yield from pod(file).get("initContainers", [])
    yield from pod(file)["containers"]


def sidecar_of(file) -> dict[str, Any]:
    (found,) = [each for each in containers(file) if each["name"] == "sidecar"]
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    """As the container has it, with what a Secret would hold."""
    return {
        each["name"]: each["value"] if "value" in each else DUMMIES[each["valueFrom"]["secretKeyRef"]["key"]]
        for each in container["env"]
    }


def image_environment() -> dict[str, str]:
    """What the image sets."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    pairs = [pair for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE) for pair in shlex.split(line)]
    return dict(pair.split("=", 1) for pair in pairs)


def settings_of(file) -> Settings:
    given = {**image_environment(), **environment(sidecar_of(file))}
    return load({}, {name: value for name, value in given.items() if name.startswith("SIDECAR_")})


@each_file
@pytest.mark.parametrize("release", RELEASES)
def test_every_document_fits_the_schema_of_its_kind(file, release):
    for each in documents(file):
        kubernetes_validate.validate(each, release, strict=True)


def test_a_field_that_is_none_is_found():
    (service,) = of_kind(FOLDER / "replicas.yaml", "Service")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**service, "sepc": {}}, RELEASES[1], strict=True)


@each_file
def test_the_settings_exist_and_the_sidecar_starts_with_them(file):
    known = {setting.environment for setting in DECLARED.values()}
    set_here = {name for name in environment(sidecar_of(file)) if name.startswith("SIDECAR_")}
    assert set_here <= known
    assert settings_of(file).upstream == "http://vllm:8000/v1"


@each_file
def test_probes_ask_what_is_served_where_it_is_served(file):
    container, settings = sidecar_of(file), settings_of(file)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports["admin"] == int(settings.admin.listen.rpartition(":")[2])
    assert ports.get("chat", settings.listen_port) == settings.listen_port
    # A server on the pod's own loopback is out of the kubelet's reach.
    assert settings.admin.listen.startswith("0.0.0.0:")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in _OPEN
        assert asked["port"] in ports
    assert container["livenessProbe"]["httpGet"]["path"] == "/-/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/-/ready"


@each_file
def test_the_sidecar_has_no_right_that_it_does_not_need(file):
    container = sidecar_of(file)
    context = {**pod(file)["securityContext"], **container["securityContext"]}
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user
    assert context["runAsNonRoot"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(file)["automountServiceAccountToken"] is False
    written = {each["mountPath"] for each in container["volumeMounts"]}
    path = settings_of(file).store_path or ""
    assert written == {"/tmp", *(["/data"] if path.startswith("/data/") else [])}
    for each in containers(file):
        assert each["resources"]["requests"].keys() == each["resources"]["limits"].keys() == {"cpu", "memory"}


@each_file
def test_streams_have_their_time_to_end_before_the_process_is_killed(file):
    container = sidecar_of(file)
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pause + settings_of(file).timeouts.shutdown < pod(file)["terminationGracePeriodSeconds"]


@each_file
def test_no_secret_stands_in_a_file(file):
    assert of_kind(file, "Secret") == []
    secret = {setting.environment for setting in DECLARED.values() if setting.is_secret}
    for container in containers(file):
        for each in container["env"]:
            assert each["name"] not in secret or "valueFrom" in each
            assert "://" not in each.get("value", "") or "@" not in each["value"]


@each_file
def test_the_network_policy_lets_in_who_chats_and_nobody_to_the_metrics_but_monitoring(file):
    (policy,) = of_kind(file, "NetworkPolicy")
    labels = of_kind(file, "Deployment")[0]["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert "Ingress" in policy["spec"]["policyTypes"]
    admin = [rule for rule in policy["spec"]["ingress"] if {"port": "admin"} in rule["ports"]]
    assert [rule["from"][0]["namespaceSelector"] for rule in admin] == [
        {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    ]
    chat = [rule for rule in policy["spec"]["ingress"] if {"port": "chat"} in rule["ports"]]
    assert all(rule["from"] for rule in chat)


def test_replicas_are_replaced_one_by_one_and_a_file_has_one_process():
    (deployment,) = of_kind(FOLDER / "replicas.yaml", "Deployment")
    (budget,) = of_kind(FOLDER / "replicas.yaml", "PodDisruptionBudget")
    assert deployment["spec"]["replicas"] > 1
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    assert settings_of(FOLDER / "replicas.yaml").store.startswith("postgresql://")
    (alone,) = of_kind(FOLDER / "open-webui.yaml", "Deployment")
    assert (alone["spec"]["replicas"], alone["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert settings_of(FOLDER / "open-webui.yaml").listen == "127.0.0.1:8790"


@each_file
def test_the_image_is_that_of_this_version(file):
    assert sidecar_of(file)["image"] == f"conversation-sidecar:{__version__}"


def test_open_webui_gets_the_same_headers_and_image_as_in_the_compose_file():
    compose = yaml.safe_load((ROOT / "config" / "compose.yaml").read_text("utf-8"))["services"]["open-webui"]
    (container,) = [each for each in containers(FOLDER / "open-webui.yaml") if each["name"] == "open-webui"]
    assert container["image"] == compose["image"]
    assert environment(container)["OPENAI_API_CONFIGS"] == compose["environment"]["OPENAI_API_CONFIGS"]
    assert environment(container)["OPENAI_API_BASE_URLS"] == "http://127.0.0.1:8790/v1"


def test_the_guides_commands_make_the_secrets_that_the_manifests_read_and_name_files_that_exist():
    commands = [shlex.split(line) for line in GUIDE.splitlines() if line.startswith("kubectl ")]
    made = {
        words[4]: {word.split("=")[1] for word in words if word.startswith("--from-literal=")}
        for words in commands
        if words[:4] == ["kubectl", "create", "secret", "generic"]
    }
    read: dict[str, set[str]] = {}
    for file in FILES:
        for container in containers(file):
            for each in container["env"]:
                if "valueFrom" in each:
                    named = each["valueFrom"]["secretKeyRef"]
                    read.setdefault(named["name"], set()).add(named["key"])
    assert made == read
    applied = [words[3] for words in commands if words[:3] == ["kubectl", "apply", "-f"]]
    assert {ROOT / name for name in applied} == set(FILES)
    services = {each["metadata"]["name"] for file in FILES for each in of_kind(file, "Service")}
    forwarded = [words[2].removeprefix("service/") for words in commands if words[1] == "port-forward"]
    assert set(forwarded) <= services
    label = next(words[-1] for words in commands if words[1] == "label")
    name, value = label.split("=")
    assert f'{{{name}: "{value}"}}' in (FOLDER / "replicas.yaml").read_text("utf-8")


def test_the_guides_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", GUIDE)
    assert [link for link in links if not (ROOT / "config" / "guides" / link).exists()] == []

"""What scripts/machines.py writes for each of several machines is what the programs there take."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from dojo.access.roles import Role
from dojo.access.tokens import digest_of, read
from dojo.service import settings_file
from dojo.service.settings import load
from runner.settings import RunnerSettings
from storer.settings import StorerSettings
from support.machines.deployment import settings_in, write
from support.machines.router import TOOLS
from support.paths import TOP
from web.access.secret_links import SecretLinks, read_key

MACHINES = ["n1=10.0.0.1", "n2=10.0.0.2", "n3=10.0.0.3"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of three machines, each of which is where it would be on the machine."""
    folder = tmp_path / "machines"
    write(folder, MACHINES, "--archive=s3://dojo/katas", f"--directory={folder}/n1")
    return folder


def yaml_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("kind", [StorerSettings, RunnerSettings])
def test_both_services_take_the_settings(
    folder: Path, kind: type[StorerSettings] | type[RunnerSettings]
) -> None:
    settings = load(kind, settings_in(folder / "n2"))
    assert settings.etcd == ("10.0.0.2:2379", "10.0.0.1:2379", "10.0.0.3:2379")
    assert settings.node_name == "n2"
    for path in (settings.tls_certificate, settings.etcd_key, settings.callers, settings.ca):
        assert path is not None


def test_the_settings_are_such_as_a_settings_file_may_have(folder: Path) -> None:
    found = {"CYBER_DOJO_SETTINGS_FILE": str(folder / "n1/settings")}
    settings_file.apply(found)
    assert found["COMPOSE_PROFILES"] == "router,etcd,registry"


@pytest.mark.skipif(not TOOLS.exists(), reason="scripts/test-tools.sh downloads HAProxy")
def test_the_router_takes_its_configuration(folder: Path) -> None:
    done = subprocess.run(
        [TOOLS / "haproxy", "-c", "-f", folder / "n1/haproxy.cfg"],
        env={**os.environ, "LD_LIBRARY_PATH": str(TOOLS / "lib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.skipif(shutil.which("docker") is None, reason="compose is a part of docker")
def test_compose_takes_both_files_and_starts_what_the_settings_say(folder: Path) -> None:
    environ = {key: each for key, each in os.environ.items() if not key.startswith("CYBER_DOJO_")}
    environ |= {
        "CYBER_DOJO_SETTINGS_FILE": str(folder / "n1/settings"),
        "CYBER_DOJO_VOLUME_ROOT": "/var/lib/docker/volumes",
    }
    command = [str(TOP / "scripts/compose"), "config"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    services = yaml.safe_load(done.stdout)["services"]
    assert {"etcd", "router", "registry", "storer", "runner"} <= services.keys()
    assert services["storer"]["environment"]["CYBER_DOJO_HEALTH_LISTEN"] == "10.0.0.1:7002"
    assert services["runner"]["environment"]["CYBER_DOJO_HEALTH_LISTEN"] == ""


def test_members_know_each_other_and_a_joining_one_says_so(folder: Path) -> None:
    options = ["--archive=/srv/archive", "--joining=n2"]
    write(folder, [*MACHINES, "n4=10.0.0.4"], *options)
    found = {name: yaml_of(folder / name / "etcd.yml") for name in ("n1", "n2")}
    members = "n1=https://10.0.0.1:2380,n2=https://10.0.0.2:2380,n3=https://10.0.0.3:2380"
    assert {each["initial-cluster"] for each in found.values()} == {members}
    assert found["n1"]["initial-cluster-state"] == "new"
    assert found["n2"]["initial-cluster-state"] == "existing"
    fourth = (folder / "n4/settings").read_text().splitlines()
    assert "COMPOSE_PROFILES=router" in fourth  # it has no member
    assert "CYBER_DOJO_ETCD=10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379" in fourth


def test_prometheus_reads_all_machines(folder: Path) -> None:
    jobs = yaml_of(folder / "n1/prometheus.yml")["scrape_configs"]
    for job in jobs:
        (targets,) = job["static_configs"]
        assert [each.partition(":")[0] for each in targets["targets"]] == [
            each.partition("=")[2] for each in MACHINES
        ]
    of_one = yaml_of(TOP / "deploy/prometheus/prometheus.yml")
    # The rules and the dashboard name these.
    assert {each["job_name"] for each in of_one["scrape_configs"]} <= {
        each["job_name"] for each in jobs
    }


def test_ca_and_tokens_stay_and_certificates_are_for_the_machine(folder: Path) -> None:
    before = {
        name: (folder / name).read_bytes()
        for name in ("ca.pem", "callers", "operator.token", "web.key")
    }
    write(folder, ["n1=10.0.0.9", *MACHINES[1:]], "--archive=/srv/archive", "--host=dojo.example")
    assert {name: (folder / name).read_bytes() for name in before} == before
    found = x509.load_pem_x509_certificate((folder / "n1/access/server.pem").read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"n1", "dojo.example"} <= set(names.get_values_for_type(x509.DNSName))
    assert "10.0.0.9" in map(str, names.get_values_for_type(x509.IPAddress))


def test_callers_are_a_web_tier_and_operators(folder: Path) -> None:
    entries = {each.digest: each.role for each in read(folder / "n3/access/callers").entries}
    for name, role in (("web", Role.WEB), ("operator", Role.OPERATOR)):
        assert entries[digest_of((folder / f"{name}.token").read_text().strip())] is role


def test_personal_links_of_one_machine_are_those_of_all(folder: Path, tmp_path: Path) -> None:
    (key,) = {(folder / name / "access/web.key").read_bytes() for name in ("n1", "n2", "n3")}
    assert SecretLinks(read_key(folder / "n1/access/web.key"))
    (tmp_path / "alone/access").mkdir(parents=True)
    (tmp_path / "alone/web").mkdir()
    (tmp_path / "alone/web/key").write_bytes(key)
    again = tmp_path / "again"
    write(again, MACHINES, "--archive=/a", f"--access={tmp_path / 'alone/access'}")
    assert (again / "n2/access/web.key").read_bytes() == key


def test_secrets_are_readable_by_their_owner_alone(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in {"ca.pem", "server.pem"}:
            assert path.stat().st_mode & 0o077 == 0, path


def test_what_the_only_machine_had_is_kept(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write(first, MACHINES[:1], "--archive=/srv/archive")
    own = tmp_path / "env"
    own.write_text("# ours\nCYBER_DOJO_RUN_MEMORY_BYTES=1073741824\nCYBER_DOJO_HOST=10.1.1.1\n")
    write(second, MACHINES, "--archive=/a", f"--access={first}", f"--settings={own}")
    for name in ("ca.pem", "ca.key", "callers", "web.token", "web.key"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    lines = (second / "n1/settings").read_text().splitlines()
    assert "CYBER_DOJO_RUN_MEMORY_BYTES=1073741824" in lines
    assert "CYBER_DOJO_HOST=10.1.1.1" not in lines


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["n1"], "write NAME=ADDRESS"),
        (["n1=10.0.0"], "with an IPv4 address"),
        (["n1=127.0.0.1"], "other machines can't call this address"),
        (["N 1=10.0.0.1"], "letters a to z"),
        (["n1=10.0.0.1", "n1=10.0.0.2"], "two machines have the name n1"),
        (["n1=10.0.0.1", "n2=10.0.0.1"], "two machines have the address 10.0.0.1"),
        ([*MACHINES, "--joining=n9"], "there is no such member"),
        ([*MACHINES, "--archive=katas"], "s3://BUCKET/PREFIX or an absolute path"),
    ],
)
def test_what_can_not_be_is_refused(tmp_path: Path, arguments: list[str], reason: str) -> None:
    program = [sys.executable, "-m", "scripts.machines", str(tmp_path / "m"), "--archive=/a"]
    done = subprocess.run(
        [*program, *arguments], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert reason in " ".join(done.stderr.split())
    assert not (tmp_path / "m").exists()

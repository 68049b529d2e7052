"""What Prometheus is told: its format, that the rules and the dashboard ask for nothing that is not told, and that each alert fires."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.real.instances import Place
from tests.real.served import Browser, serving, wait

from howdah.web.metrics import METRICS

MONITORING = Path(__file__).parents[2] / "monitoring"
_NAME = re.compile(r"\bhowdah_\w+")


def promtool(*words: str, given: str = "") -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([program, *words], input=given, capture_output=True, text=True, timeout=120, cwd=MONITORING)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_fires_by_what_it_watches_for() -> None:
    assert "SUCCESS" in promtool("check", "rules", "howdah-alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "howdah-alerts-test.yml")
    alerts = set(re.findall(r"- alert: (\w+)", (MONITORING / "howdah-alerts.yml").read_text()))
    assert alerts == set(re.findall(r'alertname="(\w+)"', (MONITORING / "howdah-alerts-test.yml").read_text()))


def test_what_rules_and_dashboard_ask_for_is_told(here: Place) -> None:
    with serving(here.home) as served:

        def told() -> str:
            return Browser(served.port).ask("/metrics")[1]

        wait(lambda: "howdah_transactions_per_second" in told(), 60, told)
        with here.login(), here.login("direct"):
            wait(lambda: 'howdah_pooler_clients{name="shop"} 1' in told() and 'howdah_tls_share{name="shop"} 1' in told(), 60, told)
        text = told()
        rules, panels = (MONITORING / "howdah-alerts.yml").read_text(), json.loads((MONITORING / "howdah-dashboard.json").read_text())
        asked = {*_NAME.findall(rules), *(n for p in panels["panels"] for t in p["targets"] for n in _NAME.findall(t["expr"]))}
        assert asked - {"howdah_passes_total"} <= {*METRICS}
        assert {*METRICS} - {*re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)} <= {"howdah_pooler_query_seconds"}, "needs queries first"
        assert 'howdah_instance_up{name="shop"} 1' in text and 'howdah_certificate_seconds_left{name="shop",hop="pooled"}' in text
        promtool("check", "metrics", given=text)

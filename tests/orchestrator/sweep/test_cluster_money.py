"""Money on a real cluster: a spot node and one on demand, trials of one worker and of two."""

import json
import sys
from pathlib import Path

import pytest

from orchestrator.study.reader import StudyReader
from orchestrator.study.study import study_url
from tests.orchestrator.cluster_process import small_cluster
from tests.orchestrator.command_line import TINY_SPACE, prvr

SPOT = {"num_cpus": 1, "labels": {"market-type": "spot", "instance-type": "cheap"}}
OWN = {"num_cpus": 1, "labels": {"ray.io/market-type": "on-demand", "instance-type": "dear"}}
PRICES = "prices: {currency: EUR, cpu_hour: {dear: 36000}, spot: {cpu_hour: {cheap: 3600}}}\n"


@pytest.mark.soak
def test_trials_cost_what_the_nodes_cost_that_they_ran_on(tmp_path: Path) -> None:
    space, home = tmp_path / "tiny.yaml", tmp_path / "home"
    space.write_text(TINY_SPACE + PRICES + "register: {top: 0}\n")
    (tmp_path / "keep.py").write_text("import sys; open(sys.argv[1], 'w').write(sys.stdin.read())")
    tell = f"{sys.executable} {tmp_path}/keep.py {tmp_path}/told.json"
    with small_cluster(json.dumps(SPOT), json.dumps(OWN)) as cluster:
        plan = cluster.run("plan", space, "--json", "--no-probe", "--home", home)
        assert plan.code == 0, plan.err
        money = json.loads(plan.out)["money"]
        assert money["on_demand"] == pytest.approx(10 * money["spot"])
        done = cluster.run("launch", space, "--home", home, "--json", "--notify", tell)
        assert done.code == 0, done.err
        pair = ("--set", "resources.workers=2", "--set", "name=pair")
        both = cluster.run("launch", space, "--home", home, "--json", *pair)
        assert both.code == 0, both.err
    result = json.loads(done.out)
    assert result["money"]["spot"] > 0
    assert result["money"]["on_demand"] > 0
    assert result["money"]["unpriced_hours"] == {}
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["event"], told["money"]) == ("finished", result["money"])
    study = StudyReader.open(study_url(home), "pair")
    kinds = [
        sorted((number, str(kind)) for number, kind in record.events[0].workers)
        for record in study.work_records()
    ]
    assert kinds == [[(1, "cheap (spot)"), (1, "dear")]] * 2
    # Both workers take the same time, at prices of one to ten.
    money = json.loads(both.out)["money"]
    assert money["on_demand"] == pytest.approx(10 * money["spot"])
    text = prvr("status", "pair", "--home", home, cwd=tmp_path).out
    assert "cost: " in text
    assert " on demand, " in text

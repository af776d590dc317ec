"""One stack for all tests of this folder."""

import re
import shutil
import tomllib

import pytest

from cloud import ROOT, Cloud
from outside import Outside

ID_KEY = "11" * 32
LINK_KEY = "22" * 32
WEBHOOK_SECRET = "whsec_" + "3" * 32


@pytest.fixture(scope="session")
def outside():
    outside = Outside()
    yield outside
    outside.stop()


@pytest.fixture(scope="session")
def funnel(tmp_path_factory):
    """The sample funnel, with its week of mails in three minutes and a consultation every minute."""
    folder = tmp_path_factory.mktemp("funnel") / "coaching"
    shutil.copytree(ROOT / "funnels/coaching", folder)
    nurture = folder / "sequences/nurture.toml"
    head, *steps = re.split(r"(?m)^(?=\[\[steps\]\])", nurture.read_text())
    # Day 1 comes by a timer. Day 4 is then due within a minute, and goes straight to its queue.
    due = {"day-1": "+2m", "day-4": "+3m"}
    kept = [re.sub(r'when = ".*"', f'when = "{due[name]}"', step)
            for step in steps for name in [re.search(r'id = "(.*)"', step)[1]] if name in due]
    assert len(kept) == len(due), f"{nurture} has other steps now"
    nurture.write_text(head + "".join(kept))
    settings = folder / "funnel.toml"
    text = settings.read_text()
    # Five minutes each is the shortest; five rows of them, one minute apart, start every minute.
    rows = [f"00:0{minute}-23:59" for minute in range(5)]
    for line in (r"minutes = 60", r"buffer_minutes = 30", r"notice_hours = 24", r"horizon_days = 21"):
        assert len(re.findall(f"(?m)^{line}$", text)) == 1, f"{settings} has no {line} now"
    text = re.sub(r"(?m)^minutes = 60$", "minutes = 5", text)
    text = re.sub(r"(?m)^(buffer_minutes|notice_hours) = .*$", r"\1 = 0", text)
    text = re.sub(r"(?m)^horizon_days = .*$", "horizon_days = 1", text)
    text = re.sub(r"(?ms)^holidays = \[.*?^\]$", "holidays = []", text)
    days = "monday tuesday wednesday thursday friday saturday sunday".split()
    hours = "".join(f"{day} = {rows}\n".replace("'", '"') for day in days)
    text = re.sub(r"(?ms)^\[consultation\.hours\]\n.*?(?=^\[|\Z)", f"[consultation.hours]\n{hours}\n", text)
    settings.write_text(text)
    return folder


@pytest.fixture(scope="session")
def sender(funnel):
    return tomllib.loads((funnel / "funnel.toml").read_text())["sender"]["address"]


@pytest.fixture(scope="session")
def cloud(tmp_path_factory, outside, funnel, sender):
    cloud = Cloud(tmp_path_factory.mktemp("cloud"), outside.url)
    cloud.start()
    try:
        cloud.deploy(funnel, sender)
        cloud.put_secret(cloud.outputs["KeysParameterName"],
                         {"id_key": ID_KEY, "link_keys": [{"id": "k1", "key": LINK_KEY}]})
        cloud.put_secret(cloud.outputs["StripeParameterName"],
                         {"secret_key": "sk_test_1", "webhook_secrets": [WEBHOOK_SECRET], "api_base": outside.url})
        yield cloud
    finally:
        cloud.stop()

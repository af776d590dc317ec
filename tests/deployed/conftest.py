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
    """The sample funnel, with its week of mails in two minutes."""
    folder = tmp_path_factory.mktemp("funnel") / "coaching"
    shutil.copytree(ROOT / "funnels/coaching", folder)
    nurture = folder / "sequences/nurture.toml"
    head, *steps = re.split(r"(?m)^(?=\[\[steps\]\])", nurture.read_text())
    due = {"welcome": "now", "day-1": "+1m", "day-4": "+2m"}
    kept = [re.sub(r'when = ".*"', f'when = "{due[name]}"', step)
            for step in steps for name in [re.search(r'id = "(.*)"', step)[1]] if name in due]
    assert len(kept) == len(due), f"{nurture} has other steps now"
    nurture.write_text(head + "".join(kept))
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

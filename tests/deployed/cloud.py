"""AWS on this machine: ministack with the template deployed by CloudFormation, as in production.

IAM is enforced (`AUTH=true`): each function runs with its own role, so a missing permission fails here.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.parse
import urllib.request
import zipfile

import boto3
from boto3.dynamodb.types import TypeDeserializer

ROOT = pathlib.Path(__file__).parents[2]
STACK = "michi"
REGION = "us-east-1"
ACCOUNT = "000000000000"
FUNCTIONS = sorted(folder.name for folder in (ROOT / "functions").iterdir())


class Cloud:
    def __init__(self, folder, mail_url):
        self.folder, self.mail_url = folder, mail_url
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"

    def start(self):
        environment = self._aws_environment() | {
            "GATEWAY_PORT": self.url.rsplit(":", 1)[1],
            "BIND_HOST": "127.0.0.1",
            "AUTH": "true",
            "TMPDIR": str(self.folder),
            "AWS_ENDPOINT_URL_SESV2": self.mail_url,  # handed on to the functions
        }
        self.log = self.folder / "ministack.log"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environment, cwd=self.folder,
            stdout=self.log.open("w"), stderr=subprocess.STDOUT)
        wait_for("ministack to answer", self._healthy, 60)

    def stop(self):
        self._process.terminate()
        self._process.wait(30)

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url, region_name=REGION,
                            aws_access_key_id="test", aws_secret_access_key="test")

    def deploy(self, funnel, sender):
        """Packages and deploys the template with the built binaries and the given funnel."""
        (self.folder / "infra").mkdir()
        template = shutil.copy(ROOT / "infra/template.yaml", self.folder / "infra")
        for name in FUNCTIONS:
            self._zip(name, funnel)
        self._aws("s3", "mb", "s3://code")
        packaged = self.folder / "packaged.yaml"
        self._aws("cloudformation", "package", "--template-file", template, "--s3-bucket", "code",
                  "--output-template-file", packaged)
        self._aws("cloudformation", "deploy", "--template-file", packaged, "--s3-bucket", "code",
                  "--stack-name", STACK, "--capabilities", "CAPABILITY_IAM", "--parameter-overrides",
                  f"SenderAddress={sender}", "Architecture=x86_64", "AlarmEmail=ops@example.com")
        outputs = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in outputs}
        self._make_up_for_ministack()

    def put_secret(self, name, value):
        self.client("ssm").put_parameter(Name=name, Type="SecureString", Value=json.dumps(value))

    def http(self, method, target, form=None, body=None, headers=None):
        """One request to the API, a browser's if no headers say otherwise. `target` is a path, or a link
        that starts with the public URL."""
        path = target.removeprefix(self.outputs["PublicUrl"])
        assert path.startswith("/"), f"{target} does not lead to the API"
        host = f"{self.outputs['ApiUrl'].split('/')[2].split('.')[0]}.execute-api.localhost"
        headers = {"Host": host, "Accept": "text/html"} | (headers or {})
        if form is not None:
            body = urllib.parse.urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            answer = _NO_REDIRECTS.open(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return types.SimpleNamespace(status=answer.status, headers=answer.headers, text=answer.read().decode())

    def invoke(self, function, event):
        """Invokes a function and waits for its answer; a failure of the function is an AssertionError."""
        answer = self.client("lambda").invoke(FunctionName=f"{STACK}-{function}", Payload=json.dumps(event))
        payload = answer["Payload"].read().decode()
        assert "FunctionError" not in answer, payload
        return json.loads(payload)

    def rows(self, table):
        """All rows of a table; its output says what the table is called."""
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=self.outputs[f"{table}Table"])
        read = TypeDeserializer().deserialize
        return [{name: read(value) for name, value in item.items()} for page in pages for item in page["Items"]]

    def waiting_messages(self, queue):
        """How many messages are in a queue, given by the name of its output."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.client("sqs").get_queue_attributes(QueueUrl=self.outputs[queue], AttributeNames=names)
        return sum(int(attributes["Attributes"][name]) for name in names)

    def take_messages(self, queue):
        """The bodies of the messages in a queue, which it then no longer has."""
        sqs, url = self.client("sqs"), self.outputs[queue]
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in messages]

    def function_processes(self):
        """Each process in which a function runs: the function's name, and what the kernel tells of it."""
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                environment = process.joinpath("environ").read_bytes().decode(errors="replace").split("\0")
                status = process.joinpath("status").read_text()
            except OSError:  # it ended meanwhile, or is somebody else's
                continue
            variables = dict(variable.partition("=")[::2] for variable in environment)
            if variables.get("AWS_ENDPOINT_URL") == self.url and "AWS_LAMBDA_FUNCTION_NAME" in variables:
                yield variables["AWS_LAMBDA_FUNCTION_NAME"].removeprefix(f"{STACK}-"), status

    def _healthy(self):
        assert self._process.poll() is None, self.log.read_text()
        try:
            return urllib.request.urlopen(f"{self.url}/_ministack/health").status == 200
        except urllib.error.URLError:
            return False

    def _zip(self, name, funnel):
        """The function's zip with its funnel replaced, as a user with another funnel would build it."""
        built = ROOT / "target/lambda" / name / "bootstrap.zip"
        assert built.exists(), f"{built} is missing: run infra/build.sh first"
        made = self.folder / "target/lambda" / name / "bootstrap.zip"
        made.parent.mkdir(parents=True)
        with zipfile.ZipFile(built) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
            new.writestr(old.getinfo("bootstrap"), old.read("bootstrap"))
            for file in sorted(path for path in funnel.rglob("*") if path.is_file()):
                new.write(file, f"funnel/{file.relative_to(funnel).as_posix()}")

    def _aws(self, *arguments):
        done = subprocess.run([sys.executable, "-m", "awscli", *map(str, arguments)],
                              env=self._aws_environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"aws {' '.join(arguments[:2])}: {done.stdout}{done.stderr}"

    def _aws_environment(self):
        """Nothing of the caller's AWS configuration, so that no real account is ever touched."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        nowhere = str(self.folder / "no-aws-config")
        return inherited | {
            "AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_CONFIG_FILE": nowhere, "AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _make_up_for_ministack(self):
        """Two things that AWS does and ministack 1.5.33 does not."""
        # A number given as a parameter stays text, and stops the poller of every queue.
        functions = self.client("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            if ":sqs:" in mapping["EventSourceArn"]:
                functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": 2})
        # A schedule is authorised as if it were in the default group, whichever it is made in.
        iam = self.client("iam")
        statement = {"Effect": "Allow", "Action": ["scheduler:CreateSchedule", "scheduler:DeleteSchedule"],
                     "Resource": f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/*"}
        for role in self.roles("RelayRole", "DeliveryRole"):
            iam.put_role_policy(RoleName=role, PolicyName="default-group", PolicyDocument=json.dumps(
                {"Version": "2012-10-17", "Statement": [statement]}))

    def roles(self, *logical_ids):
        resources = self.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
        return [r["PhysicalResourceId"] for r in resources if r["LogicalResourceId"] in logical_ids]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


_NO_REDIRECTS = urllib.request.build_opener(_NoRedirects)


def wait_for(what, wanted, seconds=30):
    """Polls until `wanted()` is true and returns it."""
    until = time.monotonic() + seconds
    while not (found := wanted()):
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.2)
    return found
